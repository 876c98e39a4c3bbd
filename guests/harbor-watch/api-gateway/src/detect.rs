//! `POST /api/detect`: hands the body to the worker and its answer to the client. Must not know what either means,
//! beyond telling a refusal from a result.

use guest_http::{BodyError, Response, read_body};
use serde::Deserialize;
use wasip2::http::types::IncomingRequest;

use super::wasi::logging::logging::{Level, log};
use super::wasmcloud::messaging::consumer;
use super::{LOG_CONTEXT, problem};

/// Where the worker listens.
const SUBJECT: &str = "tasks.sar-processor";
/// How long it may take; the trigger's own timeout is as long.
const TIMEOUT_MS: u32 = 30_000;
/// A request has seven short fields.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the worker answers when the request is wrong. A result has no such member.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

pub(crate) fn detect(request: &IncomingRequest) -> Response {
    let body = match read_body(request, BODY_BYTES_MAX) {
        Ok(body) => body,
        Err(error @ BodyError::TooLong { .. }) => return problem(413, &error.to_string()),
        Err(error) => return problem(400, &error.to_string()),
    };
    match consumer::request(SUBJECT, &body, TIMEOUT_MS) {
        Ok(reply) => match serde_json::from_slice::<Refusal>(&reply.body) {
            Ok(refusal) => problem(400, &refusal.error),
            Err(_) => {
                let found = Response::new(200, "application/geo+json", reply.body).header("cache-control", "no-store");
                located(found, &body)
            }
        },
        Err(reason) => {
            log(Level::Warn, LOG_CONTEXT, &format!("{SUBJECT}: {reason}"));
            problem(502, &reason)
        }
    }
}

/// Says where the same answer is to be had from now on.
#[cfg(feature = "archive")]
fn located(found: Response, body: &[u8]) -> Response {
    match harbor_watch_sar::DetectRequest::from_json(body) {
        Ok(request) => found.header("content-location", &format!("/api/detections/{}", request.key())),
        Err(_) => found,
    }
}

#[cfg(not(feature = "archive"))]
fn located(found: Response, _: &[u8]) -> Response {
    found
}
