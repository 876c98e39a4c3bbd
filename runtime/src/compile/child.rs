//! What happens inside the compiler child: it takes its own possibilities away, then compiles one component from
//! standard input to standard output. Knows nothing of the host that started it but the limits.

use std::{
    io::{self, Read, Write},
    num::NonZero,
    panic, thread,
};

use roadstead_config::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{CompileError, frame, load};
use crate::engine::{EngineError, compiler_engine};

/// Open files: the standard three, and what the compiler's thread pool looks up about the machine.
const FILES_MAX: u64 = 32;

/// Why the child gives no code.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("the limit on {what} cannot be set")]
    Limit {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the component cannot be read")]
    Input(#[source] io::Error),
    #[error("the component is larger than {0} bytes (component_bytes_max)")]
    InputTooLarge(u64),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error("the code cannot be written")]
    Output(#[source] io::Error),
}

/// Compiles the component that comes from `input`, for hosts with these `limits`, and writes its code to `output`.
///
/// This lowers what the whole process may use, for ever: address space, processor time, files. Call it in a process
/// that is there for nothing else.
///
/// # Errors
/// When the limits cannot be lowered, the component is refused, or input or output fail. Where the component needs
/// more than the process may use, the process ends.
pub fn compile_child(limits: &Limits, input: impl Read, output: &mut impl Write) -> Result<(), ChildError> {
    panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("no text");
        let _ = writeln!(io::stderr(), "the compiler panicked: {text}");
    }));
    lower_limits(limits)?;
    let engine = compiler_engine(limits)?;
    let mut component = Vec::new();
    let readable = limits.component_bytes_max.saturating_add(1);
    input.take(readable).read_to_end(&mut component).map_err(ChildError::Input)?;
    if component.len() as u64 >= readable {
        return Err(ChildError::InputTooLarge(limits.component_bytes_max));
    }
    let artifact = load::compile_here(&engine, &component)?;
    frame::write(output, &artifact).map_err(ChildError::Output)
}

fn lower_limits(limits: &Limits) -> Result<(), ChildError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    // The host ends the child by the clock; this ends one whose host is gone.
    let seconds = limits.compile_time_ms.div_ceil(1_000).saturating_mul(threads).saturating_add(1);
    let all = [
        (Resource::Core, 0, "core files"),
        (Resource::Fsize, 0, "file sizes"),
        (Resource::Nofile, FILES_MAX, "open files"),
        (Resource::Cpu, seconds, "processor time"),
        (Resource::As, limits.compile_memory_bytes_max, "address space"),
    ];
    for (resource, most, what) in all {
        let most = getrlimit(resource).maximum.map_or(most, |now| now.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|error| ChildError::Limit { what, source: error.into() })?;
    }
    Ok(())
}
