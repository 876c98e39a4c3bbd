//! What an operator changes at run time: the level of the log, and that the host is to stop.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Serialize;

use super::routes::{Answer, Asked, json, text};

/// The log of the process, as far as it can be changed while it runs.
pub(crate) trait LogLevel: Send + Sync {
    /// The filter in force.
    fn current(&self) -> String;

    /// Puts another in its place.
    ///
    /// # Errors
    /// What is wrong with the filter.
    fn set(&self, filter: &str) -> Result<(), String>;
}

#[derive(Serialize)]
struct Level {
    filter: String,
}

#[derive(Serialize)]
struct Draining {
    /// What begins now, or has begun.
    draining: bool,
    /// Longest time that requests under way are given.
    timeout_ms: u64,
}

pub(super) fn log_level(asked: &Asked<'_>) -> Answer {
    json(StatusCode::OK, &Level { filter: asked.state.log.current() })
}

/// The body is the filter.
pub(super) fn set_log_level(asked: &Asked<'_>) -> Answer {
    let Ok(filter) = std::str::from_utf8(&asked.body) else {
        return text(StatusCode::BAD_REQUEST, "the filter is not text\n");
    };
    match asked.state.log.set(filter.trim()) {
        Ok(()) => {
            let filter = asked.state.log.current();
            tracing::info!(filter, "the level of the log was changed over the admin listener");
            json(StatusCode::OK, &Level { filter })
        }
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
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
