//! The metrics of messaging: handles of the catalogue's entries, resolved when a workload is bound.

use roadstead_metrics::{
    Counter, CounterBy, Counters, CountersBy, Error, Gauge, Gauges, Histogram, Histograms, Metrics, Owner,
    catalogue::{
        MESSAGE_REQUESTS, MESSAGE_ROUND_TRIP, MESSAGE_WAIT, MESSAGES_DROPPED, MESSAGES_HANDLED, MESSAGES_IN_FLIGHT,
        MESSAGES_PUBLISHED, MESSAGES_RECEIVED, MESSAGES_WAITING,
    },
};
use roadstead_runtime::WorkloadId;

/// All of them.
pub(crate) struct MessagingMetrics {
    metrics: Metrics,
    handled: CountersBy<2>,
    received: Counters<2>,
    in_flight: Gauges<2>,
    requests: CountersBy<2>,
    round_trip: Histograms<2>,
    published: CountersBy<2>,
    dropped: Counters<2>,
    waiting: Gauges<2>,
    wait: Histograms<2>,
}

impl MessagingMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            metrics: metrics.clone(),
            handled: metrics.counters_by(&MESSAGES_HANDLED)?,
            received: metrics.counters(&MESSAGES_RECEIVED)?,
            in_flight: metrics.gauges(&MESSAGES_IN_FLIGHT)?,
            requests: metrics.counters_by(&MESSAGE_REQUESTS)?,
            round_trip: metrics.histograms(&MESSAGE_ROUND_TRIP)?,
            published: metrics.counters_by(&MESSAGES_PUBLISHED)?,
            dropped: metrics.counters(&MESSAGES_DROPPED)?,
            waiting: metrics.gauges(&MESSAGES_WAITING)?,
            wait: metrics.histograms(&MESSAGE_WAIT)?,
        })
    }

    /// The handles of one workload. Its series end with the last that uses them.
    pub(crate) fn for_workload(&self, workload: &WorkloadId) -> WorkloadMetrics {
        let owner = self.metrics.owner(workload.namespace.as_str(), workload.name.as_str());
        let labels = [owner.namespace(), owner.name()];
        let by_outcome = |family: &CountersBy<2>| OutcomeCounter(family.with(labels, &["ok"]));
        WorkloadMetrics {
            handled: by_outcome(&self.handled),
            received: self.received.with(labels),
            in_flight: self.in_flight.with(labels),
            requests: by_outcome(&self.requests),
            round_trip: self.round_trip.with(labels),
            published: by_outcome(&self.published),
            dropped: self.dropped.with(labels),
            waiting: self.waiting.with(labels),
            wait: self.wait.with(labels),
            _owner: owner,
        }
    }
}

/// The metrics of one workload.
pub(crate) struct WorkloadMetrics {
    pub(crate) handled: OutcomeCounter,
    pub(crate) received: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) requests: OutcomeCounter,
    pub(crate) round_trip: Histogram,
    pub(crate) published: OutcomeCounter,
    pub(crate) dropped: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) wait: Histogram,
    _owner: Owner,
}

/// Counters by outcome.
pub(crate) struct OutcomeCounter(CounterBy);

impl OutcomeCounter {
    pub(crate) fn count(&self, outcome: Result<(), &'static str>) {
        self.0.inc(outcome.err().unwrap_or("ok"));
    }
}
