//! Gateways are fresh for every request, workers are reused: shown by what the guests themselves can see.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;

use crate::harness::{
    eventually,
    host::{Host, Options},
    manifest::{trigger, worker},
};

async fn count(host: &Host) -> u64 {
    let response = host.client("probe.test").post("/request?subject=probe.work").body("count").send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.text().parse().unwrap()
}

fn application(worker_lines: &[&str]) -> String {
    trigger("gateway", "probe.test", "probe-gateway").yaml() + &worker("worker", "probe.work", worker_lines)
}

#[tokio::test]
async fn a_gateway_is_fresh_for_every_request() {
    let host = Host::start(&application(&["poolSize: 1"]));
    for _ in 0..5 {
        assert_eq!(host.client("probe.test").get("/count").send().await.text(), "1");
    }
    assert_eq!(host.metric("roadstead_instances_created_total", &["probe-gateway", "fresh"]).await, 5.0);
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
}

#[tokio::test]
async fn a_pooled_worker_is_reused() {
    let host = Host::start(&application(&["poolSize: 1"]));
    for expected in 1..=5 {
        assert_eq!(count(&host).await, expected);
    }
    assert_eq!(host.metric("roadstead_instances_created_total", &["probe-worker"]).await, 1.0);
}

#[tokio::test]
async fn a_worker_without_a_pool_is_fresh_for_every_message() {
    let host = Host::start(&application(&[]));
    for _ in 0..3 {
        assert_eq!(count(&host).await, 1);
    }
}

#[tokio::test]
async fn a_worker_is_replaced_after_max_invocations() {
    let host = Host::start(&application(&["poolSize: 1", "maxInvocations: 2"]));
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(count(&host).await);
    }
    assert_eq!(seen, [1, 2, 1, 2, 1]);
    assert_eq!(host.metric("roadstead_instances_retired_total", &["max-invocations"]).await, 2.0);
}

#[tokio::test]
async fn a_pool_never_has_more_instances_than_its_size_and_calls_wait_for_them() {
    let host = Host::start(&application(&["poolSize: 2"]));
    let client = host.client("probe.test");
    let asked = (0..6).map(|_| client.post("/request?subject=probe.work").body("sleep:100").send());
    let answers = join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.text() == "slept 100 ms"), "{answers:?}");
    assert_eq!(host.metric("roadstead_instances_created_total", &["probe-worker"]).await, 2.0);
    assert_eq!(host.metric("roadstead_pool_wait_seconds_count", &["probe-worker"]).await, 6.0);
    assert_eq!(host.metric("roadstead_message_wait_seconds_count", &["\"worker\""]).await, 6.0);
    // Two waited for a whole call and two for two, less what lies between the arrivals.
    let waited = host.metric("roadstead_message_wait_seconds_sum", &["\"worker\""]).await;
    assert!(waited >= 0.2, "{waited}");
    host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 0.0).await;
    assert_eq!(host.metric("roadstead_pool_idle", &["probe-worker"]).await, 2.0);
}

#[tokio::test]
async fn a_pool_is_filled_before_anybody_asks_and_what_is_given_up_is_replaced() {
    let host = Host::start(&application(&["poolSize: 3", "maxInvocations: 1"]));
    let made = "roadstead_instances_created_total";
    host.wait_for_metric("roadstead_instances", &["probe-worker"], 3.0).await;
    for (calls, body) in [(1.0, "count"), (2.0, "trap"), (3.0, "count")] {
        host.client("probe.test").post("/request?subject=probe.work").body(body).send().await;
        host.wait_for_metric(made, &["probe-worker"], 3.0 + calls).await;
    }
    host.wait_for_metric("roadstead_instances", &["probe-worker"], 3.0).await;
    // A call whose caller has left gives its instance up as well.
    let path = "/request?subject=probe.work&timeout-ms=50";
    assert_eq!(host.client("probe.test").post(path).body("spin").send().await.status, 502);
    host.wait_for_metric(made, &["probe-worker"], 7.0).await;
    host.wait_for_metric("roadstead_instances", &["probe-worker"], 3.0).await;
}

#[tokio::test]
async fn a_pool_in_advance_leaves_room_for_others() {
    let options = Options::default().flag("--limit", "tenant_instances_max=8");
    let host = Host::start_with(&application(&["poolSize: 8"]), options);
    host.wait_for_metric("roadstead_instances", &["probe-worker"], 4.0).await;
    assert_eq!(host.client("probe.test").get("/count").send().await.text(), "1");
    assert_eq!(host.metric("roadstead_instances", &["probe-worker"]).await, 4.0);
}

#[tokio::test]
async fn an_instance_that_trapped_is_thrown_away() {
    let host = Host::start(&application(&["poolSize: 1"]));
    assert_eq!(count(&host).await, 1);
    assert_eq!(count(&host).await, 2);
    let trapped = host.client("probe.test").post("/request?subject=probe.work").body("trap").send().await;
    assert_eq!(trapped.status, 502);
    assert_eq!(count(&host).await, 1);
    assert_eq!(host.metric("roadstead_instances_retired_total", &["probe-worker", "fault"]).await, 1.0);
}

/// What the worker wrote as one log line, with its trace.
async fn printed(host: &Host, text: &str) -> String {
    eventually(&format!("the line {text:?}"), async || {
        let log = host.log();
        let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let event = events.find(|event| event["message"] == text)?;
        event["trace_id"].as_str().map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn what_the_host_keeps_for_a_call_is_cleared_before_the_next_of_the_same_instance() {
    // The time of the instance's own start passes as well.
    let options = Options::default().flag("--limit", "start_timeout_ms=1500");
    let host = Host::start_with(&application(&["poolSize: 1"]), options);
    let client = host.client("probe.test");
    let within = async |timeout_ms: u32, body: &'static str| {
        let path = format!("/request?subject=probe.work&timeout-ms={timeout_ms}");
        client.post(&path).body(body).send().await.text()
    };
    // The deadline: the first call's has passed when the second begins.
    let (first_ends, begun) = (Duration::from_millis(1_500), Instant::now());
    assert_eq!(within(1_500, "echo:in time").await, "in time");
    tokio::time::sleep(first_ends.saturating_sub(begun.elapsed())).await;
    assert_eq!(within(20_000, "sleep:50").await, "slept 50 ms");

    // What may be logged, lines that were not ended, and whose they are.
    for text in ["print:one", "flood:1", "print:two", "flood:1", "print:three"] {
        assert_eq!(within(20_000, text).await, "printed");
    }
    let traces = [printed(&host, "one").await, printed(&host, "two").await, printed(&host, "three").await];
    assert!(traces[0] != traces[1] && traces[1] != traces[2] && traces[0] != traces[2], "{traces:?}");
    assert_eq!(host.log().matches("dropped_bytes").count(), 2);

    // The right to reply: a message that asks for no answer gives none, and that of the one before is over.
    let token = within(20_000, "reply-to").await;
    let again = format!("publish:{token}:forged");
    let published = client.post("/publish?subject=probe.work").body(again).send().await;
    assert_eq!(published.status, 202);
    host.wait_for_metric("roadstead_messages_published_total", &["\"worker\"", "\"reply\""], 1.0).await;
    assert_eq!(host.metric("roadstead_instances_created_total", &["probe-worker"]).await, 1.0);
}

#[tokio::test]
async fn replicas_share_one_pool_on_one_host() {
    let manifest = application(&["poolSize: 2"]).replace(
        "kind: WorkloadDeployment\nmetadata:\n  name: worker\n  namespace: default\nspec:\n",
        "kind: WorkloadDeployment\nmetadata:\n  name: worker\n  namespace: default\nspec:\n  replicas: 3\n",
    );
    let host = Host::start(&manifest);
    assert_eq!(host.workload("worker").await["components"][0]["pool"]["size"], 6);
}
