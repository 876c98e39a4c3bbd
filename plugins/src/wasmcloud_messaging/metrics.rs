//! The metrics of messaging: each declared here once, with its help text.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use roadstead_runtime::{OwnedSeries, Series, SeriesByOwner, WorkloadId};

/// Upper bounds of the times that messages wait, in seconds.
const WAIT_BUCKETS: [f64; 12] = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// All of them.
pub(crate) struct MessagingMetrics {
    handled: IntCounterVec,
    in_flight: IntGaugeVec,
    requests: IntCounterVec,
    published: IntCounterVec,
    dropped: IntCounterVec,
    waiting: IntGaugeVec,
    wait: HistogramVec,
    workloads: SeriesByOwner<WorkloadId, WorkloadMetrics>,
}

impl MessagingMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            handled: IntCounterVec::new(
                Opts::new(
                    "roadstead_messages_handled_total",
                    "Messages taken from subscriptions, by outcome (ok, or the kind of the failure).",
                ),
                &["namespace", "workload", "outcome"],
            )?,
            in_flight: IntGaugeVec::new(
                Opts::new("roadstead_messages_in_flight", "Messages admitted and not yet handled."),
                &["namespace", "workload"],
            )?,
            requests: IntCounterVec::new(
                Opts::new(
                    "roadstead_message_requests_total",
                    "Requests of components, by outcome (ok, or the kind of the failure).",
                ),
                &["namespace", "workload", "outcome"],
            )?,
            published: IntCounterVec::new(
                Opts::new(
                    "roadstead_messages_published_total",
                    "Messages that components published, by outcome (ok, or the kind of the failure).",
                ),
                &["namespace", "workload", "outcome"],
            )?,
            dropped: IntCounterVec::new(
                Opts::new(
                    "roadstead_messages_dropped_total",
                    "Messages from NATS that were dropped because as many of their subscription waited as may.",
                ),
                &["namespace", "workload"],
            )?,
            waiting: IntGaugeVec::new(
                Opts::new("roadstead_messages_waiting", "Messages that wait in the queues of subscriptions."),
                &["namespace", "workload"],
            )?,
            wait: HistogramVec::new(
                HistogramOpts::new(
                    "roadstead_message_wait_seconds",
                    "Time from a message's arrival at this host until its handler had an instance.",
                )
                .buckets(WAIT_BUCKETS.to_vec()),
                &["namespace", "workload"],
            )?,
            workloads: SeriesByOwner::default(),
        };
        registry.register(Box::new(metrics.handled.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.published.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.wait.clone()))?;
        Ok(metrics)
    }

    /// The handles of one workload, looked up once. Its series end with the last that uses them.
    pub(crate) fn for_workload(&self, workload: &WorkloadId) -> WorkloadSeries {
        self.workloads.of(workload.clone(), || self.make(workload))
    }

    fn make(&self, workload: &WorkloadId) -> WorkloadMetrics {
        let labels @ [namespace, name] = [workload.namespace.as_str(), workload.name.as_str()];
        let by_outcome = |family: &IntCounterVec| OutcomeCounter {
            ok: family.with_label_values(&[namespace, name, "ok"]),
            failures: Mutex::default(),
            family: family.clone(),
            labels: labels.map(str::to_owned),
        };
        WorkloadMetrics {
            handled: by_outcome(&self.handled),
            in_flight: self.in_flight.with_label_values(&labels),
            requests: by_outcome(&self.requests),
            published: by_outcome(&self.published),
            dropped: self.dropped.with_label_values(&labels),
            waiting: self.waiting.with_label_values(&labels),
            wait: self.wait.with_label_values(&labels),
            in_flight_family: self.in_flight.clone(),
            dropped_family: self.dropped.clone(),
            waiting_family: self.waiting.clone(),
            wait_family: self.wait.clone(),
        }
    }
}

/// The metrics of one workload, in use.
pub(crate) type WorkloadSeries = OwnedSeries<WorkloadId, WorkloadMetrics>;

/// The metrics of one workload.
pub(crate) struct WorkloadMetrics {
    pub(crate) handled: OutcomeCounter,
    pub(crate) in_flight: IntGauge,
    pub(crate) requests: OutcomeCounter,
    pub(crate) published: OutcomeCounter,
    pub(crate) dropped: IntCounter,
    pub(crate) waiting: IntGauge,
    pub(crate) wait: Histogram,
    in_flight_family: IntGaugeVec,
    dropped_family: IntCounterVec,
    waiting_family: IntGaugeVec,
    wait_family: HistogramVec,
}

impl Series for WorkloadMetrics {
    fn forget(&self) {
        let labels = self.handled.labels.each_ref().map(String::as_str);
        // They are there since the workload was bound.
        let _ = self.in_flight_family.remove_label_values(&labels);
        let _ = self.dropped_family.remove_label_values(&labels);
        let _ = self.waiting_family.remove_label_values(&labels);
        let _ = self.wait_family.remove_label_values(&labels);
        for counter in [&self.handled, &self.requests, &self.published] {
            counter.forget();
        }
    }
}

/// A counter by outcome, cheap for the good one.
pub(crate) struct OutcomeCounter {
    ok: IntCounter,
    /// The other outcomes that have been counted.
    failures: Mutex<BTreeSet<&'static str>>,
    family: IntCounterVec,
    labels: [String; 2],
}

impl OutcomeCounter {
    pub(crate) fn count(&self, outcome: Result<(), &'static str>) {
        match outcome {
            Ok(()) => self.ok.inc(),
            Err(kind) => {
                self.failures.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
                let [namespace, workload] = &self.labels;
                self.family.with_label_values(&[namespace.as_str(), workload.as_str(), kind]).inc();
            }
        }
    }

    fn forget(&self) {
        let [namespace, workload] = &self.labels;
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in failures.iter().chain([&"ok"]) {
            let _ = self.family.remove_label_values(&[namespace.as_str(), workload.as_str(), outcome]);
        }
    }
}
