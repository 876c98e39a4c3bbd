//! The GPU process of a host: it has one adapter, and a device for each session that the host opens.
//!
//! It is a process of its own because a shader can bring a driver, or wgpu itself, to a crash or to a standstill that
//! nothing in a process survives. It knows commands and tenants' names, not components, WIT or HTTP; it reads nothing
//! but its socket, and trusts no command to be sensible.

mod accounts;
mod adapters;
mod panics;
mod process;
mod session;
mod shader;
mod turns;
mod watch;

pub use adapters::{AdapterChoice, list_adapters};
pub use process::{GpuProcessError, serve};
