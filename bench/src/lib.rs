//! What the engine alone can do: fresh instances of a wasi:http 0.2 component, called without a network, a router, a
//! scheduler or bounds of a tenant. It is the limit that a host is measured against, so it must not know the host.

mod bare;
mod engine;

pub use bare::Bare;
pub use engine::{Clock, engine};
