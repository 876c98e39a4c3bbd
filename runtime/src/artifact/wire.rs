//! One HTTP request to a registry, on a connection of its own: addresses that were looked at before they are dialled,
//! TLS by rustls, and a bound on every wait. Knows nothing of images, credentials or redirections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;
use url::Url;

use super::{
    PullError,
    address::{Nearness, nearness},
};

/// Time for one connection, with the handshake of TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Time without anything from a peer that should send.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of the head of an answer.
const HEAD_BYTES_MAX: usize = 65_536;
/// Fields of the head of an answer.
const HEAD_FIELDS_MAX: usize = 100;
/// What the host calls itself.
const USER_AGENT: &str = concat!("roadstead/", env!("CARGO_PKG_VERSION"));

/// How registries are reached.
#[derive(Clone)]
pub(super) struct Wire {
    tls: TlsConnector,
}

/// An answer whose body is still to be read.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Where it came from.
    pub(super) nearness: Nearness,
}

/// A body, and the connection that it comes over.
pub(super) struct Body {
    host: String,
    incoming: Incoming,
    connection: JoinHandle<()>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Body {
    /// The next piece; `None` at the end. `after` bytes have come before.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PullError> {
        loop {
            let frame = match timeout(STALL_TIMEOUT, self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(of_hyper(&self.host, &error)),
                Ok(None) => return Ok(None),
                Err(_) => return Err(PullError::Stalled { host: self.host.clone(), after: STALL_TIMEOUT }),
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// The whole body, called `what` in errors.
    pub(super) async fn whole(mut self, what: &'static str, max: u64) -> Result<Vec<u8>, PullError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if (whole.len() + piece.len()) as u64 > max {
                return Err(PullError::AnswerTooLarge { host: self.host.clone(), what, max });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }
}

impl Wire {
    /// Trusts the authorities of the system, and those in the file `more`. Reads files.
    pub(super) fn new(more: Option<&Path>) -> Result<Self, PullError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if let Some(path) = more {
            let unreadable = |error: String| PullError::Authorities(format!("{}: {error}", path.display()));
            let before = roots.len();
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))? {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(unreadable("there is no certificate in it".into()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| PullError::Internal(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends a request. Where `led_by` says how near the one is who named this URL, an address nearer than that is not
    /// dialled.
    pub(super) async fn send(
        &self,
        url: &Url,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
        led_by: Option<Nearness>,
    ) -> Result<Reply, PullError> {
        let host = shown(url);
        let (socket, nearness) = connect(url, &host, led_by).await?;
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let internal = |error: &dyn std::fmt::Display| PullError::Internal(error.to_string());
        let value = |text: &str| http::HeaderValue::from_str(text).map_err(|error| internal(&error));
        headers.insert(header::HOST, value(&host)?);
        headers.insert(header::USER_AGENT, value(USER_AGENT)?);
        headers.insert(header::ACCEPT_ENCODING, value("identity")?);
        let mut request =
            Request::builder().method(method).uri(target).body(Full::new(body)).map_err(|error| internal(&error))?;
        *request.headers_mut() = headers;
        let (response, connection) = if url.scheme() == "https" {
            let socket = self.secure(url, &host, socket).await?;
            exchange(&host, TokioIo::new(socket), request).await?
        } else {
            exchange(&host, TokioIo::new(socket), request).await?
        };
        let (parts, incoming) = response.into_parts();
        let body = Body { host, incoming, connection };
        Ok(Reply { status: parts.status, headers: parts.headers, body, nearness })
    }

    async fn secure(
        &self,
        url: &Url,
        host: &str,
        socket: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, PullError> {
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = |detail: &dyn std::fmt::Display| PullError::Tls { host: host.to_owned(), detail: detail.to_string() };
        let name = ServerName::try_from(name).map_err(|error| tls(&error))?;
        match timeout(CONNECT_TIMEOUT, self.tls.connect(name, socket)).await {
            Ok(Ok(socket)) => Ok(socket),
            Ok(Err(error)) => Err(of_handshake(host, error)),
            Err(_) => Err(PullError::Stalled { host: host.to_owned(), after: CONNECT_TIMEOUT }),
        }
    }
}

/// The host of a URL with its port, as errors and the `Host` header have it.
pub(super) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn connect(url: &Url, host: &str, led_by: Option<Nearness>) -> Result<(TcpStream, Nearness), PullError> {
    let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or_default();
    let addresses: Vec<SocketAddr> = match name.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => {
            let failed = |source| PullError::Resolve { host: host.to_owned(), source };
            let looked_up = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((name, port))).await;
            let found = looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
            found.take(ADDRESSES_MAX).collect()
        }
    };
    let mut error = None;
    for address in addresses {
        match connect_to(address, host, led_by).await {
            Ok(connected) => return Ok(connected),
            Err(failed) => error = error.or(Some(failed)),
        }
    }
    let nothing = || PullError::Resolve { host: host.to_owned(), source: io::ErrorKind::NotFound.into() };
    Err(error.unwrap_or_else(nothing))
}

async fn connect_to(
    address: SocketAddr,
    host: &str,
    led_by: Option<Nearness>,
) -> Result<(TcpStream, Nearness), PullError> {
    let refused = |why| PullError::Address { host: host.to_owned(), address: address.ip(), why };
    let nearness = nearness(address.ip()).map_err(refused)?;
    if led_by.is_some_and(|leader| nearness > leader) {
        return Err(PullError::LedInside { host: host.to_owned(), address: address.ip() });
    }
    let failed = |source| PullError::Connection { host: host.to_owned(), source };
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let socket = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(failed)?;
    let _ = socket.set_nodelay(true);
    Ok((socket, nearness))
}

async fn exchange(
    host: &str,
    socket: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(http::Response<Incoming>, JoinHandle<()>), PullError> {
    let failed = |error: &hyper::Error| of_hyper(host, error);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEAD_FIELDS_MAX);
    let (mut sender, connection) = builder.handshake(socket).await.map_err(|error| failed(&error))?;
    // What goes wrong on it is said by the request, too.
    let connection = AbortOnDrop(Some(tokio::spawn(async move {
        let _ = connection.await;
    })));
    // A request with a large body, of which every piece is taken, has longer than one without.
    let patience = STALL_TIMEOUT
        .max(Duration::from_millis(hyper::body::Body::size_hint(request.body()).lower() / SENT_BYTES_PER_MS_LEAST));
    match timeout(patience, sender.send_request(request)).await {
        Ok(response) => Ok((response.map_err(|error| failed(&error))?, connection.keep())),
        Err(_) => Err(PullError::Stalled { host: host.to_owned(), after: patience }),
    }
}

/// The slowest way to a registry over which something is sent, in bytes for each millisecond.
const SENT_BYTES_PER_MS_LEAST: u64 = 100;

struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    fn keep(mut self) -> JoinHandle<()> {
        self.0.take().unwrap_or_else(|| tokio::spawn(async {}))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn of_hyper(host: &str, error: &hyper::Error) -> PullError {
    let host = host.to_owned();
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let of_socket = causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).next();
    match of_socket {
        Some(cause) => PullError::Connection { host, source: io::Error::new(cause.kind(), cause.to_string()) },
        None if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            PullError::Connection { host, source: io::ErrorKind::UnexpectedEof.into() }
        }
        // Its text names what is wrong and repeats nothing of what came.
        None => PullError::Http { host, detail: error.to_string() },
    }
}

fn of_handshake(host: &str, error: io::Error) -> PullError {
    let host = host.to_owned();
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidMessage(_)) => PullError::NotTls { host },
        Some(detail) => PullError::Tls { host, detail: detail.to_string() },
        None => PullError::Connection { host, source: error },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_led_nearer_than_who_leads() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = Url::parse(&format!("http://localhost:{}/", address.port())).unwrap();
        for leader in [Nearness::Public, Nearness::Private] {
            let led = connect(&url, "localhost", Some(leader)).await.map(drop).unwrap_err();
            assert!(matches!(led, PullError::LedInside { .. }), "{led}");
        }
        let (_, nearness) = connect_to(address, "localhost", Some(Nearness::Loopback)).await.unwrap();
        assert_eq!(nearness, Nearness::Loopback);
        let metadata = connect_to("[::ffff:169.254.169.254]:80".parse().unwrap(), "x", None).await.map(drop);
        assert!(matches!(metadata, Err(PullError::Address { .. })));
    }

    /// [`CONNECT_TIMEOUT`] also bounds the handshake.
    #[tokio::test]
    async fn a_peer_that_takes_connections_and_says_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
        let ended = Wire::new(None).unwrap().send(&url, Method::GET, HeaderMap::new(), Bytes::new(), None).await;
        assert!(matches!(ended, Err(PullError::Stalled { after: CONNECT_TIMEOUT, .. })));
    }
}
