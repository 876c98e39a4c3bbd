//! The metrics of outgoing requests, by workload. A workload whose components may send none has no series.

use roadstead_metrics::{
    CounterBy, CountersBy, Error, Gauge, Gauges, Histogram, Histograms, Metrics, Owner,
    catalogue::{OUTGOING_CONNECTIONS, OUTGOING_DURATION, OUTGOING_REQUESTS, OUTGOING_WAITING},
};
use tokio::time::Instant;

use super::EgressError;
use crate::WorkloadId;

/// The outcome of a request whose response was read whole.
const OK: &str = "ok";

#[derive(Clone)]
pub(super) struct EgressMetrics {
    metrics: Metrics,
    requests: CountersBy<2>,
    duration: Histograms<2>,
    connections: Gauges<2>,
    waiting: Gauges<2>,
}

impl EgressMetrics {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            metrics: metrics.clone(),
            requests: metrics.counters_by(&OUTGOING_REQUESTS)?,
            duration: metrics.histograms(&OUTGOING_DURATION)?,
            connections: metrics.gauges(&OUTGOING_CONNECTIONS)?,
            waiting: metrics.gauges(&OUTGOING_WAITING)?,
        })
    }

    pub(super) fn of(&self, workload: &WorkloadId) -> EgressSeries {
        let owner = self.metrics.owner(workload.namespace.as_str(), workload.name.as_str());
        let labels = [owner.namespace(), owner.name()];
        EgressSeries {
            requests: self.requests.with(labels, &[OK]),
            duration: self.duration.with(labels),
            connections: self.connections.with(labels),
            waiting: self.waiting.with(labels),
            _owner: owner,
        }
    }
}

/// The metrics of one workload.
pub(super) struct EgressSeries {
    requests: CounterBy,
    duration: Histogram,
    pub(super) connections: Gauge,
    pub(super) waiting: Gauge,
    _owner: Owner,
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
        self.metrics.requests.inc(self.outcome);
    }
}
