//! How much a connection gathers, holds back and throws away, over real sockets.

use std::{future::poll_fn, time::Instant};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

use super::*;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection as the ingress has it, and its client.
async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let connection = Connection::new(Transport::Plain(socket), ConnectionFacts::plain(peer), &Limits::default());
    (connection.with_write_buffer(), client)
}

#[tokio::test]
async fn a_response_is_gathered_into_writes() {
    let (mut connection, mut client) = pair().await;
    connection.write_all(&vec![b'x'; WRITE_BUFFER_BYTES - 1]).await.unwrap();
    assert_eq!(connection.transport.buffer().len(), WRITE_BUFFER_BYTES - 1);
    // What does not fit any more makes room for itself.
    connection.write_all(b"yy").await.unwrap();
    assert_eq!(connection.transport.buffer(), b"yy");
    let mut got = vec![0; WRITE_BUFFER_BYTES - 1];
    timeout(PATIENCE, client.read_exact(&mut got)).await.unwrap().unwrap();
}

/// What the client's side of a connection takes unread is the kernel's to say; it is told to take little.
const CLIENT_BYTES: usize = 64 * 1024;

#[tokio::test]
async fn the_kernel_takes_little_for_a_client_that_does_not_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(CLIENT_BYTES.try_into().unwrap()).unwrap();
    let _client = client.connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let facts = ConnectionFacts::plain(peer);
    let mut connection = Connection::new(Transport::Plain(socket), facts, &Limits::default());
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), connection.write(&[b'x'; 16 * 1024])).await {
        taken += written.unwrap();
    }
    // The kernel doubles what a client asks for, and a write is not cut in two.
    let most = 2 * CLIENT_BYTES + UNSENT_BYTES_MAX as usize + 64 * 1024;
    assert!(taken >= UNSENT_BYTES_MAX as usize && taken <= most, "{taken} bytes");
}

#[tokio::test]
async fn what_a_client_sends_ahead_is_held_back_within_a_bound() {
    let (mut connection, mut client) = pair().await;
    connection.phase = Phase::Given;
    let sending = tokio::spawn(async move {
        client.write_all(&vec![b'x'; 4 * AHEAD_BYTES_MAX]).await.unwrap();
        client
    });
    timeout(PATIENCE, async {
        while connection.inbound.len() < AHEAD_BYTES_MAX {
            let mut buffer = [0; 16];
            let polled = poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut buffer);
                Poll::Ready(Pin::new(&mut connection).poll_read(cx, &mut buffer).is_pending())
            });
            assert!(polled.await, "the client has not left");
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    // It takes no more, though more is there.
    let _client = timeout(PATIENCE, sending).await.unwrap().unwrap();
    for _ in 0..100 {
        let mut buffer = [0; 16];
        let read = AsyncReadExt::read(&mut connection, &mut buffer);
        assert!(futures::poll!(std::pin::pin!(read)).is_pending());
    }
    assert!(connection.inbound.len() < AHEAD_BYTES_MAX + 1024, "{}", connection.inbound.len());
}

#[tokio::test]
async fn a_closing_connection_throws_away_so_much_and_no_more() {
    let (mut connection, mut client) = pair().await;
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while client.write_all(&[b'x'; 4096]).await.is_ok() {
            sent += 4096;
        }
        sent
    });
    timeout(PATIENCE, AsyncWriteExt::shutdown(&mut connection)).await.unwrap().unwrap();
    let linger = connection.linger.as_ref().unwrap();
    assert_eq!(linger.left, 0, "not all of {LINGER_BYTES_MAX} bytes within {LINGER_TIME:?}");
    drop(connection);
    let sent = timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert!(sent >= LINGER_BYTES_MAX, "{sent}");
}

#[tokio::test]
async fn a_closing_connection_waits_so_long_for_its_client() {
    let (mut connection, _client) = pair().await;
    let begun = Instant::now();
    timeout(PATIENCE, AsyncWriteExt::shutdown(&mut connection)).await.unwrap().unwrap();
    assert!(begun.elapsed() >= LINGER_TIME, "{:?}", begun.elapsed());
}
