//! Connections that begin with a PROXY header: whose they are then, and who may send one.

use std::sync::Arc;

use roadstead_config::{Limits, Network};
use roadstead_runtime::Dispatch;

use crate::{
    client::{Client, Got},
    host::{Host, whole, workload},
};

const VERSION_1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n";
/// From 203.0.113.8, with an extension (PP2_TYPE_NOOP).
const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10\xcb\x00\x71\x08\xc0\x00\x02\x01\x12\x67\x00\x50\x04\x00\x01\x00";
/// Of the proxy itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Tells whom the workload is told that the client is.
fn telling_client() -> Arc<dyn Dispatch> {
    workload(|request, _| async move { Ok(whole(request.headers()["x-forwarded-for"].to_str().unwrap().to_owned())) })
}

async fn host(proxies: &str, change: impl FnOnce(&mut Limits)) -> Host {
    let proxies = proxies.split_whitespace().map(|network| network.parse::<Network>().unwrap()).collect();
    let host = Host::made(|server| server.with_trusted_proxies(proxies).with_proxy_protocol(), change).await;
    host.bind("team/app", "a.test", "/", telling_client());
    host
}

async fn ask(host: &Host, header: &[u8], fields: &str) -> Got {
    let mut client = Client::connect(host).await;
    let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    client.send([header, request.as_bytes()].concat()).await;
    client.got().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_whose_the_proxy_says() {
    let host = host("127.0.0.0/8", |_| {}).await;
    for (header, client) in [(VERSION_1, "203.0.113.7"), (VERSION_2, "203.0.113.8"), (LOCAL, "127.0.0.1")] {
        assert_eq!(ask(&host, header, "").await.text(), client);
    }
    // The client of the connection is not trusted, whatever it says; one that is trusted, is.
    let claim = "X-Forwarded-For: 198.51.100.1\r\n";
    assert_eq!(ask(&host, VERSION_1, claim).await.text(), "203.0.113.7");
    assert_eq!(ask(&host, LOCAL, claim).await.text(), "198.51.100.1");
    // It is so for the whole connection.
    let mut client = Client::connect(&host).await;
    client.send(VERSION_1).await;
    assert_eq!(client.get("/").await.text(), "203.0.113.7");
    assert_eq!(client.get("/").await.text(), "203.0.113.7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxys_connection_without_a_header_is_closed() {
    let host = host("127.0.0.0/8", |limits| limits.header_timeout_ms = 100).await;
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..], b"PROXY TCP9 a b 1 2\r\nGET / HTTP/1.1\r\n", b"PROXY TC"]
    {
        let mut client = Client::connect(&host).await;
        client.send(bytes).await;
        assert!(client.is_closed().await);
    }
    host.metric_becomes(r#"roadstead_http_connections_refused_total{reason="proxy-protocol"}"#, 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_send_a_header() {
    let host = host("10.0.0.0/8", |_| {}).await;
    for header in [VERSION_1, VERSION_2] {
        assert_eq!(ask(&host, header, "").await.status, 400);
    }
    assert_eq!(ask(&host, b"", "").await.text(), "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_may_follow_a_header() {
    let host = host("127.0.0.0/8", |_| {}).await;
    let mut socket = tokio::net::TcpStream::connect(host.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut socket, VERSION_2).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let (response, _) = sender.send_request(http::Request::get("http://a.test/").body(()).unwrap(), true).unwrap();
    let mut body = crate::host::soon(response).await.unwrap().into_body();
    assert_eq!(crate::host::soon(body.data()).await.unwrap().unwrap(), "203.0.113.8");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_client_are_bounded_by_its_real_address() {
    let host = host("127.0.0.0/8", |limits| limits.connections_per_client_max = 1).await;
    let mut first = Client::connect(&host).await;
    first.send(VERSION_1).await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::connect(&host).await;
    second.send(VERSION_1).await;
    assert!(second.is_closed().await);
    // Another client, and the proxy itself, as often as it likes.
    for header in [VERSION_2, LOCAL] {
        assert_eq!(ask(&host, header, "").await.status, 200);
    }
    let mut proxys_own = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(&host).await;
        client.send(LOCAL).await;
        assert_eq!(client.get("/").await.status, 200);
        proxys_own.push(client);
    }
    let refused = r#"roadstead_http_connections_refused_total{reason="connections-per-client-max"}"#;
    assert_eq!(host.metric(refused), Some(1.0));
}
