//! What an HTTP/2 client may not have more of. Where h2's own client would keep to the rules, frames are written by hand
//! (RFC 9113).

use http::{Method, Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    host::{Host, Piece, data, soon, streamed, telling, workload},
    http2::{GET, H2, SETTINGS},
};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS_FRAME: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM_AND_HEADERS: u8 = 5;
const REFUSED_STREAM: [u8; 4] = [0, 0, 0, 7];

fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A client that keeps to no rule but that of frames.
struct Raw(TcpStream);

impl Raw {
    async fn connect(host: &Host, settings: &[u8]) -> Self {
        let mut socket = TcpStream::connect(host.address()).await.unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        socket.write_all(settings).await.unwrap();
        Self(socket)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        soon(self.0.write_all(&framed(kind, flags, stream, payload))).await.unwrap();
    }

    async fn get(&mut self, stream: u32) {
        self.send(HEADERS, END_STREAM_AND_HEADERS, stream, GET).await;
    }

    /// The payload of the next frame of this kind on this stream.
    async fn frame(&mut self, kind: u8, stream: u32) -> Vec<u8> {
        loop {
            let mut head = [0; 9];
            soon(self.0.read_exact(&mut head)).await.unwrap();
            let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
            soon(self.0.read_exact(&mut payload)).await.unwrap();
            if (head[3], &head[5..]) == (kind, stream.to_be_bytes().as_slice()) {
                return payload;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded() {
    let host = Host::with(|limits| limits.h2_streams_max = 2).await;
    let (sender, mut calls) = mpsc::channel(8);
    let silent = workload(move |_, _| {
        sender.try_send(()).unwrap();
        std::future::pending()
    });
    host.bind("team/app", "a.test", "/", silent);
    let mut client = Raw::connect(&host, &SETTINGS).await;
    for stream in [1, 3, 5] {
        client.get(stream).await;
    }
    assert_eq!(client.frame(RST_STREAM, 5).await, REFUSED_STREAM);
    for _ in 0..2 {
        soon(calls.recv()).await.unwrap();
    }
    // A stream that ends makes room for another.
    client.send(RST_STREAM, 0, 1, &[0, 0, 0, 8]).await;
    client.get(7).await;
    soon(calls.recv()).await.unwrap();
    assert!(calls.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn header_lists_are_bounded() {
    let host = Host::with(|limits| (limits.header_bytes_max, limits.header_count_max) = (4_096, 10)).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = H2::connect(&host).await;
    for (count, bytes, status) in [(1, 3_000, 200), (1, 5_000, 431), (2, 2_500, 431), (9, 1, 200), (11, 1, 431)] {
        let request = Request::builder().uri("http://a.test/");
        let value = "x".repeat(bytes);
        let request = (0..count).fold(request, |request, number| request.header(format!("x-{number}"), &value));
        let (response, _) = client.requests.send_request(request.body(()).unwrap(), true).unwrap();
        let response = soon(response).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{count} of {bytes} bytes");
    }
    assert_eq!(client.get("/x").await.1.unwrap(), "GET /x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_list_without_end_ends_the_connection() {
    const CONTINUATION: u8 = 9;
    let host = Host::serving(telling()).await;
    let mut client = Raw::connect(&host, &SETTINGS).await;
    // The head is never said to be complete (END_HEADERS).
    client.send(HEADERS, 0, 1, GET).await;
    let mut frame = vec![0, 0x40, 0, CONTINUATION, 0, 0, 0, 0, 1];
    // `x: yyy...` as a literal that is not indexed, in pieces that each are whole.
    frame.extend(b"\x00\x01x\x7f\xfb\x7e");
    frame.resize(9 + 0x4000, b'y');
    let endless = async { while client.0.write_all(&frame).await.is_ok() {} };
    soon(endless).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_without_end_end_the_connection() {
    // A request that is not valid (`connection: x`), which the host resets, and one that the client resets itself.
    let invalid = [GET, b"\x00\x0aconnection\x01x"].concat();
    for (payload, own) in [(invalid.as_slice(), false), (GET, true)] {
        let host = Host::with(|limits| limits.requests_per_connection_max = 2_000).await;
        host.bind("team/app", "a.test", "/", telling());
        let client = Raw::connect(&host, &SETTINGS).await;
        // It reads nothing of what it is told.
        let (_reading, mut writing) = client.0.into_split();
        let sent = async {
            for stream in (1_u32..).step_by(2) {
                let mut frames = framed(HEADERS, END_STREAM_AND_HEADERS, stream, payload);
                if own {
                    frames.extend(framed(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                }
                if writing.write_all(&frames).await.is_err() {
                    return;
                }
            }
        };
        soon(sent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_pieces_without_end_end_the_connection() {
    const DATA: u8 = 0;
    const PING: u8 = 6;
    const END_HEADERS: u8 = 4;
    for piece in [b"".as_slice(), b"x"] {
        // It takes its request, and nothing of the body.
        let host = Host::serving(workload(|request, _| async {
            let _request = request;
            std::future::pending().await
        }))
        .await;
        let mut client = Raw::connect(&host, &SETTINGS).await;
        client.send(HEADERS, END_HEADERS, 1, GET).await;
        for _ in 0..10 {
            client.send(DATA, 0, 1, piece).await;
        }
        // A few are nothing: it goes on and answers a PING.
        client.send(PING, 0, 0, b"whatever").await;
        assert_eq!(client.frame(PING, 0).await, b"whatever");
        let frames = framed(DATA, 0, 1, piece).repeat(1_000);
        let endless = async { while client.0.write_all(&frames).await.is_ok() {} };
        soon(endless).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tunnel_is_opened() {
    let host = Host::serving(telling()).await;
    let mut client = H2::connect(&host).await;
    let request = Request::builder().method(Method::CONNECT).uri("a.test:443").body(()).unwrap();
    let (response, _tunnel) = client.requests.send_request(request, false).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(client.get("/x").await.1.unwrap(), "GET /x");
}

/// A workload that hands its response's frames out, at `/`, beside one that tells at `/told`.
async fn with_endless_response(host: &Host) -> mpsc::Receiver<mpsc::Sender<Piece>> {
    let (sender, control) = mpsc::channel(1);
    let endless = workload(move |_, _| {
        let (frames, response) = streamed();
        sender.try_send(frames).unwrap();
        async { Ok(response) }
    });
    host.bind("team/app", "a.test", "/", endless);
    host.bind("team/told", "a.test", "/told", telling());
    control
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_gives_a_stream_no_room_loses_the_stream() {
    let host = Host::with(|limits| limits.write_stall_ms = 100).await;
    let mut control = with_endless_response(&host).await;
    let mut client = H2::connect(&host).await;
    let (response, _) = client.request("GET", "/", true);
    let frames = soon(control.recv()).await.unwrap();
    let block = vec![b'x'; 1024 * 1024];
    soon(async { while frames.send(data(block.clone())).await.is_ok() {} }).await;
    // What the window had room for is there, and then no orderly end.
    let mut body = soon(response).await.unwrap().into_body();
    let broken = loop {
        match soon(body.data()).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("the response looks complete"),
        }
    };
    assert!(broken.is_reset(), "{broken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_loses_the_connection() {
    let host = Host::with(|limits| limits.write_stall_ms = 100).await;
    let mut control = with_endless_response(&host).await;
    // As much room as there can be, for the stream (SETTINGS_INITIAL_WINDOW_SIZE) and for the connection.
    let mut client = Raw::connect(&host, &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]).await;
    client.send(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]).await;
    client.get(1).await;
    let frames = soon(control.recv()).await.unwrap();
    let block = vec![b'x'; 1024 * 1024];
    soon(async { while frames.send(data(block.clone())).await.is_ok() {} }).await;
    host.metric_becomes("roadstead_http_connections ", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed() {
    let host = Host::with(|limits| limits.keepalive_idle_ms = 100).await;
    host.bind("team/app", "a.test", "/", telling());
    let client = H2::connect(&host).await;
    // Whether in order or not is the client's own view.
    let _ = soon(client.connection).await.unwrap();
    drop(client.requests);
}

/// What the host and the kernel take of a flood whose answers nobody reads, at most.
const UNREAD_BYTES_MAX: usize = 64 << 20;

/// Each of these asks for an answer: who does not read the answers is not read any more, and then dropped.
#[tokio::test(flavor = "multi_thread")]
async fn control_frames_whose_answers_nobody_reads_end_the_connection() {
    let host = Host::with(|limits| limits.write_stall_ms = 500).await;
    host.bind("team/app", "a.test", "/", telling());
    for (name, kind, payload) in [("PING", PING, &[7_u8; 8][..]), ("SETTINGS", SETTINGS_FRAME, &[])] {
        let mut client = Raw::connect(&host, &SETTINGS).await;
        let flood = framed(kind, 0, 0, payload).repeat(10_000);
        let mut sent = 0;
        while let Ok(written) = soon(client.0.write(&flood)).await {
            sent += written;
            assert!(sent < UNREAD_BYTES_MAX, "{name}: {sent} bytes were taken");
        }
        println!("{name}: {sent} bytes were taken");
    }
    let mut other = Raw::connect(&host, &SETTINGS).await;
    other.get(1).await;
    other.frame(HEADERS, 1).await;
}

/// Who reads the answers gets them, and requests between them as well.
#[tokio::test(flavor = "multi_thread")]
async fn control_frames_hold_up_no_request() {
    let host = Host::with(|_| {}).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut client = Raw::connect(&host, &SETTINGS).await;
    for round in 0..20_u8 {
        let flood = framed(PING, 0, 0, &[round; 8]).repeat(1_000);
        soon(client.0.write_all(&flood)).await.unwrap();
        client.get(1 + 2 * u32::from(round)).await;
        client.frame(HEADERS, 1 + 2 * u32::from(round)).await;
    }
}
