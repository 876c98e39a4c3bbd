//! Harbor Watch's gateway: the page, the list of regions, and `POST /api/detect`, which asks the worker by message.
//!
//! It exists as the thin, fresh-per-request half of the application. It must not know how a vessel is detected, nor
//! check a request: the worker does, and its refusal is passed on. With the feature `archive` it also reads what the worker
//! has kept.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

#[cfg(feature = "archive")]
mod archive;
mod detect;
mod page;
mod regions;

use guest_http::{Query, Response, SendError};
use wasip2::http::types::{IncomingRequest, Method, ResponseOutparam};

/// The bindings of one of the worlds: where the interfaces lie is the same for all.
macro_rules! bindings {
    ($world:tt, with: $with:tt) => {
        wit_bindgen::generate!({
            path: [
                "../../../wit/wasi-io",
                "../../../wit/wasi-logging",
                "../../../wit/wasmcloud-messaging",
                "../../../wit/wasi-keyvalue",
                "../../../wit/wasi-blobstore",
                "wit",
            ],
            world: $world,
            with: $with,
            generate_all,
        });
    };
}

#[cfg(not(feature = "archive"))]
bindings!("roadstead:harbor-watch-api-gateway/api-gateway", with: {});

#[cfg(feature = "archive")]
bindings!(
    "roadstead:harbor-watch-api-gateway/api-gateway-archive",
    with: { "wasi:io/streams@0.2.0": wasip2::io::streams }
);

use wasi::logging::logging::{Level, log};

/// The part of the component that speaks in the log.
const LOG_CONTEXT: &str = "api-gateway";

struct ApiGateway;

impl wasip2::exports::http::incoming_handler::Guest for ApiGateway {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let sent: Result<(), SendError> = route(&request).send(outparam);
        if let Err(error) = sent {
            log(Level::Debug, LOG_CONTEXT, &error.to_string());
        }
    }
}

wasip2::http::proxy::export!(ApiGateway);

fn route(request: &IncomingRequest) -> Response {
    let target = Query::of_target(request.path_with_query());
    let method = request.method();
    match target.path() {
        "/" => read_only(&method, page::page),
        "/api/regions" => read_only(&method, regions::list),
        "/healthz" => read_only(&method, || Response::text(200, "ok\n")),
        "/api/detect" => match method {
            Method::Post => detect::detect(request),
            _ => not_allowed("POST"),
        },
        path => kept(path, &method).unwrap_or_else(|| problem(404, &format!("there is nothing at {path}"))),
    }
}

/// What the worker has kept, at the paths where it is to be had.
#[cfg(feature = "archive")]
fn kept(path: &str, method: &Method) -> Option<Response> {
    Some(read_only(method, archive::at(path)?))
}

#[cfg(not(feature = "archive"))]
fn kept(_: &str, _: &Method) -> Option<Response> {
    None
}

/// Answers GET, and HEAD with the same head.
fn read_only(method: &Method, answer: impl FnOnce() -> Response) -> Response {
    match method {
        Method::Get => answer(),
        Method::Head => answer().head_only(),
        _ => not_allowed("GET, HEAD"),
    }
}

fn not_allowed(allowed: &str) -> Response {
    problem(405, &format!("the method is not allowed here: use {allowed}")).header("allow", allowed)
}

/// An answer that says what is wrong, as `{"error": ...}`.
fn problem(status: u16, reason: &str) -> Response {
    Response::new(status, "application/json", serde_json::json!({ "error": reason }).to_string())
}
