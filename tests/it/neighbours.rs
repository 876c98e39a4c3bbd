//! Tenants beside each other: what one does with its share does not take the other's, and what clients abandon is
//! cleaned up.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all, stream};
use http::StatusCode;
use rand::Rng;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{
    client::Client,
    eventually,
    host::Host,
    manifest::{trigger, worker},
};

/// Connections of the quiet tenant.
const QUIET_CLIENTS: usize = 16;
const MEASURED_FOR: Duration = Duration::from_secs(2);
/// Two tenants share the machine: each may have half of it.
const FAIR_SHARE: f64 = 0.5;
/// What the quiet one must keep of that. On an idle machine of two cores 1.7 was measured.
const SHARE_KEPT_MIN: f64 = 0.5;
/// How much slower the slowest of its answers may become. The goal is 2, and 1.2 to 1.5 was measured when this test ran
/// alone; beside all the other tests, which want the same two cores, up to 7. The bound notices starvation.
const P99_RATIO_MAX: f64 = 20.0;
const ROUNDS_MAX: usize = 3;

/// Requests answered per second, and the time in which 99 of 100 were.
#[derive(Debug)]
struct Measured {
    per_second: f64,
    p99: Duration,
}

async fn measure(client: &Client) -> Measured {
    let begun = Instant::now();
    let one = || async {
        let mut times = Vec::new();
        while begun.elapsed() < MEASURED_FOR {
            let sent = Instant::now();
            assert_eq!(client.get("/").send().await.status, StatusCode::OK);
            times.push(sent.elapsed());
        }
        times
    };
    let mut times = join_all((0..QUIET_CLIENTS).map(|_| one())).await.concat();
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    Measured { per_second: times.len() as f64 / begun.elapsed().as_secs_f64(), p99 }
}

#[tokio::test]
async fn two_spinning_and_two_growing_guests_leave_the_neighbour_its_share() {
    let host = Host::start(
        &(trigger("loud", "loud.test", "probe-gateway").namespace("loud").timeout("30s").yaml()
            + &trigger("quiet", "quiet.test", "bare-http").namespace("quiet").yaml()),
    );
    let quiet = host.client("quiet.test");
    measure(&quiet).await;
    let mut tried = Vec::new();
    for _ in 0..ROUNDS_MAX {
        // Before and after, so that a machine that becomes busy in between is not taken for a loud neighbour.
        let before = measure(&quiet).await;
        let beside = measure_beside_loud_guests(&host, &quiet).await;
        let after = measure(&quiet).await;
        let alone_per_second = f64::midpoint(before.per_second, after.per_second);
        let share = beside.per_second / (alone_per_second * FAIR_SHARE);
        let slower = beside.p99.as_secs_f64() / before.p99.max(after.p99).as_secs_f64();
        println!("keeps {share:.2} of its fair share, p99 {slower:.1} times: {before:?}, {beside:?}, {after:?}");
        if share >= SHARE_KEPT_MIN && slower <= P99_RATIO_MAX {
            return;
        }
        tried.push((share, slower));
    }
    panic!("(share kept, p99 ratio) in {ROUNDS_MAX} rounds: {tried:?}");
}

async fn measure_beside_loud_guests(host: &Host, quiet: &Client) -> Measured {
    let loud = host.client("loud.test");
    let spinning: Vec<_> = (0..2).map(|_| tokio::spawn(loud.get("/spin").send())).collect();
    let growing: Vec<_> = (0..2)
        .map(|_| {
            let loud = loud.clone();
            tokio::spawn(async move {
                loop {
                    assert_eq!(loud.get("/alloc?mb=500").send().await.status, StatusCode::BAD_GATEWAY);
                    assert_eq!(loud.get("/alloc?mb=100").send().await.status, StatusCode::OK);
                }
            })
        })
        .collect();
    eventually("the loud guests", async || {
        (host.metric("roadstead_instances", &["probe-gateway"]).await >= 2.0).then_some(())
    })
    .await;
    let beside = measure(quiet).await;
    assert!(spinning.iter().all(|task| !task.is_finished()), "the loud guests must be there all the time");
    assert!(growing.iter().all(|task| !task.is_finished()), "the loud guests must be there all the time");
    spinning.iter().for_each(tokio::task::JoinHandle::abort);
    growing.iter().for_each(tokio::task::JoinHandle::abort);
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
    beside
}

/// What an aborted request was about.
const ABORTED: [&str; 5] = [
    // In the head.
    "GET /sleep?ms=10000 HTTP/1.1\r\nhost: probe.test\r\nx-",
    // Before the response's head.
    "GET /sleep?ms=10000 HTTP/1.1\r\nhost: probe.test\r\n\r\n",
    // In the response's body.
    "GET /slow-stream?chunks=1000&delay-ms=1 HTTP/1.1\r\nhost: probe.test\r\n\r\n",
    // In the upload.
    "POST /echo HTTP/1.1\r\nhost: probe.test\r\ncontent-length: 100000\r\n\r\nthe first of many bytes",
    // While a worker is asked.
    "POST /request?subject=probe.work HTTP/1.1\r\nhost: probe.test\r\ncontent-length: 7\r\n\r\nsleep:2",
];

/// Sends one of them and leaves within some milliseconds.
async fn abort(host: &Host, number: usize) {
    let mut stream = TcpStream::connect(host.http_address()).await.unwrap();
    stream.write_all(ABORTED[number % ABORTED.len()].as_bytes()).await.unwrap();
    let wait = Duration::from_micros(rand::rng().random_range(0..10_000));
    let mut piece = [0; 256];
    let _ = tokio::time::timeout(wait, stream.read(&mut piece)).await;
}

async fn abort_many(host: &Host, count: usize) {
    stream::iter(0..count).for_each_concurrent(50, |number| abort(host, number)).await;
}

async fn assert_at_rest(host: &Host) {
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
    for gauge in ["roadstead_pool_busy", "roadstead_pool_waiting", "roadstead_http_requests_in_flight"] {
        host.wait_for_metric(gauge, &[], 0.0).await;
    }
}

#[tokio::test]
async fn ten_thousand_aborted_requests_leave_nothing_behind() {
    let host = Host::start(
        &(trigger("gateway", "probe.test", "probe-gateway").timeout("20s").yaml()
            + &worker("worker", "probe.work", &["poolSize: 4"])),
    );
    // The first ones make what is kept for good: pool slots, threads, the allocator's arenas.
    abort_many(&host, 1_000).await;
    assert_at_rest(&host).await;
    let (memory, files) = (host.resident_bytes(), host.open_files());
    let begun = Instant::now();
    abort_many(&host, 10_000).await;
    println!("aborted 10,000 in {:?}", begun.elapsed());
    assert_at_rest(&host).await;
    eventually("closed files", async || (host.open_files() <= files + 4).then_some(())).await;
    let grown = host.resident_bytes().saturating_sub(memory);
    assert!(grown < 32 << 20, "the host keeps {grown} bytes more");
    let client = host.client("probe.test");
    let asked = client.post("/request?subject=probe.work").body("echo:still here").send().await;
    assert_eq!(asked.text(), "still here");
    assert!(host.metric("roadstead_calls_total", &["probe-gateway", "\"cancelled\""]).await > 1_000.0);
}
