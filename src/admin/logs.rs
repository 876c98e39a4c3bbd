//! `/v1/logs`: what a workload's components wrote last, and what they write from now on, a JSON object a line. Who follows
//! has a place among few, and misses lines rather than keep anybody waiting.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use roadstead_runtime::{Lines, LogPage};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    routes::{Answer, Asked, bytes, stream, text},
    workloads::{id_of, not_there},
};

/// Who may follow logs at a time.
pub(super) const FOLLOWERS_MAX: usize = 16;
/// Lines that are told when nobody says how many.
const TAIL_DEFAULT: usize = 200;

const CONTENT_TYPE: &str = "application/x-ndjson";

/// `?namespace=N&name=N`, and `tail=COUNT`, or `after=NUMBER` of a line; with `follow=true` the answer does not end.
pub(super) fn answer(asked: &Asked<'_>) -> Answer {
    let namespace: String = asked.parameter("namespace").unwrap_or_else(|| "default".into());
    let id = asked.parameter::<String>("name").and_then(|name| id_of(&namespace, &name));
    let Some(lines) = id.and_then(|id| asked.state.host.log_source(&id)) else { return not_there() };
    let page = match asked.parameter::<u64>("after") {
        Some(after) => lines.after(after),
        None => lines.last(asked.parameter("tail").unwrap_or(TAIL_DEFAULT)),
    };
    if asked.parameter::<bool>("follow") != Some(true) {
        return bytes(StatusCode::OK, CONTENT_TYPE, written(&page));
    }
    match asked.state.followers.clone().try_acquire_owned() {
        Ok(place) => stream(StatusCode::OK, CONTENT_TYPE, following(lines, page, place)),
        Err(_) => {
            let text_of = format!("{FOLLOWERS_MAX} others follow logs here, as many as may; try again later\n");
            text(StatusCode::SERVICE_UNAVAILABLE, text_of)
        }
    }
}

fn following(lines: Arc<Lines>, first: LogPage, place: OwnedSemaphorePermit) -> super::routes::AnswerBody {
    let begun = (lines, Some(first), 0, place);
    let frames = futures::stream::unfold(begun, |(lines, first, seen, place)| async move {
        let page = match first {
            Some(first) => first,
            None => lines.next_after(seen).await,
        };
        let frame = Ok::<_, Infallible>(Frame::data(written(&page)));
        Some((frame, (lines, None, page.next, place)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The lines, behind one that says how many are missing where some are.
fn written(page: &LogPage) -> Bytes {
    let mut text = String::new();
    if page.dropped > 0 {
        text += &json!({ "dropped": page.dropped }).to_string();
        text.push('\n');
    }
    for line in &page.lines {
        if let Ok(line) = serde_json::to_string(line) {
            text += &line;
            text.push('\n');
        }
    }
    text.into()
}
