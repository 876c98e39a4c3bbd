//! The capabilities that Roadstead brings: one folder for each WIT package, each a `HostPlugin`.
//!
//! Nothing here knows of pingora; the NATS client's types stay in this crate.

pub mod wasi_logging;
pub mod wasmcloud_messaging;
pub mod webgpu;
