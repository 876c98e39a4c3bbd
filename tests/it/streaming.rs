//! Bodies stream both ways with back-pressure, and a client that leaves ends its guest.

use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::StatusCode;

use crate::harness::{host::Host, manifest::trigger};

fn application() -> String {
    trigger("gateway", "probe.test", "probe-gateway").timeout("20s").yaml()
}

#[tokio::test]
async fn a_response_streams() {
    let host = Host::start(&application());
    let mut response = host.client("probe.test").get("/slow-stream?chunks=3&delay-ms=300").open().await;
    assert_eq!(response.status, StatusCode::OK);
    let mut pieces = 0;
    let begun = std::time::Instant::now();
    let mut first_after = None;
    while let Some(piece) = response.next().await {
        first_after.get_or_insert(begun.elapsed());
        assert!(!piece.unwrap().is_empty());
        pieces += 1;
    }
    assert!(pieces >= 3, "{pieces}");
    assert!(begun.elapsed() - first_after.unwrap() >= Duration::from_millis(400), "the pieces came together");
}

#[tokio::test]
async fn a_large_body_goes_through_and_back() {
    let host = Host::start(&application());
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    let chunks = stream::iter(std::iter::repeat_n(piece, 128));
    let response = host.client("probe.test").post("/echo").stream(chunks).send().await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.body.len(), 8 * 1024 * 1024);
    assert!(response.body.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn request_and_response_stream_at_once() {
    let host = Host::start(&application());
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Bytes>();
    let mut response = host.client("probe.test").post("/echo").stream(receiver).open().await;
    for round in 0..5 {
        let said = format!("round {round}");
        sender.unbounded_send(Bytes::from(said.clone())).unwrap();
        assert_eq!(response.next().await.unwrap().unwrap(), said);
        assert!(response.is_silent_for(Duration::from_millis(20)).await);
    }
    drop(sender);
    assert!(response.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_guest() {
    let host = Host::start(&application());
    let client = host.client("probe.test");
    let before_the_head = tokio::spawn(client.get("/spin").send());
    let in_the_body = client.get("/slow-stream?chunks=1000&delay-ms=100").open().await;
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 2.0).await;
    before_the_head.abort();
    drop(in_the_body);
    host.wait_for_metric("roadstead_instances", &["probe-gateway"], 0.0).await;
    host.wait_for_metric("roadstead_calls_total", &["probe-gateway", "\"cancelled\""], 2.0).await;
    assert_eq!(client.get("/hello").send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let host = Host::start(&application());
    let response = host.client("probe.test").post("/echo").header("content-length", "33554433").try_send().await;
    assert_eq!(response.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
}
