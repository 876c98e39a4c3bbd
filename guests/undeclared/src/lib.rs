//! A component that can never be linked: it imports `acme:widgets/store@1.2.3`, which no host offers.
//!
//! It exists for the tests that a workload is refused with a message that names the import. It must not know anything
//! of the host.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

use guest_http::Response;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({ path: "wit", world: "undeclared", generate_all });

struct Undeclared;

impl wasip2::exports::http::incoming_handler::Guest for Undeclared {
    fn handle(_request: IncomingRequest, outparam: ResponseOutparam) {
        let widgets = acme::widgets::store::count();
        // A client that left is nobody to tell.
        Response::text(200, format!("{widgets} widgets\n")).send(outparam).ok();
    }
}

wasip2::http::proxy::export!(Undeclared);
