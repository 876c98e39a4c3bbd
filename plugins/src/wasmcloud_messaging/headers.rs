//! The headers that Roadstead puts on messages, and how they are read back from anybody.
//!
//! | header | meaning |
//! |---|---|
//! | `Nats-Service-Error` | the reason why a request has no answer (NATS micro services) |
//! | `Nats-Service-Error-Code` | 400, 408, 413, 429, 500 or 503 (NATS micro services) |
//! | `Roadstead-Deadline-Ms` | milliseconds that the sender will still wait |
//! | `traceparent`, `tracestate` | the trace (W3C Trace Context) |

use std::time::Duration;

use roadstead_runtime::{Call, TraceContext};

use super::broker::Headers;

pub(crate) const SERVICE_ERROR: &str = "Nats-Service-Error";
pub(crate) const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
pub(crate) const DEADLINE_MS: &str = "Roadstead-Deadline-Ms";
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";

/// Headers that hand a call on: its trace, and with `waits` how long the sender waits.
pub(crate) fn of_call(call: &Call, waits: Option<Duration>) -> Headers {
    let mut headers = Headers::default();
    headers.push(TRACEPARENT, call.trace.child().to_string());
    if let Some(state) = call.trace.state() {
        headers.push(TRACESTATE, state);
    }
    if let Some(waits) = waits {
        headers.push(DEADLINE_MS, waits.as_millis().to_string());
    }
    headers
}

/// The call that a message begins: at most `limit` long, shorter where its sender waits less.
pub(crate) fn call_of(headers: &Headers, limit: Duration) -> Call {
    let waits = headers.first(DEADLINE_MS).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let mut call = Call::new(waits.map_or(limit, |waits| waits.min(limit)));
    let trace =
        headers.first(TRACEPARENT).and_then(|traceparent| TraceContext::parse(traceparent, headers.first(TRACESTATE)));
    if let Some(trace) = trace {
        call.trace = trace.child();
    }
    call
}
