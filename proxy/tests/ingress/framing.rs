//! Requests that two parsers could read differently. None reaches a workload, and none leaves the connection open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    client::Client,
    host::{Host, whole, workload},
};

async fn counting() -> (Host, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let host = Host::serving(workload(move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Ok(whole("reached")) }
    }))
    .await;
    (host, calls)
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_heads_are_refused_and_the_connection_closed() {
    let (host, calls) = counting().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (name, head, status) in [
        (
            "length and chunked",
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "chunked and length",
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
            400,
        ),
        ("two lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
        ("two equal lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
        ("a list of lengths", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4, 4\r\n\r\n", 400),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +4\r\n\r\n", 400),
        ("chunked on 1.0", "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("another coding", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
        ("hidden chunked", "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("no host on 1.0", "GET / HTTP/1.0\r\n\r\n", 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400),
        ("space before colon", "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length : 4\r\n\r\n", 400),
        ("folded header", "GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n 2\r\n\r\n", 400),
        ("folded first header", "GET / HTTP/1.1\r\n Host: a.test\r\n\r\n", 400),
        ("bare line feeds", "GET / HTTP/1.1\nHost: a.test\n\n", 400),
        ("one bare line feed", "GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\nY: 2\r\n\r\n", 400),
        ("bare carriage return", "GET / HTTP/1.1\r\nHost: a.test\r\nX: 1\rY: 2\r\n\r\n", 400),
        ("null", "GET / HTTP/1.1\r\nHost: a.test\r\nX: \0\r\n\r\n", 400),
        ("space in the target", "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("no version", "GET /\r\nHost: a.test\r\n\r\n", 400),
        ("another version", "GET / HTTP/3.0\r\nHost: a.test\r\n\r\n", 400),
        ("not HTTP at all", "\x16\x03\x01\x02\r\n", 400),
        ("another authority", "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("a tunnel", "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 501),
    ] {
        let mut client = Client::connect(&host).await;
        client.send(format!("{head}{smuggled}")).await;
        let got = client.got().await;
        assert_eq!(got.status, status, "{name}");
        assert_eq!(got.header("connection"), Some("close"), "{name}");
        assert!(client.is_closed().await, "{name}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_are_not_changed() {
    let (host, calls) = counting().await;
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(client.got().await.status, 501);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_are_refused_and_the_connection_closed() {
    let host = Host::serving(crate::host::telling()).await;
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA: b\nGET / HTTP/1.1\r\n",
    ] {
        let mut client = Client::connect(&host).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
        let got = client.got().await;
        assert_eq!((got.status, got.header("connection")), (400, Some("close")), "{body:?}");
        assert!(client.is_closed().await, "{body:?}");
    }
}
