//! The smallest useful HTTP component: one constant answer through the bare bindings.
//!
//! It exists to measure what the host itself costs per request, and to show that a component needs nothing beyond
//! `wasi:http`. It must not know logging, messaging or the helpers of the other guests.
#![allow(unsafe_code, reason = "the export is generated")]

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct BareHttp;

impl wasip2::exports::http::incoming_handler::Guest for BareHttp {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { return };
        ResponseOutparam::set(outparam, Ok(response));
        if let Ok(stream) = body.write() {
            // A client that left is nobody to tell.
            stream.blocking_write_and_flush(b"hello from roadstead\n").ok();
        }
        OutgoingBody::finish(body, None).ok();
    }
}

wasip2::http::proxy::export!(BareHttp);
