//! The one table from a situation to what the caller sees of it. It decides nothing: who calls it has decided.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use roadstead_runtime::CallError;

use crate::admit::{Excess, OverLimit, Whose};

/// Names the situation for programs.
const ERROR_HEADER: &str = "x-roadstead-error";
/// What a caller is told to wait where nobody knows how long, in seconds.
const RETRY_AFTER_S: u64 = 1;
/// RFC 9457.
const PROBLEM_TYPE: &str = "application/problem+json";

/// Why a request is not answered by a workload.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The request line, a header or the framing breaks the protocol; the text says how.
    Malformed(&'static str),
    /// The head did not arrive in time.
    HeadTimeout,
    /// The request target is longer than allowed.
    TargetTooLong,
    /// There are more headers, or longer ones, than allowed.
    HeadersTooLarge,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The body stopped arriving.
    BodyTimeout,
    /// The request asks for something that this ingress does not do.
    NotImplemented(&'static str),
    /// The connection was let in for other hosts.
    Misdirected,
    /// No trigger has this host and path.
    NoRoute,
    /// The trigger has no running replica.
    NoReplica,
    /// The host has as much memory in use as it may.
    MemoryPressure,
    /// The trigger, or its tenant, has as many requests as it may.
    OverLimit(OverLimit),
    /// The call into the workload failed.
    Call(CallError),
}

/// What the caller gets instead of a workload's response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// A short stable name: header, metric label and log field.
    pub(crate) kind: &'static str,
    message: Cow<'static, str>,
    /// In seconds.
    retry_after: Option<u64>,
}

impl Answer {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, kind, message: message.into(), retry_after: None }
    }

    fn retry(self) -> Self {
        Self { retry_after: Some(RETRY_AFTER_S), ..self }
    }

    /// Whoever comes back after whole seconds comes back late enough.
    fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after: Some(seconds.max(RETRY_AFTER_S)), ..self }
    }
}

/// The table.
impl From<&Refusal> for Answer {
    fn from(refusal: &Refusal) -> Self {
        use StatusCode as S;
        match refusal {
            Refusal::Malformed(how) => Self::new(S::BAD_REQUEST, "bad-request", *how),
            Refusal::HeadTimeout => {
                Self::new(S::REQUEST_TIMEOUT, "head-timeout", "the request's head did not arrive in time")
            }
            Refusal::TargetTooLong => {
                Self::new(S::URI_TOO_LONG, "target-too-long", "the request target is longer than allowed")
            }
            Refusal::HeadersTooLarge => Self::new(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "the request has more or longer headers than allowed",
            ),
            Refusal::BodyTooLarge => {
                Self::new(S::PAYLOAD_TOO_LARGE, "body-too-large", "the request body is larger than allowed")
            }
            Refusal::BodyTimeout => Self::new(S::REQUEST_TIMEOUT, "body-timeout", "the request body stopped arriving"),
            Refusal::NotImplemented(what) => Self::new(S::NOT_IMPLEMENTED, "not-implemented", *what),
            Refusal::Misdirected => Self::new(
                S::MISDIRECTED_REQUEST,
                "misdirected",
                "this connection's certificate is not for this host; use another connection",
            ),
            Refusal::NoRoute => Self::new(S::NOT_FOUND, "no-route", "no trigger has this host and path"),
            Refusal::NoReplica => {
                Self::new(S::SERVICE_UNAVAILABLE, "no-replica", "the workload has no running replica; try again later")
                    .retry()
            }
            Refusal::MemoryPressure => {
                Self::new(S::SERVICE_UNAVAILABLE, "memory-pressure", "the host is short of memory; try again later")
                    .retry()
            }
            Refusal::OverLimit(over) => Self::from(over),
            Refusal::Call(error) => Self::from(error),
        }
    }
}

impl From<&OverLimit> for Answer {
    fn from(OverLimit { whose, excess }: &OverLimit) -> Self {
        let (kind, message) = match (whose, excess) {
            (Whose::Trigger, Excess::Rate(_)) => {
                ("trigger-rate", "the trigger has had as many requests as it may; try again later")
            }
            (Whose::Trigger, Excess::Concurrency) => {
                ("trigger-concurrency", "the trigger has as many requests at a time as it may; try again later")
            }
            (Whose::Trigger, Excess::Wait) => {
                ("trigger-queue-timeout", "the trigger had no room for the request in time; try again later")
            }
            (Whose::Tenant, Excess::Rate(_)) => {
                ("tenant-rate", "the namespace has had as many requests as it may; try again later")
            }
            (Whose::Tenant, Excess::Concurrency) => {
                ("tenant-concurrency", "the namespace has as many requests at a time as it may; try again later")
            }
            (Whose::Tenant, Excess::Wait) => {
                ("tenant-queue-timeout", "the namespace had no room for the request in time; try again later")
            }
        };
        let answer = Self::new(StatusCode::TOO_MANY_REQUESTS, kind, message);
        match excess {
            Excess::Rate(wait) => answer.retry_after(*wait),
            Excess::Concurrency | Excess::Wait => answer.retry(),
        }
    }
}

impl From<&CallError> for Answer {
    fn from(error: &CallError) -> Self {
        let answer = |status| Self::new(status, error.kind(), error.public_message());
        match error {
            CallError::Deadline => answer(StatusCode::GATEWAY_TIMEOUT),
            CallError::Fault { .. } => answer(StatusCode::BAD_GATEWAY),
            CallError::WorkloadBusy { .. } | CallError::TenantBusy { .. } => {
                answer(StatusCode::TOO_MANY_REQUESTS).retry()
            }
            CallError::HostBusy { .. } | CallError::AdmissionTimeout { .. } | CallError::NotRunning => {
                answer(StatusCode::SERVICE_UNAVAILABLE).retry()
            }
        }
    }
}

impl Answer {
    /// The body and its media type.
    fn body(&self, problem: bool) -> (&'static str, String) {
        if !problem {
            return ("text/plain; charset=utf-8", format!("{}\n", self.message));
        }
        let title = self.status.canonical_reason().unwrap_or_default();
        let body = serde_json::json!({
            "type": "about:blank",
            "title": title,
            "status": self.status.as_u16(),
            "detail": self.message,
            "kind": self.kind,
        });
        (PROBLEM_TYPE, body.to_string())
    }

    /// Sends the answer through pingora.
    pub(crate) async fn send(&self, session: &mut Session, problem: bool) -> pingora_core::Result<()> {
        let (media_type, body) = self.body(problem);
        let mut head = ResponseHeader::build(self.status, Some(6))?;
        head.insert_header(header::CONTENT_TYPE, media_type)?;
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
        head.insert_header(ERROR_HEADER, self.kind)?;
        if let Some(seconds) = self.retry_after {
            head.insert_header(header::RETRY_AFTER, seconds)?;
        }
        let bodiless = session.req_header().method == http::Method::HEAD;
        let session = session.as_downstream_mut();
        session.write_response_header(Box::new(head)).await?;
        if !bodiless {
            session.write_response_body(Bytes::from(body), false).await?;
        }
        session.finish_body().await
    }

    /// The answer as the last message of an HTTP/1.1 connection.
    pub(crate) fn to_closing_message(&self) -> String {
        let (media_type, body) = self.body(false);
        let reason = self.status.canonical_reason().unwrap_or_default();
        format!(
            "HTTP/1.1 {} {reason}\r\ndate: {}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
             {ERROR_HEADER}: {}\r\nconnection: close\r\n\r\n{body}",
            self.status.as_u16(),
            get_cached_date().to_str().unwrap_or_default(),
            body.len(),
            self.kind,
        )
    }
}

/// Whether a caller asks for problem details, by its `Accept` headers.
pub(crate) fn wants_problem<'a>(accept: impl IntoIterator<Item = &'a HeaderValue>) -> bool {
    accept.into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(PROBLEM_TYPE))
    })
}

/// Whether a header of a workload's response is the host's own to set.
pub(crate) fn is_reserved(name: &http::HeaderName) -> bool {
    name.as_str() == ERROR_HEADER
}
