//! The gateway: answers HTTP, and asks the worker for whatever takes long.
//!
//! Every request gets a fresh instance, so nothing is kept here from one request to the next. What is
//! answered to what is in `routes`, which knows no component and is tested natively.

mod http;
mod routes;

use routes::{Answer, Route};
use wasi::logging::logging::{Level, log};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};
use wasmcloud::messaging::consumer;

wit_bindgen::generate!({
    path: ["../wit/wasi-logging", "../wit/wasmcloud-messaging", "wit"],
    world: "project:gateway/gateway",
    generate_all,
});

/// Where the worker listens: `subscriptions` of the worker in app.yaml.
const SUBJECT: &str = "tasks.project-name";
/// The longest wait for the worker. The trigger's `timeout` in app.yaml bounds it too.
const TIMEOUT_MS: u32 = 5_000;
/// The longest body that is passed on.
const BODY_BYTES_MAX: usize = 256 * 1024;

struct Gateway;

impl wasip2::exports::http::incoming_handler::Guest for Gateway {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let (method, target) = (http::method(&request), http::target(&request));
        let answer = match routes::route(&method, &target) {
            Route::Answer(answer) => answer,
            Route::Ask => ask(&request),
        };
        http::send(outparam, &answer);
    }
}

wasip2::http::proxy::export!(Gateway);

/// Hands the body to the worker and waits for its reply.
fn ask(request: &IncomingRequest) -> Answer {
    let body = match http::read_body(request, BODY_BYTES_MAX) {
        Ok(body) => body,
        Err(error) => return routes::unreadable(&error),
    };
    match consumer::request(SUBJECT, &body, TIMEOUT_MS) {
        Ok(reply) => routes::replied(reply.body),
        Err(reason) => {
            log(Level::Warn, "gateway", &format!("{SUBJECT}: {reason}"));
            routes::unanswered(&reason)
        }
    }
}
