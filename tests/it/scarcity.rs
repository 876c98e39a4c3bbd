//! A host that runs short of file descriptors or memory: it takes no more in, says so, and goes on when there is enough
//! again.

use std::{
    net::SocketAddr,
    pin::pin,
    time::{Duration, Instant},
};

use futures::future::join_all;
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    PATIENCE,
    client::Client,
    eventually,
    host::{Host, Options},
    manifest::trigger,
};

const CONNECTIONS: usize = 1_000;

/// Time that the kernel has to answer a connection: where the host accepts none and its backlog is full, it does not.
const CONNECTED_WITHIN: Duration = Duration::from_secs(3);

/// Opens connections that say nothing; those that the host does not take are closed by it.
async fn crowd(address: SocketAddr) -> Vec<TcpStream> {
    let connections = (0..CONNECTIONS).map(|_| timeout(CONNECTED_WITHIN, TcpStream::connect(address)));
    join_all(connections).await.into_iter().flatten().flatten().collect()
}

async fn answered(client: &Client) -> bool {
    client.get("/").try_send().await.is_ok_and(|response| response.status == StatusCode::OK)
}

#[tokio::test]
async fn a_crowd_leaves_the_host_the_descriptors_that_it_needs() {
    let manifest = trigger("app", "app.test", "bare-http").yaml();
    let limits = ["descriptors_reserved=100", "keepalive_idle_ms=600000"];
    let options = limits.iter().fold(Options::default(), |all, limit| all.flag("--limit", limit));
    let host = Host::start_with(&manifest, options.ulimit("-n 300"));
    let client = host.client("app.test");
    assert!(answered(&client).await);
    let crowd = crowd(host.http_address()).await;
    // `connections_max` is 10,000; 300 descriptors less those that are reserved are left.
    let held = async || host.metric("roadstead_http_connections", &[]).await;
    // Some that the kernel had taken are given up by the crowd before the host looks at them.
    eventually("there are as many as may be", async || (150.0..=200.0).contains(&held().await).then_some(())).await;
    let refused = async |reason: &str| host.metric("roadstead_http_connections_refused_total", &[reason]).await;
    assert!(crowd.len() >= CONNECTIONS / 2, "{}", crowd.len());
    // How many of the others come to the host depends on the kernel: it drops those for which its backlog has no room.
    eventually("others are refused", async || (refused("connections-max").await >= 100.0).then_some(())).await;
    assert_eq!(refused("accept-failed").await, 0.0);
    assert!(held().await <= 200.0);
    assert!(host.open_files() < 300, "{}", host.open_files());
    // A manifest's component is a file, compiling it takes pipes: the rest of the host has what it needs.
    assert_eq!(host.admin("/readyz").await.status, StatusCode::OK);
    assert_eq!(host.status().await["workloads"][0]["name"], "app");
    drop(crowd);
    eventually("the honest client is answered", async || answered(&client).await.then_some(())).await;
    assert!(host.log().contains("fewer connections than connections_max"), "{}", host.log());
}

/// `socket::ACCEPT_PAUSE` and `listen::ACCEPT_LOG_EVERY`.
#[tokio::test]
async fn a_host_without_descriptors_waits_for_some_and_does_not_spin() {
    let manifest = trigger("app", "app.test", "bare-http").yaml();
    // Nothing is kept for the rest: this is what the reserve is against.
    let options = Options::default().flag("--limit", "descriptors_reserved=0").ulimit("-n 128");
    let host = Host::start_with(&manifest, options);
    let client = host.client("app.test");
    let begun = Instant::now();
    let crowd = crowd(host.http_address()).await;
    let complaints = || host.log().matches("connections could not be accepted").count();
    eventually("there are none left", async || (complaints() >= 3).then_some(())).await;
    drop(crowd);
    eventually("the honest client is answered", async || answered(&client).await.then_some(())).await;
    // At most once a second, and a pause of 50 ms after each try.
    let seconds = begun.elapsed().as_secs() + 1;
    assert!(complaints() as u64 <= seconds + 1, "{} in {seconds} s", complaints());
    let tries = host.metric("roadstead_http_connections_refused_total", &["accept-failed"]).await;
    assert!(tries >= 3.0 && tries <= (20 * seconds) as f64, "{tries} in {seconds} s");
}

#[tokio::test]
async fn a_host_takes_the_descriptors_that_it_may_have() {
    let manifest = trigger("app", "app.test", "bare-http").yaml();
    let host = Host::start_with(&manifest, Options::default().ulimit("-S -n 100"));
    let (soft, hard) = host.open_files_max();
    assert!(soft == hard && hard > 100, "{soft} of {hard}");
}

/// What the guest that fills the memory takes, in MiB.
const TAKEN_MB: u64 = 96;

#[tokio::test]
async fn a_host_short_of_memory_refuses_requests_and_recovers() {
    let manifest = trigger("app", "app.test", "probe-gateway").timeout("60s").yaml();
    // What such a host has when it has done nothing but answer.
    let idle = {
        let host = Host::start(&manifest);
        assert_eq!(host.client("app.test").get("/hello").send().await.status, StatusCode::OK);
        host.resident_bytes()
    };
    let mark = idle + (TAKEN_MB / 2 * 1024 * 1024);
    let options = Options::default().flag("--limit", &format!("memory_admission_bytes={mark}"));
    let host = Host::start_with(&manifest, options);
    let client = host.client("app.test");
    assert_eq!(client.get("/hello").send().await.status, StatusCode::OK);
    assert_eq!(host.metric("roadstead_memory_admission_bytes", &[]).await, mark as f64);
    assert_eq!(host.metric("roadstead_memory_pressure_total", &[]).await, 0.0);

    // A connection from before, and a guest that fills memory for as long as somebody waits for it.
    let mut kept = Kept::connect(host.http_address()).await;
    assert!(kept.ask().await.starts_with("HTTP/1.1 200 "));
    let hoard = client.get(&format!("/memory-fill?mb={TAKEN_MB}"));
    let hoarding = tokio::spawn(async move { hoard.send().await.status });
    host.wait_for_metric("roadstead_memory_accept_paused_total", &[], 1.0).await;
    let refused = kept.ask().await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    for header in ["x-roadstead-error: memory-pressure\r\n", "retry-after: 1\r\n"] {
        assert!(refused.to_ascii_lowercase().contains(header), "{refused}");
    }
    let ready = host.admin("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().contains("short of memory"), "{}", ready.text());
    assert_eq!(host.metric("roadstead_http_errors_total", &["memory-pressure"]).await, 1.0);
    // Beside the one refused, no request has come to an instance but those that are known.
    assert_eq!(host.metric("roadstead_instances", &[]).await, 1.0);

    // A new connection waits, and is served when there is memory again.
    let mut late = Kept::connect(host.http_address()).await;
    let mut waiting = pin!(late.ask());
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it is served");
    assert!(!hoarding.is_finished(), "what is under way was ended");
    hoarding.abort();
    let served = waiting.await;
    assert!(served.starts_with("HTTP/1.1 200 ") || served.starts_with("HTTP/1.1 503 "), "{served}");
    eventually("it is ready", async || (host.admin("/readyz").await.status == StatusCode::OK).then_some(())).await;
    assert_eq!(client.get("/hello").send().await.status, StatusCode::OK);
    assert_eq!(host.metric("roadstead_memory_pressure_total", &[]).await, 1.0);
    for line in ["memory is beyond its mark: no connection is taken", "memory is below its mark again"] {
        assert!(host.log().contains(line), "{}", host.log());
    }
}

/// A connection that is kept between its requests.
struct Kept(TcpStream);

impl Kept {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// Asks for `/hello` and returns the head of the answer, whose body is read.
    async fn ask(&mut self) -> String {
        let asked = async {
            self.0.write_all(b"GET /hello HTTP/1.1\r\nhost: app.test\r\n\r\n").await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            self.0.read_exact(&mut vec![0; length.expect("no length")]).await.unwrap();
            head
        };
        timeout(PATIENCE, asked).await.expect("no answer in time")
    }
}
