//! Whose turn it is: what happens to one workload happens one after the other, and nobody waits for another workload's.
//! Knows nothing of what happens.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::WorkloadId;

/// The turns that are taken or waited for.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<WorkloadId, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The turn of one workload. It is forgotten when nobody has it any more.
    pub(super) fn of(&self, id: &WorkloadId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|known, turn| known == id || Arc::strong_count(turn) > 1);
        turns.entry(id.clone()).or_default().clone()
    }
}

/// One attempt to start a workload. Copies are one attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempt {
    cancelled: CancellationToken,
    identity: Arc<()>,
    /// What cannot be fetched leaves nothing behind.
    pub(super) frees_name: bool,
}

impl Attempt {
    /// One that leaves the name free when a component cannot be fetched.
    pub(super) fn freeing_name() -> Self {
        Self { frees_name: true, ..Self::default() }
    }

    /// Ends it, wherever it is.
    pub(super) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Whether it is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }

    /// Returns once it is to end.
    pub(super) async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether `other` is the same attempt.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.identity, &other.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> WorkloadId {
        WorkloadId { namespace: "team".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn turns_are_by_workload_and_are_forgotten() {
        let turns = Turns::default();
        let (one, other) = (turns.of(&id("one")), turns.of(&id("other")));
        let held = one.try_lock().unwrap();
        assert!(turns.of(&id("one")).try_lock().is_err() && other.try_lock().is_ok());
        drop(held);
        drop((one, other));
        drop(turns.of(&id("third")));
        assert_eq!(turns.0.lock().unwrap().len(), 1, "only the last one is still known");
    }

    #[test]
    fn an_attempt_is_itself() {
        let (one, other) = (Attempt::default(), Attempt::default());
        assert!(one.is(&one.clone()) && !one.is(&other));
        one.cancel();
        assert!(one.is_cancelled() && !other.is_cancelled());
    }
}
