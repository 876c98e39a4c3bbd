//! HTTP/2 without TLS, by prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use roadstead_runtime::{CallError, FaultKind, HostHandler, ResponseBody};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    client::Stream,
    host::{Host, data, guest_error, soon, streamed, telling, workload},
};

pub(crate) struct H2 {
    pub(crate) requests: SendRequest<Bytes>,
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

impl H2 {
    pub(crate) async fn connect(host: &Host) -> Self {
        Self::over(TcpStream::connect(host.address()).await.unwrap()).await
    }

    pub(crate) async fn over(stream: impl Stream + 'static) -> Self {
        let (requests, connection) = soon(h2::client::handshake(stream)).await.unwrap();
        Self { requests: soon(requests.ready()).await.unwrap(), connection: tokio::spawn(connection) }
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, end: bool) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let uri = format!("http://a.test:8080{path}");
        let request = Request::builder().method(method).uri(uri).body(()).unwrap();
        self.requests.send_request(request, end).unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> (Response<()>, Result<String, h2::Error>) {
        let (response, _) = self.request("GET", path, true);
        let (parts, body) = soon(response).await.unwrap().into_parts();
        (Response::from_parts(parts, ()), text(body).await)
    }
}

async fn text(mut body: h2::RecvStream) -> Result<String, h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = soon(body.data()).await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(all).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered() {
    let host = Host::serving(telling()).await;
    let mut client = H2::connect(&host).await;
    let (response, body) = client.get("/x//y?q").await;
    assert_eq!((response.status(), body.unwrap().as_str()), (StatusCode::OK, "GET /x/y?q"));
    assert_eq!(response.headers()["content-length"], "10");
    let (response, mut upload) = client.request("POST", "/up", false);
    upload.send_data("abc".into(), false).unwrap();
    upload.send_data("def".into(), true).unwrap();
    assert_eq!(text(soon(response).await.unwrap().into_body()).await.unwrap(), "POST /up abcdef");
    let (response, _) = client.request("HEAD", "/", true);
    let response = soon(response).await.unwrap();
    assert_eq!(response.headers()["content-length"], "6");
    assert_eq!(text(response.into_body()).await.unwrap(), "");
    let (response, _) = client.get("/a%2fb").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_stream_both_ways_with_trailers() {
    let host = Host::serving(workload(|request, _| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-end", "yes".parse().unwrap());
        let trailers = futures::future::ready(Some(Ok(trailers)));
        let body = request.into_body().map_err(|_| guest_error("the upload broke off"));
        Ok(Response::new(ResponseBody::new(body.with_trailers(trailers))))
    }))
    .await;
    let mut client = H2::connect(&host).await;
    let (response, mut upload) = client.request("POST", "/", false);
    let mut body = soon(response).await.unwrap().into_body();
    for piece in ["one", "two"] {
        upload.send_data(piece.into(), false).unwrap();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), piece);
    }
    upload.send_data(Bytes::new(), true).unwrap();
    assert!(soon(body.data()).await.is_none());
    assert_eq!(soon(body.trailers()).await.unwrap().unwrap()["x-end"], "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_mid_body_resets_the_stream_alone() {
    let (sender, mut control) = mpsc::channel(1);
    let host = Host::serving(telling()).await;
    host.bind(
        "team/bad",
        "a.test",
        "/bad",
        workload(move |_, _| {
            let (frames, response) = streamed();
            sender.try_send(frames).unwrap();
            async { Ok(response) }
        }),
    );
    let mut client = H2::connect(&host).await;
    let (response, _) = client.request("GET", "/bad", true);
    let frames = soon(control.recv()).await.unwrap();
    frames.send(data("some")).await.unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "some");
    // Not before: a reset takes with it what has not been sent yet, the head as well.
    frames.send(Err(CallError::fault(FaultKind::Trap, "out of bounds"))).await.unwrap();
    assert!(text(body).await.unwrap_err().is_reset());
    assert_eq!(client.get("/").await.1.unwrap(), "GET /");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_cancels_the_call() {
    let (sender, mut control) = mpsc::channel(1);
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
    let mut client = H2::connect(&host).await;
    let (response, mut upload) = client.request("POST", "/", false);
    // More than the workload takes, which takes nothing.
    upload.send_data(vec![b'x'; 60_000].into(), false).unwrap();
    let dropped = soon(control.recv()).await.unwrap();
    upload.send_reset(h2::Reason::CANCEL);
    soon(dropped).await.unwrap_err();
    drop(response);
    let (response, _) = client.request("GET", "/", true);
    let dropped = soon(control.recv()).await.unwrap();
    drop(response);
    client.connection.abort();
    soon(dropped).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_after_so_many_requests() {
    let host = Host::with(|limits| limits.requests_per_connection_max = 3).await;
    host.bind("team/web", "a.test", "/", telling());
    let mut client = H2::connect(&host).await;
    for _ in 0..3 {
        let (response, body) = client.get("/x").await;
        assert_eq!((response.status(), body.unwrap().as_str()), (StatusCode::OK, "GET /x"));
    }
    // The host's GOAWAY: the client takes no more requests, and the connection ends in order.
    soon(async {
        while futures::future::poll_fn(|cx| client.requests.poll_ready(cx)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(client.connection).await.unwrap().unwrap();
    assert_eq!(H2::connect(&host).await.get("/x").await.1.unwrap(), "GET /x");
}

/// A SETTINGS frame, empty; its acknowledgement has flag 1.
pub(crate) const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `GET / HTTP/2` to `a.test`, in literals and entries of the static table (RFC 7541).
pub(crate) const GET: &[u8] = b"\x82\x86\x84\x41\x06a.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_listen_is_cut_off() {
    let host = Host::with(|limits| {
        (limits.requests_per_connection_max, limits.h2_streams_max) = (2, 4);
    })
    .await;
    host.bind("team/web", "a.test", "/", telling());
    let mut socket = TcpStream::connect(host.address()).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    socket.write_all(&SETTINGS).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    // It reads, but heeds nothing: neither the GOAWAY nor the PING by which the host knows that it was read.
    let read = tokio::spawn(async move {
        let mut all = Vec::new();
        let _ = reading.read_to_end(&mut all).await;
    });
    let sent = async {
        for stream in (1_u32..2_000).step_by(2) {
            let length = u32::try_from(GET.len()).unwrap().to_be_bytes();
            let mut frame = vec![length[1], length[2], length[3], 1, 5];
            frame.extend(stream.to_be_bytes());
            frame.extend(GET);
            if writing.write_all(&frame).await.is_err() {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        0
    };
    assert_ne!(soon(sent).await, 0, "it may go on and on");
    soon(read).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_stays_silent_after_its_last_request_is_closed() {
    let host = Host::with(|limits| {
        (limits.requests_per_connection_max, limits.keepalive_idle_ms) = (1, 300);
    })
    .await;
    host.bind("team/web", "a.test", "/", telling());
    let mut socket = TcpStream::connect(host.address()).await.unwrap();
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    socket.write_all(&SETTINGS).await.unwrap();
    let mut frame = vec![0, 0, u8::try_from(GET.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    frame.extend(GET);
    socket.write_all(&frame).await.unwrap();
    let mut all = Vec::new();
    let _ = soon(socket.read_to_end(&mut all)).await;
    assert!(all.windows(5).any(|part| part == b"GET /"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_host_finishes_streams_and_says_so() {
    let (sender, mut control) = mpsc::channel(1);
    let host = Host::serving(workload(move |_, _| {
        let (frames, response) = streamed();
        sender.try_send(frames).unwrap();
        async { Ok(response) }
    }))
    .await;
    let mut client = H2::connect(&host).await;
    let (response, _) = client.request("GET", "/", true);
    let frames = control.recv().await.unwrap();
    let body = soon(response).await.unwrap().into_body();
    let finishing = async {
        // The host's GOAWAY makes the client take no more requests.
        soon(async {
            while futures::future::poll_fn(|cx| client.requests.poll_ready(cx)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        frames.send(Ok(Frame::data("rest".into()))).await.unwrap();
        drop(frames);
        text(body).await.unwrap()
    };
    let (cut, rest) = tokio::join!(soon(host.server.drain(Duration::from_secs(5))), finishing);
    assert_eq!((cut, rest.as_str()), (0, "rest"));
    drop(client.requests);
    let _ = soon(client.connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_stops_short_is_cut() {
    let host = Host::with(|limits| limits.header_timeout_ms = 100).await;
    let mut client = crate::client::Client::connect(&host).await;
    client.send("PRI * HTTP/2.0\r\n").await;
    assert_eq!(client.got().await.status, 408);
    assert!(client.is_closed().await);
}
