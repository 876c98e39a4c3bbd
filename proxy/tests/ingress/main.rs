//! The ingress against raw clients and scripted workloads: what a client sees, byte by byte where it matters. No
//! wasm runs here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod access_log;
mod bounds;
#[path = "../../../tests/harness/certificates.rs"]
mod certificates;
mod client;
mod ending;
mod framing;
mod host;
mod http1;
mod http2;
mod http2_bounds;
mod limits;
mod proxies;
mod proxy_protocol;
mod routing;
mod tls;
mod tls_bounds;
mod tls_reload;
