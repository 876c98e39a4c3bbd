//! HTTP/1.1 as a client uses it.

use bytes::Bytes;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use roadstead_runtime::ResponseBody;
use tokio::sync::mpsc;

use crate::{
    client::Client,
    host::{Host, data, streamed, telling, whole, workload},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept() {
    let host = Host::serving(telling()).await;
    let mut client = Client::connect(&host).await;
    for turn in 0..3 {
        let got = client.get(&format!("/{turn}")).await;
        assert_eq!((got.status, got.text()), (200, format!("GET /{turn}").as_str()));
        assert_eq!(got.header("connection"), Some("keep-alive"));
        assert_eq!(got.header("content-length"), Some("6"));
    }
    client.send("GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(client.got().await.header("connection"), Some("close"));
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_is_closed_unless_asked() {
    let host = Host::serving(telling()).await;
    let mut client = Client::connect(&host).await;
    client.send("GET /1 HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n").await;
    assert_eq!(client.got().await.text(), "GET /1");
    client.send("GET /2 HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.got().await.text(), "GET /2");
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let host = Host::serving(telling()).await;
    let mut client = Client::connect(&host).await;
    let requests = [
        "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
        "\r\nPOST /3 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ];
    let answers = ["GET /1", "POST /2 hello", "POST /3 abcde", "GET /4"];
    client.send(requests.concat()).await;
    for answer in answers {
        assert_eq!(client.got().await.text(), answer);
    }
    for byte in requests.concat().as_bytes() {
        client.send([*byte]).await;
    }
    for answer in answers {
        assert_eq!(client.got().await.text(), answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_bodiless_statuses() {
    let target = workload(|request, _| async move {
        let mut response = whole("body");
        *response.status_mut() = request.uri().path().trim_start_matches('/').parse().unwrap();
        Ok(response)
    });
    let host = Host::serving(target).await;
    let mut client = Client::connect(&host).await;
    client.send("HEAD /200 HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let got = client.got_head().await;
    assert_eq!((got.status, got.header("content-length")), (200, Some("4")));
    assert_eq!(client.get("/204").await.status, 204);
    assert_eq!(client.get("/304").await.status, 304);
    client.send("HEAD /none HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n").await;
    assert_eq!(client.got_head().await.status, 404);
    assert_eq!(client.get("/201").await.text(), "body");
    assert_eq!(client.get("/103").await.status, 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_connection_stay_here() {
    let (sender, mut seen) = mpsc::channel(1);
    let target = workload(move |request, call| {
        sender.try_send((request.headers().clone(), call.trace.trace_id().to_string())).unwrap();
        let mut response = whole("x");
        for (name, value) in [
            ("connection", "x-private"),
            ("x-private", "1"),
            ("keep-alive", "9"),
            ("transfer-encoding", "chunked"),
            ("x-roadstead-error", "forged"),
            ("x-own", "kept"),
        ] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        async { Ok(response) }
    });
    let host = Host::behind("127.0.0.0/8", |_| {}).await;
    host.bind("team/app", "a.test", "/", target);
    let mut client = Client::connect(&host).await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: A.test:80\r\nConnection: x-mine, host\r\nX-Mine: 1\r\nTE: trailers\r\nX-Other: 2\r\n\
             Cookie: a=1\r\nUpgrade: h2c\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        )
        .await;
    let got = client.got().await;
    let (headers, trace) = seen.recv().await.unwrap();
    let mut names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["cookie", "host", "traceparent", "x-forwarded-for", "x-forwarded-proto", "x-other", "x-request-id"]
    );
    assert_eq!(headers["host"], "A.test:80");
    assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((got.header("x-own"), got.header("x-private"), got.header("keep-alive")), (Some("kept"), None, None));
    assert_eq!((got.header("x-roadstead-error"), got.header("transfer-encoding")), (None, None));
    assert_eq!(got.text(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_is_given_to_send_a_body() {
    let host = Host::serving(telling()).await;
    let mut client = Client::connect(&host).await;
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.got().await.status, 100);
    client.send("abc").await;
    assert_eq!(client.got().await.text(), "POST / abc");
    client.send(head.replace("a.test", "b.test")).await;
    assert_eq!(client.got().await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_streams() {
    let (sender, mut control) = mpsc::channel(1);
    let target = workload(move |_, _| {
        let (frames, response) = streamed();
        sender.try_send(frames).unwrap();
        async { Ok(response) }
    });
    let host = Host::serving(target).await;
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let frames = control.recv().await.unwrap();
    let head = client.head().await;
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    for piece in ["one", "two"] {
        frames.send(data(piece)).await.unwrap();
        assert_eq!(client.chunk().await.unwrap(), piece.as_bytes());
    }
    frames.send(data("")).await.unwrap();
    frames.send(Ok(Frame::trailers(http::HeaderMap::new()))).await.unwrap();
    drop(frames);
    assert_eq!(client.chunk().await.unwrap(), b"");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    drop(control.recv().await.unwrap());
    assert_eq!(client.got().await.text(), "");
}

/// A known length must not hold back what has been sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_known_length_streams_too() {
    let (sender, mut control) = mpsc::channel(1);
    let target = workload(move |_, _| {
        let (frames, mut response) = streamed();
        response.headers_mut().insert(header::CONTENT_LENGTH, "6".parse().unwrap());
        sender.try_send(frames).unwrap();
        async { Ok(response) }
    });
    let host = Host::serving(target).await;
    let mut client = Client::connect(&host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let frames = control.recv().await.unwrap();
    assert_eq!(client.head().await.header("content-length"), Some("6"));
    frames.send(data("one")).await.unwrap();
    let mut body = Vec::new();
    assert!(client.take(3, &mut body).await);
    frames.send(data("two")).await.unwrap();
    drop(frames);
    assert!(client.take(3, &mut body).await);
    assert_eq!(body, b"onetwo");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_comes_back_while_it_is_sent() {
    let target = workload(|request, _| async move {
        let body = request.into_body().map_err(|_| crate::host::guest_error("the upload broke off"));
        Ok(Response::new(ResponseBody::new(body)))
    });
    let host = Host::serving(target).await;
    let mut client = Client::connect(&host).await;
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.chunk().await.unwrap(), b"hello");
    client.send("3\r\nyou\r\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"you");
    client.send("0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"");
}

/// Nothing between a client and a workload that does not read may grow: `body::PIECES_MAX` pieces wait.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_no_faster_than_its_reader() {
    let (sender, mut control) = mpsc::channel(1);
    let target = workload(move |request, _| {
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        sender.try_send(go).unwrap();
        async move {
            gone.await.unwrap();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body = Full::new(Bytes::from(body.len().to_string()));
            Ok(Response::new(ResponseBody::new(body.map_err(|never| match never {}))))
        }
    });
    let host = Host::serving(target).await;
    let mut client = Client::connect(&host).await;
    let size = 30 * 1024 * 1024;
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n")).await;
    let go = control.recv().await.unwrap();
    let body = vec![b'x'; size];
    let sent = client.send_what_is_taken(&body).await;
    assert!(sent < size, "all of the body was taken from the client though nobody read it");
    go.send(()).unwrap();
    client.send(&body[sent..]).await;
    assert_eq!(client.got().await.text(), size.to_string());
}
