//! Bytes through a real socket, the host's gate and pingora's own reading of requests: what pingora reads is what
//! somebody reads who has all bytes at once.

use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::cut;
use crate::{
    facts::ConnectionFacts,
    io::{
        Connection, Next, Transport,
        reference::{Told, limits, pieces, sorted, told},
    },
};

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

/// Three bytes that say where to cut, then all that a client sends on a connection.
///
/// # Panics
/// When pingora reads another request than the bytes are, or more or fewer of them.
pub fn connection(data: &[u8]) {
    let Some((lengths, bytes)) = cut(data) else { return };
    let (read, ended) = RUNTIME.with(|runtime| runtime.block_on(read(bytes, &lengths)));
    let expected = told(bytes, &limits());
    assert!(read.len() <= expected.len(), "{read:?} of {expected:?}");
    assert!(ended || read.len() == expected.len(), "{read:?} of {expected:?}");
    for (read, expected) in read.iter().zip(&expected) {
        if read.whole {
            assert_eq!(read, expected);
        } else {
            assert_eq!(
                (&read.method, &read.target, &read.headers),
                (&expected.method, &expected.target, &expected.headers)
            );
            assert!(!expected.whole && expected.body.starts_with(&read.body), "{read:?} of {expected:?}");
        }
    }
}

/// The requests that pingora reads, and whether it had enough of the connection before the client.
async fn read(bytes: &[u8], lengths: &[usize]) -> (Vec<Told>, bool) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    // Many connections in a short time: their ports are not to be kept from the next ones.
    client.set_zero_linger().unwrap();
    let limits = limits();
    let mut connection = Box::new(Connection::new(Transport::Plain(socket), ConnectionFacts::plain(peer), &limits));
    let sending = async {
        for piece in pieces(bytes, lengths) {
            // The host may have had enough.
            let _ = client.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
    };
    let reading = async {
        let mut requests = Vec::new();
        while let Next::H1 = connection.next(requests.is_empty(), &limits, &CancellationToken::new()).await {
            let mut session = ServerSession::new_http1(connection);
            // What only pingora refuses ends the connection.
            let Ok(true) = session.read_request().await else { return (requests, true) };
            let mut request = seen(&session);
            let body = loop {
                match session.read_request_body().await {
                    Ok(Some(more)) => request.body.extend_from_slice(&more),
                    other => break other,
                }
            };
            request.whole = body.is_ok();
            requests.push(request);
            if body.is_err() {
                return (requests, true);
            }
            let mut response = ResponseHeader::build(204, None).unwrap();
            response.insert_header("x", "y").unwrap();
            let _ = session.write_response_header(Box::new(response)).await;
            let Ok(Some(reused)) = session.finish().await else { return (requests, true) };
            let (stream, _) = reused.into_parts();
            let Ok(same) = stream.into_any().downcast::<Connection>() else { panic!("pingora has another stream") };
            connection = same;
        }
        (requests, false)
    };
    let ((), read) = tokio::join!(sending, reading);
    read
}

/// A request as pingora has it, without its body.
fn seen(session: &ServerSession) -> Told {
    let head = session.req_header();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
    Told {
        method: head.method.to_string(),
        target: head.raw_path().to_vec(),
        headers: sorted(head.headers.iter().map(header)),
        body: Vec::new(),
        whole: false,
    }
}
