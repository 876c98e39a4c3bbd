//! The capabilities that Roadstead brings: one folder for each WIT package, each a `HostPlugin`.
//!
//! Nothing here knows of pingora; the types of the clients of NATS and PostgreSQL stay in this crate.

pub mod data_dir;
pub mod embedded;
mod store_backends;
mod store_call;
mod store_metrics;
mod store_plugin;
pub mod tenant_nats;
pub mod tenant_postgres;
pub mod wasi_blobstore;
pub mod wasi_config;
pub mod wasi_keyvalue;
pub mod wasi_logging;
pub mod wasi_otel;
pub mod wasmcloud_messaging;
pub mod wasmcloud_secrets;
pub mod webgpu;
