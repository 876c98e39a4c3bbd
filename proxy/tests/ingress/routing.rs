//! Which workload gets a request, and what a client is told when none does.

use roadstead_runtime::{CallError, FaultKind, HostHandler};
use std::time::Duration;

use crate::{
    client::Client,
    host::{Host, binding, telling, whole, workload},
};

#[tokio::test(flavor = "multi_thread")]
async fn by_host_and_canonical_path() {
    let host = Host::start().await;
    for (owner, pattern, path) in [
        ("team/root", "a.test", "/"),
        ("team/api", "a.test", "/api"),
        ("team/wild", "*.b.test", "/"),
        ("other/any", "*", "/only"),
    ] {
        let name = owner.to_owned();
        host.bind(
            owner,
            pattern,
            path,
            workload(move |request, _| {
                let text = format!("{name} {}", request.uri());
                async { Ok(whole(text)) }
            }),
        );
    }
    let mut client = Client::connect(&host).await;
    for (authority, target, expected) in [
        ("a.test", "/", "team/root /"),
        ("A.Test:8080", "/api/x?q=1&r", "team/api /api/x?q=1&r"),
        ("a.test.", "/apix", "team/root /apix"),
        ("a.test", "//api/./y/../%7ex", "team/api /api/~x"),
        ("a.test", "/x/../api?/../y", "team/api /api?/../y"),
        ("x.y.b.test", "/", "team/wild /"),
        ("b.test", "/only/this", "other/any /only/this"),
        ("a.test", "http://a.test/api/z", "team/api /api/z"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        assert_eq!(client.got().await.text(), expected, "{authority}{target}");
    }
    for (authority, target, status) in [
        ("b.test", "/", 404),
        ("a.test", "/../x", 400),
        ("a.test", "/a%2fb", 400),
        ("a.test", "/a%00", 400),
        ("a b", "/", 400),
        ("a.test:port", "/", 400),
        ("", "/", 400),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n")).await;
        let got = client.got().await;
        assert_eq!((got.status, got.complete), (status, true), "{authority}{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_situation_has_its_answer() {
    let host = Host::start().await;
    let busy = |bound| CallError::WorkloadBusy { bound, limit: 1 };
    for (path, error) in [
        ("/deadline", CallError::Deadline),
        ("/trap", CallError::fault(FaultKind::Trap, "secret detail")),
        ("/busy", busy("b")),
        ("/tenant", CallError::TenantBusy { limit: 1 }),
        ("/host", CallError::HostBusy { bound: "b", limit: 1 }),
        ("/wait", CallError::AdmissionTimeout { waited: Duration::ZERO }),
        ("/stopped", CallError::NotRunning),
    ] {
        host.bind(
            &format!("team{path}"),
            "a.test",
            path,
            workload(move |_, _| {
                let error = error.clone();
                async { Err(error) }
            }),
        );
    }
    host.bind("team/panic", "a.test", "/panic", workload(|_, _| async { panic!("a host's fault") }));
    host.try_bind(binding("team/none", "a.test", "/none", None)).unwrap();
    let mut client = Client::connect(&host).await;
    for (path, status, kind, retry) in [
        ("/deadline", 504, "deadline", None),
        ("/trap", 502, "trap", None),
        ("/busy", 429, "workload-busy", Some("1")),
        ("/tenant", 429, "tenant-busy", Some("1")),
        ("/host", 503, "host-busy", Some("1")),
        ("/wait", 503, "admission-timeout", Some("1")),
        ("/stopped", 503, "not-running", Some("1")),
        ("/panic", 502, "host-panic", None),
        ("/none", 503, "no-replica", Some("1")),
        ("/nothing", 404, "no-route", None),
    ] {
        let got = client.get(path).await;
        assert_eq!(got.status, status, "{path}");
        assert_eq!(got.header("x-roadstead-error"), Some(kind), "{path}");
        assert_eq!(got.header("retry-after"), retry, "{path}");
        assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(!got.text().contains("secret"), "{}", got.text());
    }
    client
        .send("GET /trap HTTP/1.1\r\nHost: a.test\r\nAccept: text/html, Application/Problem+JSON;q=0.9\r\n\r\n")
        .await;
    let got = client.got().await;
    assert_eq!(got.header("content-type"), Some("application/problem+json"));
    assert_eq!(
        got.text(),
        r#"{"detail":"the component failed (trap)","kind":"trap","status":502,"title":"Bad Gateway","type":"about:blank"}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_by_trigger() {
    let host = Host::serving(telling()).await;
    let mut client = Client::connect(&host).await;
    client.get("/").await;
    client.get("/").await;
    client.send("GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n").await;
    client.got().await;
    let labels = r#"namespace="team",trigger="app""#;
    host.metric_becomes(&format!("roadstead_http_requests_total{{{labels},code=\"200\"}}"), 2.0).await;
    host.metric_becomes(&format!("roadstead_http_request_duration_seconds_count{{{labels}}}"), 2.0).await;
    host.metric_becomes(&format!("roadstead_http_requests_in_flight{{{labels}}}"), 0.0).await;
    let unrouted = r#"roadstead_http_errors_total{namespace="",trigger="",reason="no-route"}"#;
    host.metric_becomes(unrouted, 1.0).await;
    assert_eq!(host.metric("roadstead_http_connections "), Some(1.0));
    host.server.unbind(&binding("team/app", "a.test", "/", None).owner);
    assert_eq!(client.get("/").await.status, 404);
}
