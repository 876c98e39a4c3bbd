//! From the listening socket to connections, each with a task of its own: how many there may be, and what becomes of
//! one between its requests. It reads no request.

mod clients;
mod h2;
pub(crate) mod proxy_protocol;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora_core::{apps::HttpServerApp, protocols::http::ServerSession};
use pingora_proxy::HttpProxy;
use roadstead_config::{Limits, TrustedProxies};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use crate::{
    app::{Ingress, Record},
    facts::ConnectionFacts,
    io::{Connection, Next, Transport},
    lifecycle::Lifecycle,
    metrics::Metrics,
    resources::{self, Memory},
    respond::{Answer, Refusal},
    socket::{ACCEPT_PAUSE, Listener},
    tls::TlsServer,
};
use clients::ClientConnection;
pub(crate) use clients::Clients;

/// Time between two log lines about connections that cannot be accepted.
const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(1);

/// What every connection needs.
pub(crate) struct Serving {
    pub(crate) proxy: Arc<HttpProxy<Ingress>>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) proxies: TrustedProxies,
    /// Trusted proxies begin each connection with a PROXY header.
    pub(crate) proxy_protocol: bool,
    /// The connections that there may be more of, over all addresses.
    pub(crate) free: Arc<Semaphore>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) memory: Arc<Memory>,
}

/// Places for all connections that there may be.
pub(crate) fn places(limits: &Limits) -> Arc<Semaphore> {
    let permits = usize::try_from(resources::connections_max(limits)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    Arc::new(Semaphore::new(permits))
}

/// Why a connection is closed before it said anything; the text is the label of the metric.
enum Rejected {
    ProxyProtocol,
    ClientConnectionsMax,
}

impl Rejected {
    fn label(&self) -> &'static str {
        match self {
            Self::ProxyProtocol => "proxy-protocol",
            Self::ClientConnectionsMax => "connections-per-client-max",
        }
    }
}

/// Takes connections until the host drains; with `tls` they are encrypted.
pub(crate) async fn accept(listener: Listener, tls: Option<Arc<TlsServer>>, serving: Arc<Serving>) {
    let draining = &serving.lifecycle.draining;
    let mut logged: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.cancelled() => break,
            accepted = serving.memory.while_open(|| listener.accept()) => accepted,
        };
        match accepted {
            Ok((socket, peer)) => serving.begin(socket, peer, tls.as_ref()),
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_EVERY) {
                    logged = Some(Instant::now());
                    tracing::warn!(%error, "connections could not be accepted");
                }
                serving.metrics.refused.inc("accept-failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    listener.give_up(|socket, peer| serving.begin(socket, peer, tls.as_ref())).await;
}

impl Serving {
    /// Gives a connection its task, if there is room for it.
    fn begin(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr, tls: Option<&Arc<TlsServer>>) {
        self.metrics.accepted.inc();
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => {
                drop(self.lifecycle.connections.spawn(self.clone().run(socket, peer, tls.cloned(), permit)));
            }
            Err(_) => self.metrics.refused.inc("connections-max"),
        }
    }

    /// One connection, from its first byte to its close.
    async fn run(
        self: Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<TlsServer>>,
        permit: OwnedSemaphorePermit,
    ) {
        let _open = self.metrics.connections.hold(1);
        let _permit = permit;
        // Small responses must not wait for the client's acknowledgement; failure costs only that.
        let _ = socket.set_nodelay(true);
        tokio::select! {
            biased;
            () = self.lifecycle.cut.cancelled() => {}
            () = self.admit_and_serve(socket, peer, tls.as_deref()) => {}
        }
    }

    async fn admit_and_serve(&self, mut socket: TcpStream, peer: SocketAddr, tls: Option<&TlsServer>) {
        match self.admit(&mut socket, peer).await {
            Ok((client, _counted)) => self.serve(socket, client, tls).await,
            Err(rejected) => self.metrics.refused.inc(rejected.label()),
        }
    }

    /// Finds out who the client is, and whether it may have another connection. The connections of a trusted proxy are
    /// those of many clients.
    async fn admit(
        &self,
        socket: &mut TcpStream,
        peer: SocketAddr,
    ) -> Result<(SocketAddr, Option<ClientConnection>), Rejected> {
        let mut client = peer;
        if self.proxy_protocol && self.proxies.contains(peer.ip()) {
            let patience = Duration::from_millis(self.limits.header_timeout_ms);
            match timeout(patience, proxy_protocol::read(socket)).await {
                Ok(Ok(source)) => client = source.unwrap_or(peer),
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "a connection has no PROXY header");
                    return Err(Rejected::ProxyProtocol);
                }
                Err(_) => return Err(Rejected::ProxyProtocol),
            }
        }
        if self.proxies.contains(client.ip()) {
            return Ok((client, None));
        }
        let counted = self.clients.enter(client.ip()).ok_or(Rejected::ClientConnectionsMax)?;
        Ok((client, Some(counted)))
    }

    async fn serve(&self, socket: TcpStream, client: SocketAddr, tls: Option<&TlsServer>) {
        let mut facts = ConnectionFacts::plain(client);
        let transport = match tls {
            None => Transport::Plain(socket),
            Some(tls) => {
                let Some((stream, known)) = Box::pin(tls.accept(socket)).await else { return };
                facts.tls = Some(known);
                Transport::Tls(Box::new(stream))
            }
        };
        let mut connection = Box::new(Connection::new(transport, facts, &self.limits));
        let shutdown = self.lifecycle.shutdown.subscribe();
        let mut requests_left = u32::try_from(self.limits.requests_per_connection_max).unwrap_or(u32::MAX);
        let mut first = true;
        loop {
            match connection.next(first, &self.limits, &self.lifecycle.draining).await {
                Next::Closed => return connection.say_goodbye().await,
                Next::Refused(refusal) => return self.refuse(&mut connection, &refusal).await,
                Next::H2 => {
                    let connection = Box::new(connection.with_write_buffer());
                    return Box::pin(h2::serve(self.proxy.clone(), connection, &self.limits, shutdown)).await;
                }
                Next::H1 if first => connection = Box::new(connection.with_write_buffer()),
                Next::H1 => {}
            }
            first = false;
            requests_left = requests_left.saturating_sub(1);
            let mut session = ServerSession::new_http1(connection);
            session.set_keepalive_reuses_remaining(Some(requests_left));
            // The head is there already: a timer would be for nothing.
            session.set_read_timeout(None);
            // Boxed, so that a connection without a request does not carry the room for one.
            let Some(reused) = Box::pin(self.proxy.process_new_http(session, &shutdown)).await else { return };
            // The rest of what pingora keeps between requests is ours: it is in the connection.
            let (stream, _) = reused.consume();
            let Ok(same) = stream.into_any().downcast::<Connection>() else { return };
            connection = same;
        }
    }

    /// Answers what pingora must not see.
    async fn refuse(&self, connection: &mut Connection, refusal: &Refusal) {
        let answer = Answer::from(refusal);
        Record::of_refused_head(&self.metrics, Some(connection.peer()), &answer);
        let stall = Duration::from_millis(self.limits.write_stall_ms);
        // The client is going to be cut off; whether it still reads why is its own affair.
        let _ = timeout(stall, connection.close_with(answer.to_closing_message().as_bytes())).await;
    }
}

/// Runs `on_drop` when it goes out of scope, also when the task is dropped or panics.
fn scopeguard<F: FnMut()>(on_drop: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(on_drop)
}
