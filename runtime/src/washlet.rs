//! A host that a scheduler drives over NATS with the published control protocol: commands in, replies and heartbeats out.
//!
//! The protocol's messages, and what they are to a host, are here; what a host does with a workload is in `host`, and
//! knows no command. NATS is spoken here alone in this crate, on the connection that the builder was given.

mod builder;
mod control;
mod heartbeat;
mod json;
mod ledger;
mod listening;
mod machine;
mod messages;
mod metrics;
mod restarts;
mod running;
mod translate;

pub use builder::{ClusterError, ClusterHost, ClusterHostBuilder};
pub use listening::NATS_MESSAGES_WITHOUT_END;
pub use restarts::{AfterExit, Exit, Restarts};
pub use running::{ClusterShutdown, run_cluster_host};
