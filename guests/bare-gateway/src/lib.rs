//! The smallest gateway: it asks the worker on `bare.echo` with 64 bytes, and answers with what comes back.
//!
//! It exists to measure what a message costs: what it does beyond `bare-http` is the one request. It must not know logging
//! or the helpers of the other guests.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../wit/wasmcloud-messaging", "wit"],
    world: "roadstead:bare-gateway/bare-gateway",
    generate_all,
});

use wasmcloud::messaging::consumer;

const SUBJECT: &str = "bare.echo";
const QUESTION: &[u8; 64] = b"sixty-four bytes that travel to a worker and come back unchanged";
const TIMEOUT_MS: u32 = 5_000;
const BAD_GATEWAY: u16 = 502;

struct BareGateway;

impl wasip2::exports::http::incoming_handler::Guest for BareGateway {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let answer = consumer::request(SUBJECT, QUESTION, TIMEOUT_MS);
        let response = OutgoingResponse::new(Fields::new());
        if answer.is_err() {
            response.set_status_code(BAD_GATEWAY).ok();
        }
        let bytes = answer.map_or_else(String::into_bytes, |answer| answer.body);
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(outparam, Ok(response));
        if let Ok(stream) = body.write() {
            // A client that left is nobody to tell.
            stream.blocking_write_and_flush(&bytes).ok();
        }
        OutgoingBody::finish(body, None).ok();
    }
}

wasip2::http::proxy::export!(BareGateway);
