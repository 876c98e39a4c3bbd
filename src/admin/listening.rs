//! Takes connections for the admin listener, over TCP and over the unix socket, each with its own bounds, so that a crowd
//! at one does not keep an operator from the other. What is answered is not known here.

use std::{
    convert::Infallible,
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};

use super::{AdminState, access::Way, routes};

/// Connections at a time, at each of the two; a scraper needs one.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Time that a client has to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a connection is kept in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// Time between two log lines about connections that cannot be accepted.
const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(1);

/// What clients may take of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) header_timeout: Duration,
    pub(super) connection_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            header_timeout: HEADER_TIMEOUT,
            connection_timeout: CONNECTION_TIMEOUT,
        }
    }
}

/// Answers whoever connects over TCP.
pub(super) async fn accept_tcp(listener: TcpListener, state: Arc<AdminState>, bounds: Bounds) {
    let way = match listener.local_addr() {
        Ok(address) => Way::Tcp(address.ip()),
        // Nobody is let in by a name then but that of the loopback.
        Err(_) => Way::Tcp(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    accept(async || listener.accept().await.map(|(stream, _)| stream), way, state, bounds).await;
}

/// Answers whoever connects to the unix socket.
pub(super) async fn accept_unix(listener: UnixListener, state: Arc<AdminState>, bounds: Bounds) {
    accept(async || listener.accept().await.map(|(stream, _)| stream), Way::Socket, state, bounds).await;
}

async fn accept<S, F>(mut next: impl FnMut() -> F, way: Way, state: Arc<AdminState>, bounds: Bounds)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>>,
{
    let mut logged: Option<Instant> = None;
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match next().await {
            Ok(stream) => {
                let state = state.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(bounds.connection_timeout, serve(stream, way, state, bounds)).await;
                    drop(place);
                });
            }
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_EVERY) {
                    logged = Some(Instant::now());
                    tracing::warn!(%error, "the admin listener cannot accept connections");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve<S>(stream: S, way: Way, state: Arc<AdminState>, bounds: Bounds)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(routes::answer(&state, way, request, bounds.header_timeout).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an admin connection ended");
    }
}
