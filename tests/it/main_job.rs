//! The main job: one manifest, two components, one curl; alone and over a real NATS.

use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::Value;

use crate::harness::{
    host::{Host, Options},
    nats::{NatsServer, python},
};

const REQUEST: &str = r#"{"region":"singapore","sar_width":512,"sar_height":512,"num_targets":0,"seed":42,"density":0.5,"force_cpu":true}"#;

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/harbor-watch/app.yaml")
}

fn start(options: Options) -> Host {
    let components = manifest().with_file_name("components");
    assert!(components.join("api-gateway.wasm").is_file(), "build the components with `cargo xtask guests`");
    Host::start_file(&manifest(), tempfile::tempdir().unwrap(), &options)
}

async fn detect(host: &Host) -> Value {
    let client = host.client("harborwatch.localhost");
    let request = client.post("/api/detect").header("content-type", "application/json").body(REQUEST);
    let response = request.send().await;
    assert_eq!(response.status, StatusCode::OK, "{}", response.text());
    response.json()
}

fn assert_is_detection(answer: &Value) {
    assert_eq!(answer["type"], "FeatureCollection");
    assert!(answer["features"].as_array().unwrap().len() > 5, "{answer}");
    assert_eq!(answer["features"][0]["geometry"]["type"], "Point");
    assert_eq!(answer["stats"]["compute_backend"], "CPU");
}

#[tokio::test]
async fn the_same_request_gives_the_same_detections() {
    let host = start(Options::default());
    let (first, second) = (detect(&host).await, detect(&host).await);
    assert_is_detection(&first);
    assert_eq!(first, second);
    host.wait_for_metric("roadstead_http_requests_total", &["harbor-watch-gateway", "200"], 2.0).await;
}

#[tokio::test]
async fn the_same_over_nats_and_a_python_client_may_ask_the_worker() {
    let server = NatsServer::start();
    let host = start(Options::default().nats(&server));
    let over_http = detect(&host).await;
    assert_is_detection(&over_http);

    let script = r#"
import asyncio, sys, nats
async def main():
    connection = await nats.connect(sys.argv[1])
    reply = await connection.request("tasks.sar-processor", sys.argv[2].encode(), timeout=10)
    print(reply.data.decode())
    await connection.close()
asyncio.run(main())
"#;
    let direct: Value = serde_json::from_str(&python(script, &[&server.url(), REQUEST]).await).unwrap();
    assert_eq!(direct["features"], over_http["features"]);
    drop(host);
    assert!(!server.output().contains("Slow Consumer"));
}

#[tokio::test]
async fn the_page_is_served() {
    let host = start(Options::default());
    let page = host.client("harborwatch.localhost:8080").get("/").send().await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("<canvas"));
}

#[tokio::test]
async fn a_bad_request_is_told_why() {
    let host = start(Options::default());
    let client = host.client("harborwatch.localhost");
    for body in ["", "{", r#"{"region":"atlantis"}"#, r#"{"region":"singapore","sar_width":9000000}"#] {
        let response = client.post("/api/detect").body(body).send().await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body}: {}", response.text());
        assert!(response.json()["error"].is_string(), "{body}: {}", response.text());
    }
    assert_is_detection(&detect(&host).await);
}

#[tokio::test]
async fn one_trace_goes_from_the_ingress_to_the_worker() {
    let host = start(Options::default().flag("--trusted-proxies", "127.0.0.0/8"));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let client = host.client("harborwatch.localhost");
    let response = client.post("/api/detect").header("traceparent", &traceparent).body(REQUEST).send().await;
    assert_eq!(response.status, StatusCode::OK);
    let of_trace = |target: &str| {
        let log = host.log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let found: Vec<Value> =
            events.filter(|event| event["target"] == target && event["trace_id"] == trace).collect();
        found
    };
    crate::harness::eventually("the access log", async || of_trace("roadstead::access").pop()).await;
    let said = of_trace("roadstead::guest");
    assert!(said.iter().any(|event| event["component"] == "sar-processor"), "{said:?}");
}
