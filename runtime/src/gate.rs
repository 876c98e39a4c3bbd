//! A bound on how many of something there may be at once, for those who do not wait: a count that all threads share
//! without a lock. It does not know what is counted. (tokio's semaphore takes a lock to give a permit back, for the sake
//! of those who wait.)

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Lets a number of holders in, and no more.
#[derive(Debug)]
pub(crate) struct Gate {
    places_max: u64,
    taken: AtomicU64,
}

/// Places behind a gate, given back when dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    gate: Arc<Gate>,
    places: u64,
}

impl Gate {
    pub(crate) fn new(places_max: u64) -> Arc<Self> {
        Arc::new(Self { places_max, taken: AtomicU64::new(0) })
    }

    /// Whether half of the places are taken, or more.
    pub(crate) fn is_half_full(&self) -> bool {
        self.taken.load(Ordering::Relaxed) >= self.places_max.div_ceil(2)
    }

    /// Takes that many places at once; `None` when there are not so many left.
    pub(crate) fn enter(self: &Arc<Self>, places: u32) -> Option<Entered> {
        let places = u64::from(places);
        let with = |taken: u64| taken.checked_add(places).filter(|taken| *taken <= self.places_max);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with).ok()?;
        Some(Entered { gate: self.clone(), places })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.gate.taken.fetch_sub(self.places, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_and_comes_back() {
        let gate = Gate::new(5);
        let two = gate.enter(2).unwrap();
        assert!(!gate.is_half_full());
        let three = gate.enter(3).unwrap();
        assert!(gate.is_half_full());
        assert!(gate.enter(1).is_none());
        drop(two);
        assert!(gate.enter(3).is_none());
        assert!(gate.enter(2).is_some());
        drop(three);
        assert!(gate.enter(5).is_some());
    }
}
