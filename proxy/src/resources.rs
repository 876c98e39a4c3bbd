//! What the machine gives the process, and how much of it is left: the ingress takes no more in than the rest of the
//! host can live with. It knows the system's figures, no request.

mod cgroup;
mod descriptors;
mod memory;

pub(crate) use descriptors::connections_max;
pub(crate) use memory::{Memory, Pressure};
