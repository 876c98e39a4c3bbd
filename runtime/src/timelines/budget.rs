//! So many in a second, without a lock. It does not know what is counted, nor what time it is.

use std::sync::atomic::{AtomicU64, Ordering};

/// What was taken of one second.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// The second, and how many were taken in it, in one number: 40 bits and 24.
    state: AtomicU64,
}

impl Budget {
    const TAKEN_BITS: u32 = 24;
    const TAKEN_MASK: u64 = (1 << Self::TAKEN_BITS) - 1;

    /// Takes one of the `max` of a second. Where there is none left, nothing is written.
    pub(super) fn take(&self, second: u64, max: u64) -> bool {
        let max = max.min(Self::TAKEN_MASK);
        let taken = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let taken = if state >> Self::TAKEN_BITS == second { state & Self::TAKEN_MASK } else { 0 };
            (taken < max).then_some((second << Self::TAKEN_BITS) | (taken + 1))
        });
        taken.is_ok()
    }
}
