//! The GPU's metrics: each declared here once, with its help text.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use roadstead_runtime::{OwnedSeries, Series, SeriesByOwner, WorkloadId};

/// Upper bounds of waits and runs, in seconds.
const BUCKETS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

/// Labels of what belongs to one workload.
const WORKLOAD: [&str; 2] = ["namespace", "workload"];

/// All of them.
#[derive(Clone)]
pub(super) struct GpuMetrics {
    pub(super) sessions: IntGauge,
    memory: IntGauge,
    objects: IntGauge,
    pub(super) resets: IntCounter,
    submits: IntCounterVec,
    retries: IntCounterVec,
    wait: HistogramVec,
    run: HistogramVec,
    workloads: SeriesByOwner<WorkloadId, WorkloadSeries>,
}

/// What one workload counts.
pub(super) type GpuSeries = OwnedSeries<WorkloadId, WorkloadSeries>;

/// The handles of one workload.
pub(super) struct WorkloadSeries {
    all: GpuMetrics,
    labels: [String; 2],
    submits: IntCounter,
    retries: IntCounter,
    wait: Histogram,
    run: Histogram,
}

impl GpuMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), &WORKLOAD);
        let histogram = |name: &str, help: &str| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), &WORKLOAD)
        };
        Ok(Self {
            sessions: IntGauge::new("roadstead_gpu_devices", "GPU devices of instances.")?,
            memory: IntGauge::new("roadstead_gpu_memory_bytes", "Memory of the GPU that workloads have taken.")?,
            objects: IntGauge::new("roadstead_gpu_objects", "Objects of workloads on the GPU.")?,
            resets: IntCounter::new(
                "roadstead_gpu_resets_total",
                "Ends of the GPU process by a crash or because something took too long.",
            )?,
            submits: counter("roadstead_gpu_submits_total", "Submits that have ended.")?,
            retries: counter(
                "roadstead_gpu_lost_calls_total",
                "Calls that lost the GPU by no fault of their workload.",
            )?,
            wait: histogram("roadstead_gpu_wait_seconds", "Time that submits waited for those of others.")?,
            run: histogram("roadstead_gpu_run_seconds", "Time that submits had the GPU.")?,
            workloads: SeriesByOwner::default(),
        })
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let all: [Box<dyn prometheus::core::Collector>; 8] = [
            Box::new(self.sessions.clone()),
            Box::new(self.memory.clone()),
            Box::new(self.objects.clone()),
            Box::new(self.resets.clone()),
            Box::new(self.submits.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.wait.clone()),
            Box::new(self.run.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))
    }

    /// What the process holds for all workloads.
    pub(super) fn holds(&self, memory_bytes: u64, objects: u64) {
        self.memory.set(i64::try_from(memory_bytes).unwrap_or(i64::MAX));
        self.objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// The handles of one workload. Its series end with the last that uses them.
    pub(super) fn of(&self, workload: &WorkloadId) -> GpuSeries {
        self.workloads.of(workload.clone(), || {
            let labels = [workload.namespace.as_str(), workload.name.as_str()];
            WorkloadSeries {
                all: self.clone(),
                labels: labels.map(str::to_owned),
                submits: self.submits.with_label_values(&labels),
                retries: self.retries.with_label_values(&labels),
                wait: self.wait.with_label_values(&labels),
                run: self.run.with_label_values(&labels),
            }
        })
    }
}

impl WorkloadSeries {
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

impl Series for WorkloadSeries {
    fn forget(&self) {
        let labels = [self.labels[0].as_str(), self.labels[1].as_str()];
        // They fail when the series are gone already.
        let _ = self.all.submits.remove_label_values(&labels);
        let _ = self.all.retries.remove_label_values(&labels);
        let _ = self.all.wait.remove_label_values(&labels);
        let _ = self.all.run.remove_label_values(&labels);
    }
}
