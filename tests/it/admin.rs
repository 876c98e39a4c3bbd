//! What operators see and do: metrics, health, status, drain.

use http::StatusCode;

use crate::harness::{
    client::Client,
    eventually,
    host::{Host, roadstead},
    manifest::{trigger, worker},
    process::Process,
};

fn application() -> String {
    trigger("gateway", "probe.test", "probe-gateway").yaml() + &worker("worker", "probe.work", &["poolSize: 2"])
}

#[tokio::test]
async fn metrics_count_requests_by_trigger() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    for _ in 0..3 {
        client.get("/hello").send().await;
    }
    client.get("/trap").send().await;
    host.client("unknown.test").get("/").send().await;
    host.wait_for_metric("roadstead_http_requests_total", &["\"gateway\"", "\"200\""], 3.0).await;
    host.wait_for_metric("roadstead_http_requests_total", &["\"gateway\"", "\"502\""], 1.0).await;
    host.wait_for_metric("roadstead_http_requests_total", &["trigger=\"\"", "\"404\""], 1.0).await;
    host.wait_for_metric("roadstead_http_request_duration_seconds_count", &["\"gateway\""], 4.0).await;
    host.wait_for_metric("roadstead_pool_size", &["\"worker\""], 2.0).await;
    host.wait_for_metric("roadstead_workloads", &["running"], 2.0).await;
    let metrics = host.admin("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(metrics.text().contains("# HELP roadstead_http_requests_total"));
}

#[tokio::test]
async fn health_readiness_and_status() {
    let host = Host::start(&application());
    assert_eq!(host.admin("/healthz").await.text(), "alive\n");
    assert_eq!(host.admin("/readyz").await.text(), "ready\n");
    assert_eq!(host.admin("/nothing").await.status, StatusCode::NOT_FOUND);
    let status = host.status().await;
    assert_eq!(status["workloads"].as_array().unwrap().len(), 2);
    let gateway = host.workload("gateway").await;
    assert_eq!(gateway["state"], "WORKLOAD_STATE_RUNNING");
    assert_eq!(gateway["trigger"]["host"], "probe.test");
    eventually("the pool's instances", async || {
        let pool = host.workload("worker").await["components"][0]["pool"].clone();
        (pool["idle"] == pool["size"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_health_command_asks_the_host() {
    let host = Host::start(&application());
    let log = host.log();
    let ready = log.lines().find(|line| line.contains("\"ready\"")).unwrap();
    let event: serde_json::Value = serde_json::from_str(ready).unwrap();
    let address = event["admin"].as_str().unwrap();
    let ask = |address: &str| roadstead().args(["health", "--ready", "--admin-addr", address]).output().unwrap();
    assert!(ask(address).status.success());
    drop(host);
    assert_eq!(ask(address).status.code(), Some(1));
}

/// It waits for `health::STEP_TIMEOUT`, which is less than a container's health check may take.
#[test]
fn the_health_command_does_not_wait_for_a_host_that_hangs() {
    // Connections are taken by the system, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let mut command = roadstead();
    command.args(["health", "--admin-addr", &address]);
    assert_eq!(Process::start(command).wait().code(), Some(1));
}

#[tokio::test]
async fn the_admin_listener_answers_get_only() {
    let host = Host::start(&application());
    let log = host.log();
    let ready = log.lines().find(|line| line.contains("\"ready\"")).unwrap();
    let event: serde_json::Value = serde_json::from_str(ready).unwrap();
    let admin = Client::new(event["admin"].as_str().unwrap().parse().unwrap(), "localhost");
    assert_eq!(admin.post("/status").send().await.status, StatusCode::METHOD_NOT_ALLOWED);
}
