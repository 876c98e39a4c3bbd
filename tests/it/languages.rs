//! Components that no Rust compiler made: what users bring is served the same.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::harness::{
    eventually,
    host::{Host, Options},
    manifest::trigger,
};

/// The host compiles a whole Python interpreter: about 11 seconds on two cores that have nothing else to do.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// One test, for the sake of one compilation.
#[tokio::test]
async fn a_component_in_python_is_served() {
    let manifest = trigger("python", "python.test", "python-hello").yaml();
    let host = Host::start_with(&manifest, Options::default().ready_within(READY_WITHIN));
    assert_eq!(host.workload("python").await["state"], "WORKLOAD_STATE_RUNNING");

    greets_with_the_path(&host).await;
    echoes_bodies(&host).await;
    each_request_has_a_fresh_instance(&host).await;
    an_exception_is_a_fault_and_the_next_request_is_served(&host).await;
    host.wait_for_metric("roadstead_instances", &["python-hello"], 0.0).await;
}

async fn greets_with_the_path(host: &Host) {
    let client = host.client("python.test");
    for path in ["/", "/a/b?c=%20d"] {
        let response = client.get(path).send().await;
        assert_eq!(response.status, StatusCode::OK, "{path}");
        assert_eq!(response.header("content-type"), "text/plain", "{path}");
        assert_eq!(response.text(), format!("hello from python\n{path}\n"));
    }
}

async fn echoes_bodies(host: &Host) {
    let client = host.client("python.test");
    assert_eq!(client.post("/echo").send().await.text(), "");
    assert_eq!(client.post("/echo").body("ahoy").send().await.text(), "ahoy");
    let large: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
    let response = client.post("/echo").body(large.clone()).send().await;
    assert!(response.body == large, "{} bytes came back", response.body.len());
    let pieces = ["one, ", "two, ", "three"].map(|piece| Bytes::from_static(piece.as_bytes()));
    let response = client.post("/echo").stream(futures::stream::iter(pieces)).send().await;
    assert_eq!(response.text(), "one, two, three");
}

/// The module counts calls: another answer than 1 would be what an earlier request left.
async fn each_request_has_a_fresh_instance(host: &Host) {
    let client = host.client("python.test");
    for _ in 0..3 {
        assert_eq!(client.get("/count").send().await.text(), "1\n");
    }
}

async fn an_exception_is_a_fault_and_the_next_request_is_served(host: &Host) {
    let client = host.client("python.test");
    let response = client.get("/raise").send().await;
    assert_eq!(response.status, StatusCode::BAD_GATEWAY);
    assert_eq!(response.header("x-roadstead-error"), "trap");
    let text = response.text();
    assert!(text.len() < 200 && !text.contains("raised on request"), "{text}");
    assert_eq!(client.get("/").send().await.text(), "hello from python\n/\n");
    // Whoever operates the host reads Python's own account.
    eventually("the exception in the log", async || host.log().contains("raised on request").then_some(())).await;
}
