//! Reads an error of the engine as what it means for the caller.

use wasmtime::Trap;

use crate::{CallError, FaultKind};

/// A guest that runs past its deadline is ended with this.
#[derive(Debug, thiserror::Error)]
#[error("the call's deadline has passed")]
pub(crate) struct DeadlinePassed;

/// Longest detail kept of an engine's error, in bytes.
const DETAIL_BYTES_MAX: usize = 2_048;

/// Classifies an error of a guest call; `memory_refused` says that the store's memory bound was hit before.
pub(crate) fn classify(error: &wasmtime::Error, memory_refused: bool) -> CallError {
    if error.is::<DeadlinePassed>() {
        return CallError::Deadline;
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return CallError::HostBusy { bound: "engine pool", limit: 0 };
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return CallError::fault(FaultKind::Exit, format!("exit status {}", exit.0));
    }
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => FaultKind::StackOverflow,
        _ if memory_refused => FaultKind::MemoryLimit,
        _ => FaultKind::Trap,
    };
    CallError::fault(kind, detail(error))
}

/// The error's chain in one line, bounded.
pub(crate) fn detail(error: &wasmtime::Error) -> String {
    let mut text = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}

/// What a panic said, if it said anything.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}
