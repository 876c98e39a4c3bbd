//! The ingress: pingora between a socket and the workloads of a host.
//!
//! A connection is accepted, decrypted (`tls`) and framed (`listen`, `io`), its request routed (`route`) and handed to a workload
//! (`app`); what goes wrong becomes an answer in one place (`respond`). The crate knows neither wasmtime nor NATS,
//! and no other crate knows pingora.

mod admit;
mod app;
mod clock;
mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod io;
mod lifecycle;
mod listen;
mod metrics;
mod resources;
mod respond;
mod route;
mod server;
mod socket;
mod tls;

pub use route::DynamicRouter;
pub use server::HttpServer;
pub use socket::{ListenAt, ListenError};
pub use tls::{CertificateFiles, TlsError, TlsFiles};
