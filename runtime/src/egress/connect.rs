//! How a connection comes to be: the name is resolved once, each address is checked, and one of those that passed is
//! dialled, so that what was checked and what is reached cannot be two things. Knows nothing of requests.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use roadstead_config::{HostName, TargetHost, TargetScheme};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::client::TlsStream;
use tokio_util::{either::Either, task::AbortOnDropHandle};

use super::{
    EgressError, WorkloadEgress,
    pool::{Key, Place, STREAMS_MAX, Sender},
};

/// Addresses of one name that are dialled.
pub(super) const ADDRESSES_MAX: usize = 4;
/// Addresses of one name that are looked at.
pub(super) const ADDRESSES_CHECKED_MAX: usize = 64;
/// Headers of a response.
pub(super) const HEADERS_MAX: usize = 128;
/// The least that hyper takes as the size of a head.
const HEAD_BYTES_LEAST: usize = 8_192;
/// What a server may send of one response before it is read, over HTTP/2.
const STREAM_WINDOW_BYTES_MAX: u32 = 262_144;
/// The same of all responses of one connection.
const CONNECTION_WINDOW_BYTES_MAX: u32 = 1_048_576;
/// What waits to be sent of one request, over HTTP/2.
const SEND_BUFFER_BYTES_MAX: usize = 65_536;

/// Makes a connection to `key` in `place`, until `by`.
pub(super) async fn connect(
    egress: Arc<WorkloadEgress>,
    key: Key,
    place: Place,
    by: Instant,
) -> Result<Sender, EgressError> {
    if by <= Instant::now() {
        return Err(EgressError::ConnectTimeout);
    }
    let addresses = addresses(&egress, &key, by).await?;
    let socket = dial(&addresses, key.target.port(), by).await?;
    let _ = socket.set_nodelay(true);
    let (io, http2) = match key.target.scheme() {
        TargetScheme::Http => (Either::Left(socket), false),
        TargetScheme::Https => {
            let socket = secure(&egress, key.target.host(), socket, by).await?;
            let http2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
            (Either::Right(Box::new(socket)), http2)
        }
    };
    let head_bytes_max = egress.pool.bounds().head_bytes_max;
    let shaken = shake(TokioIo::new(Socket { io, _place: place }), http2, head_bytes_max);
    timeout_at(by, shaken).await.map_err(|_| EgressError::ConnectTimeout)?
}

/// The addresses that may be dialled, in the resolver's order.
pub(super) async fn addresses(egress: &WorkloadEgress, key: &Key, by: Instant) -> Result<Vec<IpAddr>, EgressError> {
    let check = |address: &IpAddr| egress.host.networks.check(*address, key.loopback);
    let name = match key.target.host() {
        TargetHost::Address(address) => {
            check(address)?;
            return Ok(vec![*address]);
        }
        TargetHost::Name(name) => name,
    };
    let found = timeout_at(by, look_up(egress, name)).await.map_err(|_| EgressError::DnsTimeout)?;
    let mut found = found.map_err(EgressError::Dns)?;
    found.truncate(ADDRESSES_CHECKED_MAX);
    let (mut allowed, mut prohibited) = (Vec::new(), None);
    for address in found {
        match check(&address) {
            Ok(()) => allowed.push(address),
            Err(error) => prohibited = prohibited.or(Some(error)),
        }
    }
    match (allowed.is_empty(), prohibited) {
        (false, _) => Ok(allowed),
        (true, Some(error)) => Err(error.into()),
        (true, None) => Err(EgressError::NoAddress),
    }
}

async fn look_up(egress: &WorkloadEgress, name: &HostName) -> io::Result<Vec<IpAddr>> {
    let closed = |_| io::Error::other("the host stops");
    let _of_workload = egress.lookups.acquire().await.map_err(closed)?;
    let of_host = egress.host.lookups.clone().acquire_owned().await.map_err(closed)?;
    let (resolver, name) = (egress.host.resolver.clone(), name.as_str().to_owned());
    // A resolver that keeps a thread is not free before it is done, whoever still waits for it.
    let asked = tokio::spawn(async move {
        let found = resolver.resolve(&name).await;
        drop(of_host);
        found
    });
    asked.await.unwrap_or_else(|_| Err(io::Error::other("the resolver failed")))
}

async fn dial(addresses: &[IpAddr], port: u16, by: Instant) -> Result<TcpStream, EgressError> {
    let dialled = addresses.iter().take(ADDRESSES_MAX);
    let mut left = u32::try_from(dialled.len()).unwrap_or(1);
    let mut error = None;
    for address in dialled {
        // Each of those that are left has the same time.
        let share = by.saturating_duration_since(Instant::now()).checked_div(left).unwrap_or(Duration::ZERO);
        left = left.saturating_sub(1);
        let connected = timeout_at(Instant::now() + share, TcpStream::connect(SocketAddr::new(*address, port))).await;
        let failed = match connected {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(failed)) => EgressError::of_connect(failed),
            Err(_) => EgressError::ConnectTimeout,
        };
        error = error.or(Some(failed));
    }
    Err(error.unwrap_or(EgressError::NoAddress))
}

async fn secure(
    egress: &WorkloadEgress,
    host: &TargetHost,
    socket: TcpStream,
    by: Instant,
) -> Result<TlsStream<TcpStream>, EgressError> {
    let name = match host {
        TargetHost::Address(address) => ServerName::from(*address),
        TargetHost::Name(name) => {
            ServerName::try_from(name.as_str().to_owned()).map_err(|error| EgressError::Tls(io::Error::other(error)))?
        }
    };
    match timeout_at(by, egress.tls.connect(name, socket)).await {
        Ok(shaken) => shaken.map_err(EgressError::of_handshake),
        Err(_) => Err(EgressError::ConnectTimeout),
    }
}

type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

async fn shake(io: TokioIo<Socket>, http2: bool, head_bytes_max: usize) -> Result<Sender, EgressError> {
    let failed = |error: hyper::Error| EgressError::of_hyper(&error, head_bytes_max);
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES_MAX)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES_MAX)
            .initial_max_send_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        // What goes wrong with a connection is said by its requests, too.
        let task = tokio::spawn(async move { drop(connection.await) });
        return Ok(Sender::Http2(sender, Arc::new(AbortOnDropHandle::new(task))));
    }
    let mut builder = http1::Builder::new();
    builder.max_buf_size(head_bytes_max.max(HEAD_BYTES_LEAST)).max_headers(HEADERS_MAX);
    let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok(Sender::Http1(sender, AbortOnDropHandle::new(task)))
}

/// A socket that keeps its place among the workload's connections until it is closed.
struct Socket {
    io: Stream,
    _place: Place,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
