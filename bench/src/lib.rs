//! What the engine alone can do: fresh instances of a wasi:http 0.2 component, called without a network, a router, a
//! scheduler or bounds of a tenant. It is the limit that a host is measured against, so it knows nothing of the host but how its
//! engine is set up: the two differ in what is around the guest.

mod bare;

pub use bare::Bare;
