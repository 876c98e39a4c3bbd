//! `/healthz`, `/readyz`, `/metrics` and `/status`: for probes, scrapers, and whoever wants all at once.

use std::sync::atomic::Ordering;

use http::StatusCode;
use prometheus::{Encoder, TextEncoder};

use super::routes::{Answer, Asked, bytes, json, text};

pub(super) fn alive(_: &Asked<'_>) -> Answer {
    text(StatusCode::OK, "alive\n")
}

/// The reasons name what belongs to workloads: a stranger hears only whether there are some.
pub(super) fn ready(asked: &Asked<'_>) -> Answer {
    let state = asked.state;
    let mut lines = state.host.not_ready();
    if state.draining.load(Ordering::Relaxed) {
        lines.push("the host is stopping".into());
    }
    if !state.deployed.load(Ordering::Relaxed) {
        lines.push("workloads are being started".into());
    }
    let status = if lines.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !asked.may_read {
        return text(status, if lines.is_empty() { "ready\n" } else { "not ready\n" });
    }
    if lines.is_empty() {
        lines.push("ready".into());
    }
    lines.extend(state.notice.get().and_then(|notice| notice()).map(str::to_owned));
    text(status, lines.join("\n") + "\n")
}

pub(super) fn metrics(asked: &Asked<'_>) -> Answer {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    match encoder.encode(&asked.state.host.registry().gather(), &mut body) {
        Ok(()) => bytes(StatusCode::OK, encoder.format_type(), body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

pub(super) fn status(asked: &Asked<'_>) -> Answer {
    json(StatusCode::OK, &asked.state.host.status())
}
