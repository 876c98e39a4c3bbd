//! The headers that Roadstead puts on messages, and how they are read back from anybody.
//!
//! | header | meaning |
//! |---|---|
//! | `Nats-Service-Error` | the reason why a request has no answer (NATS micro services) |
//! | `Nats-Service-Error-Code` | 400, 408, 413, 429, 500 or 503 (NATS micro services) |
//! | `Roadstead-Deadline-Ms` | milliseconds that the sender will still wait |
//! | `traceparent`, `tracestate` | the trace (W3C Trace Context) |
//! | `baggage` | what the first sender gave the trace with it (W3C Baggage) |

use std::{fmt::Write as _, time::Duration};

use roadstead_runtime::{Call, TraceContext};
use tokio::time::Instant;

use super::broker::Headers;

pub(crate) const SERVICE_ERROR: &str = "Nats-Service-Error";
pub(crate) const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
pub(crate) const DEADLINE_MS: &str = "Roadstead-Deadline-Ms";
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const BAGGAGE: &str = "baggage";

/// Length of the header's value, the same for all.
const TRACEPARENT_BYTES: usize = 55;

/// Headers that hand a call on: the position in its trace, and with `waits` how long the sender waits.
pub(crate) fn of_call(trace: &TraceContext, waits: Option<Duration>) -> Headers {
    let mut headers = Headers::default();
    let mut traceparent = String::with_capacity(TRACEPARENT_BYTES);
    // Writing to memory does not fail.
    let _ = write!(traceparent, "{trace}");
    headers.push(TRACEPARENT, traceparent);
    if let Some(state) = trace.state() {
        headers.push(TRACESTATE, state);
    }
    if let Some(baggage) = trace.baggage() {
        headers.push(BAGGAGE, baggage);
    }
    if let Some(waits) = waits {
        headers.push(DEADLINE_MS, waits.as_millis().to_string());
    }
    headers
}

/// The call that a message begins: at most `limit` long from its arrival, shorter where its sender waits less. With the
/// position in the trace that it is below, where the sender says so.
pub(crate) fn call_of(headers: &Headers, arrived: Instant, limit: Duration) -> (Call, Option<TraceContext>) {
    let waits = headers.first(DEADLINE_MS).and_then(|text| text.parse().ok()).map(Duration::from_millis);
    let mut call = Call::new(limit);
    call.deadline = arrived + waits.map_or(limit, |waits| waits.min(limit));
    let trace =
        headers.first(TRACEPARENT).and_then(|traceparent| TraceContext::parse(traceparent, headers.first(TRACESTATE)));
    let baggage = headers.first(BAGGAGE);
    let parent = trace.map(|trace| trace.admitted().with_baggage(baggage));
    call.trace = match &parent {
        Some(parent) => parent.child(),
        None => call.trace.with_baggage(baggage),
    };
    (call, parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_from_the_arrival() {
        let limit = Duration::from_secs(10);
        let arrived = Instant::now() - Duration::from_secs(4);
        let mut headers = Headers::default();
        assert_eq!(call_of(&headers, arrived, limit).0.deadline, arrived + limit);
        headers.push(DEADLINE_MS, "60000");
        assert_eq!(call_of(&headers, arrived, limit).0.deadline, arrived + limit);
        let mut headers = Headers::default();
        headers.push(DEADLINE_MS, "5000");
        assert_eq!(call_of(&headers, arrived, limit).0.deadline, arrived + Duration::from_secs(5));
    }
    #[test]
    fn a_deadline_that_a_sender_makes_up_only_shortens() {
        let limit = Duration::from_secs(10);
        let arrived = Instant::now();
        let of = |deadline_ms: &str| {
            let mut headers = Headers::default();
            headers.push(DEADLINE_MS, deadline_ms);
            call_of(&headers, arrived, limit).0.deadline
        };
        assert_eq!(of("0"), arrived);
        assert_eq!(of("9999"), arrived + Duration::from_millis(9_999));
        for longer in ["10001", "18446744073709551615", "99999999999999999999", "-1", "1e3", "", "soon"] {
            assert_eq!(of(longer), arrived + limit, "{longer:?}");
        }
    }
}
