//! Behind a real Envoy, with the configurations of `examples/behind-envoy`: the demo's answer, and who the client is.
//! Clients connect from an address of their own on the loopback network, so that it can be told from Envoy's.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use http::StatusCode;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    PATIENCE,
    client::Client,
    envoy::Envoy,
    eventually,
    host::{Host, Options},
    manifest::trigger,
};

/// Whom Envoy and host see; Envoy itself is 127.0.0.1.
const CLIENT: &str = "127.0.0.9";

fn behind_proxies() -> Options {
    Options::default().flag("--trusted-proxies", "127.0.0.1,10.0.0.0/8")
}

fn probe(options: Options) -> Host {
    Host::start_with(&trigger("gateway", "probe.test", "probe-gateway").timeout("60s").yaml(), options)
}

fn client(envoy: &Envoy, host: &str) -> Client {
    Client::new(envoy.address(), host).from(CLIENT.parse::<IpAddr>().unwrap())
}

/// The access line of the request to `path`.
async fn access_line(host: &Host, path: &str) -> Value {
    eventually("the access log", async || {
        let log = host.log();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines = events.filter(|event| event["target"] == "roadstead::access");
        lines.find(|event| event["path"] == path)
    })
    .await
}

fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn the_demo_works_behind_envoy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("components")).unwrap();
    fs::copy(root.join("behind-envoy/app.yaml"), folder.path().join("app.yaml")).unwrap();
    for component in ["api-gateway.wasm", "sar-processor.wasm"] {
        let built = root.join("harbor-watch/components").join(component);
        assert!(built.is_file(), "build the components with `cargo xtask guests`");
        fs::copy(built, folder.path().join("components").join(component)).unwrap();
    }
    let host = Host::start_in(folder, behind_proxies());
    let envoy = Envoy::start("envoy.yaml", host.http_address(), &[]);
    let request = client(&envoy, "harborwatch.localhost").post("/api/detect").header("user-agent", "harbour/1");
    let body = r#"{"region":"singapore","sar_width":512,"sar_height":512,"seed":42,"force_cpu":true}"#;
    let answer = request.header("content-type", "application/json").body(body).send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}\n{}", answer.text(), envoy.output());
    assert_eq!(answer.json()["type"], "FeatureCollection");
    assert!(answer.json()["features"].as_array().unwrap().len() > 5);
    let line = access_line(&host, "/api/detect").await;
    assert_eq!(line["client"], CLIENT, "{line}");
    // Envoy speaks HTTP/2 to the host, by prior knowledge.
    assert_eq!(line["protocol"], "HTTP/2", "{line}");
    assert_eq!((&line["status"], &line["user_agent"]), (&200.into(), &"harbour/1".into()), "{line}");
    // Envoy's own identifiers have the form of a UUID.
    assert_eq!(line["request_id"].as_str().map(str::len), Some(36), "{line}");
}

#[tokio::test]
async fn the_component_is_told_the_client_behind_envoy() {
    let host = probe(behind_proxies());
    let envoy = Envoy::start("envoy.yaml", host.http_address(), &[]);
    // What the client would like to be.
    let request = client(&envoy, "probe.test").get("/headers").header("x-forwarded-for", "198.51.100.1");
    let text = request.header("forwarded", "for=198.51.100.1").header("x-envoy-internal", "true").send().await.text();
    assert_eq!(value(&text, "x-forwarded-for"), Some(CLIENT), "{text}");
    assert_eq!(value(&text, "x-forwarded-proto"), Some("http"), "{text}");
    assert_eq!(value(&text, "forwarded"), None, "{text}");
    assert_eq!(value(&text, "x-envoy-expected-rq-timeout-ms"), Some("15000"), "{text}");
    let line = access_line(&host, "/headers").await;
    assert_eq!((line["client"].as_str(), line["request_id"].as_str()), (Some(CLIENT), value(&text, "x-request-id")));
}

#[tokio::test]
async fn an_envoy_that_is_not_trusted_is_the_client() {
    let host = probe(Options::default());
    let envoy = Envoy::start("envoy.yaml", host.http_address(), &[]);
    let text = client(&envoy, "probe.test").get("/headers").send().await.text();
    assert_eq!(value(&text, "x-forwarded-for"), Some("127.0.0.1"), "{text}");
    assert_eq!(value(&text, "x-envoy-expected-rq-timeout-ms"), None, "{text}");
    assert_eq!(access_line(&host, "/headers").await["client"], "127.0.0.1");
}

/// Envoy's own timeout begins when it has the whole request, which this client never sends: it is the host that ends it.
#[tokio::test]
async fn the_host_works_no_longer_than_envoy_waits() {
    let host = probe(behind_proxies());
    let envoy = Envoy::start("envoy.yaml", host.http_address(), &[("timeout: 15s", "timeout: 1s")]);
    let mut socket = TcpStream::connect(envoy.address()).await.unwrap();
    let head = "POST /sleep?ms=50000 HTTP/1.1\r\nHost: probe.test\r\nContent-Length: 10\r\n\r\nx";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(socket.read_buf(&mut answer).await.unwrap() > 0);
        }
    })
    .await
    .unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("x-roadstead-error: deadline"), "{answer}");
    let line = access_line(&host, "/sleep").await;
    assert_eq!((line["reason"].as_str(), line["response_flags"].as_str()), (Some("deadline"), Some("UT")), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() >= Duration::from_secs(1).as_millis() as f64, "{line}");
}

#[tokio::test]
async fn a_client_is_known_by_the_proxy_protocol_of_envoy() {
    for version in ["V1", "V2"] {
        let host = probe(behind_proxies().switch("--proxy-protocol"));
        let configured = format!("version: {version}");
        let envoy = Envoy::start("envoy-tcp.yaml", host.http_address(), &[("version: V2", &configured)]);
        let text = client(&envoy, "probe.test").get("/headers").send().await.text();
        assert_eq!(value(&text, "x-forwarded-for"), Some(CLIENT), "{version}: {text}");
        assert_eq!(access_line(&host, "/headers").await["client"], CLIENT, "{version}");
        // Past Envoy, from an address that is not trusted, no header is asked for.
        let direct = Client::new(host.http_address(), "probe.test").from(CLIENT.parse().unwrap());
        assert_eq!(direct.get("/headers").send().await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn limits_of_a_manifest_are_kept() {
    let manifest = trigger("gateway", "probe.test", "probe-gateway")
        .limits("{concurrentRequests: 1, requestsPerSecond: 100}")
        .yaml();
    let host = Host::start(&manifest);
    let client = host.client("probe.test");
    let first = tokio::spawn(client.get("/sleep?ms=60000").try_send());
    host.wait_for_metric("roadstead_http_requests_in_flight", &["gateway"], 1.0).await;
    let refused = client.get("/headers").send().await;
    let found = (refused.status, refused.header("x-roadstead-error"), refused.header("retry-after"));
    assert_eq!(found, (StatusCode::TOO_MANY_REQUESTS, "trigger-concurrency", "1"));
    // No instance was made for it.
    assert_eq!(host.metric("roadstead_instances_created_total", &["gateway"]).await, 1.0);
    assert_eq!(access_line(&host, "/headers").await["response_flags"], "RL");
    first.abort();
    let shown = host.workload("gateway").await["trigger"].clone();
    let shown = ["requests_per_second", "burst", "concurrent_requests"].map(|field| shown[field].as_u64());
    assert_eq!(shown, [Some(100), Some(100), Some(1)]);
}
