//! Metric series that end with what they are about, so that a host does not carry the names of all that it ever ran. It
//! knows neither what is counted nor why.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The handles of the metric series of one thing, such as a workload.
pub trait Series {
    /// Takes the series out of their families. The handles count on, for nobody.
    fn forget(&self);
}

/// Handles by what they are about. Whoever asks for the same, while it is there, gets the same: a workload that
/// replaces one of its name goes on counting where that was.
pub struct SeriesByOwner<K: Ord + Clone, S: Series>(Arc<Mutex<BTreeMap<K, Users<S>>>>);

struct Users<S> {
    count: usize,
    series: Arc<S>,
}

impl<K: Ord + Clone, S: Series> Clone for SeriesByOwner<K, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Ord + Clone, S: Series> Default for SeriesByOwner<K, S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone, S: Series> SeriesByOwner<K, S> {
    /// The series of `owner`, made when there are none. They are forgotten when the last user lets go of them.
    pub fn of(&self, owner: K, make: impl FnOnce() -> S) -> OwnedSeries<K, S> {
        let series = match self.lock().entry(owner.clone()) {
            Entry::Occupied(mut entry) => {
                let users = entry.get_mut();
                users.count += 1;
                users.series.clone()
            }
            Entry::Vacant(entry) => entry.insert(Users { count: 1, series: Arc::new(make()) }).series.clone(),
        };
        OwnedSeries { series, owner, all: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Users<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The series of one owner, in use.
pub struct OwnedSeries<K: Ord + Clone, S: Series> {
    series: Arc<S>,
    owner: K,
    all: SeriesByOwner<K, S>,
}

impl<K: Ord + Clone, S: Series> Deref for OwnedSeries<K, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.series
    }
}

impl<K: Ord + Clone, S: Series> Drop for OwnedSeries<K, S> {
    fn drop(&mut self) {
        // Under the lock: whoever makes the series anew must find them gone.
        let mut all = self.all.lock();
        if let Entry::Occupied(mut entry) = all.entry(self.owner.clone()) {
            entry.get_mut().count -= 1;
            if entry.get().count == 0 {
                entry.remove();
                self.series.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Default)]
    struct Forgotten(AtomicBool);

    impl Series for Forgotten {
        fn forget(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn series_live_as_long_as_one_of_their_users() {
        let all = SeriesByOwner::default();
        let old = all.of("a", Forgotten::default);
        let new = all.of("a", Forgotten::default);
        let inner = old.series.clone();
        drop(old);
        assert!(Arc::ptr_eq(&inner, &new.series) && !inner.0.load(Ordering::Relaxed));
        drop(new);
        assert!(inner.0.load(Ordering::Relaxed));
        assert!(!Arc::ptr_eq(&inner, &all.of("a", Forgotten::default).series));
    }
}
