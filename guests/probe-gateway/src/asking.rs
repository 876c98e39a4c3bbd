//! Paths that use the interfaces a host offers beyond WASI: messages and log lines. Must not know streaming.

use guest_http::{Query, Response, read_body};
use wasip2::http::types::IncomingRequest;

use super::hoarding::{MEBIBYTE, length};
use super::wasi::logging::logging::{self, Level};
use super::wasmcloud::messaging::consumer;
use super::wasmcloud::messaging::types::BrokerMessage;

const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
const TIMEOUT_MS_DEFAULT: u64 = 5_000;

/// Sends the request body to `subject` and answers what comes back; 502 with the reason when nothing does.
pub(crate) fn request(query: &Query, request: &IncomingRequest) -> Response {
    let body = match read_body(request, BODY_BYTES_MAX) {
        Ok(body) => body,
        Err(error) => return Response::text(400, error.to_string()),
    };
    let timeout_ms = u32::try_from(query.number("timeout-ms", TIMEOUT_MS_DEFAULT)).unwrap_or(u32::MAX);
    match consumer::request(query.text("subject").unwrap_or_default(), &body, timeout_ms) {
        Ok(reply) => Response::new(200, "application/octet-stream", reply.body),
        Err(reason) => Response::text(502, reason),
    }
}

/// Sends the request body to `subject`, with `reply-to` when that is given, and with `times` that often or until it is
/// refused.
pub(crate) fn publish(query: &Query, request: &IncomingRequest) -> Response {
    let body = match read_body(request, BODY_BYTES_MAX) {
        Ok(body) => body,
        Err(error) => return Response::text(400, error.to_string()),
    };
    let message = BrokerMessage {
        subject: query.text("subject").unwrap_or_default().to_owned(),
        body,
        reply_to: query.text("reply-to").map(str::to_owned),
    };
    match (0..query.number("times", 1)).try_for_each(|_| consumer::publish(&message)) {
        Ok(()) => Response::text(202, "published\n"),
        Err(reason) => Response::text(502, reason),
    }
}

/// Writes `message` to the log `times` times at `level`; with `mb` a message of so many mebibytes.
pub(crate) fn log(query: &Query) -> Response {
    let level = match query.text("level").unwrap_or("info") {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        other => return Response::text(400, format!("no such level: {other}\n")),
    };
    let large = query.text("mb").map(|_| "m".repeat(length(query, "mb", 1).saturating_mul(MEBIBYTE)));
    let message = large.as_deref().or(query.text("message")).unwrap_or("hello");
    let times = query.number("times", 1);
    for _ in 0..times {
        logging::log(level, "probe", message);
    }
    Response::text(200, format!("logged {times} times\n"))
}
