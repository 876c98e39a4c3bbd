//! Whose a session is: a workload, what it did to processes before, and where its sessions come from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use roadstead_runtime::WorkloadId;

use super::{metrics::GpuSeries, process::Gpu};

/// How long a workload works alone after a process ended while it was at work.
const ALONE_FOR: Duration = Duration::from_secs(600);

/// A workload that was granted the interface.
pub(super) struct GpuOwner {
    pub(super) workload: WorkloadId,
    /// The workload's name as the process counts by it.
    pub(super) key: String,
    pub(super) gpu: Arc<Gpu>,
    pub(super) series: GpuSeries,
}

/// What workloads did to the process.
#[derive(Default)]
pub(super) struct Records {
    by_workload: Mutex<HashMap<WorkloadId, Record>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    /// Ends of the process that were nobody else's doing.
    ended: u64,
    /// When a process ended last while the workload was at work.
    suspected: Option<Instant>,
}

impl Records {
    fn all(&self) -> MutexGuard<'_, HashMap<WorkloadId, Record>> {
        self.by_workload.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ended while these were at work. One alone did it; of several nobody knows who, and until that is
    /// known each works alone.
    pub(super) fn note(&self, at_work: &[WorkloadId]) {
        let mut all = self.all();
        for workload in at_work {
            let record = all.entry(workload.clone()).or_default();
            record.suspected = Some(Instant::now());
            if at_work.len() == 1 {
                record.ended += 1;
            }
        }
    }

    /// How often a workload has ended the process.
    pub(super) fn ended(&self, workload: &WorkloadId) -> u64 {
        self.all().get(workload).map_or(0, |record| record.ended)
    }

    /// Whether what a workload does is done while nobody else does anything.
    pub(super) fn works_alone(&self, workload: &WorkloadId) -> bool {
        let suspected = self.all().get(workload).and_then(|record| record.suspected);
        suspected.is_some_and(|at| at.elapsed() < ALONE_FOR)
    }

    /// The workload is deployed anew: it may be another program by now.
    pub(super) fn forgive(&self, workload: &WorkloadId) {
        self.all().remove(workload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> WorkloadId {
        let parse = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text}"));
        WorkloadId { namespace: "default".parse().unwrap_or_else(|_| panic!("namespace")), name: parse(name) }
    }

    #[test]
    fn one_alone_did_it_and_of_several_nobody_knows() {
        let records = Records::default();
        records.note(&[id("a"), id("b")]);
        assert_eq!((records.ended(&id("a")), records.works_alone(&id("a"))), (0, true));
        records.note(&[id("a")]);
        assert_eq!((records.ended(&id("a")), records.ended(&id("b"))), (1, 0));
        assert!(!records.works_alone(&id("c")));
        records.forgive(&id("a"));
        assert_eq!((records.ended(&id("a")), records.works_alone(&id("a"))), (0, false));
    }
}
