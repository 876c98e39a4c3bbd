//! TLS for the ingress: which certificate a client gets, how files become certificates, and how a handshake ends. What
//! comes after the handshake is not known here.

mod brought;
mod certificate;
mod files;
mod handshake;
mod metrics;
mod reload;
mod store;

use std::{io, path::PathBuf, sync::Arc};

use roadstead_config::{Limits, http::HostError};
use roadstead_metrics::Metrics;
use tokio_util::sync::CancellationToken;

pub(crate) use brought::Claim;
pub(crate) use certificate::Certificate;
use handshake::SetupError;
pub(crate) use handshake::TlsServer;

use crate::route::DynamicRouter;

/// Reads the certificates, and keeps up with their files until the host drains.
///
/// # Errors
/// With the first file that cannot be used.
pub(crate) fn start(
    files: TlsFiles,
    limits: Arc<Limits>,
    metrics: &Metrics,
    router: DynamicRouter,
    draining: CancellationToken,
) -> Result<Arc<TlsServer>, SetupError> {
    let (server, read) = TlsServer::new(files, limits, metrics, router)?;
    let server = Arc::new(server);
    tokio::spawn(reload::keep_up(server.clone(), read, draining));
    Ok(server)
}

/// The files that TLS is made from. They are read again when they change.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Folder with `HOST.crt` and `HOST.key` for each host, `_.SUFFIX.crt` and `_.SUFFIX.key` for `*.SUFFIX`.
    pub directory: Option<PathBuf>,
    /// What a client gets that names no host, or one that no file is for. Without it such a client is refused.
    pub default: Option<CertificateFiles>,
    /// Authorities one of which must have issued the certificate of each client. Without it none is asked for.
    pub client_authorities: Option<PathBuf>,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The host's certificate, and after it those that lead to its authority.
    pub chain: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// Why TLS cannot be set up from files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or folder cannot be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Reading it could block for ever.
    #[error("{path} is no regular file", path = .0.display())]
    NoFile(PathBuf),
    /// A file is larger than `tls_file_bytes_max`.
    #[error("{path} has more than {bytes_max} bytes (tls_file_bytes_max)", path = path.display())]
    TooLarge { path: PathBuf, bytes_max: u64 },
    /// A file is not PEM.
    #[error("{path} is not valid PEM: {reason}", path = path.display())]
    Pem { path: PathBuf, reason: String },
    /// There is no `CERTIFICATE` section.
    #[error("{path} has no certificate (PEM)", path = .0.display())]
    NoCertificate(PathBuf),
    /// A chain has more certificates than any chain has.
    #[error("{path} has more than {count_max} certificates", path = path.display())]
    LongChain { path: PathBuf, count_max: usize },
    /// A certificate cannot be read.
    #[error("{path} has a certificate that cannot be read: {reason}", path = path.display())]
    Certificate { path: PathBuf, reason: String },
    /// There is no private key.
    #[error("{path} has no private key (PEM, not encrypted)", path = .0.display())]
    NoKey(PathBuf),
    /// A key cannot be used.
    #[error("{path} has a key that cannot be used", path = path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {key} is not that of the certificate in {chain}", key = .0.key.display(), chain = .0.chain.display())]
    Mismatch(CertificateFiles),
    /// A file's name names no host.
    #[error("the name of {path} is no host name; write HOST.crt and HOST.key, and _.SUFFIX for *.SUFFIX", path = path.display())]
    Name {
        path: PathBuf,
        #[source]
        source: HostError,
    },
    /// Two files are for one host.
    #[error("{first} and {second} are for the same host", first = first.display(), second = second.display())]
    Twice { first: PathBuf, second: PathBuf },
    /// There are more certificates than `tls_certificates_max`.
    #[error("{path} has more than {count_max} certificates (tls_certificates_max)", path = path.display())]
    TooMany { path: PathBuf, count_max: u64 },
    /// No certificate at all: no client could be served.
    #[error("there is no certificate: {path} has no *.crt, and there is no default certificate", path = .0.display())]
    Nothing(PathBuf),
    /// A file of a trigger is not below the folder of its manifest, once links are resolved.
    #[error("{path} leads out of the folder of its manifest", path = .0.display())]
    Outside(PathBuf),
    /// There are more certificates, with those of triggers, than `tls_certificates_max`.
    #[error("there are {count_max} certificates already (tls_certificates_max)")]
    NoRoom { count_max: u64 },
    /// The client authorities cannot be used.
    #[error("{path} has no authority for client certificates that can be used: {reason}", path = path.display())]
    Authorities { path: PathBuf, reason: String },
    /// The TLS library refuses its set-up.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}
