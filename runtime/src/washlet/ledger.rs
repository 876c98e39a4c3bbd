//! Which workload of the host a scheduler means by an id. Knows neither messages nor states.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{WorkloadId, host::Host};

/// Longest id of a workload, in bytes.
const ID_BYTES_MAX: usize = 256;

/// The id by which a scheduler calls a workload: bounded, printable, otherwise as it likes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WireId(String);

impl WireId {
    /// `None` for what is empty, too long, or would not do in a line of a log.
    pub(super) fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.contains(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The workloads that commands have started. It holds no more than the host does, and those that are just ending.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<BTreeMap<WireId, WorkloadId>>);

impl Ledger {
    pub(super) fn find(&self, id: &WireId) -> Option<WorkloadId> {
        self.entries().get(id).cloned()
    }

    /// The id under which a workload was started.
    pub(super) fn id_of(&self, workload: &WorkloadId) -> Option<WireId> {
        self.entries().iter().find(|(_, known)| *known == workload).map(|(id, _)| id.clone())
    }

    pub(super) fn enter(&self, id: WireId, workload: WorkloadId) {
        self.entries().insert(id, workload);
    }

    /// Forgets an id whose workload the host has no more.
    pub(super) fn forget(&self, id: &WireId, workload: &WorkloadId, host: &Host) {
        let mut entries = self.entries();
        if entries.get(id) == Some(workload) && !host.holds(workload) {
            entries.remove(id);
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<WireId, WorkloadId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_printable() {
        assert!(WireId::new("6f9d7c0e-0c6f-4f5e-9a57-1f3f5d1f6b52").is_some());
        assert!(WireId::new(&"x".repeat(ID_BYTES_MAX)).is_some());
        for bad in ["", "a\nb", "a\0", &"x".repeat(ID_BYTES_MAX + 1)] {
            assert_eq!(WireId::new(bad), None, "{bad:?}");
        }
    }
}
