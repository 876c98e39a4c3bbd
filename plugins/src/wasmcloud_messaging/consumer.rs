//! The host's side of `wasmcloud:messaging/consumer`: what a guest may send, where, and how long it waits.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use roadstead_config::Subject;
use roadstead_runtime::{Call, CallSpan, InstanceState, LogText, call_span};
use tokio::time::Instant;

use super::{
    Bound,
    bindings::wasmcloud::messaging::{
        consumer::Host,
        types::{self, BrokerMessage},
    },
    broker::{BrokerError, Message, Requester},
    headers::{SERVICE_ERROR, of_call},
    reply::{ReplyGrant, TOKEN_PREFIX},
};

/// Longest text of a guest's that an error repeats, in bytes.
const ECHO_BYTES_MAX: usize = 128;

impl types::Host for InstanceState {}

impl Host for InstanceState {
    async fn request(&mut self, subject: String, body: Vec<u8>, timeout_ms: u32) -> Result<BrokerMessage, String> {
        let bound = bound(self)?;
        let begun = Instant::now();
        let result = request(self, &bound, &subject, body, timeout_ms).await;
        bound.metrics.round_trip.observe(begun.elapsed().as_secs_f64());
        bound.metrics.requests.count(result.as_ref().map(drop).map_err(|refusal| refusal.kind));
        if let Err(refusal) = &result {
            note_fault(self, &subject, refusal);
        }
        result.map_err(|refusal| refusal.text)
    }

    async fn publish(&mut self, message: BrokerMessage) -> Result<(), String> {
        let bound = bound(self)?;
        let result = publish(self, &bound, message).await;
        bound.metrics.published.count(result.as_ref().map(drop).map_err(|refusal| refusal.kind));
        result.map_err(|refusal| refusal.text)
    }
}

/// Why a guest's message did not go, or had no answer: the guest's text and the metric's label.
struct Refusal {
    text: String,
    kind: &'static str,
}

impl Refusal {
    fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind }
    }
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        let kind = match &error {
            BrokerError::NoResponders { .. } => "no-responders",
            BrokerError::Timeout => "timeout",
            BrokerError::QueueFull { .. } => "queue-full",
            BrokerError::TooLarge { .. } => "too-large",
            BrokerError::ConnectionLost => "connection-lost",
            BrokerError::NotConfirmed { .. } | BrokerError::Disconnected | BrokerError::Refused(_) => "broker",
        };
        Self::new(kind, error.to_string())
    }
}

fn bound(state: &InstanceState) -> Result<Arc<Bound>, String> {
    state.bound::<Bound>().ok_or_else(|| "messaging is not bound to this component".to_owned())
}

async fn request(
    state: &mut InstanceState,
    bound: &Bound,
    subject: &str,
    body: Vec<u8>,
    timeout_ms: u32,
) -> Result<BrokerMessage, Refusal> {
    let subject = subject_of(bound, subject)?;
    check_size(bound, body.len())?;
    let call = state.call();
    let (wait, whose) = shortest_wait(Duration::from_millis(timeout_ms.into()), bound, call.remaining());
    let span = send_span(call, subject.as_str(), body.len());
    let message = Message {
        subject: subject.to_string(),
        reply: None,
        headers: of_call(span.context(), Some(wait)),
        body: Bytes::from(body),
        requester: Requester::default(),
    };
    let answered = bound.broker.request(message, Instant::now() + wait).await;
    let result = answered.map_err(|error| match error {
        BrokerError::Timeout => {
            Refusal::new("timeout", format!("no reply on {subject} within {} ms ({whose})", wait.as_millis()))
        }
        other => other.into(),
    });
    let result = result.and_then(|answer| match answer.headers.first(SERVICE_ERROR) {
        Some(reason) => Err(Refusal::new("worker-error", format!("worker: {reason}"))),
        None => Ok(BrokerMessage { subject: subject.to_string(), body: answer.body.into(), reply_to: None }),
    });
    note_refusal(&span, &result);
    result
}

/// The span of a message that goes out, with the attributes of OpenTelemetry's conventions.
fn send_span(call: &Call, subject: &str, body_bytes: usize) -> CallSpan {
    CallSpan::below(&call.trace, || {
        call_span!(
            format!("send {subject}"),
            "client",
            messaging.system = "nats",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = subject,
            messaging.message.body.size = body_bytes,
        )
    })
}

/// Tells operators of requests that had no answer for a reason that they can do something about. What a worker said is
/// between it and who asked.
fn note_fault(state: &InstanceState, subject: &str, refusal: &Refusal) {
    let (kind, what, remedy) = match refusal.kind {
        "no-responders" => (
            "no-responders",
            "nobody handles messages on",
            "see that the worker runs (`roadstead get workloads`) and subscribes to the subject",
        ),
        "timeout" => (
            "request-timeout",
            "no reply came in time on",
            "whoever handles the subject is too slow: see `roadstead describe` of the worker; make it faster, give it a \
             larger pool, or let the component wait longer",
        ),
        "worker-error" => (
            "worker-error",
            "the worker refused or failed on",
            "see `roadstead describe` and `roadstead logs` of the worker",
        ),
        "subject-denied" => (
            "subject-denied",
            "the manifest lets it send nothing to",
            "add the subject to `publish` in the manifest, or correct the component",
        ),
        "connection-lost" | "broker" => (
            "broker",
            "NATS did not take a message to",
            "see that the NATS server runs and that --data-nats-url leads to it; the host connects again by itself",
        ),
        _ => return,
    };
    state.note_fault(kind, &format!("{what} {}", LogText::new(subject, ECHO_BYTES_MAX)), remedy);
}

fn note_refusal<T>(span: &CallSpan, result: &Result<T, Refusal>) {
    if let Err(refusal) = result {
        span.fail(refusal.kind, || refusal.text.clone());
    }
}

/// The smallest of the guest's timeout, the host's and the call's, and which one it was.
fn shortest_wait(guest: Duration, bound: &Bound, call: Duration) -> (Duration, &'static str) {
    let host = Duration::from_millis(bound.limits.request_timeout_ms);
    let bounds = [(guest, "the guest's timeout"), (host, "the host's request timeout"), (call, "the call's deadline")];
    bounds.into_iter().min_by_key(|(wait, _)| *wait).unwrap_or((guest, "the guest's timeout"))
}

async fn publish(state: &mut InstanceState, bound: &Bound, message: BrokerMessage) -> Result<(), Refusal> {
    let BrokerMessage { subject, body, reply_to } = message;
    check_size(bound, body.len())?;
    let is_reply = subject.starts_with(TOKEN_PREFIX);
    let subject = target_of(state, bound, &subject)?;
    let reply = reply_to.map(|reply| target_of(state, bound, &reply)).transpose()?;
    // An inbox tells nobody anything, and is another one each time.
    let destination = if is_reply { "reply" } else { &subject };
    let span = send_span(state.call(), destination, body.len());
    let (headers, requester) = (of_call(span.context(), None), Requester::default());
    let message = Message { subject, reply, headers, body: Bytes::from(body), requester };
    let within = Duration::from_millis(bound.limits.broker_call_ms);
    let sent = match is_reply {
        true => bound.broker.answer(message),
        false => bound.broker.publish(message),
    };
    let sent = match tokio::time::timeout(within, sent).await {
        Ok(result) => result.map_err(Refusal::from),
        Err(_) => {
            let text = format!("the messaging server did not take the message within {} ms", within.as_millis());
            Err(Refusal::new("broker", text))
        }
    };
    note_refusal(&span, &sent);
    if let Some(grant) = state.call_state().get::<ReplyGrant>().filter(|_| is_reply && sent.is_err()) {
        grant.take_back();
    }
    sent
}

/// Where a guest's message goes: the reply that it was granted, or a subject that guests may name.
fn target_of(state: &mut InstanceState, bound: &Bound, named: &str) -> Result<String, Refusal> {
    if named.starts_with(TOKEN_PREFIX) {
        let grant = state.call_state().get::<ReplyGrant>();
        let redeemed = grant.and_then(|grant| grant.redeem(named).map(str::to_owned));
        return redeemed.ok_or_else(|| {
            Refusal::new("reply", "this reply subject is not the one of the message at hand, or is used up")
        });
    }
    subject_of(bound, named).map(|subject| subject.to_string())
}

/// A subject that guests may name, and that this one may send to.
fn subject_of(bound: &Bound, named: &str) -> Result<Subject, Refusal> {
    let subject = parsed(named)?;
    match bound.may_send.to(&subject) {
        true => Ok(subject),
        false => {
            let text = format!("{subject}: the manifest does not list this subject under `publish`");
            Err(Refusal::new("subject-denied", text))
        }
    }
}

fn parsed(named: &str) -> Result<Subject, Refusal> {
    named.parse().map_err(|error| Refusal::new("subject", format!("{}: {error}", LogText::new(named, ECHO_BYTES_MAX))))
}

fn check_size(bound: &Bound, found: usize) -> Result<(), Refusal> {
    let max = bound.limits.message_bytes_max;
    if found as u64 > max {
        let text = format!("the message is {found} bytes large, at most {max} are allowed");
        return Err(Refusal::new("too-large", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_of_a_bad_subject_is_repeated() {
        let text = parsed(&".".repeat(ECHO_BYTES_MAX + 7)).err().unwrap().text;
        assert!(text.starts_with(&format!("{}... (7 bytes more): ", ".".repeat(ECHO_BYTES_MAX))), "{text}");
    }
}
