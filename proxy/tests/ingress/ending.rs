//! How exchanges end early: the client leaves, the workload fails in mid-body, the host drains.

use std::time::Duration;

use http::header;
use roadstead_runtime::{CallError, FaultKind, HostHandler};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};

use crate::{
    client::Client,
    host::{Host, data, soon, streamed, telling, whole, workload},
};

const GONE: &str = r#"roadstead_http_errors_total{namespace="team",trigger="app",reason="client-gone"}"#;

/// A host whose workload never answers; what is received ends when the call is dropped.
async fn silent() -> (Host, mpsc::Receiver<oneshot::Receiver<()>>) {
    let (sender, control) = mpsc::channel(1);
    let host = Host::serving(workload(move |request, _| {
        let (guard, dropped) = oneshot::channel::<()>();
        sender.try_send(dropped).unwrap();
        async move {
            std::future::pending::<()>().await;
            drop((guard, request));
            unreachable!()
        }
    }))
    .await;
    (host, control)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_the_call() {
    let (host, mut control) = silent().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET /next HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let mut client = Client::connect(&host).await;
        client.send(request).await;
        let dropped = soon(control.recv()).await.unwrap();
        drop(client);
        soon(dropped).await.unwrap_err();
    }
    host.metric_becomes(GONE, 4.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_mid_response_cancels_the_guest() {
    let (sender, mut control) = mpsc::channel(1);
    let host = Host::serving(workload(move |_, _| {
        let (frames, response) = streamed();
        sender.try_send(frames).unwrap();
        async { Ok(response) }
    }))
    .await;
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let frames = control.recv().await.unwrap();
    frames.send(data("begun")).await.unwrap();
    client.head().await;
    assert_eq!(client.chunk().await.unwrap(), b"begun");
    drop(client);
    soon(frames.closed()).await;
    host.metric_becomes(GONE, 1.0).await;
}

/// A broken response must not pass for a whole one, whatever tells its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_mid_body_is_seen() {
    let host = Host::serving(workload(|request, _| async move {
        let (frames, mut response) = streamed();
        if request.uri().path() == "/length" {
            response.headers_mut().insert(header::CONTENT_LENGTH, "100".parse().unwrap());
        }
        tokio::spawn(async move {
            frames.send(data("some")).await.unwrap();
            frames.send(Err(CallError::fault(FaultKind::Trap, "out of bounds"))).await.unwrap();
        });
        Ok(response)
    }))
    .await;
    for (path, version) in [("/chunked", "1.1"), ("/length", "1.1"), ("/close", "1.0")] {
        let mut client = Client::connect(&host).await;
        client.send(format!("GET {path} HTTP/{version}\r\nHost: a.test\r\n\r\n")).await;
        let got = client.got().await;
        assert_eq!((got.status, got.complete), (200, false), "{path}");
    }
    let errors = r#"roadstead_http_errors_total{namespace="team",trigger="app",reason="trap"}"#;
    host.metric_becomes(errors, 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_not_kept_is_a_failure() {
    let host = Host::serving(workload(|request, _| async move {
        let (frames, mut response) = streamed();
        let length = request.uri().path().trim_start_matches('/').parse().unwrap();
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        tokio::spawn(async move { frames.send(data("1234")).await });
        Ok(response)
    }))
    .await;
    for (length, status, complete) in [("4", 200, true), ("5", 200, false), ("3", 200, false), ("many", 502, true)] {
        let got = Client::connect(&host).await.get(&format!("/{length}")).await;
        assert_eq!((got.status, got.complete), (status, complete), "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_host_finishes_what_is_under_way() {
    let (sender, mut control) = mpsc::channel(1);
    let host = Host::serving(workload(move |_, _| {
        let (go, gone) = oneshot::channel::<()>();
        sender.try_send(go).unwrap();
        async {
            gone.await.unwrap();
            Ok(whole("done"))
        }
    }))
    .await;
    host.bind("team/other", "a.test", "/other", telling());
    let mut idle = Client::connect(&host).await;
    idle.get("/other").await;
    let mut busy = Client::connect(&host).await;
    busy.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let go = control.recv().await.unwrap();
    let address = host.address();
    let finishing = async {
        assert!(idle.is_closed().await, "an idle connection was kept");
        soon(async { while TcpStream::connect(address).await.is_ok() {} }).await;
        go.send(()).unwrap();
        let got = busy.got().await;
        assert_eq!((got.text(), got.header("connection")), ("done", Some("close")));
    };
    let (cut, ()) = tokio::join!(soon(host.server.drain(Duration::from_secs(5))), finishing);
    assert_eq!(cut, 0);
}

/// The wait is `gate::LAST_REQUEST_TIME`.
#[tokio::test(flavor = "multi_thread")]
async fn a_draining_host_answers_the_last_request_of_who_is_connected() {
    let host = Host::serving(workload(|_, _| async {
        // Longer than what closing connections get.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Ok(whole("done"))
    }))
    .await;
    let (mut late, mut silent) = (Client::connect(&host).await, Client::connect(&host).await);
    let mut kept = Client::connect(&host).await;
    assert_eq!(kept.get("/").await.header("connection"), Some("keep-alive"));
    let asking = async {
        for client in [&mut late, &mut kept] {
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        }
        for client in [&mut late, &mut kept] {
            let got = client.got().await;
            assert_eq!((got.text(), got.header("connection")), ("done", Some("close")));
        }
        assert!(silent.is_closed().await);
    };
    let (cut, ()) = tokio::join!(soon(host.server.drain(Duration::from_secs(5))), asking);
    assert_eq!(cut, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_limit() {
    let (host, mut control) = silent().await;
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let dropped = control.recv().await.unwrap();
    assert_eq!(soon(host.server.drain(Duration::from_millis(50))).await, 1);
    soon(dropped).await.unwrap_err();
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let host = Host::start().await;
    let second = roadstead_proxy::HttpServer::new(roadstead_proxy::DynamicRouter::default(), host.address()).await;
    let message = second.err().unwrap().to_string();
    assert!(message.contains(&host.address().to_string()), "{message}");
}
