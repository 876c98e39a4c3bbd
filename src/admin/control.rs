//! What an operator changes at run time: that the host is to stop.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Serialize;

use super::routes::{Answer, Asked, json};

#[derive(Serialize)]
struct Draining {
    /// What begins now, or has begun.
    draining: bool,
    /// Longest time that requests under way are given.
    timeout_ms: u64,
}

/// The host stops as after the first SIGTERM. A second one ends it at once, a second call of this does nothing.
pub(super) fn drain(asked: &Asked<'_>) -> Answer {
    let state = asked.state;
    if !state.draining.load(Ordering::Relaxed) {
        tracing::info!("told to stop over the admin listener");
        state.drain.notify_one();
    }
    let timeout_ms = state.host.limits().drain_timeout_ms;
    json(StatusCode::ACCEPTED, &Draining { draining: true, timeout_ms })
}
