//! A gateway for the tests: each path does one thing that a host must carry out or survive.
//!
//! It exists so that a test reads as a conversation with a known peer. It must not know which test is asking.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

mod asking;
mod grpc;
mod hoarding;
mod misbehaviour;
mod outgoing;
mod reaching;
mod streaming;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_http::{Query, Response};
use wasip2::http::types::{ErrorCode, IncomingRequest, Method, ResponseOutparam, Scheme};

wit_bindgen::generate!({
    path: ["../../wit/wasi-logging", "../../wit/wasmcloud-messaging", "wit"],
    world: "roadstead:probe-gateway/probe-gateway",
    generate_all,
});

struct ProbeGateway;

impl wasip2::exports::http::incoming_handler::Guest for ProbeGateway {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::of_target(request.path_with_query());
        match query.path() {
            "/echo" => streaming::echo(&request, outparam),
            "/stream" => streaming::stream(&query, outparam),
            "/slow-stream" => streaming::slow_stream(&query, outparam),
            "/events" => streaming::events(&request, outparam),
            path if path.starts_with(grpc::SERVICE) => grpc::call(path, &request, outparam),
            "/spin" => misbehaviour::spin(),
            "/trap" => misbehaviour::trap(),
            "/exit" => misbehaviour::exit(),
            "/recurse" => answer(outparam, misbehaviour::recurse(&query)),
            "/no-response" => drop(outparam),
            "/error-code" => {
                ResponseOutparam::set(outparam, Err(ErrorCode::InternalError(Some("asked for".to_owned()))));
            }
            "/fail-midbody" => misbehaviour::fail_midbody(outparam),
            "/short-body" => misbehaviour::short_body(outparam),
            "/go-on" => misbehaviour::go_on(&query, outparam),
            "/host-calls" => hoarding::host_calls(),
            "/memory-fill" => hoarding::memory_fill(&query),
            "/request" => answer(outparam, asking::request(&query, &request)),
            "/out" => outgoing::relay(&query, &request, outparam),
            "/out-echo" => outgoing::echo(&query, &request, outparam),
            "/publish" => answer(outparam, asking::publish(&query, &request)),
            path => answer(outparam, plain(path, &query, &request)),
        }
    }
}

wasip2::http::proxy::export!(ProbeGateway);

/// The paths that answer a short text and nothing else.
fn plain(path: &str, query: &Query, request: &IncomingRequest) -> Response {
    match path {
        "/hello" => Response::text(200, "hello from roadstead\n"),
        "/count" => Response::text(200, count()),
        "/sleep" => {
            let milliseconds = query.number("ms", 0);
            streaming::sleep_milliseconds(milliseconds);
            Response::text(200, format!("slept {milliseconds} ms\n"))
        }
        "/alloc" => misbehaviour::alloc(query),
        "/log" => asking::log(query),
        "/hoard-fields" => hoarding::fields(query),
        "/hoard-bodies" => hoarding::bodies(query),
        "/hoard-sockets" => hoarding::sockets(query),
        "/hoard-outputs" => hoarding::outputs(query),
        "/response-headers" => hoarding::headers(query),
        "/random" => hoarding::random(query),
        "/output" => hoarding::output(query),
        "/fetch" => reaching::fetch(query),
        "/out-many" => outgoing::many(query, request),
        "/out-one-by-one" => outgoing::one_by_one(query, request),
        "/out-timed" => outgoing::timed(query, request),
        "/out-break" => outgoing::break_off(query, request),
        "/reach" => reaching::reach(),
        "/headers" => Response::text(200, headers(request)),
        "/env" => Response::text(200, environment()),
        _ => Response::text(404, "the probe has no such path\n"),
    }
}

/// Sends `response`; a client that left is nobody to tell.
fn answer(outparam: ResponseOutparam, response: Response) {
    response.send(outparam).ok();
}

/// How many times this instance was asked: stays at 1 where every request gets an instance of its own.
fn count() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    (CALLS.fetch_add(1, Ordering::Relaxed) + 1).to_string()
}

/// The request line and headers as this component sees them, one a line.
fn headers(request: &IncomingRequest) -> String {
    let scheme = request.scheme().map(|scheme| match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    });
    let mut text = format!(
        ":method: {}\n:path-with-query: {}\n:authority: {}\n:scheme: {}\n",
        method_name(request.method()),
        request.path_with_query().unwrap_or_default(),
        request.authority().unwrap_or_default(),
        scheme.unwrap_or_default(),
    );
    for (name, value) in request.headers().entries() {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(&value)).ok();
    }
    text
}

fn method_name(method: Method) -> String {
    match method {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(name) => name,
    }
}

/// Environment variables as `NAME=VALUE` lines, then the arguments as `arg: VALUE` lines.
fn environment() -> String {
    let mut text = String::new();
    for (name, value) in std::env::vars() {
        writeln!(text, "{name}={value}").ok();
    }
    for argument in std::env::args() {
        writeln!(text, "arg: {argument}").ok();
    }
    text
}
