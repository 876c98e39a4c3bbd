//! What is known of a connection before its first request and stays so while it lives: kept with the connection, and
//! found again from each of its requests. It reads no request.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderValue;

use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use roadstead_config::HostName;
use roadstead_runtime::LogText;

use crate::tls::Certificate;

/// Longest subject of a client's certificate that is kept, in bytes.
const SUBJECT_BYTES_MAX: usize = 512;

/// A connection, as far as it is the same for all its requests.
#[derive(Debug)]
pub(crate) struct ConnectionFacts {
    pub(crate) peer: Peer,
    /// What the handshake came to; `None` without TLS.
    pub(crate) tls: Option<TlsFacts>,
}

/// The other end of a connection: who connected, or whom a PROXY header speaks for.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) socket: SocketAddr,
    /// Without the form that IPv4 addresses have on a socket of IPv6.
    pub(crate) address: IpAddr,
    /// The same as `x-forwarded-for` says it, made once for all requests of the connection.
    pub(crate) text: HeaderValue,
}

impl Peer {
    pub(crate) fn new(socket: SocketAddr) -> Self {
        let address = socket.ip().to_canonical();
        Self { socket, address, text: address_value(address) }
    }
}

/// An address as a header has it.
pub(crate) fn address_value(address: IpAddr) -> HeaderValue {
    // It cannot fail: an address is written in ASCII.
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// What a TLS handshake came to.
#[derive(Debug)]
pub(crate) struct TlsFacts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// Whether the connection speaks HTTP/2; otherwise it speaks HTTP/1.1.
    pub(crate) h2: bool,
    /// The host that the client named (SNI).
    pub(crate) server_name: Option<HostName>,
    /// What the client was shown.
    pub(crate) certificate: Arc<Certificate>,
    /// Whom the client's certificate is for; `None` where none is asked for.
    pub(crate) client: Option<ClientSubject>,
}

impl TlsFacts {
    /// Whether a request for `host` may come over this connection. Where clients show certificates, it must be a host
    /// that the shown certificate is for: who was let in for one host was not for another.
    pub(crate) fn admits(&self, host: &HostName) -> bool {
        self.client.is_none() || self.certificate.covers(host)
    }
}

impl ConnectionFacts {
    /// A connection without TLS.
    pub(crate) fn plain(socket: SocketAddr) -> Self {
        Self { peer: Peer::new(socket), tls: None }
    }

    /// What is known of the connection of a request.
    pub(crate) fn of(session: &Session) -> Option<&Arc<Self>> {
        session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// The form in which pingora hands it on, which is what it has for data of others. The response is one that it asks
    /// for and never looks at.
    pub(crate) fn into_digest(self) -> Option<Arc<ProxyDigest>> {
        let unused = ResponseHeader::build(http::StatusCode::OK, Some(0)).ok()?;
        Some(Arc::new(ProxyDigest::new(Box::new(unused), Some(Box::new(Arc::new(self))))))
    }
}

/// The subject of a client's certificate as it may stand in a log: bounded, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientSubject(Box<str>);

impl ClientSubject {
    pub(crate) fn new(subject: &str) -> Self {
        Self(LogText::new(subject, SUBJECT_BYTES_MAX).to_string().into())
    }
}

impl fmt::Display for ClientSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_subject_is_one_bounded_line() {
        assert_eq!(ClientSubject::new("CN=a\nlevel=error").to_string(), "CN=a\\nlevel=error");
        let long = ClientSubject::new(&"x".repeat(2 * SUBJECT_BYTES_MAX)).to_string();
        assert_eq!(long.matches('x').count(), SUBJECT_BYTES_MAX);
    }
}
