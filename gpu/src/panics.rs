//! Panics of the graphics library, of which some are no more than its way to say no.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind},
};

thread_local! {
    /// Whether a panic of this thread is expected, and nothing that anybody need read about.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic of the process is one line on standard error, unless it is expected.
pub(crate) fn print_as_lines() {
    panic::set_hook(Box::new(|info| {
        if EXPECTED.get() {
            return;
        }
        let text = info.payload_as_str().unwrap_or("no text");
        let line = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!("the GPU process panicked at {line}: {text}");
    }));
}

/// Does something that may panic as its way to say no.
///
/// # Errors
/// What it panicked with.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    EXPECTED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    outcome
}
