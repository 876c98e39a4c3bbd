//! The GPU's metrics: handles of the catalogue's entries, by workload where they are a workload's.

use std::sync::OnceLock;

use roadstead_metrics::{
    Counter, Counters, Error, Gauge, Gauges, Histogram, Histograms, Metrics, Owner,
    catalogue::{GPU_DEVICES, GPU_LOST_CALLS, GPU_MEMORY, GPU_OBJECTS, GPU_RESETS, GPU_RUN, GPU_SUBMITS, GPU_WAIT},
};
use roadstead_runtime::WorkloadId;

/// All of them.
pub(super) struct GpuMetrics {
    families: Families,
    pub(super) sessions: Gauge,
    memory: Gauge,
    objects: Gauge,
    pub(super) resets: Counter,
    /// Where they are shown, once they are.
    shown: OnceLock<Metrics>,
}

struct Families {
    sessions: Gauges<0>,
    memory: Gauges<0>,
    objects: Gauges<0>,
    resets: Counters<0>,
    submits: Counters<2>,
    retries: Counters<2>,
    wait: Histograms<2>,
    run: Histograms<2>,
}

/// What one workload counts.
pub(super) struct GpuSeries {
    submits: Counter,
    retries: Counter,
    wait: Histogram,
    run: Histogram,
    _owner: Owner,
}

impl GpuMetrics {
    pub(super) fn new() -> Self {
        let families = Families {
            sessions: Gauges::new(&GPU_DEVICES),
            memory: Gauges::new(&GPU_MEMORY),
            objects: Gauges::new(&GPU_OBJECTS),
            resets: Counters::new(&GPU_RESETS),
            submits: Counters::new(&GPU_SUBMITS),
            retries: Counters::new(&GPU_LOST_CALLS),
            wait: Histograms::new(&GPU_WAIT),
            run: Histograms::new(&GPU_RUN),
        };
        Self {
            sessions: families.sessions.with([]),
            memory: families.memory.with([]),
            objects: families.objects.with([]),
            resets: families.resets.with([]),
            families,
            shown: OnceLock::new(),
        }
    }

    pub(super) fn show(&self, metrics: &Metrics) -> Result<(), Error> {
        let families = &self.families;
        metrics.show(&families.sessions)?;
        metrics.show(&families.memory)?;
        metrics.show(&families.objects)?;
        metrics.show(&families.resets)?;
        metrics.show(&families.submits)?;
        metrics.show(&families.retries)?;
        metrics.show(&families.wait)?;
        metrics.show(&families.run)?;
        let _ = self.shown.set(metrics.clone());
        Ok(())
    }

    /// What the process holds for all workloads.
    pub(super) fn holds(&self, memory_bytes: u64, objects: u64) {
        self.memory.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        self.objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// The handles of one workload. Its series end with the last that uses them.
    pub(super) fn of(&self, workload: &WorkloadId) -> GpuSeries {
        let (namespace, name) = (workload.namespace.as_str(), workload.name.as_str());
        let owner = match self.shown.get() {
            Some(metrics) => metrics.owner(namespace, name),
            None => Owner::unbounded(namespace, name),
        };
        let labels = [owner.namespace(), owner.name()];
        GpuSeries {
            submits: self.families.submits.with(labels),
            retries: self.families.retries.with(labels),
            wait: self.families.wait.with(labels),
            run: self.families.run.with(labels),
            _owner: owner,
        }
    }
}

impl GpuSeries {
    /// A submit has ended.
    pub(super) fn ran(&self, waited_us: u64, ran_us: u64) {
        let seconds = |micros: u64| std::time::Duration::from_micros(micros).as_secs_f64();
        self.submits.inc();
        self.wait.observe(seconds(waited_us));
        self.run.observe(seconds(ran_us));
    }

    /// A call lost the GPU by no fault of its own.
    pub(super) fn lost(&self) {
        self.retries.inc();
    }
}
