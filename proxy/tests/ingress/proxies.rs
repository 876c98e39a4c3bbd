//! What proxies in front may say about a request, and what others may not: over HTTP/1 and HTTP/2.

use std::sync::Arc;

use http::Request;
use roadstead_runtime::Dispatch;

use crate::{
    client::{Client, Got},
    host::{Host, soon, telling, whole, workload},
};

/// Headers about a request's way, as a client would like to have them.
const CLAIMS: &str = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.test\r\n\
    X-Forwarded-Client-Cert: Subject=CN=admin\r\nForwarded: for=198.51.100.1\r\nX-Real-Ip: 198.51.100.1\r\n\
    X-Request-Id: mine\r\nX-Envoy-Internal: true\r\n\
    X_Forwarded_For: 198.51.100.1\r\nX-Forwarded_Proto: https\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n";

/// A workload that answers with the headers that it was handed, in order of their names.
fn showing() -> Arc<dyn Dispatch> {
    workload(|request, call| async move {
        let mut lines: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.push(format!("trace: {}\n", call.trace.trace_id()));
        lines.push(format!("remaining: {}\n", call.remaining().as_secs()));
        lines.sort();
        Ok(whole(lines.concat()))
    })
}

async fn shown(host: &Host, headers: &str) -> Got {
    let mut client = Client::connect(host).await;
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n")).await;
    client.got().await
}

fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_about_its_way_is_dropped() {
    let host = Host::serving(showing()).await;
    let got = shown(&host, CLAIMS).await;
    let text = got.text();
    let id = value(text, "trace").unwrap();
    assert_ne!(id, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(
        text,
        format!(
            "host: a.test\nremaining: 59\ntrace: {id}\nx-forwarded-for: 127.0.0.1\nx-forwarded-proto: http\n\
             x-request-id: {id}\n"
        )
    );
    // A header of the connection does not take ours away either.
    let got = shown(&host, "Connection: x-forwarded-for, x-request-id\r\n").await;
    assert_eq!(value(got.text(), "x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_proxy_says_is_believed() {
    let host = Host::behind("10.0.0.0/8 127.0.0.0/8", |_| {}).await;
    host.bind("team/app", "a.test", "/", showing());
    let got = shown(&host, CLAIMS).await;
    let text = got.text();
    for (name, said) in [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b.test"),
        ("x-forwarded-client-cert", "Subject=CN=admin"),
        ("x-real-ip", "198.51.100.1"),
        ("x-request-id", "mine"),
        ("trace", "0af7651916cd43dd8448eb211c80319c"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ] {
        assert_eq!(value(text, name), Some(said), "{text}");
    }
    for name in ["forwarded", "x_forwarded_for", "x-forwarded_proto"] {
        assert_eq!(value(text, name), None, "{name}");
    }
    let got = shown(&host, "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.0.0.9\r\n").await;
    assert_eq!(value(got.text(), "x-forwarded-for"), Some("203.0.113.7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_patience_lowers_the_deadline_and_does_not_raise_it() {
    let host = Host::behind("127.0.0.0/8", |_| {}).await;
    host.bind("team/app", "a.test", "/", showing());
    host.bind("team/never", "a.test", "/never", workload(|_, _| std::future::pending()));
    for (header, seconds) in [
        ("X-Envoy-Expected-Rq-Timeout-Ms: 30500", "30"),
        ("X-Envoy-Expected-Rq-Timeout-Ms: 90000", "59"),
        ("grpc-timeout: 20S", "19"),
    ] {
        let got = shown(&host, &format!("{header}\r\n")).await;
        assert_eq!(value(got.text(), "remaining"), Some(seconds), "{header}");
    }
    let mut client = Client::connect(&host).await;
    client.send("GET /never HTTP/1.1\r\nHost: a.test\r\nX-Envoy-Expected-Rq-Timeout-Ms: 50\r\n\r\n").await;
    let got = client.got().await;
    assert_eq!((got.status, got.header("x-roadstead-error")), (504, Some("deadline")));
    // Of somebody else it is no sign of impatience.
    let open = Host::serving(showing()).await;
    let got = shown(&open, "X-Envoy-Expected-Rq-Timeout-Ms: 1\r\n").await;
    assert_eq!(value(got.text(), "remaining"), Some("59"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_http2() {
    for (proxies, found) in [("", "127.0.0.1"), ("127.0.0.1", "203.0.113.7")] {
        let host = Host::behind(proxies, |_| {}).await;
        host.bind(
            "team/app",
            "a.test",
            "/",
            workload(|request, _| async move {
                Ok(whole(request.headers()["x-forwarded-for"].to_str().unwrap().to_owned()))
            }),
        );
        let socket = tokio::net::TcpStream::connect(host.address()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://a.test/").header("x-forwarded-for", "203.0.113.7").body(()).unwrap();
        let (response, _) = sender.send_request(request, true).unwrap();
        let mut body = soon(response).await.unwrap().into_body();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_lists_are_bounded_as_all_headers_are() {
    let host = Host::behind("127.0.0.0/8", |_| {}).await;
    host.bind("team/app", "a.test", "/", telling());
    let list = "127.0.0.1,".repeat(6_000);
    for (headers, status) in [
        (format!("X-Forwarded-For: {list}\r\n"), 200),
        (format!("Forwarded: {}\r\n", "for=127.0.0.1,".repeat(4_000)), 200),
        (format!("X-Forwarded-For: {list}{list}\r\n"), 431),
    ] {
        assert_eq!(shown(&host, &headers).await.status, status);
    }
}
