//! Why an outgoing request has no response: each reason once, with its label in metrics and its code of `wasi:http`. Says
//! nothing of what a guest sent or an upstream answered.

use std::{io, time::Duration};

use roadstead_config::{ProhibitedAddress, TargetError};
use wasmtime_wasi_http::Error as HttpError;

/// Why an outgoing request, or the body of its response, ended without its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EgressError {
    #[error("allowedHosts has no such host, scheme and port")]
    Denied,
    #[error("the call has made {0} requests, as many as it may")]
    TooManyRequests(u64),
    #[error("the authority {0}")]
    Authority(#[from] TargetError),
    #[error("the target is none that begins with '/'")]
    Path,
    #[error("the target is longer than {0} bytes")]
    PathTooLong(u64),
    #[error("the method is none that may be sent")]
    Method,
    #[error("a header may not be sent")]
    Header,
    #[error("there are more than {0} headers")]
    TooManyHeaders(u64),
    #[error("all {max} connections of the workload were busy for {waited:?}")]
    NoConnection { max: usize, waited: Duration },
    #[error("the name could not be looked up in time")]
    DnsTimeout,
    #[error("the name has no address")]
    NoAddress,
    #[error("the name could not be looked up")]
    Dns(#[source] io::Error),
    #[error("the address may not be dialled: {0}")]
    Prohibited(#[from] ProhibitedAddress),
    #[error("the connection was refused")]
    Refused,
    #[error("there was no connection in time")]
    ConnectTimeout,
    #[error("there is no way to the address")]
    Unroutable,
    #[error("the connection failed")]
    Unavailable(#[source] io::Error),
    #[error("the server's certificate is not believed")]
    Certificate(#[source] rustls::Error),
    #[error("the server ended the handshake with an alert")]
    Alert(rustls::AlertDescription),
    #[error("the handshake of TLS failed")]
    Tls(#[source] io::Error),
    #[error("there was no response in time")]
    ResponseTimeout,
    #[error("nothing more of the response came in time")]
    ReadTimeout,
    #[error("the head of the response is larger than {0} bytes")]
    HeadTooLarge(usize),
    #[error("the server asks for another protocol")]
    Upgrade,
    #[error("the connection ended before the response did")]
    Incomplete,
    #[error("the connection was closed")]
    Terminated,
    #[error("what the server sent is not HTTP")]
    Protocol,
    #[error("the body of the request broke off")]
    RequestBody,
    #[error("the requests of the call have more than {0} bytes (outgoing_request_bytes_per_call_max)")]
    RequestTooLarge(u64),
    #[error("the responses to the call have more than {0} bytes (outgoing_response_bytes_per_call_max)")]
    ResponseTooLarge(u64),
}

impl EgressError {
    /// The label of metrics and logs.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::TooManyRequests(_) => "too-many-requests",
            Self::Authority(_) | Self::Path | Self::PathTooLong(_) => "bad-target",
            Self::Method | Self::Header | Self::TooManyHeaders(_) => "bad-request",
            Self::NoConnection { .. } => "no-connection",
            Self::DnsTimeout => "dns-timeout",
            Self::NoAddress | Self::Dns(_) => "dns-error",
            Self::Prohibited(_) => "address-prohibited",
            Self::Refused => "connection-refused",
            Self::ConnectTimeout => "connection-timeout",
            Self::Unroutable | Self::Unavailable(_) => "connection-failed",
            Self::Certificate(_) => "tls-certificate",
            Self::Alert(_) | Self::Tls(_) => "tls-failed",
            Self::ResponseTimeout => "response-timeout",
            Self::ReadTimeout => "read-timeout",
            Self::HeadTooLarge(_) => "head-too-large",
            Self::Upgrade | Self::Protocol => "protocol-error",
            Self::Incomplete | Self::Terminated => "connection-ended",
            Self::RequestBody => "request-broken-off",
            Self::RequestTooLarge(_) => "request-too-large",
            Self::ResponseTooLarge(_) => "response-too-large",
        }
    }

    /// What went wrong with a connection; `head_bytes_max` is what a head may have.
    pub(super) fn of_hyper(error: &hyper::Error, head_bytes_max: usize) -> Self {
        let causes = || std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let from_guest = || causes().any(|cause| cause.is::<super::body::BrokenOff>());
        match () {
            () if error.is_parse_too_large() => Self::HeadTooLarge(head_bytes_max),
            () if error.is_parse() => Self::Protocol,
            () if error.is_incomplete_message() => Self::Incomplete,
            () if error.is_user() || from_guest() => Self::RequestBody,
            () if error.is_canceled() || error.is_closed() => Self::Terminated,
            () if causes().any(|cause| cause.is::<io::Error>()) => Self::Terminated,
            () => Self::Protocol,
        }
    }

    /// What went wrong with a connection that was to be made.
    pub(super) fn of_connect(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unroutable,
            _ => Self::Unavailable(error),
        }
    }

    /// What went wrong with a handshake of TLS.
    pub(super) fn of_handshake(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(certificate @ rustls::Error::InvalidCertificate(_)) => Self::Certificate(certificate.clone()),
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            _ => Self::Tls(error),
        }
    }
}

/// The codes of `wasi:http/types.error-code`.
impl From<EgressError> for HttpError {
    fn from(error: EgressError) -> Self {
        let dns = |rcode: &str| Self::DnsError { rcode: Some(rcode.to_owned()), info_code: None };
        match error {
            EgressError::Denied | EgressError::TooManyRequests(_) => Self::HttpRequestDenied,
            EgressError::Authority(_) | EgressError::Path => Self::HttpRequestUriInvalid,
            EgressError::PathTooLong(_) => Self::HttpRequestUriTooLong,
            EgressError::Method => Self::HttpRequestMethodInvalid,
            EgressError::Header => Self::HttpRequestDenied,
            EgressError::TooManyHeaders(_) => Self::HttpRequestHeaderSectionSize(None),
            EgressError::NoConnection { .. } => Self::ConnectionLimitReached,
            EgressError::DnsTimeout => Self::DnsTimeout,
            EgressError::NoAddress => dns("NXDOMAIN"),
            EgressError::Dns(_) => dns("SERVFAIL"),
            EgressError::Prohibited(_) => Self::DestinationIpProhibited,
            EgressError::Refused => Self::ConnectionRefused,
            EgressError::ConnectTimeout => Self::ConnectionTimeout,
            EgressError::Unroutable => Self::DestinationIpUnroutable,
            EgressError::Unavailable(_) => Self::DestinationUnavailable,
            EgressError::Certificate(_) => Self::TlsCertificateError,
            EgressError::Alert(alert) => Self::TlsAlertReceived {
                alert_id: Some(alert.into()),
                alert_message: alert.as_str().map(str::to_owned),
            },
            EgressError::Tls(_) => Self::TlsProtocolError,
            EgressError::ResponseTimeout => Self::HttpResponseTimeout,
            EgressError::ReadTimeout => Self::ConnectionReadTimeout,
            EgressError::HeadTooLarge(max) => Self::HttpResponseHeaderSectionSize(u32::try_from(max).ok()),
            EgressError::Upgrade => Self::HttpUpgradeFailed,
            EgressError::Incomplete => Self::HttpResponseIncomplete,
            EgressError::Terminated => Self::ConnectionTerminated,
            EgressError::Protocol | EgressError::RequestBody => Self::HttpProtocolError,
            EgressError::RequestTooLarge(max) => Self::HttpRequestBodySize(Some(max)),
            EgressError::ResponseTooLarge(max) => Self::HttpResponseBodySize(Some(max)),
        }
    }
}
