//! What a client may not have more of: time, bytes, headers, connections.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::{
    client::Client,
    host::{Host, binding, data, guest_error, soon, streamed, telling, workload},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_cut() {
    let host = Host::with(|limits| limits.header_timeout_ms = 100).await;
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.te").await;
    let got = client.got().await;
    assert_eq!((got.status, got.header("x-roadstead-error")), (408, Some("head-timeout")));
    assert!(client.is_closed().await);
    // A client that drips is no better off: the limit is on the whole.
    let mut client = Client::connect(&host).await;
    let dripping = async {
        for byte in b"GET / HTTP/1.1\r\nHost: a.test\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if client.try_send([*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(dripping).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let host = Host::with(|limits| limits.keepalive_idle_ms = 100).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = Client::connect(&host).await;
    assert!(client.is_closed().await);
    let mut client = Client::connect(&host).await;
    assert_eq!(client.get("/").await.status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_bounded() {
    let host = Host::with(|limits| {
        limits.header_bytes_max = 4096;
        limits.target_bytes_max = 1024;
        limits.header_count_max = 10;
    })
    .await;
    host.bind("team/app", "a.test", "/", telling());
    for (target, headers, status) in [
        ("/".to_owned(), String::new(), 200),
        (format!("/{}", "x".repeat(1024)), String::new(), 414),
        (format!("/{}", "x".repeat(8192)), String::new(), 414),
        ("/".into(), format!("X: {}\r\n", "x".repeat(8192)), 431),
        ("/".into(), "X: x\r\n".repeat(10), 431),
    ] {
        let mut client = Client::connect(&host).await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n")).await;
        assert_eq!(client.got().await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded() {
    let host = Host::with(|limits| {
        limits.body_bytes_max = 1000;
        limits.body_idle_ms = 100;
    })
    .await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = Client::connect(&host).await;
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1001\r\n\r\n").await;
    assert_eq!(client.got().await.status, 413);
    let mut client = Client::connect(&host).await;
    let chunk = format!("1F4\r\n{}\r\n", "x".repeat(500));
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send(chunk.repeat(3)).await;
    let got = client.got().await;
    assert_eq!((got.status, got.header("connection")), (413, Some("close")));
    assert!(client.is_closed().await);
    let mut client = Client::connect(&host).await;
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhello").await;
    let got = client.got().await;
    assert_eq!((got.status, got.header("x-roadstead-error")), (408, Some("body-timeout")));
}

/// The workload keeps reading when the body turns out too large after the head: the response must not look whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_after_the_head_breaks_the_response() {
    let host = Host::with(|limits| limits.body_bytes_max = 1000).await;
    host.bind(
        "team/app",
        "a.test",
        "/",
        workload(|request, _| async {
            let body = request.into_body().map_err(|error| guest_error(&error.to_string()));
            Ok(http::Response::new(roadstead_runtime::ResponseBody::new(body)))
        }),
    );
    let mut client = Client::connect(&host).await;
    let chunk = format!("1F4\r\n{}\r\n", "x".repeat(500));
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")).await;
    assert_eq!(client.head().await.status, 200);
    client.send(chunk.repeat(2)).await;
    while let Some(chunk) = client.chunk().await {
        assert!(!chunk.is_empty(), "the response came to a clean end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_bounds_the_exchange() {
    let host = Host::start().await;
    let (sender, mut control) = mpsc::channel(4);
    let watched = sender.clone();
    let mut slow = binding("team/slow", "a.test", "/slow", None);
    slow.target = Some(workload(move |_, call| {
        assert!(call.remaining() <= Duration::from_millis(100));
        let (guard, dropped) = tokio::sync::oneshot::channel::<()>();
        watched.try_send(dropped).unwrap();
        async {
            std::future::pending::<()>().await;
            drop(guard);
            unreachable!()
        }
    }));
    slow.timeout = Duration::from_millis(100);
    host.try_bind(slow).unwrap();
    let mut endless = binding("team/endless", "a.test", "/endless", None);
    endless.target = Some(workload(move |_, _| {
        let (frames, response) = streamed();
        let (guard, dropped) = tokio::sync::oneshot::channel::<()>();
        sender.try_send(dropped).unwrap();
        tokio::spawn(async move {
            while frames.send(data("tick")).await.is_ok() {}
            drop(guard);
        });
        async { Ok(response) }
    }));
    endless.timeout = Duration::from_millis(100);
    host.try_bind(endless).unwrap();
    let mut client = Client::connect(&host).await;
    let got = client.get("/slow").await;
    assert_eq!((got.status, got.header("x-roadstead-error")), (504, Some("deadline")));
    soon(control.recv().await.unwrap()).await.unwrap_err();
    let got = client.get("/endless").await;
    assert_eq!((got.status, got.complete), (200, false));
    soon(control.recv().await.unwrap()).await.unwrap_err();
    let errors = r#"roadstead_http_errors_total{namespace="team",trigger="endless",reason="deadline"}"#;
    host.metric_becomes(errors, 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_dropped() {
    let host = Host::with(|limits| limits.write_stall_ms = 100).await;
    let (sender, mut control) = mpsc::channel(1);
    host.bind(
        "team/app",
        "a.test",
        "/",
        workload(move |_, _| {
            let (frames, response) = streamed();
            sender.try_send(frames).unwrap();
            async { Ok(response) }
        }),
    );
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let frames = control.recv().await.unwrap();
    let block = vec![b'x'; 1024 * 1024];
    soon(async { while frames.send(data(block.clone())).await.is_ok() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded() {
    let host = Host::with(|limits| limits.connections_max = 1).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut first = Client::connect(&host).await;
    assert_eq!(first.get("/").await.status, 200);
    let mut second = Client::connect(&host).await;
    assert!(second.is_closed().await);
    assert_eq!(host.metric(r#"roadstead_http_connections_refused_total{reason="connections-max"}"#), Some(1.0));
    drop(first);
    host.metric_becomes("roadstead_http_connections ", 0.0).await;
    soon(async {
        // The permit comes back with the end of the connection's task, just after the gauge.
        loop {
            let mut third = Client::connect(&host).await;
            let _ = third.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
            if !third.is_closed().await {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_client_are_bounded() {
    let host = Host::with(|limits| limits.connections_per_client_max = 1).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut first = Client::connect(&host).await;
    assert_eq!(first.get("/").await.status, 200);
    assert!(Client::connect(&host).await.is_closed().await);
    drop(first);
    host.metric_becomes("roadstead_http_connections ", 0.0).await;
    let mut next = Client::connect(&host).await;
    assert_eq!(next.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_connection_are_bounded() {
    let host = Host::with(|limits| limits.requests_per_connection_max = 2).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = Client::connect(&host).await;
    assert_eq!(client.get("/").await.header("connection"), Some("keep-alive"));
    assert_eq!(client.get("/").await.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

/// It has `exchange::PARTING_TIME` to take what there still is, not the time that it may stall.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let host = Host::start().await;
    let mut endless = binding("team/endless", "a.test", "/", None);
    endless.target = Some(workload(move |_, _| {
        let (frames, response) = streamed();
        // Small pieces, so that some of them are still being gathered.
        tokio::spawn(async move { while frames.send(data(vec![b'x'; 1000])).await.is_ok() {} });
        async { Ok(response) }
    }));
    endless.timeout = Duration::from_millis(500);
    host.try_bind(endless).unwrap();
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    client.head().await;
    host.metric_becomes("roadstead_http_connections ", 0.0).await;
}
