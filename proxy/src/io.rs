//! One client connection as pingora sees it: a stream that gives out one request at a time, cut exactly at its end,
//! and that does not wait for ever. It knows bytes and deadlines, neither routes nor workloads.

mod framing;
mod gate;
mod head;
#[cfg(any(test, fuzzing))]
pub(crate) mod reference;
mod transport;

use std::{
    io,
    net::IpAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType, l4::socket::SocketAddr, raw_connect::ProxyDigest,
};
use roadstead_config::Limits;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf},
    time::{Sleep, sleep, timeout},
};

use crate::{clock, facts::ConnectionFacts};
use framing::Framing;
pub(crate) use gate::Next;
use gate::Protocols;
pub(crate) use transport::Transport;

/// Response bytes that are gathered into one write.
const WRITE_BUFFER_BYTES: usize = 8 * 1024;
/// Response bytes that the kernel takes for a client beyond what the client lets it send. What it takes counts as
/// written: with megabytes of it a client that reads nothing would cost as much memory, and stall late.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Bytes of later requests that are held back while one is answered.
const AHEAD_BYTES_MAX: usize = 16 * 1024;
/// What a closing connection still reads and throws away, so that the client gets to read its answer: closing a
/// socket with unread bytes resets it.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// How long a closing connection reads on.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A client's connection, over a socket or TLS on one.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: BufWriter<Transport>,
    protocols: Protocols,
    /// Bytes read from the socket that pingora has not seen.
    inbound: BytesMut,
    phase: Phase,
    write_stall: Duration,
    /// Runs while a write waits for the client.
    stall: Option<Pin<Box<Sleep>>>,
    stalled: bool,
    /// Bounds the wait for a request. It is kept between two: to move a timer on costs less than to make one.
    patience: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
    peer: IpAddr,
    digest: Arc<SocketDigest>,
    facts: Option<Arc<ProxyDigest>>,
}

#[derive(Debug)]
enum Phase {
    /// Between two requests: nothing is for pingora.
    Gate,
    /// This much of the head is still to be given out.
    Head { left: usize, body: Framing },
    /// The body is being given out.
    Body(Framing),
    /// The body broke its framing: no byte more.
    Broken,
    /// The request has been given out whole; a read tells only whether the client is still there.
    Given,
    /// HTTP/2: everything is for pingora.
    Whole,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Connection {
    /// Takes an accepted client, of whom `facts` are known.
    pub(crate) fn new(transport: Transport, facts: ConnectionFacts, limits: &Limits) -> Self {
        let socket = transport.socket();
        // Failure means that the kernel takes as much as it would for anybody.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
        // It is new, so it has none yet.
        let _ = digest.peer_addr.set(Some(SocketAddr::Inet(facts.peer.socket)));
        Self {
            transport: BufWriter::with_capacity(0, transport),
            protocols: Protocols::of(&facts),
            inbound: BytesMut::new(),
            phase: Phase::Gate,
            write_stall: Duration::from_millis(limits.write_stall_ms),
            stall: None,
            stalled: false,
            patience: None,
            linger: None,
            peer: facts.peer.address,
            digest: Arc::new(digest),
            facts: facts.into_digest(),
        }
    }

    /// The same with a buffer for a response's writes, for whom there may be one: until its first request is there, a
    /// connection costs the host as little as it can.
    pub(crate) fn with_write_buffer(self) -> Self {
        let transport = BufWriter::with_capacity(WRITE_BUFFER_BYTES, self.transport.into_inner());
        Self { transport, ..self }
    }

    /// The address of the other end.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether the body under way broke its framing, which is why reading it failed.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.phase, Phase::Broken)
    }

    /// Makes the closing of the connection a reset: for a response that would otherwise look complete.
    pub(crate) fn reset_on_close(&self) {
        // Failure means that the socket is gone already.
        let _ = self.transport.get_ref().socket().set_zero_linger();
    }

    /// Writes what the connection ends with, and closes it.
    pub(crate) async fn close_with(&mut self, message: &[u8]) -> io::Result<()> {
        self.write_all(message).await?;
        AsyncWriteExt::shutdown(self).await
    }

    /// Ends a connection on which nothing is under way: TLS says so, so that it is no truncation.
    pub(crate) async fn say_goodbye(&mut self) {
        // The connection is given up either way.
        let _ = timeout(LINGER_TIME, self.transport.shutdown()).await;
    }

    /// Reads from the socket. When nothing is there, nobody is about to write either, so what was gathered goes out.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(self.transport.get_mut()).poll_read(cx, buffer);
        let unsent = !self.transport.buffer().is_empty() || self.transport.get_ref().holds_back();
        if read.is_pending() && unsent {
            let flushed = Pin::new(&mut self.transport).poll_flush(cx);
            if let Poll::Ready(Err(error)) = self.bounded(cx, flushed) {
                return Poll::Ready(Err(error));
            }
        }
        read
    }

    /// Body bytes: those read already, or else straight from the socket with the excess kept back.
    fn poll_body(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let from_inbound = !self.inbound.is_empty();
        if !from_inbound {
            ready!(self.poll_socket(cx, buffer))?;
        }
        let Phase::Body(framing) = &mut self.phase else { return Poll::Ready(Ok(())) };
        let source = match from_inbound {
            true => self.inbound.get(..buffer.remaining().min(self.inbound.len())).unwrap_or_default(),
            false => buffer.filled().get(before..).unwrap_or_default(),
        };
        let Ok(taken) = framing.take(source) else {
            self.phase = Phase::Broken;
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData)));
        };
        if from_inbound {
            buffer.put_slice(self.inbound.get(..taken).unwrap_or_default());
            self.inbound.advance(taken);
        } else {
            self.inbound.extend_from_slice(buffer.filled().get(before + taken..).unwrap_or_default());
            buffer.set_filled(before + taken);
        }
        if framing.is_done() {
            self.phase = Phase::Given;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the client to leave, keeping what it sends meanwhile for later.
    fn poll_departure(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.inbound.len() < AHEAD_BYTES_MAX {
            let mut ahead = [0; 1024];
            let mut ahead = ReadBuf::new(&mut ahead);
            ready!(self.poll_socket(cx, &mut ahead))?;
            if ahead.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.inbound.extend_from_slice(ahead.filled());
        }
        // A client that is that far ahead is not watched; its next request is read when this one has been answered.
        Poll::Pending
    }

    /// Puts the write stall limit on what a write came to.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        let limit = self.write_stall;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.stalled {
            stall.as_mut().reset(clock::from_now(limit));
            self.stalled = true;
        }
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::from(io::ErrorKind::TimedOut)))
    }

    /// Reads and throws away what is left of a request, within bounds.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let linger =
            self.linger.get_or_insert_with(|| Linger { until: Box::pin(sleep(LINGER_TIME)), left: LINGER_BYTES_MAX });
        while linger.left > 0 {
            let mut waste = [0; 4096];
            let mut waste = ReadBuf::new(&mut waste);
            match Pin::new(self.transport.get_mut()).poll_read(cx, &mut waste) {
                Poll::Ready(Ok(())) if !waste.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(waste.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.until.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match &mut this.phase {
            Phase::Gate => Poll::Ready(Err(io::Error::from(io::ErrorKind::NotConnected))),
            Phase::Broken => Poll::Ready(Err(io::Error::from(io::ErrorKind::InvalidData))),
            Phase::Given => this.poll_departure(cx),
            Phase::Body(_) => this.poll_body(cx, buffer),
            Phase::Head { left, body } => {
                let here = buffer.remaining().min(*left).min(this.inbound.len());
                buffer.put_slice(this.inbound.get(..here).unwrap_or_default());
                this.inbound.advance(here);
                *left -= here;
                if *left == 0 {
                    let body = std::mem::replace(body, Framing::NONE);
                    this.phase = if body.is_done() { Phase::Given } else { Phase::Body(body) };
                }
                Poll::Ready(Ok(()))
            }
            Phase::Whole if this.inbound.is_empty() => this.poll_socket(cx, buffer),
            Phase::Whole => {
                let here = buffer.remaining().min(this.inbound.len());
                buffer.put_slice(this.inbound.get(..here).unwrap_or_default());
                this.inbound.advance(here);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.transport).poll_write(cx, bytes);
        this.bounded(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        this.bounded(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            let closed = Pin::new(&mut this.transport).poll_shutdown(cx);
            ready!(this.bounded(cx, closed))?;
        }
        match this.phase {
            Phase::Given | Phase::Whole => Poll::Ready(Ok(())),
            _ => this.poll_linger(cx).map(Ok),
        }
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        // The connection is given up either way.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.transport.get_ref().socket().as_raw_fd()
    }
}

impl Ssl for Connection {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        matches!(self.phase, Phase::Whole).then_some(ALPN::H2)
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.facts.clone()
    }
}

impl Peek for Connection {}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
