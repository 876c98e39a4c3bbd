//! Many requests of the component's own within one call, timed by its own clock. Must not know whom it asks.

use std::collections::VecDeque;

use guest_http::{Query, Response};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{FutureIncomingResponse, IncomingRequest};

use super::{Refusal, length, outgoing, send, wait};

/// Of the requests, how many are sent before as many as asked for are timed: one in so many.
const WARM_UP_PART: u64 = 10;
const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// Sends `count` requests, `at-once` of them under way, and answers `requests_per_s`; 502 with the reason when one of them
/// has no answer of status 200 with a body.
pub(crate) fn timed(query: &Query, request: &IncomingRequest) -> Response {
    let count = query.number("count", 1_000).max(1);
    match rounds(query, request, count / WARM_UP_PART).and_then(|_| rounds(query, request, count)) {
        Ok(time) => {
            let requests_per_s = count as f64 * NANOSECONDS_PER_SECOND / time.max(1) as f64;
            Response::text(200, format!("requests_per_s {requests_per_s:.1}\n"))
        }
        Err(refusal) => Response::text(502, refusal),
    }
}

/// The time that it took, in nanoseconds.
fn rounds(query: &Query, request: &IncomingRequest, count: u64) -> Result<u64, Refusal> {
    let at_once = usize::try_from(query.number("at-once", 1).max(1)).unwrap_or(1);
    let mut under_way = VecDeque::with_capacity(at_once);
    let begun = monotonic_clock::now();
    for _ in 0..count {
        if under_way.len() == at_once {
            take(under_way.pop_front())?;
        }
        under_way.push_back(send(query, outgoing(query, request)?)?);
    }
    while !under_way.is_empty() {
        take(under_way.pop_front())?;
    }
    Ok(monotonic_clock::now().saturating_sub(begun))
}

fn take(response: Option<FutureIncomingResponse>) -> Result<(), Refusal> {
    let Some(response) = response else { return Ok(()) };
    let response = wait(&response)?;
    match (response.status(), length(&response)) {
        (200, 1..) => Ok(()),
        (status, bytes) => Err(format!("status {status} with {bytes} bytes")),
    }
}
