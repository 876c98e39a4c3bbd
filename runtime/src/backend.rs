//! Whether what stands behind an instance is still there: something outside of the host's process, such as a GPU, that
//! the instance has objects of. Once it is gone, the instance is worth nothing, whatever it is busy with.

use std::sync::atomic::{AtomicU8, Ordering};

const THERE: u8 = 0;
const GONE: u8 = 1;
const GONE_BY_OTHERS: u8 = 2;

/// The state of what stands behind one instance. Plugins that give an instance something that can be lost get it from
/// [`InstanceState::backend`](crate::InstanceState::backend).
#[derive(Debug, Default)]
pub struct BackendHealth(AtomicU8);

impl BackendHealth {
    /// It is gone. `by_others` when that was no doing of the instance's workload: then its call is worth another try.
    pub fn lose(&self, by_others: bool) {
        let now = if by_others { GONE_BY_OTHERS } else { GONE };
        // What was known first stays.
        let _ = self.0.compare_exchange(THERE, now, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether it is gone.
    pub fn is_lost(&self) -> bool {
        self.0.load(Ordering::Acquire) != THERE
    }

    /// Whether it is gone and another instance may do better.
    pub fn is_worth_another_try(&self) -> bool {
        self.0.load(Ordering::Acquire) == GONE_BY_OTHERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_first_stays() {
        let health = BackendHealth::default();
        assert!(!health.is_lost() && !health.is_worth_another_try());
        health.lose(false);
        health.lose(true);
        assert!(health.is_lost() && !health.is_worth_another_try());
        let other = BackendHealth::default();
        other.lose(true);
        assert!(other.is_lost() && other.is_worth_another_try());
    }
}
