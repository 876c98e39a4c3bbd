//! Gateways are fresh for every request, workers are reused: shown by what the guests themselves can see.

use futures::future::join_all;

use crate::harness::{
    host::Host,
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
    host.wait_for_metric("roadstead_pool_busy", &["probe-worker"], 0.0).await;
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

#[tokio::test]
async fn replicas_share_one_pool_on_one_host() {
    let manifest = application(&["poolSize: 2"]).replace(
        "kind: WorkloadDeployment\nmetadata:\n  name: worker\n  namespace: default\nspec:\n",
        "kind: WorkloadDeployment\nmetadata:\n  name: worker\n  namespace: default\nspec:\n  replicas: 3\n",
    );
    let host = Host::start(&manifest);
    assert_eq!(host.workload("worker").await["components"][0]["pool"]["size"], 6);
}
