//! Why an image is not there. Every text is safe to show: of what a registry says only names of a fixed list are
//! repeated, so that one that gives our own credentials back to us cannot bring them into a log.

use std::{io, net::IpAddr, time::Duration};

use roadstead_config::Sha256Digest;

/// Why an image could not be fetched, or not be sent.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The policy asks for a copy that is not there.
    #[error(
        "it is not in the cache for these credentials, and imagePullPolicy Never fetches nothing; choose IfNotPresent"
    )]
    NotPresent,
    /// The reference asks for a registry without TLS.
    #[error("http:// asks for a registry without TLS; allow that with --allow-insecure-registries")]
    InsecureReference,
    /// The peer speaks something else than TLS.
    #[error("{host} does not speak TLS; where that is meant, allow it with --allow-insecure-registries")]
    NotTls { host: String },
    /// The peer's certificate, or what else keeps TLS from being set up.
    #[error("no secure connection to {host}: {detail}; an authority of your own is named with --oci-ca-path")]
    Tls { host: String, detail: String },
    /// There is no authority to believe.
    #[error("certificates of authorities cannot be read: {0}")]
    Authorities(String),
    /// The name has no address.
    #[error("the name {host} cannot be looked up")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    /// The name leads to where no registry is.
    #[error("{host} is {address}, an address at which no registry is asked ({why})")]
    Address { host: String, address: IpAddr, why: &'static str },
    /// A registry sent us nearer to ourselves than it is.
    #[error("the registry led to {host} at {address}, nearer to this host than the registry is; that is not followed")]
    LedInside { host: String, address: IpAddr },
    /// No connection, or it broke.
    #[error("the connection to {host} failed")]
    Connection {
        host: String,
        #[source]
        source: io::Error,
    },
    /// The peer broke HTTP.
    #[error("{host} broke HTTP: {detail}")]
    Http { host: String, detail: String },
    /// Nothing came for so long.
    #[error("{host} sent nothing for {} s", .after.as_secs())]
    Stalled { host: String, after: Duration },
    /// All of it took too long.
    #[error(
        "it took longer than {} s (--registry-pull-timeout){}",
        .after.as_secs_f64(),
        last.as_ref().map(|last| format!("; the last try failed: {last}")).unwrap_or_default()
    )]
    TimedOut {
        after: Duration,
        /// What the last try failed with, if one did.
        last: Option<String>,
    },
    /// As many images are being fetched as may be, for too long.
    #[error("as many other images are being fetched as may be at a time ({max}, artifact_pulls_at_once_max)")]
    Busy { max: u64 },
    /// The registry wants to know who asks.
    #[error("{host} wants credentials (401{}), and there are none for it", code_text(.code))]
    NoCredentials { host: String, code: Option<&'static str> },
    /// The registry did not take the credentials.
    #[error("{host} refuses the credentials (401{})", code_text(.code))]
    CredentialsRefused { host: String, code: Option<&'static str> },
    /// Who asks may not have it.
    #[error("{host} denies it (403{}); credentials with the right to it are needed", code_text(.code))]
    Denied { host: String, code: Option<&'static str> },
    /// The registry asks for credentials in a way that is not understood, or not safe.
    #[error("{host} asks for credentials in a way that is not followed: {why}")]
    Challenge { host: String, why: &'static str },
    /// Nothing of this name.
    #[error("{host} has no such image (404{})", code_text(.code))]
    NotFound { host: String, code: Option<&'static str> },
    /// Too many requests.
    #[error("{host} takes no more requests just now (429){}", later_text(.retry_after))]
    TooManyRequests { host: String, retry_after: Option<Duration> },
    /// Any other status.
    #[error("{host} answered {status}{}", code_text(.code))]
    Status { host: String, status: u16, code: Option<&'static str> },
    /// A redirection that is not followed.
    #[error("{host} redirects in a way that is not followed: {why}")]
    Redirect { host: String, why: &'static str },
    /// The body is encoded, which nobody asked for.
    #[error("{host} sent the {what} with a content-encoding, which is not read")]
    Encoded { host: String, what: &'static str },
    /// Content that is not what its digest says.
    #[error("{host} lied: the {what} has the digest {found}, not {wanted}")]
    WrongDigest { host: String, what: &'static str, wanted: Sha256Digest, found: Sha256Digest },
    /// A length that is not what the manifest says.
    #[error("{host} lied: the {what} has {found} bytes, not the {wanted} that its manifest names")]
    WrongLength { host: String, what: &'static str, wanted: u64, found: u64 },
    /// The end came early.
    #[error("{host} broke off the {what} after {found} of {wanted} bytes")]
    Truncated { host: String, what: &'static str, wanted: u64, found: u64 },
    /// More than is taken of a manifest, a token and the like.
    #[error("the {what} of {host} is larger than {max} bytes")]
    AnswerTooLarge { host: String, what: &'static str, max: u64 },
    /// The component is larger than a component may be.
    #[error("the component has {found} bytes; one may have {max} (component_bytes_max)")]
    ComponentTooLarge { found: u64, max: u64 },
    /// The manifest says nothing that could be understood.
    #[error("its manifest cannot be used: {0}")]
    Manifest(&'static str),
    /// The image holds something else.
    #[error("it holds no WebAssembly component, but {0}")]
    NotWasm(String),
    /// Docker's configuration or a credential helper.
    #[error("the credentials for {host} cannot be had: {why}")]
    Credentials { host: String, why: String },
    /// The host itself failed.
    #[error("the host failed: {0}")]
    Internal(String),
}

impl PullError {
    /// A short stable name for metric labels and documentation.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotPresent => "not-present",
            Self::InsecureReference | Self::NotTls { .. } => "insecure",
            Self::Tls { .. } | Self::Authorities(_) => "tls",
            Self::Resolve { .. } => "name",
            Self::Address { .. } | Self::LedInside { .. } => "address",
            Self::Connection { .. } => "connection",
            Self::Http { .. } => "http",
            Self::Stalled { .. } => "stalled",
            Self::TimedOut { .. } => "timeout",
            Self::Busy { .. } => "busy",
            Self::NoCredentials { .. } | Self::CredentialsRefused { .. } => "unauthorized",
            Self::Denied { .. } => "denied",
            Self::Challenge { .. } => "challenge",
            Self::NotFound { .. } => "not-found",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Status { .. } => "status",
            Self::Redirect { .. } => "redirect",
            Self::Encoded { .. } => "encoded",
            Self::WrongDigest { .. } => "wrong-digest",
            Self::WrongLength { .. } => "wrong-length",
            Self::Truncated { .. } => "truncated",
            Self::AnswerTooLarge { .. } => "answer-too-large",
            Self::ComponentTooLarge { .. } => "too-large",
            Self::Manifest(_) => "manifest",
            Self::NotWasm(_) => "not-wasm",
            Self::Credentials { .. } => "credentials",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether another try may end otherwise: the fault was in the way there, or passes.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::Http { .. }
            | Self::Resolve { .. }
            | Self::Stalled { .. }
            | Self::Truncated { .. }
            | Self::TooManyRequests { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// How long the registry asked to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn code_text(code: &Option<&'static str>) -> String {
    code.map(|code| format!(" {code}")).unwrap_or_default()
}

fn later_text(retry_after: &Option<Duration>) -> String {
    retry_after.map(|time| format!("; it asks to be left alone for {} s", time.as_secs())).unwrap_or_default()
}
