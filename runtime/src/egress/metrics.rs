//! The metrics of outgoing requests, by workload. A workload whose components may send none has no series.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tokio::time::Instant;

use super::EgressError;
use crate::{OwnedSeries, Series, SeriesByOwner, WorkloadId};

/// The outcome of a request whose response was read whole.
const OK: &str = "ok";
const WORKLOAD: [&str; 2] = ["namespace", "workload"];
/// Upper bounds of the times until a response, in seconds.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0, 60.0];

#[derive(Clone)]
pub(super) struct EgressMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    connections: IntGaugeVec,
    waiting: IntGaugeVec,
    workloads: SeriesByOwner<WorkloadId, WorkloadMetrics>,
}

impl EgressMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &WORKLOAD);
        let requests = Opts::new(
            "roadstead_outgoing_requests_total",
            "Outgoing requests, by outcome: ok (the response was read whole), cancelled (the guest or its call ended \
             before it), or what failed.",
        );
        let duration = HistogramOpts::new(
            "roadstead_outgoing_request_duration_seconds",
            "Time from an outgoing request to the head of its response, or to its failure; waiting included.",
        );
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["namespace", "workload", "outcome"])?,
            duration: HistogramVec::new(duration.buckets(DURATION_BUCKETS.to_vec()), &WORKLOAD)?,
            connections: gauge(
                "roadstead_outgoing_connections",
                "Open connections for outgoing requests, those without a request among them.",
            )?,
            waiting: gauge("roadstead_outgoing_waiting", "Outgoing requests that wait for a connection.")?,
            workloads: SeriesByOwner::default(),
        };
        let all: [Box<dyn prometheus::core::Collector>; 4] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.duration.clone()),
            Box::new(metrics.connections.clone()),
            Box::new(metrics.waiting.clone()),
        ];
        all.into_iter().try_for_each(|collector| registry.register(collector))?;
        Ok(metrics)
    }

    pub(super) fn of(&self, workload: &WorkloadId) -> EgressSeries {
        self.workloads.of(workload.clone(), || {
            let labels = [workload.namespace.as_str(), workload.name.as_str()];
            let [namespace, workload] = labels;
            WorkloadMetrics {
                ok: self.requests.with_label_values(&[namespace, workload, OK]),
                duration: self.duration.with_label_values(&labels),
                connections: self.connections.with_label_values(&labels),
                waiting: self.waiting.with_label_values(&labels),
                outcomes: Mutex::default(),
                families: self.clone(),
                labels: labels.map(str::to_owned),
            }
        })
    }
}

/// The metrics of one workload, in use.
pub(super) type EgressSeries = OwnedSeries<WorkloadId, WorkloadMetrics>;

pub(super) struct WorkloadMetrics {
    ok: IntCounter,
    duration: Histogram,
    pub(super) connections: IntGauge,
    pub(super) waiting: IntGauge,
    outcomes: Mutex<BTreeSet<&'static str>>,
    families: EgressMetrics,
    labels: [String; 2],
}

impl WorkloadMetrics {
    fn count(&self, outcome: &'static str) {
        if outcome == OK {
            return self.ok.inc();
        }
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(outcome);
        let [namespace, workload] = &self.labels;
        self.families.requests.with_label_values(&[namespace, workload, outcome]).inc();
    }
}

impl Series for WorkloadMetrics {
    fn forget(&self) {
        let all = &self.families;
        let labels @ [namespace, workload] = self.labels.each_ref().map(String::as_str);
        // A series that never had a value is not there to be removed.
        let _ = all.duration.remove_label_values(&labels);
        let _ = all.connections.remove_label_values(&labels);
        let _ = all.waiting.remove_label_values(&labels);
        let _ = all.requests.remove_label_values(&[namespace, workload, OK]);
        for outcome in self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = all.requests.remove_label_values(&[namespace, workload, outcome]);
        }
    }
}

/// Counts one request when it is dropped, however it ended.
pub(super) struct Record {
    metrics: std::sync::Arc<EgressSeries>,
    begun: Instant,
    answered: bool,
    outcome: &'static str,
}

impl Record {
    pub(super) fn begin(metrics: std::sync::Arc<EgressSeries>) -> Self {
        Self { metrics, begun: Instant::now(), answered: false, outcome: "cancelled" }
    }

    /// The head of the response is there.
    pub(super) fn answered(&mut self) {
        self.answered = true;
        self.metrics.duration.observe(self.begun.elapsed().as_secs_f64());
    }

    /// The response was read whole.
    pub(super) fn complete(&mut self) {
        self.outcome = OK;
    }

    pub(super) fn failed(&mut self, error: &EgressError) {
        self.outcome = error.kind();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.answered {
            self.metrics.duration.observe(self.begun.elapsed().as_secs_f64());
        }
        self.metrics.count(self.outcome);
    }
}

/// A gauge that is one higher for as long as the value lives.
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
