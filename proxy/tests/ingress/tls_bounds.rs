//! What a client of the TLS address may not do, and what certificate files may not be.

use std::{fs, time::Duration};

use roadstead_proxy::{CertificateFiles, TlsFiles};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
};

use crate::{
    certificates::{Authority, replace},
    client::Client,
    host::{Host, Piece, data, soon, streamed, telling, workload},
    tls::{Connector, in_folder, one_host},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_stalls_is_cut() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |limits| limits.tls_handshake_ms = 300).await;
    // The beginning of a record: type, version, and a length that never comes.
    for sent in [&b""[..], b"\x16\x03\x01", b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"] {
        let mut client = Client::over(TcpStream::connect(host.tls_address()).await.unwrap());
        client.send(sent).await;
        assert!(client.is_closed().await);
    }
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"timeout\"}", 3.0).await;
    host.metric_becomes("roadstead_http_connections", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_is_closed_and_counted() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    let garbage: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // A record longer than any, and a handshake message longer than any.
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    ];
    for sent in garbage {
        let mut socket = TcpStream::connect(host.tls_address()).await.unwrap();
        socket.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        soon(socket.read_to_end(&mut answer)).await.unwrap();
        // Nothing, or an alert: type 21, version, length 2, fatal.
        assert!(matches!(answer.as_slice(), [] | [21, 3, _, 0, 2, 2, _]), "{answer:?}");
    }
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"not-tls\"}", 4.0).await;
    drop(TcpStream::connect(host.tls_address()).await.unwrap());
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"client-gone\"}", 1.0).await;
    let stranger = Authority::new("stranger");
    Connector::new(&stranger).connect(&host, "a.test").await.unwrap_err();
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"client-refused\"}", 1.0).await;
    host.metric_becomes("roadstead_http_connections", 0.0).await;
    let mut client = Client::over(Connector::new(&authority).connect(&host, "a.test").await.unwrap());
    assert_eq!(client.get("/").await.status, 200);
}

/// The first message of a client, as it is on the wire.
fn hello(authority: &Authority) -> Vec<u8> {
    let name = "a.test".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Connector::new(authority).config(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_handshakes_are_under_way_and_the_next_waits() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |limits| limits.tls_handshakes_max = 2).await;
    host.bind("team/app", "a.test", "/", telling());
    let connect = || async { TcpStream::connect(host.tls_address()).await.unwrap() };
    // Who says nothing keeps nobody out, nor who is through.
    let _silent = [connect().await, connect().await, connect().await];
    let connector = Connector::new(&authority);
    let _through =
        [connector.connect(&host, "a.test").await.unwrap(), connector.connect(&host, "a.test").await.unwrap()];
    // Who has an answer and does not go on does.
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let mut socket = connect().await;
        socket.write_all(&hello(&authority)).await.unwrap();
        soon(socket.read_exact(&mut [0; 6])).await.unwrap();
        stalled.push(socket);
    }
    let mut next = connect().await;
    next.write_all(&hello(&authority)).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(300), next.readable()).await;
    assert!(silent.is_err(), "one more is answered");
    stalled.pop();
    soon(next.read_exact(&mut [0; 6])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_waits_for_its_place_within_its_time() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let none = |limits: &mut roadstead_config::Limits| {
        limits.tls_handshakes_max = 0;
        limits.tls_handshake_ms = 300;
    };
    let host = Host::with_tls(in_folder(folder.path()), none).await;
    Connector::new(&authority).connect(&host, "a.test").await.unwrap_err();
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"busy\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_in_many_records_is_read() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    let mut socket = TcpStream::connect(host.tls_address()).await.unwrap();
    for piece in hello(&authority)[5..].chunks(40) {
        let length = u8::try_from(piece.len()).unwrap();
        socket.write_all(&[&[22, 3, 1, 0, length], piece].concat()).await.unwrap();
    }
    let mut answer = [0; 6];
    soon(socket.read_exact(&mut answer)).await.unwrap();
    // A handshake record, whose message is the server's hello.
    assert_eq!((answer[0], answer[5]), (22, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn disturbed_handshakes_harm_nobody() {
    const ROUNDS: u64 = 300;
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |limits| limits.tls_handshake_ms = 500).await;
    host.bind("team/app", "a.test", "/", telling());
    let hello = hello(&authority);
    // Numerical Recipes' generator: the same bytes at each run.
    let mut state = 1_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..ROUNDS {
        let mut bytes = hello.clone();
        for _ in 0..=next(4) {
            let place = next(bytes.len());
            match next(3) {
                0 => bytes[place] = u8::try_from(next(256)).unwrap(),
                1 => bytes.truncate(place.max(1)),
                _ => bytes.extend_from_within(place..),
            }
        }
        let address = host.tls_address();
        clients.spawn(async move {
            let mut socket = TcpStream::connect(address).await.unwrap();
            // It may be turned away before it has sent or read all.
            let _ = socket.write_all(&bytes).await;
            let _ = soon(socket.read_to_end(&mut Vec::new())).await;
        });
    }
    clients.join_all().await;
    host.metric_becomes("roadstead_http_connections", 0.0).await;
    assert_eq!(host.metric_sum("roadstead_tls_handshakes_total"), ROUNDS as f64);
    let mut client = Client::over(Connector::new(&authority).connect(&host, "a.test").await.unwrap());
    assert_eq!(client.get("/").await.status, 200);
}

/// `handshake::PARTING_BYTES_MAX` and `handshake::PARTING_TIME`: what a client sends on is read for a while, so that the alert is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_gets_to_read_why() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    for (more, alert) in [(12 * 1024, true), (4 << 20, false)] {
        let mut socket = TcpStream::connect(host.tls_address()).await.unwrap();
        // Beyond the bound the socket is reset, while this is written or after it.
        let written = socket.write_all(&vec![b'x'; more]).await;
        let mut answer = Vec::new();
        let read = soon(socket.read_to_end(&mut answer)).await;
        assert_eq!(written.is_ok() && read.is_ok() && answer.len() == 7, alert, "{written:?} {read:?} {answer:?}");
    }
    let mut staying = TcpStream::connect(host.tls_address()).await.unwrap();
    staying.write_all(b"no TLS at all").await.unwrap();
    host.metric_becomes("roadstead_tls_handshakes_total{outcome=\"not-tls\"}", 3.0).await;
    host.metric_becomes("roadstead_http_connections", 0.0).await;
    drop(staying);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_over_both_addresses() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |limits| limits.connections_max = 2).await;
    host.bind("team/app", "a.test", "/", telling());
    let mut plain = Client::connect(&host).await;
    assert_eq!(plain.get("/").await.status, 200);
    let mut secure = Client::over(Connector::new(&authority).connect(&host, "a.test").await.unwrap());
    assert_eq!(secure.get("/").await.status, 200);
    Connector::new(&authority).connect(&host, "a.test").await.unwrap_err();
    assert!(Client::connect(&host).await.is_closed().await);
    drop(plain);
    host.metric_becomes("roadstead_http_connections", 1.0).await;
    Connector::new(&authority).connect(&host, "a.test").await.unwrap();
}

/// A client with little room of its own, so that the ingress cannot get rid of much.
async fn narrow(authority: &Authority, host: &Host) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let socket = socket.connect(host.tls_address()).await.unwrap();
    Client::over(Connector::new(authority).over(socket, "a.test").await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_reaches_its_reader_whole_though_nothing_follows() {
    const PIECE: usize = 16 << 20;
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let host = one_host(&authority, folder.path()).await;
    let (bodies, mut responses) = mpsc::channel::<mpsc::Sender<Piece>>(1);
    let answer = workload(move |_, _| {
        let (body, mut response) = streamed();
        // With a length the piece is not followed by the end of a chunk, which would push it on.
        response.headers_mut().insert("content-length", (PIECE + 1).into());
        bodies.try_send(body).unwrap();
        async { Ok(response) }
    });
    host.bind("team/stream", "stream.test", "/", answer);
    let mut client = narrow(&authority, &host).await;
    client.send("GET / HTTP/1.1\r\nHost: stream.test\r\n\r\n").await;
    let body = soon(responses.recv()).await.unwrap();
    body.send(data(vec![b'x'; PIECE])).await.unwrap();
    client.head().await;
    let mut got = Vec::new();
    assert!(client.take(PIECE, &mut got).await);
    body.send(data("y")).await.unwrap();
    assert!(client.take(1, &mut got).await);
    assert!(got.ends_with(b"xy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_dropped() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let host = Host::with_tls(in_folder(folder.path()), |limits| limits.write_stall_ms = 300).await;
    let (bodies, mut responses) = mpsc::channel::<mpsc::Sender<Piece>>(1);
    let answer = workload(move |_, _| {
        let (body, response) = streamed();
        bodies.try_send(body).unwrap();
        async { Ok(response) }
    });
    host.bind("team/app", "a.test", "/", answer);
    let mut client = narrow(&authority, &host).await;
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let body = soon(responses.recv()).await.unwrap();
    let endless = async { while body.send(data(vec![b'x'; 1 << 20])).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(60), endless).await.unwrap();
    host.metric_becomes("roadstead_http_connections", 0.0).await;
}

/// `tls_file_bytes_max`, `tls_certificates_max`, and `certificate::CHAIN_MAX` certificates of one chain.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_an_error_at_the_start_that_names_its_files() {
    let authority = Authority::new("authority");
    let (one, two) = (authority.issue(&["a.test"], "one"), authority.issue(&["a.test"], "two"));
    type Spoil<'a> = &'a dyn Fn(&std::path::Path);
    let write = |name: &'static str, text: String| move |folder: &std::path::Path| replace(&folder.join(name), &text);
    let endless = one.chain.repeat(17);
    let cases: [(&str, Spoil<'_>); 12] = [
        ("a.test.key is not that of the certificate in", &write("a.test.key", two.key.clone())),
        ("a.test.crt has no certificate (PEM)", &write("a.test.crt", one.key.clone())),
        ("a.test.key has no private key (PEM, not encrypted)", &write("a.test.key", one.chain.clone())),
        ("a.test.crt is not valid PEM: a section does not end", &write("a.test.crt", one.chain.replace("END", ""))),
        ("a.test.crt has more than 16 certificates", &write("a.test.crt", endless)),
        ("b.test.key cannot be read: No such file", &write("b.test.crt", two.chain.clone())),
        ("b.test.crt cannot be read: No such file", &write("b.test.key", two.key.clone())),
        ("A.Test.crt are for the same host", &write("A.Test.crt", two.chain.clone())),
        ("the name of", &write("*.a.test.crt", two.chain.clone())),
        ("more than 20000 bytes (tls_file_bytes_max)", &write("a.test.crt", one.chain.clone() + &" ".repeat(20_000))),
        ("more than 2 certificates (tls_certificates_max)", &|folder| {
            for name in ["b.test", "c.test"] {
                two.write(folder, name);
            }
        }),
        ("there is no certificate: ", &|folder| {
            fs::remove_file(folder.join("a.test.crt")).unwrap();
            fs::remove_file(folder.join("a.test.key")).unwrap();
        }),
    ];
    for (expected, spoil) in cases {
        let folder = tempfile::tempdir().unwrap();
        one.write(folder.path(), "a.test");
        spoil(folder.path());
        let small = |limits: &mut roadstead_config::Limits| {
            (limits.tls_file_bytes_max, limits.tls_certificates_max) = (20_000, 2);
        };
        let error = Host::tls_error(in_folder(folder.path()), small).await;
        let named = error.contains(expected) || (expected.starts_with("A.Test") && error.contains("same host"));
        assert!(named && error.contains(folder.path().to_str().unwrap()), "{expected}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_that_cannot_be_used_are_named_as_well() {
    let (authority, folder) = (Authority::new("authority"), tempfile::tempdir().unwrap());
    let (chain, key) = authority.issue(&["a.test"], "server").write(folder.path(), "a.test");
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let error = |files| Host::tls_error(files, |_| {});
    assert!(error(in_folder(&folder.path().join("missing"))).await.contains("missing cannot be read"));
    let default = Some(CertificateFiles { chain: pipe, key });
    assert!(error(TlsFiles { default, ..TlsFiles::default() }).await.contains("pipe is no regular file"));
    for (text, expected) in
        [("", "has no certificate"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no authority")]
    {
        let path = folder.path().join("clients.pem");
        fs::write(&path, text).unwrap();
        let files = TlsFiles { client_authorities: Some(path), ..in_folder(folder.path()) };
        let told = error(files).await;
        assert!(told.contains(expected) && told.contains("clients.pem"), "{told}");
    }
    // What is in a key's file stays there.
    let text = "-----BEGIN PRIVATE KEY-----\nSECRET\u{e9}\n-----END PRIVATE KEY-----\n";
    let secret = folder.path().join("a.test.key");
    for text in [text, &text.replace('\u{e9}', "SECRE"), "-----BEGIN PRIVATE KEY-----\nSECRET", "-----BEGIN SECRET"] {
        replace(&secret, text);
        let told = error(in_folder(folder.path())).await;
        assert!(told.contains("a.test.key") && !told.contains("SECRE"), "{told}");
    }
    drop(chain);
}
