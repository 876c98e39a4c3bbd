//! A component for the tests: each path looks a secret or a setting up, `key` of the query, under one of the published
//! versions. What is not there is 404; what a function refuses is answered with 409 and the reason.
//!
//! It exists so that a test reads as a conversation with a known peer. It must not know which test is asking, and says a
//! secret only to the one who asks for it.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

use guest_http::{Query, Response};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: [
        "../../wit/wasi-config-draft",
        "../../wit/wasmcloud-secrets",
        "../../wit/wasmcloud-secrets-draft",
        "wit",
    ],
    world: "roadstead:probe-secrets/probe-secrets",
    generate_all,
});

use wasi::config::{runtime, store as settings};
use wasmcloud::{secrets0_1_0_draft as draft, secrets1_0_0 as first};

struct ProbeSecrets;

impl wasip2::exports::http::incoming_handler::Guest for ProbeSecrets {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::of_target(request.path_with_query());
        let key = query.text("key").unwrap_or_default();
        let response = match query.path() {
            "/secrets/get" => of_first(key),
            "/secrets/kept" => kept(key, &query),
            "/secrets/hoard" => hoard(key, query.number("count", 1)),
            "/secrets/trap" => trap(key),
            "/secrets/draft" => of_draft(key),
            "/config/runtime" => match runtime::get(key) {
                Ok(value) => found(value),
                Err(error) => refused(format!("{error:?}")),
            },
            "/config/runtime-all" => match runtime::get_all() {
                Ok(values) => all(&values),
                Err(error) => refused(format!("{error:?}")),
            },
            "/config/store" => match settings::get(key) {
                Ok(value) => found(value),
                Err(error) => refused(format!("{error:?}")),
            },
            "/config/store-all" => match settings::get_all() {
                Ok(values) => all(&values),
                Err(error) => refused(format!("{error:?}")),
            },
            _ => Response::text(404, "the probe has no such path\n"),
        };
        // A client that left is nobody to tell.
        response.send(outparam).ok();
    }
}

wasip2::http::proxy::export!(ProbeSecrets);

fn refused(reason: String) -> Response {
    Response::text(409, reason)
}

fn found(value: Option<String>) -> Response {
    value.map_or_else(|| Response::text(404, "none"), |value| Response::text(200, value))
}

fn all(values: &[(String, String)]) -> Response {
    let lines: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Response::text(200, lines.join("\n"))
}

/// The value, and as a header whether it is text.
fn of_first(key: &str) -> Response {
    match first::store::get(key) {
        Ok(secret) => said(first::reveal::reveal(&secret)),
        Err(first::store::SecretsError::NotFound) => Response::text(404, "none"),
        Err(error) => refused(format!("{error:?}")),
    }
}

fn said(value: first::store::SecretValue) -> Response {
    match value {
        first::store::SecretValue::String(text) => Response::text(200, text).header("kind", "string"),
        first::store::SecretValue::Bytes(bytes) => {
            Response::new(200, "application/octet-stream", bytes).header("kind", "bytes")
        }
    }
}

fn of_draft(key: &str) -> Response {
    match draft::store::get(key) {
        Ok(secret) => match draft::reveal::reveal(&secret) {
            draft::store::SecretValue::String(text) => Response::text(200, text),
            draft::store::SecretValue::Bytes(bytes) => Response::new(200, "application/octet-stream", bytes),
        },
        Err(draft::store::SecretsError::NotFound) => Response::text(404, "none"),
        Err(error) => refused(format!("{error:?}")),
    }
}

/// Looks a secret up, then again and again until it is another one (`turns` times at most), and tells both: a handle stands
/// for what it stood for when it was made.
fn kept(key: &str, query: &Query) -> Response {
    let text = |secret: &first::store::Secret| match first::reveal::reveal(secret) {
        first::store::SecretValue::String(text) => text,
        first::store::SecretValue::Bytes(_) => String::new(),
    };
    let Ok(secret) = first::store::get(key) else { return Response::text(404, "none") };
    let before = text(&secret);
    for _ in 0..query.number("turns", 1_000_000) {
        match first::store::get(key) {
            Ok(newer) if text(&newer) != before => {
                return Response::text(200, format!("{} {}", text(&secret), text(&newer)));
            }
            _ => {}
        }
    }
    refused("it stayed the same".to_owned())
}

/// Looks a secret up `count` times and lets go of none.
fn hoard(key: &str, count: u64) -> Response {
    let mut held = Vec::new();
    for number in 0..count {
        match first::store::get(key) {
            Ok(secret) => held.push(secret),
            Err(error) => return refused(format!("{number}: {error:?}")),
        }
    }
    Response::text(200, held.len().to_string())
}

/// Has the secret in its memory, and traps.
fn trap(key: &str) -> Response {
    let value = first::store::get(key).map(|secret| first::reveal::reveal(&secret));
    std::hint::black_box(&value);
    std::process::abort()
}
