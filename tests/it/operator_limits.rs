//! Limits that an operator sets to another value: what is just within one is served, what is past it has the documented
//! answer. Each value is far from the default, so that a limit that is not kept shows.

use std::time::{Duration, Instant};

use http::StatusCode;
use rustix::process::Signal;

use crate::harness::{
    eventually,
    host::{Host, Options},
    manifest::{trigger, worker},
};

fn host_with(limits: &[&str], manifest: &str) -> Host {
    let gateway = trigger("gateway", "probe.test", "probe-gateway").yaml();
    let options = limits.iter().fold(Options::default(), |options, limit| options.flag("--limit", limit));
    Host::start_with(&(gateway + manifest), options)
}

fn pool_of_one() -> String {
    worker("worker", "probe.work", &["poolSize: 1"])
}

async fn ask(host: &Host, body: &'static str) -> String {
    host.client("probe.test").post("/request?subject=probe.work").body(body).send().await.text()
}

/// The lines of the log that the gateway itself has written.
fn said(host: &Host) -> Vec<String> {
    let log = host.log();
    let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_guest = events.filter(|event| event["target"] == "roadstead::guest" && event["context"] == "probe");
    of_guest.filter_map(|event| event["message"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn what_a_guest_may_take_is_what_the_operator_says() {
    // Limit, a request within it, one past it, and what that one ends in.
    let table = [
        ("random_bytes_max=1000", "/random?bytes=1000", "/random?bytes=1001", "trap"),
        (
            "guest_header_bytes_max=4000",
            "/response-headers?count=1&bytes=2000",
            "/response-headers?count=1&bytes=4000",
            "trap",
        ),
        ("table_entries_max=50", "/hoard-fields?count=30", "/hoard-fields?count=51", "trap"),
        ("memory_bytes_max=16777216", "/alloc?mb=8", "/alloc?mb=16", "memory-limit"),
        ("hostcall_bytes_max=2097152", "/log?mb=1", "/log?mb=3", "trap"),
    ];
    for (limit, within, past, kind) in table {
        let host = host_with(&[limit], "");
        let client = host.client("probe.test");
        let served = client.get(within).send().await;
        assert_eq!(served.status, StatusCode::OK, "{limit}: {within}: {}", served.text());
        let refused = client.get(past).send().await;
        let found = (refused.status, refused.header("x-roadstead-error"));
        assert_eq!(found, (StatusCode::BAD_GATEWAY, kind), "{limit}: {past}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_guest_writes_as_much_of_a_body_at_once_as_the_operator_says() {
    // The probe tells how much the host took of bodies that nobody reads: of each, one piece and one that waits.
    for (limit, mebibytes) in [("guest_body_chunk_bytes_max=1024", 0), ("guest_body_chunk_bytes_max=1048576", 40)] {
        let host = host_with(&[limit], "");
        let held = host.client("probe.test").get("/hoard-bodies?count=20").send().await.text();
        assert_eq!(held, format!("holds 20 bodies, {mebibytes} MiB\n"), "{limit}");
    }
}

#[tokio::test]
async fn a_response_is_as_large_as_the_operator_says() {
    let host = host_with(&["response_body_bytes_max=100000"], "");
    let client = host.client("probe.test");
    let whole = client.get("/stream?chunks=10&bytes=10000").send().await;
    assert_eq!((whole.status, whole.text().len()), (StatusCode::OK, 100_000));
    assert!(client.get("/stream?chunks=11&bytes=10000").try_send().await.is_err(), "the response looks complete");
}

#[tokio::test]
async fn a_log_message_is_as_long_as_the_operator_says() {
    let host = host_with(&["log_message_bytes_max=100"], "");
    let client = host.client("probe.test");
    for length in [100, 101] {
        client.get(&format!("/log?message={}", "m".repeat(length))).send().await;
    }
    let lines = eventually("both messages", async || Some(said(&host)).filter(|lines| lines.len() == 2)).await;
    let whole = "m".repeat(100);
    assert_eq!(lines, [whole.clone(), whole + "... (1 bytes more)"]);
}

#[tokio::test]
async fn a_call_logs_as_much_as_the_operator_says() {
    let host = host_with(&["log_bytes_per_call_max=1000"], "");
    // With the word that the probe says first, 100 bytes a message.
    let path = format!("/log?times=15&message={}", "m".repeat(95));
    host.client("probe.test").get(&path).send().await;
    let dropped = eventually("the note about what was dropped", async || {
        let log = host.log();
        let line = log.lines().find(|line| line.contains("dropped_bytes"))?;
        serde_json::from_str::<serde_json::Value>(line).ok()?["dropped_bytes"].as_u64()
    })
    .await;
    assert_eq!((said(&host).len(), dropped), (10, 500));
}

#[tokio::test]
async fn a_call_waits_for_an_instance_as_long_as_the_operator_says() {
    let host = host_with(&["admission_wait_ms=200"], &pool_of_one());
    let refused = async {
        host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 1.0).await;
        let begun = Instant::now();
        let answer = ask(&host, "echo:x").await;
        assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
        answer
    };
    // The one that sleeps would be done long before the default.
    let (slept, refused) = tokio::join!(ask(&host, "sleep:3000"), refused);
    assert_eq!(slept, "slept 3000 ms");
    assert_eq!(refused, "worker: no instance became free in time; try again later");
}

#[tokio::test]
async fn as_many_calls_wait_for_an_instance_as_the_operator_says() {
    let host = host_with(&["pool_waiting_max=0", "admission_wait_ms=200"], &pool_of_one());
    let refused = async {
        host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 1.0).await;
        ask(&host, "echo:x").await
    };
    let (slept, refused) = tokio::join!(ask(&host, "sleep:3000"), refused);
    assert_eq!(slept, "slept 3000 ms");
    // It did not come to wait for the instance.
    assert_eq!(refused, "worker: the worker has 1 messages under way, as many as it may; try again later");
}

#[tokio::test]
async fn a_reason_is_as_long_as_the_operator_says() {
    let host = host_with(&["error_reason_bytes_max=10"], &pool_of_one());
    assert_eq!(ask(&host, "err:0123456789").await, "worker: 0123456789");
    assert_eq!(ask(&host, "err:0123456789a").await, "worker: 0123456789... (1 bytes more)");
}

#[tokio::test]
async fn a_message_has_as_many_replies_as_the_operator_says() {
    let host = host_with(&["replies_per_message_max=1"], &pool_of_one());
    assert_eq!(ask(&host, "echo:x").await, "x");
    host.wait_for_metric("roadstead_messages_handled_total", &["\"worker\"", "\"ok\""], 1.0).await;
    // The first reply is sent, the second refused, which the worker takes for a failure of its own.
    assert_eq!(ask(&host, "reply-twice:x").await, "x");
    host.wait_for_metric("roadstead_messages_handled_total", &["\"worker\"", "\"handler-error\""], 1.0).await;
}

#[tokio::test]
async fn a_request_to_a_worker_waits_as_long_as_the_operator_says() {
    let host = host_with(&["request_timeout_ms=200"], &pool_of_one());
    let response = host.client("probe.test").post("/request?subject=probe.work&timeout-ms=60000").body("silent");
    assert_eq!(response.send().await.text(), "no reply on probe.work within 200 ms (the host's request timeout)");
}

#[tokio::test]
async fn a_trigger_names_bodies_as_large_as_the_operator_says() {
    let of = |name: &str, bytes: u64| {
        let app = trigger(name, &format!("{name}.test"), "bulk-http");
        app.limits(&format!("{{bodyBytes: {bytes}}}")).yaml()
    };
    let limits = ["body_bytes_max=1000", "trigger_body_bytes_max=2000"];
    let host = host_with(&limits, &(of("large", 2_000) + &of("greedy", 2_001)));
    let post = async |host_name: &str, bytes: usize| {
        host.client(host_name).post("/count").body(vec![b'x'; bytes]).send().await.status
    };
    assert_eq!(post("large.test", 2_000).await, StatusCode::OK);
    assert_eq!(post("large.test", 2_001).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(post("probe.test", 1_001).await, StatusCode::PAYLOAD_TOO_LARGE);
    let large = host.workload("large").await;
    assert_eq!((&large["state"], &large["trigger"]["body_bytes"]), (&"WORKLOAD_STATE_RUNNING".into(), &2_000.into()));
    let greedy = host.workload("greedy").await;
    assert_eq!(greedy["state"], "WORKLOAD_STATE_ERROR", "{greedy}");
    let reason = greedy["reason"].as_str().unwrap();
    assert!(reason.contains("limits.bodyBytes is 2001, more than the 2000 bytes"), "{reason}");
}

#[tokio::test]
async fn a_drain_takes_as_long_as_the_operator_says() {
    let mut host = host_with(&["drain_timeout_ms=200"], "");
    // It would be done within the default.
    let request = tokio::spawn(host.client("probe.test").get("/sleep?ms=9000").try_send());
    host.wait_for_metric("roadstead_instances", &[], 1.0).await;
    let begun = Instant::now();
    host.signal(Signal::TERM);
    assert!(host.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let log = host.log();
    assert!(log.contains(r#""message":"stopped","cut_off":1"#), "{log}");
    request.abort();
}
