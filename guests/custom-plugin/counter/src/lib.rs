//! Counts the requests to each path, with a counter that its host keeps (`acme:ledger`). It must not know who else counts.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

use guest_http::{Query, Response};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../../examples/custom-plugin/wit", "wit"],
    world: "acme:visits/visits",
    generate_all,
});

use acme::ledger::counter;

struct Visits;

impl wasip2::exports::http::incoming_handler::Guest for Visits {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::of_target(request.path_with_query());
        let response = match counter::add(query.path(), query.number("amount", 1)) {
            Ok(sum) => Response::text(200, format!("{sum}\n")),
            Err(reason) => Response::text(409, format!("{reason}\n")),
        };
        // A client that left is nobody to tell.
        response.send(outparam).ok();
    }
}

wasip2::http::proxy::export!(Visits);
