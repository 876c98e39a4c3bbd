//! A component for the tests: each path calls one function of `wasi:config`, `wasi:keyvalue` or `wasi:blobstore`, with
//! arguments from the query; `/keys/timed` calls one many times and says how long that took. What a function refuses is
//! answered with 409 and the reason.
//!
//! It exists so that a test reads as a conversation with a known peer. It must not know which test is asking.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

mod blobs;
mod keys;
mod timing;

use guest_http::{Query, Response};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../wit/wasi-io", "../../wit/wasi-config", "../../wit/wasi-keyvalue", "../../wit/wasi-blobstore", "wit"],
    world: "roadstead:probe-store/probe-store",
    with: { "wasi:io/streams@0.2.0": wasip2::io::streams },
    generate_all,
});

use wasi::config::store;

struct ProbeStore;

impl wasip2::exports::http::incoming_handler::Guest for ProbeStore {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::of_target(request.path_with_query());
        let outcome = match query.path() {
            "/config/get" => match store::get(query.text("key").unwrap_or_default()) {
                Ok(value) => found(value.map(String::into_bytes)),
                Err(error) => Err(format!("{error:?}")),
            },
            "/config/get-all" => match store::get_all() {
                Ok(all) => lines(all.iter().map(|(name, value)| format!("{name}={value}"))),
                Err(error) => Err(format!("{error:?}")),
            },
            path if path.starts_with("/keys/") => keys::call(&query, &request),
            "/blobs/read" => return blobs::read(&query, outparam),
            path if path.starts_with("/blobs/") => blobs::call(&query, &request),
            _ => Ok(Response::text(404, "the probe has no such path\n")),
        };
        let response = outcome.unwrap_or_else(|reason| Response::text(409, reason));
        // A client that left is nobody to tell.
        response.send(outparam).ok();
    }
}

wasip2::http::proxy::export!(ProbeStore);

type Outcome = Result<Response, String>;

/// A value, or 404.
fn found(value: Option<Vec<u8>>) -> Outcome {
    Ok(match value {
        Some(value) => Response::new(200, "application/octet-stream", value),
        None => Response::text(404, "none"),
    })
}

fn lines(lines: impl Iterator<Item = String>) -> Outcome {
    Ok(Response::text(200, lines.collect::<Vec<_>>().join("\n")))
}

#[expect(clippy::needless_pass_by_value, reason = "it is written to be read at the place of its use")]
fn said(what: impl ToString) -> Outcome {
    Ok(Response::text(200, what.to_string()))
}

/// The parameter `name`, split at commas.
fn list(query: &Query, name: &str) -> Vec<String> {
    query.text(name).unwrap_or_default().split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
