//! The main job: one manifest, two components, one curl; alone and over a real NATS. And what comes of it: what was detected
//! is kept, and the detector is set by the manifest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::StatusCode;
use serde_json::Value;

use crate::harness::{
    eventually,
    host::{Host, Options},
    nats::{NatsServer, python},
};

const REQUEST: &str = r#"{"region":"singapore","sar_width":512,"sar_height":512,"num_targets":0,"seed":42,"density":0.5,"force_cpu":true}"#;

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/harbor-watch/app.yaml")
}

fn start(options: Options) -> Host {
    let components = manifest().with_file_name("components");
    assert!(components.join("api-gateway-archive.wasm").is_file(), "build the components with `cargo xtask guests`");
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
    let server = NatsServer::start_with_jetstream();
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

/// The application with another manifest.
fn start_changed(change: impl Fn(String) -> String) -> Host {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("components")).unwrap();
    for component in ["api-gateway-archive.wasm", "sar-processor-archive.wasm"] {
        let built = manifest().with_file_name("components").join(component);
        fs::copy(built, folder.path().join("components").join(component)).unwrap();
    }
    fs::write(folder.path().join("app.yaml"), change(fs::read_to_string(manifest()).unwrap())).unwrap();
    Host::start_in(folder, Options::default())
}

async fn what_was_detected_is_kept(host: Host) {
    let client = host.client("harborwatch.localhost");
    let asked = client.post("/api/detect").body(REQUEST).send().await;
    let place = asked.header("content-location").to_owned();
    assert_eq!(place, "/api/detections/singapore-512x512-t0-d0.5-s42");
    // The worker answers first and keeps then.
    let kept = eventually("the detections", async || {
        let kept = client.get(&place).send().await;
        (kept.status == StatusCode::OK).then_some(kept)
    })
    .await;
    assert_eq!((kept.header("content-type"), &kept.body), ("application/geo+json", &asked.body));
    let scene = eventually("the scene", async || {
        let scene = client.get(&place.replace("detections", "scenes")).send().await;
        (scene.status == StatusCode::OK).then_some(scene)
    })
    .await;
    assert_eq!(scene.header("content-type"), "image/png");
    // 256 pixels wide and high, as the head of the image says.
    assert_eq!(&scene.body[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(&scene.body[16..24], [0, 0, 1, 0, 0, 0, 1, 0]);
    let keys = client.get("/api/detections").send().await.json();
    assert_eq!(keys, serde_json::json!({"detections": ["singapore-512x512-t0-d0.5-s42"], "complete": true}));
    for path in ["/api/detections/none", "/api/scenes/none", "/api/scenes", "/api/nothing"] {
        let response = client.get(path).send().await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}: {}", response.text());
    }
    assert_eq!(client.post("/api/detections").send().await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn what_was_detected_is_kept_in_memory() {
    what_was_detected_is_kept(start(Options::default())).await;
}

#[tokio::test]
async fn what_was_detected_is_kept_over_nats() {
    let server = NatsServer::start_with_jetstream();
    what_was_detected_is_kept(start(Options::default().nats(&server))).await;
}

#[tokio::test]
async fn the_threshold_is_set_by_the_manifest() {
    let (strict, lax) = (start(Options::default()), start_changed(|text| text.replace("'1e-6'", "'1e-3'")));
    let (strict, lax) = (detect(&strict).await, detect(&lax).await);
    assert_eq!(lax["stats"]["false_alarm_probability"], 1e-3);
    assert_eq!(strict["stats"]["false_alarm_probability"], 1e-6);
    let threshold = |answer: &Value| answer["stats"]["threshold"].as_f64().unwrap();
    assert!(threshold(&lax) < threshold(&strict));
    assert!(lax["stats"]["false_alarms"].as_u64() > strict["stats"]["false_alarms"].as_u64());
    // One that is no good is as if it were not there, and the log says so.
    let wrong = start_changed(|text| text.replace("'1e-6'", "'high'"));
    assert_eq!(detect(&wrong).await, strict);
    assert!(wrong.log().contains("false-alarm-probability is"), "{}", wrong.log());
}
