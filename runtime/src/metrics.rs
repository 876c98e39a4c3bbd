//! The runtime's metrics: each declared here once, with its help text.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use roadstead_config::ResourceName;
use tokio::time::Instant;

use crate::{CallError, OwnedSeries, Series, SeriesByOwner, WorkloadId};

/// Labels of everything that belongs to one component.
const COMPONENT: [&str; 3] = ["namespace", "workload", "component"];
/// Upper bounds of call durations, in seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0];

/// All of them.
#[derive(Clone)]
pub(crate) struct RuntimeMetrics {
    instances: IntGaugeVec,
    instances_created: IntCounterVec,
    instances_retired: IntCounterVec,
    pool_size: IntGaugeVec,
    pool_busy: IntGaugeVec,
    pool_idle: IntGaugeVec,
    pool_waiting: IntGaugeVec,
    pool_wait: HistogramVec,
    calls: IntCounterVec,
    call_duration: HistogramVec,
    pub(crate) workloads: IntGaugeVec,
    pub(crate) compiles: CompileMetrics,
    pub(crate) images: ImageMetrics,
    components: SeriesByOwner<(WorkloadId, ResourceName), ComponentMetrics>,
}

/// The metrics of images, which belong to no workload: a copy is shared between them.
#[derive(Clone)]
pub(crate) struct ImageMetrics {
    total: IntCounterVec,
    bytes: IntCounter,
    seconds: Histogram,
}

impl ImageMetrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let total = Opts::new(
            "roadstead_image_total",
            "Images asked for, by outcome: registry, confirmed (in the cache, and the registry was asked), cache, or \
             what failed; and not-kept, for those that could not be written to the cache.",
        );
        let seconds = HistogramOpts::new(
            "roadstead_image_fetch_duration_seconds",
            "Time that images took that came from a registry.",
        );
        Ok(Self {
            total: IntCounterVec::new(total, &["outcome"])?,
            bytes: IntCounter::new("roadstead_image_bytes_total", "Bytes of components that came from registries.")?,
            seconds: Histogram::with_opts(seconds.buckets(DURATION_BUCKETS.to_vec()))?,
        })
    }

    /// Counts an image that was asked for.
    pub(crate) fn count(&self, outcome: &str) {
        self.total.with_label_values(&[outcome]).inc();
    }

    /// Notes an image that came from a registry.
    pub(crate) fn fetched(&self, bytes: u64, seconds: f64) {
        self.bytes.inc_by(bytes);
        self.seconds.observe(seconds);
    }
}

/// The metrics of compilation, which belong to no workload: code is shared between them.
#[derive(Clone)]
pub(crate) struct CompileMetrics {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl CompileMetrics {
    fn new() -> Result<Self, prometheus::Error> {
        let total = Opts::new(
            "roadstead_compile_total",
            "Components made ready, by source (memory, disk, child, process) and outcome (ok, or what failed).",
        );
        let seconds = HistogramOpts::new(
            "roadstead_compile_duration_seconds",
            "Time until a component was ready, by source (memory, disk, child, process), failures included.",
        );
        Ok(Self {
            total: IntCounterVec::new(total, &["source", "outcome"])?,
            seconds: HistogramVec::new(seconds.buckets(DURATION_BUCKETS.to_vec()), &["source"])?,
        })
    }

    /// Counts something that `source` gave, or did not.
    pub(crate) fn count(&self, source: &str, outcome: &str) {
        self.total.with_label_values(&[source, outcome]).inc();
    }

    /// Notes how long `source` took.
    pub(crate) fn observe(&self, source: &str, seconds: f64) {
        self.seconds.with_label_values(&[source]).observe(seconds);
    }
}

impl RuntimeMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let with = |more: &[&'static str]| -> Vec<&'static str> { COMPONENT.iter().chain(more).copied().collect() };
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &COMPONENT);
        let counter = |name: &str, help: &str, label| IntCounterVec::new(Opts::new(name, help), &with(&[label]));
        let histogram = |name: &str, help: &str| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec()), &COMPONENT)
        };
        let metrics = Self {
            instances: gauge("roadstead_instances", "Instances alive.")?,
            instances_created: counter(
                "roadstead_instances_created_total",
                "Instances made, by kind (fresh, pooled).",
                "kind",
            )?,
            instances_retired: counter(
                "roadstead_instances_retired_total",
                "Pooled instances given up, by reason (max-invocations, fault, deadline, cancelled).",
                "reason",
            )?,
            pool_size: gauge("roadstead_pool_size", "Instances that the pool may hold.")?,
            pool_busy: gauge("roadstead_pool_busy", "Pooled instances with a call.")?,
            pool_idle: gauge("roadstead_pool_idle", "Pooled instances without a call.")?,
            pool_waiting: gauge("roadstead_pool_waiting", "Calls that wait for a pooled instance.")?,
            pool_wait: histogram("roadstead_pool_wait_seconds", "Time that calls waited for a pooled instance.")?,
            calls: counter(
                "roadstead_calls_total",
                "Calls into a component, by outcome (ok, cancelled, or the kind of the error).",
                "outcome",
            )?,
            call_duration: histogram(
                "roadstead_call_duration_seconds",
                "Time of calls into a component, waiting apart.",
            )?,
            workloads: IntGaugeVec::new(Opts::new("roadstead_workloads", "Workloads, by state."), &["state"])?,
            compiles: CompileMetrics::new()?,
            images: ImageMetrics::new()?,
            components: SeriesByOwner::default(),
        };
        let all: [Box<dyn prometheus::core::Collector>; 16] = [
            Box::new(metrics.instances.clone()),
            Box::new(metrics.instances_created.clone()),
            Box::new(metrics.instances_retired.clone()),
            Box::new(metrics.pool_size.clone()),
            Box::new(metrics.pool_busy.clone()),
            Box::new(metrics.pool_idle.clone()),
            Box::new(metrics.pool_waiting.clone()),
            Box::new(metrics.pool_wait.clone()),
            Box::new(metrics.calls.clone()),
            Box::new(metrics.call_duration.clone()),
            Box::new(metrics.workloads.clone()),
            Box::new(metrics.compiles.total.clone()),
            Box::new(metrics.compiles.seconds.clone()),
            Box::new(metrics.images.total.clone()),
            Box::new(metrics.images.bytes.clone()),
            Box::new(metrics.images.seconds.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))?;
        Ok(metrics)
    }

    /// The handles of one component, looked up once. Its series end with the last that uses them.
    pub(crate) fn for_component(&self, workload: &WorkloadId, component: &ResourceName) -> ComponentSeries {
        self.components.of((workload.clone(), component.clone()), || self.make(workload, component))
    }

    fn make(&self, workload: &WorkloadId, component: &ResourceName) -> ComponentMetrics {
        let labels @ [namespace, workload, component] =
            [workload.namespace.as_str(), workload.name.as_str(), component.as_str()];
        let with = |last| [namespace, workload, component, last];
        ComponentMetrics {
            instances: self.instances.with_label_values(&labels),
            created_fresh: self.instances_created.with_label_values(&with("fresh")),
            created_pooled: self.instances_created.with_label_values(&with("pooled")),
            pool_size: self.pool_size.with_label_values(&labels),
            pool_busy: self.pool_busy.with_label_values(&labels),
            pool_idle: self.pool_idle.with_label_values(&labels),
            pool_waiting: self.pool_waiting.with_label_values(&labels),
            pool_wait: self.pool_wait.with_label_values(&labels),
            calls_ok: self.calls.with_label_values(&with("ok")),
            call_duration: self.call_duration.with_label_values(&labels),
            failures: Mutex::default(),
            retirements: Mutex::default(),
            families: self.clone(),
            labels: labels.map(str::to_owned),
        }
    }
}

/// The metrics of one component, in use.
pub(crate) type ComponentSeries = OwnedSeries<(WorkloadId, ResourceName), ComponentMetrics>;

/// Values of a label that have been counted, beside those that have a handle.
type Counted = Mutex<BTreeSet<&'static str>>;

/// The metrics of one component.
pub(crate) struct ComponentMetrics {
    pub(crate) instances: IntGauge,
    pub(crate) created_fresh: IntCounter,
    pub(crate) created_pooled: IntCounter,
    pub(crate) pool_size: IntGauge,
    pub(crate) pool_busy: IntGauge,
    pub(crate) pool_idle: IntGauge,
    pub(crate) pool_waiting: IntGauge,
    pub(crate) pool_wait: Histogram,
    calls_ok: IntCounter,
    call_duration: Histogram,
    failures: Counted,
    retirements: Counted,
    families: RuntimeMetrics,
    labels: [String; 3],
}

impl ComponentMetrics {
    /// Begins to time a call that must end by `deadline`.
    pub(crate) fn begin_call(&self, deadline: Instant) -> CallTimer<'_> {
        CallTimer { metrics: self, begun: Instant::now(), deadline, ended: false }
    }

    fn call_ended(&self, outcome: Result<(), &'static str>, seconds: f64) {
        self.call_duration.observe(seconds);
        match outcome {
            Ok(()) => self.calls_ok.inc(),
            Err(kind) => self.count(&self.families.calls, &self.failures, kind),
        }
    }

    /// Counts a pooled instance that is given up.
    pub(crate) fn instance_retired(&self, reason: &'static str) {
        self.count(&self.families.instances_retired, &self.retirements, reason);
    }

    fn count(&self, family: &IntCounterVec, counted: &Counted, last: &'static str) {
        counted.lock().unwrap_or_else(PoisonError::into_inner).insert(last);
        let [namespace, workload, component] = &self.labels;
        family.with_label_values(&[namespace, workload, component, last]).inc();
    }
}

impl Series for ComponentMetrics {
    fn forget(&self) {
        let all = &self.families;
        let labels @ [namespace, workload, component] = self.labels.each_ref().map(String::as_str);
        // A series that never had a value is not there to be removed.
        for gauges in [&all.instances, &all.pool_size, &all.pool_busy, &all.pool_idle, &all.pool_waiting] {
            let _ = gauges.remove_label_values(&labels);
        }
        for histograms in [&all.pool_wait, &all.call_duration] {
            let _ = histograms.remove_label_values(&labels);
        }
        let forget = |family: &IntCounterVec, last| {
            let _ = family.remove_label_values(&[namespace, workload, component, last]);
        };
        ["fresh", "pooled"].into_iter().for_each(|kind| forget(&all.instances_created, kind));
        forget(&all.calls, "ok");
        for (family, counted) in [(&all.calls, &self.failures), (&all.instances_retired, &self.retirements)] {
            counted.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|last| forget(family, last));
        }
    }
}

/// Times one call. Dropped before its end, the call was given up: by its deadline, or by its caller.
pub(crate) struct CallTimer<'a> {
    metrics: &'a ComponentMetrics,
    begun: Instant,
    deadline: Instant,
    ended: bool,
}

impl CallTimer<'_> {
    /// Counts the call with its outcome.
    pub(crate) fn end<T>(mut self, result: &Result<T, CallError>) {
        self.ended = true;
        let outcome = result.as_ref().map(drop).map_err(CallError::kind);
        self.metrics.call_ended(outcome, self.begun.elapsed().as_secs_f64());
    }
}

impl Drop for CallTimer<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let kind = if Instant::now() >= self.deadline { CallError::Deadline.kind() } else { "cancelled" };
            self.metrics.call_ended(Err(kind), self.begun.elapsed().as_secs_f64());
        }
    }
}
