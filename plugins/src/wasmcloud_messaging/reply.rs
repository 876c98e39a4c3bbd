//! The right to answer the message at hand, and how a failure is told to the one who asked.
//!
//! A guest is handed an opaque subject that stands for the real one and is good for this call only: it never learns
//! an inbox, neither its caller's nor another's.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use roadstead_config::Limits;
use roadstead_runtime::{CallError, LogText};

use super::{
    broker::{Headers, Message, Requester},
    headers::{SERVICE_ERROR, SERVICE_ERROR_CODE},
};

/// First token of the subjects that stand for a reply.
pub(crate) const TOKEN_PREFIX: &str = "_REPLY.";
const TOKEN_BYTES: usize = TOKEN_PREFIX.len() + 32;

/// One call's right to reply.
#[derive(Clone)]
pub(crate) struct ReplyGrant(Arc<Inner>);

struct Inner {
    token: String,
    subject: String,
    sent: AtomicU64,
    max: u64,
}

impl ReplyGrant {
    pub(crate) fn new(subject: String, max: u64) -> Self {
        let mut token = String::with_capacity(TOKEN_BYTES);
        // Writing to memory does not fail.
        let _ = write!(token, "{TOKEN_PREFIX}{:032x}", rand::random::<u128>());
        Self(Arc::new(Inner { token, subject, sent: AtomicU64::new(0), max }))
    }

    /// What the guest gets to see.
    pub(crate) fn token(&self) -> &str {
        &self.0.token
    }

    /// The real subject, if `named` is this grant's token and replies are left.
    pub(crate) fn redeem(&self, named: &str) -> Option<&str> {
        let max = self.0.max;
        let counted = |sent| (sent < max).then_some(sent + 1);
        (named == self.0.token && self.0.sent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted).is_ok())
            .then_some(self.0.subject.as_str())
    }

    /// A reply that was redeemed did not go out.
    pub(crate) fn take_back(&self) {
        self.0.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether the one who asked has had an answer.
    pub(crate) fn answered(&self) -> bool {
        self.0.sent.load(Ordering::Relaxed) > 0
    }

    /// The message that tells the one who asked why there is no answer.
    pub(crate) fn failure(&self, failure: &Failure, reason_bytes_max: usize) -> Message {
        failure.told_to(self.0.subject.clone(), reason_bytes_max)
    }
}

/// Why a message was not handled, as the one who asked is told.
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// The failure's name in metrics and logs.
    pub(crate) kind: &'static str,
}

impl Failure {
    /// The handler itself said no.
    pub(crate) fn of_handler(reason: String) -> Self {
        Self { code: 500, reason, kind: "handler-error" }
    }

    /// As many messages are under way as may be.
    pub(crate) fn queue_full(max: u64) -> Self {
        let reason = format!("the worker has {max} messages under way, as many as it may; try again later");
        Self { code: 429, reason, kind: "queue-full" }
    }

    /// As many messages of the subscription wait as may, or as many bytes.
    pub(crate) fn subscription_full(limits: &Limits) -> Self {
        let Limits { subscription_messages_max: messages, subscription_bytes_max: bytes, .. } = limits;
        let reason =
            format!("as many messages wait for the worker as may ({messages}, or {bytes} bytes); try again later");
        Self { code: 429, reason, kind: "queue-full" }
    }

    /// The message that says so to whoever waits at `subject`.
    pub(crate) fn told_to(&self, subject: String, reason_bytes_max: usize) -> Message {
        let mut headers = Headers::default();
        headers.push(SERVICE_ERROR, LogText::new(&self.reason, reason_bytes_max).to_string());
        headers.push(SERVICE_ERROR_CODE, self.code.to_string());
        Message { subject, reply: None, headers, body: bytes::Bytes::new(), requester: Requester::default() }
    }

    /// Whoever asked does not wait any more.
    pub(crate) fn requester_gone() -> Self {
        Self { code: 408, reason: "nobody waits for the answer any more".to_owned(), kind: "requester-gone" }
    }

    /// The message is too large to be handled.
    pub(crate) fn too_large(found: usize, max: u64) -> Self {
        let reason = format!("the message is {found} bytes large, at most {max} are allowed");
        Self { code: 413, reason, kind: "too-large" }
    }
}

impl From<&CallError> for Failure {
    fn from(error: &CallError) -> Self {
        let code = match error {
            CallError::Deadline => 408,
            CallError::Fault { .. } => 500,
            CallError::WorkloadBusy { .. } | CallError::TenantBusy { .. } | CallError::AdmissionTimeout { .. } => 429,
            CallError::HostBusy { .. } | CallError::NotRunning => 503,
        };
        Self { code, reason: error.public_message(), kind: error.kind() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_redeemed_by_its_token_only_and_so_many_times() {
        let grant = ReplyGrant::new("_INBOX.x.1".into(), 2);
        assert_eq!(grant.redeem("_INBOX.x.1"), None);
        assert!(!grant.answered());
        let token = grant.token().to_owned();
        assert!(token.starts_with(TOKEN_PREFIX) && !token.contains("_INBOX"));
        assert_eq!(grant.redeem(&token), Some("_INBOX.x.1"));
        assert_eq!(grant.redeem(&token), Some("_INBOX.x.1"));
        assert_eq!(grant.redeem(&token), None);
        assert!(grant.answered());
        grant.take_back();
        assert_eq!(grant.redeem(&token), Some("_INBOX.x.1"));
    }

    #[test]
    fn a_reason_is_one_bounded_line() {
        let grant = ReplyGrant::new("r".into(), 1);
        let message = grant.failure(&Failure::of_handler("two\r\nlines".into()), 100);
        assert_eq!(message.headers.first("nats-service-error"), Some("two\\r\\nlines"));
        assert_eq!(message.headers.first("Nats-Service-Error-Code"), Some("500"));
    }
}
