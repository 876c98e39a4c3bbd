//! How a host ends: told once it lets finish what is under way, told again it does not; and told while it starts.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use http::StatusCode;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::harness::{
    client::Client,
    eventually,
    host::{Host, roadstead, write_application},
    manifest::{trigger, worker},
    process::Process,
};

/// Longest time from a signal to the end where the host is to end at once. What would hold it takes four times as long.
const AT_ONCE: Duration = Duration::from_secs(5);

fn application() -> String {
    trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml()
        + &worker("worker", "probe.work", &["poolSize: 2"])
}

#[tokio::test]
async fn a_stop_lets_requests_under_way_finish() {
    let mut host = Host::start(&application());
    let client = host.client("probe.test");
    let under_way = tokio::spawn(client.get("/sleep?ms=800").send());
    let asking = tokio::spawn(client.post("/request?subject=probe.work").body("sleep:800").send());
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 2.0).await;
    host.signal(Signal::TERM);
    let response = under_way.await.unwrap();
    assert_eq!((response.status, response.text()), (StatusCode::OK, "slept 800 ms\n".into()));
    assert_eq!(asking.await.unwrap().text(), "slept 800 ms");
    assert!(host.wait().success());
    assert!(host.log().contains("\"cut_off\":0"), "{}", host.log());
}

#[tokio::test]
async fn a_stopping_host_takes_no_new_connection() {
    let mut host = Host::start(&application());
    let client = host.client("probe.test");
    let under_way = tokio::spawn(client.get("/sleep?ms=1000").send());
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 1.0).await;
    host.signal(Signal::INT);
    let address = host.http_address();
    eventually("the listener is closed", async || TcpStream::connect(address).await.is_err().then_some(())).await;
    assert_eq!(host.admin("/readyz").await.text(), "the host is stopping\n");
    assert_eq!(under_way.await.unwrap().status, StatusCode::OK);
    assert!(host.wait().success());
}

/// What would keep a drain waiting for 20 s: guests that wait, one that computes, and a worker with a message.
async fn keep_busy(host: &Host) {
    let client = host.client("probe.test");
    for path in ["/sleep?ms=20000", "/spin", "/spin", "/spin"] {
        tokio::spawn(client.get(path).try_send());
    }
    tokio::spawn(client.post("/request?subject=probe.work&timeout-ms=20000").body("sleep:20000").try_send());
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 5.0).await;
    host.wait_for_metric("roadstead_messages_in_flight", &["worker"], 1.0).await;
}

#[tokio::test]
async fn a_second_signal_ends_the_host_at_once() {
    for (first, second, code) in
        [(Signal::TERM, Signal::TERM, 143), (Signal::INT, Signal::INT, 130), (Signal::TERM, Signal::INT, 130)]
    {
        let mut host = Host::start(&application());
        keep_busy(&host).await;
        host.signal(first);
        eventually("the first signal is seen", async || host.log().contains("stopping").then_some(())).await;
        let begun = Instant::now();
        host.signal(second);
        assert_eq!(host.wait().code(), Some(code));
        println!("{first:?}, {second:?}: ended after {:?}", begun.elapsed());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
}

/// A free port that the kernel gives to nobody who does not name it: between this look and the host's start, it goes to
/// no other test's connection.
fn free_address() -> SocketAddr {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    ([127, 0, 0, 1], (first..).find(free).unwrap()).into()
}

#[tokio::test]
async fn a_signal_while_the_host_starts_ends_the_start_at_once() {
    const LOOPS: &str = "(component
        (core module $loops (func $start (loop $again (br $again))) (start $start))
        (core instance (instantiate $loops)))";
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("made-loops.wasm"), wat::parse_str(LOOPS).unwrap()).unwrap();
        let loops = worker("loops", "probe.work", &["poolSize: 1"]).replace("file:probe-worker", "file:made-loops");
        write_application(folder.path(), &loops);
        let admin = free_address();
        let mut command = roadstead();
        command.arg("run").arg(folder.path().join("app.yaml")).args(["--http-addr", "127.0.0.1:0"]);
        command.args(["--admin-addr", &admin.to_string(), "--limit", "start_timeout_ms=20000"]);
        let mut host = Process::start(command);
        eventually("the host starts its workloads", async || {
            TcpStream::connect(admin).await.ok()?;
            let ready = Client::new(admin, "localhost").get("/readyz").send().await;
            ready.text().contains("workloads are being started").then_some(())
        })
        .await;
        let begun = Instant::now();
        host.signal(signal);
        assert_eq!(host.wait().code(), Some(0), "{}", host.output());
        println!("{signal:?} during the start: ended after {:?}", begun.elapsed());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }
}
