//! From a socket to a TLS stream, within a deadline, and how it ended in a word. What is spoken inside is not known
//! here.

use std::{
    io,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use roadstead_config::{HostPattern, Limits};
use roadstead_metrics::Metrics;
use roadstead_runtime::HandlerError;
use rustls::{Error, PeerIncompatible, ProtocolVersion, server::Acceptor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    TlsError, TlsFiles,
    certificate::subject,
    files::Look,
    metrics::TlsMetrics,
    store::{Store, asked_for},
};
use crate::{
    clock,
    facts::{ClientSubject, TlsFacts},
    route::DynamicRouter,
};

/// The fatal alert `unrecognized_name` (RFC 6066, section 3), as a record.
const UNKNOWN_HOST: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// How long a client that was turned away has to read why.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// What is read meanwhile and thrown away.
const PARTING_BYTES_MAX: u64 = 16 * 1024;

/// Makes TLS connections out of sockets.
#[derive(Debug)]
pub(crate) struct TlsServer {
    pub(super) files: TlsFiles,
    pub(super) limits: Arc<Limits>,
    pub(super) store: ArcSwap<Store>,
    /// Whose turn it is to put another store in its place.
    pub(super) turn: Mutex<()>,
    pub(super) metrics: TlsMetrics,
    /// The handshakes that there may be more of.
    places: Semaphore,
}

impl TlsServer {
    /// Reads all files. The look is the one that they were read after.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    pub(super) fn new(
        files: TlsFiles,
        limits: Arc<Limits>,
        metrics: &Metrics,
        router: DynamicRouter,
    ) -> Result<(Self, Look), SetupError> {
        let look = Look::at(&files, &limits)?;
        let store = Store::new(&files, &look, &limits, router)?;
        let metrics = TlsMetrics::new(metrics)?;
        metrics.certificates(&store);
        let places = usize::try_from(limits.tls_handshakes_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (store, places) = (ArcSwap::from_pointee(store), Semaphore::new(places));
        Ok((Self { files, limits, store, turn: Mutex::new(()), metrics, places }, look))
    }

    /// When the certificate ends that clients of `host` are shown.
    pub(crate) fn expires(&self, host: &HostPattern) -> Option<SystemTime> {
        let name = match host {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Suffix(suffix) => format!("any.{suffix}").parse().ok(),
            HostPattern::Any => None,
        };
        let store = self.store.load();
        let expires_at_s = u64::try_from(store.certificates.choose(name.as_ref())?.expires_at_s).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(expires_at_s))
    }

    /// Does the handshake; `None` when it failed, which has been counted.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Option<(TlsStream<TcpStream>, TlsFacts)> {
        let deadline = clock::from_now(Duration::from_millis(self.limits.tls_handshake_ms));
        let failure = match timeout_at(deadline, self.shake_hands(socket, deadline)).await {
            Ok(Ok(connection)) => {
                self.metrics.handshake("ok");
                return Some(connection);
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure { outcome: "timeout", socket: None },
        };
        self.metrics.handshake(failure.outcome);
        if let Some(socket) = failure.socket {
            part(socket).await;
        }
        None
    }

    async fn shake_hands(
        &self,
        socket: TcpStream,
        deadline: Instant,
    ) -> Result<(TlsStream<TcpStream>, TlsFacts), Failure> {
        let mut acceptor = LazyConfigAcceptor::new(Acceptor::default(), socket);
        let mut hello = match (&mut acceptor).await {
            Ok(hello) => hello,
            Err(error) => return Err(Failure { outcome: outcome(&error), socket: acceptor.take_io() }),
        };
        // What costs memory and a signature begins here: who has said nothing yet keeps nobody out. Meanwhile the client
        // waits as it would for a slow host.
        let Ok(Ok(_place)) = timeout_at(deadline, self.places.acquire()).await else {
            return Err(Failure { outcome: "busy", socket: None });
        };
        // The one that this connection keeps, whatever is reloaded meanwhile.
        let store = self.store.load_full();
        let server_name = asked_for(&hello.client_hello());
        let Some(certificate) = store.certificates.choose(server_name.as_ref()).cloned() else {
            // The client is turned away either way; telling it why may fail.
            let _ = hello.io.write_all(&UNKNOWN_HOST).await;
            return Err(Failure { outcome: "unknown-host", socket: Some(hello.io) });
        };
        let stream = hello.into_stream(store.config.clone()).into_fallible().await;
        let stream = stream.map_err(|(error, socket)| Failure { outcome: outcome(&error), socket: Some(socket) })?;
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let client = store.knows_clients().then(|| {
            let subject = shown.and_then(subject);
            ClientSubject::new(subject.as_deref().unwrap_or_default())
        });
        let h2 = session.alpn_protocol() == Some(b"h2");
        let facts = TlsFacts { version, h2, server_name, certificate, client };
        Ok((stream, facts))
    }
}

/// A handshake that failed.
struct Failure {
    /// A label value.
    outcome: &'static str,
    /// To be closed in a way that lets the client read the alert.
    socket: Option<TcpStream>,
}

/// Closes a socket of which not all may have been read: closing it at once would reset it, and take back the alert.
async fn part(mut socket: TcpStream) {
    let waste = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(PARTING_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // The client is turned away either way.
    let _ = timeout(PARTING_TIME, waste).await;
}

/// Why the TLS address cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Metrics(#[from] roadstead_metrics::Error),
}

impl From<SetupError> for HandlerError {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::Tls(error) => Self::Setup(io::Error::other(error)),
            SetupError::Metrics(error) => Self::Metrics(error),
        }
    }
}

/// How a handshake failed: a label value.
fn outcome(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else { return "client-gone" };
    match error {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::PeerSentOversizedRecord => "not-tls",
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // TLS 1.2 brought it.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "version",
        Error::PeerIncompatible(_) => "incompatible",
        Error::NoApplicationProtocol => "protocol",
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => "client-certificate",
        Error::AlertReceived(_) => "client-refused",
        _ => "other",
    }
}
