//! What a host and its GPU process say to each other: commands, answers, and the memory that both see.
//!
//! Commands are WebGPU's own, with numbers in place of objects, and come in order; most have no answer, since WebGPU
//! tells errors by its error scopes. Nothing here knows WIT, wasmtime or the GPU itself: types of `wgpu-types` stand
//! for WebGPU's descriptors.

pub mod control;
pub mod frame;
pub mod op;
pub mod reply;
pub mod shared;

pub use op::Op;
pub use reply::{Event, Reply, ServerFrame};
pub use wgpu_types as wgt;

/// Number of an object in a session, chosen by the host.
pub type Id = u32;

/// A name that a guest gave to an object, for error messages.
pub type Label = Option<String>;

/// Most bytes of a label that cross; the rest is cut off.
pub const LABEL_BYTES_MAX: usize = 256;

/// Data of up to this many bytes travel within a command; larger ones in the shared memory.
pub const INLINE_BYTES_MAX: usize = 4_096;

/// Bytes of a session's shared memory for each direction.
pub const LANE_BYTES: usize = 1 << 20;
