//! Reads an error of the engine as what it means for the caller.

use std::fmt::{self, Write};

use wasmtime::Trap;

use crate::{CallError, FaultKind, LogText, cpu::CpuLimitReached};

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
    if let Some(reached) = error.downcast_ref::<CpuLimitReached>() {
        return CallError::fault(FaultKind::CpuLimit, reached.to_string());
    }
    let kind = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => FaultKind::StackOverflow,
        _ if memory_refused => FaultKind::MemoryLimit,
        _ => FaultKind::Trap,
    };
    CallError::fault(kind, detail(error))
}

/// The error's chain as it may stand in a log: a backtrace names functions, and a component chooses their names.
pub(crate) fn detail(error: &wasmtime::Error) -> String {
    one_line(format_args!("{error:#}"))
}

/// What is formatted, in one line, with control characters escaped, and cut at [`DETAIL_BYTES_MAX`]: for text that a
/// component had a part in. What is cut off is not even made.
pub(crate) fn one_line(text: fmt::Arguments<'_>) -> String {
    let mut kept = Kept(String::new());
    let whole = kept.write_fmt(text).is_ok();
    let mut line = LogText::new(&kept.0, DETAIL_BYTES_MAX).to_string();
    if line.len() > DETAIL_BYTES_MAX {
        line.truncate(line.floor_char_boundary(DETAIL_BYTES_MAX));
    }
    if whole { line } else { line + "..." }
}

/// Takes text until there is enough of it; each run of white space becomes one blank.
struct Kept(String);

impl Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c.is_whitespace() {
            true if self.0.is_empty() || self.0.ends_with(' ') => Ok(()),
            _ if self.0.len() >= DETAIL_BYTES_MAX => Err(fmt::Error),
            true => self.0.write_char(' '),
            false => self.0.write_char(c),
        })
    }
}

/// What a panic said, if it said anything.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_components_names_are_escaped_and_cut() {
        let text = |name: &str| detail(&wasmtime::Error::msg(format!("trap in {name}\n   at the start")));
        assert_eq!(text("a"), "trap in a at the start");
        assert_eq!(text("a\u{1b}[31mb\u{7}"), "trap in a\\u{1b}[31mb\\u{7} at the start");
        for letter in ["x", "\u{1b}", "ä"] {
            let long = text(&letter.repeat(1 << 20));
            assert!(long.len() <= DETAIL_BYTES_MAX + 3 && long.ends_with("..."), "{}", long.len());
        }
    }
}
