//! A thousand slow connections at once (slowhttptest): they are shed in the time that the limits say, hold no instance
//! before their heads are whole, and whoever is honest waits hardly longer.

use std::{future::Future, pin::pin, time::Duration};

use http::StatusCode;
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::harness::{
    PATIENCE,
    client::Client,
    host::{Host, Options},
    manifest::trigger,
    programs::{printed, program},
};

const CONNECTIONS: &str = "1000";
/// Connections that others than the attacker have: the honest client, slowhttptest's look at the host.
const A_FEW: f64 = 10.0;
/// What the deadlines of slow clients are set to.
const DEADLINE: Duration = Duration::from_secs(3);
/// The last one is for whom the workload has no instance left: they are told so, and say nothing more.
const DEADLINES: [&str; 4] = ["header_timeout_ms", "body_idle_ms", "write_stall_ms", "keepalive_idle_ms"];
/// From the start of slowhttptest until it has opened all its connections, and its own second between two looks.
const OPENING: Duration = Duration::from_secs(4);
/// What all may take longer on a machine that is busy with other things.
const GRACE: Duration = Duration::from_secs(12);
/// Requests of the honest client before each attack.
const REQUESTS: usize = 200;

fn start() -> Host {
    let options = DEADLINES
        .iter()
        .fold(Options::default(), |all, limit| all.flag("--limit", &format!("{limit}={}", DEADLINE.as_millis())));
    // So that the attacker's address, which is the honest client's as well, is not what it is refused for.
    let options = options.flag("--limit", "connections_per_client_max=2000");
    // slowhttptest asks for the address that it connects to.
    let attacked = trigger("attacked", "127.0.0.1", "bulk-http").namespace("attacked").timeout("120s");
    let honest = trigger("honest", "honest.test", "bare-http");
    Host::start_with(&(attacked.yaml() + &honest.yaml()), options)
}

/// How long a request of the honest client takes.
async fn request(client: &Client) -> Duration {
    let begun = Instant::now();
    assert_eq!(client.get("/").send().await.status, StatusCode::OK);
    begun.elapsed()
}

/// Sends requests until `end`; returns when each began and how long it took, and what `end` gave.
async fn requests_until<T>(client: &Client, end: impl Future<Output = T>) -> (Vec<(Duration, Duration)>, T) {
    let begun = Instant::now();
    let mut end = pin!(end);
    let mut pace = interval(Duration::from_millis(5));
    let mut took = Vec::new();
    loop {
        tokio::select! {
            ended = &mut end => return (took, ended),
            one = async { pace.tick().await; (begun.elapsed(), request(client).await) } => took.push(one),
        }
    }
}

async fn some_requests(client: &Client) -> Vec<Duration> {
    let mut took = Vec::new();
    for _ in 0..REQUESTS {
        took.push(request(client).await);
    }
    took
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

/// What the host's own figures say about an attack.
#[derive(Debug, Default)]
struct Seen {
    /// The most instances that the attacked workload had.
    instances: f64,
    /// The most open connections.
    connections: f64,
    /// When the last of more than a few connections were there.
    shed_after: Duration,
}

/// Looks at the host until `end`.
async fn look_until(host: &Host, end: impl Future<Output = ()>) -> Seen {
    let begun = Instant::now();
    let mut end = pin!(end);
    let mut look = interval(Duration::from_millis(100));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = Seen::default();
    let figures = async || {
        let instances = host.metric("roadstead_instances", &["\"attacked\""]).await;
        (instances, host.metric("roadstead_http_connections", &[]).await)
    };
    loop {
        tokio::select! {
            () = &mut end => return seen,
            (instances, connections) = async { look.tick().await; figures().await } => {
                seen.instances = seen.instances.max(instances);
                seen.connections = seen.connections.max(connections);
                if connections > A_FEW {
                    seen.shed_after = begun.elapsed();
                }
            }
        }
    }
}

/// Runs slowhttptest with `mode` against `path`.
async fn attack(name: &str, mode: &[&str], path: &str) -> Seen {
    let host = start();
    let client = host.client("honest.test");
    let mut before = some_requests(&client).await;
    let url = format!("http://{}{path}", host.http_address());
    // It ends when it sees that all its connections are gone, which slow readers do not, or after this time.
    let length = (OPENING + DEADLINE + GRACE).as_secs().to_string();
    let common = ["-c", CONNECTIONS, "-r", "500", "-l", &length, "-p", "10", "-u", &url];
    let slow = printed(program("slowhttptest", &[mode, &common].concat()), 2 * PATIENCE);
    let (tell_end, end) = oneshot::channel();
    let attacked = async {
        let text = slow.await;
        tell_end.send(()).unwrap();
        text
    };
    let ((during, text), seen) =
        tokio::join!(requests_until(&client, attacked), look_until(&host, async { end.await.unwrap() }));
    // What else the machine does may have changed meanwhile.
    let mut after = some_requests(&client).await;
    let of_attack = during.into_iter().filter(|(began, _)| *began <= seen.shed_after);
    let mut during: Vec<_> = of_attack.map(|(_, took)| took).collect();
    let (usual, found) = (p99(&mut before).max(p99(&mut after)), p99(&mut during));
    let longest = during.last().unwrap();
    let ending = text.lines().find(|line| line.contains("Exit status")).unwrap_or_default();
    println!("{name}: {seen:?}; p99 {found:?} of {}, longest {longest:?}; otherwise {usual:?}; {ending}", during.len());
    assert!(seen.connections > 200.0, "there was no attack: {text}");
    assert!(seen.shed_after < OPENING + DEADLINE + GRACE / 3, "{seen:?}");
    assert!(found <= 5 * usual + Duration::from_millis(50), "the honest client waits {found:?}");
    host.wait_for_metric("roadstead_instances", &["\"attacked\""], 0.0).await;
    seen
}

#[tokio::test]
async fn slow_heads_are_shed_and_hold_no_instance() {
    let seen = attack("slow heads", &["-H", "-i", "1", "-x", "24"], "/count").await;
    // slowhttptest itself looks now and then, with a whole request, whether the host still answers.
    assert!(seen.instances <= 1.0, "{seen:?}");
}

#[tokio::test]
async fn slow_bodies_are_shed() {
    attack("slow bodies", &["-B", "-i", "60", "-s", "8192", "-x", "10"], "/count").await;
}

#[tokio::test]
async fn slow_readers_are_shed() {
    attack("slow readers", &["-X", "-w", "1", "-y", "16", "-n", "5", "-z", "16"], "/stream?bytes=100000000").await;
}
