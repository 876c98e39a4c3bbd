//! What the runtime counts: handles of the catalogue's entries, resolved when a component is set up. Their series end with
//! them.

use roadstead_config::ResourceName;
use roadstead_metrics::{
    Counter, CounterBy, Counters, CountersBy, Error, Gauge, Gauges, Histogram, Histograms, Metrics, Owner,
    catalogue::{
        CALL_DURATION, CALLS_ENDED, COMPILE_DURATION, COMPILES, IMAGE_BYTES, IMAGE_FETCH, IMAGES, INSTANCE_MEMORY_PEAK,
        INSTANCE_START, INSTANCES, INSTANCES_CREATED, INSTANCES_RETIRED, POOL_BUSY, POOL_IDLE, POOL_SIZE, POOL_WAIT,
        POOL_WAITING, WORKLOAD_STATES,
    },
};
use tokio::time::Instant;

use crate::{CallError, WorkloadId, compile::CodeSource, host::WorkloadState};

/// All of them.
#[derive(Clone)]
pub(crate) struct RuntimeMetrics {
    metrics: Metrics,
    instances: Gauges<3>,
    instances_created: CountersBy<3>,
    instance_start: Histograms<3>,
    memory_peak: Gauges<3>,
    instances_retired: CountersBy<3>,
    pool_size: Gauges<3>,
    pool_busy: Gauges<3>,
    pool_idle: Gauges<3>,
    pool_waiting: Gauges<3>,
    pool_wait: Histograms<3>,
    calls: CountersBy<3>,
    call_duration: Histograms<3>,
    /// One gauge for each state that is counted.
    pub(crate) workloads: [(WorkloadState, Gauge); WorkloadState::COUNTED.len()],
    pub(crate) compiles: CompileMetrics,
    pub(crate) images: ImageMetrics,
}

/// The metrics of images, which belong to no workload: a copy is shared between them.
#[derive(Clone)]
pub(crate) struct ImageMetrics(std::sync::Arc<OfImages>);

struct OfImages {
    total: CounterBy,
    bytes: Counter,
    seconds: Histogram,
}

impl ImageMetrics {
    fn shown(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self::of(
            &metrics.counters_by(&IMAGES)?,
            &metrics.counters(&IMAGE_BYTES)?,
            &metrics.histograms(&IMAGE_FETCH)?,
        ))
    }

    /// Such that nobody is shown.
    pub(crate) fn hidden() -> Self {
        Self::of(&CountersBy::new(&IMAGES), &Counters::new(&IMAGE_BYTES), &Histograms::new(&IMAGE_FETCH))
    }

    fn of(total: &CountersBy<0>, bytes: &Counters<0>, seconds: &Histograms<0>) -> Self {
        let of_images = OfImages { total: total.with([], &[]), bytes: bytes.with([]), seconds: seconds.with([]) };
        Self(std::sync::Arc::new(of_images))
    }

    /// Counts an image that was asked for.
    pub(crate) fn count(&self, outcome: &str) {
        self.0.total.inc(outcome);
    }

    /// Notes an image that came from a registry.
    pub(crate) fn fetched(&self, bytes: u64, seconds: f64) {
        self.0.bytes.inc_by(bytes);
        self.0.seconds.observe(seconds);
    }
}

/// The metrics of compilation, which belong to no workload: code is shared between them.
#[derive(Clone)]
pub(crate) struct CompileMetrics(std::sync::Arc<[(CodeSource, CounterBy, Histogram)]>);

impl CompileMetrics {
    fn new(metrics: &Metrics) -> Result<Self, Error> {
        let (total, seconds) = (metrics.counters_by(&COMPILES)?, metrics.histograms(&COMPILE_DURATION)?);
        let of = |source: CodeSource| {
            let label = [source.as_str()];
            (source, total.with(label, &[]), seconds.with(label))
        };
        Ok(Self(CodeSource::ALL.into_iter().map(of).collect()))
    }

    /// Counts something that `source` gave, or did not.
    pub(crate) fn count(&self, source: CodeSource, outcome: &str) {
        let counted = self.0.iter().find(|(of, ..)| *of == source);
        counted.into_iter().for_each(|(_, total, _)| total.inc(outcome));
    }

    /// Notes how long `source` took.
    pub(crate) fn observe(&self, source: CodeSource, seconds: f64) {
        let observed = self.0.iter().find(|(of, ..)| *of == source);
        observed.into_iter().for_each(|(.., histogram)| histogram.observe(seconds));
    }
}

impl RuntimeMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, Error> {
        let workloads = metrics.gauges(&WORKLOAD_STATES)?;
        Ok(Self {
            metrics: metrics.clone(),
            instances: metrics.gauges(&INSTANCES)?,
            instances_created: metrics.counters_by(&INSTANCES_CREATED)?,
            instance_start: metrics.histograms(&INSTANCE_START)?,
            memory_peak: metrics.gauges(&INSTANCE_MEMORY_PEAK)?,
            instances_retired: metrics.counters_by(&INSTANCES_RETIRED)?,
            pool_size: metrics.gauges(&POOL_SIZE)?,
            pool_busy: metrics.gauges(&POOL_BUSY)?,
            pool_idle: metrics.gauges(&POOL_IDLE)?,
            pool_waiting: metrics.gauges(&POOL_WAITING)?,
            pool_wait: metrics.histograms(&POOL_WAIT)?,
            calls: metrics.counters_by(&CALLS_ENDED)?,
            call_duration: metrics.histograms(&CALL_DURATION)?,
            workloads: WorkloadState::COUNTED.map(|state| (state, workloads.with([state.label()]))),
            compiles: CompileMetrics::new(metrics)?,
            images: ImageMetrics::shown(metrics)?,
        })
    }

    /// The handles of one component. Its series end with the last that uses them.
    pub(crate) fn for_component(&self, workload: &WorkloadId, component: &ResourceName) -> ComponentMetrics {
        let owner = self.metrics.owner(workload.namespace.as_str(), workload.name.as_str());
        let labels = [owner.namespace(), owner.name(), owner.own(component.as_str())];
        ComponentMetrics {
            instances: self.instances.with(labels),
            created: self.instances_created.with(labels, &[]),
            start: self.instance_start.with(labels),
            memory_peak: self.memory_peak.with(labels),
            calls: self.calls.with(labels, &["ok"]),
            call_duration: self.call_duration.with(labels),
            _owner: owner,
        }
    }

    /// Those of its pool.
    pub(crate) fn for_pool(&self, workload: &WorkloadId, component: &ResourceName) -> PoolMetrics {
        let owner = self.metrics.owner(workload.namespace.as_str(), workload.name.as_str());
        let labels = [owner.namespace(), owner.name(), owner.own(component.as_str())];
        PoolMetrics {
            size: self.pool_size.with(labels),
            busy: self.pool_busy.with(labels),
            idle: self.pool_idle.with(labels),
            waiting: self.pool_waiting.with(labels),
            wait: self.pool_wait.with(labels),
            retired: self.instances_retired.with(labels, &[]),
            _owner: owner,
        }
    }
}

/// The metrics of one component.
pub(crate) struct ComponentMetrics {
    pub(crate) instances: Gauge,
    created: CounterBy,
    pub(crate) start: Histogram,
    /// In bytes.
    pub(crate) memory_peak: Gauge,
    calls: CounterBy,
    call_duration: Histogram,
    _owner: Owner,
}

/// The metrics of one pool.
pub(crate) struct PoolMetrics {
    pub(crate) size: Gauge,
    pub(crate) busy: Gauge,
    pub(crate) idle: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) wait: Histogram,
    retired: CounterBy,
    _owner: Owner,
}

impl PoolMetrics {
    /// Counts an instance that is given up.
    pub(crate) fn instance_retired(&self, reason: &'static str) {
        self.retired.inc(reason);
    }
}

impl ComponentMetrics {
    /// Begins to time a call that must end by `deadline`.
    pub(crate) fn begin_call(&self, deadline: Instant) -> CallTimer<'_> {
        CallTimer { metrics: self, begun: Instant::now(), deadline, ended: false }
    }

    /// Counts an instance that was made for one call.
    pub(crate) fn created_fresh(&self) {
        self.created.inc("fresh");
    }

    /// Counts an instance that was made for the pool.
    pub(crate) fn created_pooled(&self) {
        self.created.inc("pooled");
    }

    fn call_ended(&self, outcome: Result<(), &'static str>, seconds: f64) {
        self.call_duration.observe(seconds);
        self.calls.inc(outcome.err().unwrap_or("ok"));
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
