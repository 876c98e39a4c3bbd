//! How many requests a trigger and its tenant may have, and what is said to those beyond.

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::Arc,
    time::Duration,
};

use roadstead_config::manifest::{RequestLimits, RequestQueue, RequestRate};
use roadstead_runtime::{Dispatch, TriggerBinding};
use tokio::sync::Semaphore;

use crate::{
    client::{Client, Got},
    host::{Host, binding, soon, telling, whole, workload},
};

fn limited(owner: &str, path: &str, limits: RequestLimits, target: Arc<dyn Dispatch>) -> TriggerBinding {
    TriggerBinding { limits, ..binding(owner, "a.test", path, Some(target)) }
}

fn rate(per_second: u32, burst: u32) -> RequestLimits {
    let number = |number| NonZeroU32::new(number).unwrap();
    let rate = RequestRate { per_second: number(per_second), burst: number(burst) };
    RequestLimits { rate: Some(rate), ..RequestLimits::default() }
}

/// So many requests at a time, and so many more that wait for so long.
fn places(concurrent: u32, queue: Option<(u32, Duration)>) -> RequestLimits {
    let number = |number| NonZeroU32::new(number).unwrap();
    let queue = queue.map(|(requests, wait)| RequestQueue { requests: number(requests), wait });
    RequestLimits { concurrent: Some(number(concurrent)), queue, ..RequestLimits::default() }
}

/// A workload that answers when it is given leave.
fn waiting() -> (Arc<Semaphore>, Arc<dyn Dispatch>) {
    let leave = Arc::new(Semaphore::new(0));
    let given = leave.clone();
    let target = workload(move |_, _| {
        let leave = leave.clone();
        async move {
            leave.acquire().await.unwrap().forget();
            Ok(whole("done"))
        }
    });
    (given, target)
}

fn refused(got: &Got) -> (u16, Option<&str>, Option<&str>) {
    (got.status, got.header("x-roadstead-error"), got.header("retry-after"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_has_so_many_requests_a_second() {
    let host = Host::start().await;
    host.try_bind(limited("team/app", "/", rate(1, 2), telling())).unwrap();
    host.bind("team/other", "a.test", "/other", telling());
    let mut client = Client::connect(&host).await;
    let begun = tokio::time::Instant::now();
    let statuses = [client.get("/").await.status, client.get("/").await.status];
    let got = client.get("/").await;
    // A machine that took a second for two requests has earned another.
    if begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(statuses, [200, 200]);
        assert_eq!(refused(&got), (429, Some("trigger-rate"), Some("1")));
        let counted = r#"roadstead_http_errors_total{namespace="team",trigger="app",reason="trigger-rate"}"#;
        host.metric_becomes(counted, 1.0).await;
    }
    // The connection, and the neighbour, are none the worse for it.
    assert_eq!(client.get("/other").await.status, 200);
    soon(async {
        while client.get("/").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_answers_so_many_at_a_time() {
    let host = Host::start().await;
    let (leave, target) = waiting();
    let limits = places(1, None);
    host.try_bind(limited("team/app", "/", limits, target.clone())).unwrap();
    let mut first = Client::connect(&host).await;
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    let mut second = Client::connect(&host).await;
    assert_eq!(refused(&second.get("/").await), (429, Some("trigger-concurrency"), Some("1")));
    // A deployment with the same limits does not forget who is under way.
    host.try_bind(limited("team/app", "/", limits, target)).unwrap();
    assert_eq!(second.get("/").await.status, 429);
    leave.add_permits(2);
    assert_eq!(first.got().await.text(), "done");
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 0.0).await;
    assert_eq!(second.get("/").await.text(), "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_takes_bodies_of_its_own_size() {
    let host = Host::with(|limits| limits.body_bytes_max = 1_000).await;
    host.bind("team/usual", "a.test", "/usual", telling());
    for (name, bytes) in [("smaller", 100), ("larger", 5_000)] {
        let limits = RequestLimits { body_bytes: NonZeroU64::new(bytes), ..RequestLimits::default() };
        host.try_bind(limited(&format!("team/{name}"), &format!("/{name}"), limits, telling())).unwrap();
    }
    for (path, most) in [("/usual", 1_000), ("/smaller", 100), ("/larger", 5_000)] {
        for (bytes, status) in [(most, 200), (most + 1, 413)] {
            let head = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\n");
            let body = "x".repeat(bytes);
            let declared = format!("{head}Content-Length: {bytes}\r\n\r\n{body}");
            let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n");
            for request in [declared, chunked] {
                let mut client = Client::connect(&host).await;
                client.send(request).await;
                assert_eq!(client.got().await.status, status, "{bytes} bytes to {path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_gives_its_place_back() {
    let host = Host::start().await;
    let (leave, target) = waiting();
    let limits = places(1, None);
    host.try_bind(limited("team/app", "/", limits, target)).unwrap();
    let mut first = Client::connect(&host).await;
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    drop(first);
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 0.0).await;
    leave.add_permits(1);
    let mut second = Client::connect(&host).await;
    assert_eq!(second.get("/").await.text(), "done");
}

const WAITING: &str = r#"roadstead_http_requests_waiting{namespace="team",trigger="app"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_a_triggers_places_waits_in_its_queue() {
    let host = Host::start().await;
    let (leave, target) = waiting();
    host.try_bind(limited("team/app", "/", places(1, Some((1, Duration::from_secs(60)))), target)).unwrap();
    let [mut first, mut second, mut third] =
        [Client::connect(&host).await, Client::connect(&host).await, Client::connect(&host).await];
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    // A request that waits has its body taken in.
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    second.send(head).await;
    host.metric_becomes(WAITING, 1.0).await;
    assert_eq!(second.got().await.status, 100);
    second.send("body").await;
    assert_eq!(refused(&third.get("/").await), (429, Some("trigger-concurrency"), Some("1")));
    leave.add_permits(2);
    assert_eq!(first.got().await.text(), "done");
    assert_eq!(second.got().await.text(), "done");
    host.metric_becomes(WAITING, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_in_a_queue_ends_with_its_time_the_deadline_or_the_client() {
    let host = Host::start().await;
    let (leave, target) = waiting();
    let short = places(1, Some((10, Duration::from_millis(50))));
    host.try_bind(limited("team/app", "/", short, target.clone())).unwrap();
    let mut first = Client::connect(&host).await;
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    let mut second = Client::connect(&host).await;
    assert_eq!(refused(&second.get("/").await), (429, Some("trigger-queue-timeout"), Some("1")));
    leave.add_permits(1);
    assert_eq!(first.got().await.status, 200);

    let long = places(1, Some((1, Duration::from_secs(600))));
    let timeout = Duration::from_secs(1);
    host.try_bind(TriggerBinding { timeout, ..limited("team/app", "/", long, target) }).unwrap();
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    second.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(WAITING, 1.0).await;
    let (one, two) = (first.got().await, second.got().await);
    assert_eq!([one.status, two.status], [504, 504]);

    let timeout = Duration::from_secs(60);
    let (leave, target) = waiting();
    host.try_bind(TriggerBinding { timeout, ..limited("team/app", "/", long, target) }).unwrap();
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    second.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(WAITING, 1.0).await;
    drop(second);
    host.metric_becomes(WAITING, 0.0).await;
    leave.add_permits(1);
    assert_eq!(first.got().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_requests_wait_where_the_operator_has_them_wait() {
    let host = Host::with(|limits| {
        limits.tenant_requests_max = 1;
        limits.tenant_requests_waiting_max = 1;
        limits.tenant_requests_wait_ms = 60_000;
    })
    .await;
    let (leave, target) = waiting();
    host.bind("team/app", "a.test", "/", target);
    host.bind("team/other", "a.test", "/other", telling());
    let mut first = Client::connect(&host).await;
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    let mut second = Client::connect(&host).await;
    second.send("GET /other HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_waiting{namespace="team",trigger="other"}"#, 1.0).await;
    let mut third = Client::connect(&host).await;
    assert_eq!(refused(&third.get("/other").await), (429, Some("tenant-concurrency"), Some("1")));
    leave.add_permits(1);
    assert_eq!([first.got().await.status, second.got().await.status], [200, 200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_does_not_give_a_burst_away() {
    let host = Host::start().await;
    let limits = rate(1, 1);
    host.try_bind(limited("team/app", "/", limits, telling())).unwrap();
    let mut client = Client::connect(&host).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(client.get("/").await.status, 200);
    host.try_bind(limited("team/app", "/", limits, telling())).unwrap();
    let again = client.get("/").await.status;
    assert!(again == 429 || begun.elapsed() >= Duration::from_secs(1), "{again}");
    host.try_bind(limited("team/app", "/", rate(1, 2), telling())).unwrap();
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_its_share_over_all_its_triggers() {
    let host = Host::with(|limits| limits.tenant_requests_max = 1).await;
    let (leave, target) = waiting();
    host.bind("team/app", "a.test", "/", target);
    host.bind("team/other", "a.test", "/other", telling());
    host.bind("neighbour/app", "b.test", "/", telling());
    let mut first = Client::connect(&host).await;
    first.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    host.metric_becomes(r#"roadstead_http_requests_in_flight{namespace="team",trigger="app"}"#, 1.0).await;
    let mut second = Client::connect(&host).await;
    assert_eq!(refused(&second.get("/other").await), (429, Some("tenant-concurrency"), Some("1")));
    second.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
    assert_eq!(second.got().await.status, 200);
    leave.add_permits(1);
    assert_eq!(first.got().await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_so_many_requests_a_second() {
    let host = Host::with(|limits| {
        limits.tenant_requests_per_second_max = 1;
        limits.tenant_requests_burst_max = 2;
    })
    .await;
    host.bind("team/app", "a.test", "/", telling());
    host.bind("team/other", "a.test", "/other", telling());
    let mut client = Client::connect(&host).await;
    let begun = tokio::time::Instant::now();
    let statuses = [client.get("/").await.status, client.get("/other").await.status];
    let got = client.get("/").await;
    if begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(statuses, [200, 200]);
        assert_eq!(refused(&got), (429, Some("tenant-rate"), Some("1")));
    }
}
