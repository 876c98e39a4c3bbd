//! `/healthz`, `/readyz`, `/metrics` and `/status`: for probes, scrapers, and whoever wants all at once.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::task::{JoinHandle, spawn_blocking};

use super::routes::{Answer, Asked, bytes, json, text};

pub(super) fn alive(_: &Asked<'_>) -> Answer {
    text(StatusCode::OK, "alive\n")
}

/// The reasons name what belongs to workloads: a stranger hears only whether there are some.
pub(super) fn readiness(asked: &Asked<'_>) -> Answer {
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

/// Written on a thread for such work, so that no request waits while many workloads are gone through.
pub(super) fn metrics(asked: &Asked<'_>) -> Answer {
    let metrics = asked.state.host.metrics().clone();
    let text = spawn_blocking(move || metrics.text().unwrap_or_else(|error| format!("# {error}\n").into_bytes()));
    let mut answer = bytes(StatusCode::OK, roadstead_metrics::CONTENT_TYPE, Vec::new());
    *answer.body_mut() = Later(Some(text)).boxed_unsync();
    answer
}

/// A body that is made elsewhere, all at once.
struct Later(Option<JoinHandle<Vec<u8>>>);

impl Body for Later {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(made) = &mut self.0 else { return Poll::Ready(None) };
        let made = ready!(Pin::new(made).poll(context));
        self.0 = None;
        Poll::Ready(made.ok().map(|text| Ok(Frame::data(text.into()))))
    }
}

pub(super) fn status(asked: &Asked<'_>) -> Answer {
    json(StatusCode::OK, &asked.state.host.status())
}
