//! The ingress in numbers. Label values come from what was bound and from fixed lists, never from a client.

use std::sync::{Arc, OnceLock};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    core::Metric,
};
use roadstead_runtime::{LatencyCounts, Timelines, WorkloadId};

/// Bounds of the latency buckets, in seconds: a fresh instance takes about a millisecond, a GPU job seconds.
const BUCKETS_S: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Status codes that have a label value of their own; the others share the one of their class, at the end.
const CODES: [(u16, &str); 39] = [
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (204, "204"),
    (206, "206"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (1, "1xx"),
    (2, "2xx"),
    (3, "3xx"),
    (4, "4xx"),
    (5, "5xx"),
    (6, "6xx+"),
];

/// Metrics of one ingress.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    waiting: IntGaugeVec,
    errors: IntCounterVec,
    /// Open connections.
    pub(crate) connections: IntGauge,
    /// Connections that were closed as soon as they were accepted.
    pub(crate) refused: IntCounterVec,
    /// Requests that no route took.
    pub(crate) unrouted: TriggerMetrics,
    /// What remembers requests, from the start on, where the host does.
    pub(crate) timelines: OnceLock<Arc<Timelines>>,
}

impl Metrics {
    /// Makes the metrics; [`Metrics::register`] shows them.
    pub(crate) fn new() -> prometheus::Result<Self> {
        let trigger = ["namespace", "trigger"];
        let requests = IntCounterVec::new(
            Opts::new("roadstead_http_requests_total", "Requests by trigger and status code"),
            &["namespace", "trigger", "code"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "roadstead_http_request_duration_seconds",
                "Time from a request's head to the end of its response",
            )
            .buckets(BUCKETS_S.to_vec()),
            &trigger,
        )?;
        let in_flight = IntGaugeVec::new(
            Opts::new("roadstead_http_requests_in_flight", "Requests that are being answered, or wait for it"),
            &trigger,
        )?;
        let waiting = IntGaugeVec::new(
            Opts::new("roadstead_http_requests_waiting", "Requests in the queue of a trigger or of its namespace"),
            &trigger,
        )?;
        let errors = IntCounterVec::new(
            Opts::new("roadstead_http_errors_total", "Requests that ended otherwise than with a workload's response"),
            &["namespace", "trigger", "reason"],
        )?;
        let connections = IntGauge::new("roadstead_http_connections", "Open client connections")?;
        let refused = IntCounterVec::new(
            Opts::new("roadstead_http_connections_refused_total", "Client connections that were not served"),
            &["reason"],
        )?;
        let unrouted = TriggerMetrics::new("", "", &requests, &duration, &in_flight, &waiting, &errors);
        Ok(Self {
            requests,
            duration,
            in_flight,
            waiting,
            errors,
            connections,
            refused,
            unrouted,
            timelines: OnceLock::new(),
        })
    }

    /// Shows the metrics in a registry.
    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.requests.clone()))?;
        registry.register(Box::new(self.duration.clone()))?;
        registry.register(Box::new(self.in_flight.clone()))?;
        registry.register(Box::new(self.waiting.clone()))?;
        registry.register(Box::new(self.errors.clone()))?;
        registry.register(Box::new(self.connections.clone()))?;
        registry.register(Box::new(self.refused.clone()))
    }

    /// The handles of a trigger, looked up once per binding.
    pub(crate) fn trigger(&self, owner: &WorkloadId) -> TriggerMetrics {
        let (namespace, trigger) = (owner.namespace.to_string(), owner.name.to_string());
        TriggerMetrics::new(
            &namespace,
            &trigger,
            &self.requests,
            &self.duration,
            &self.in_flight,
            &self.waiting,
            &self.errors,
        )
    }

    /// Forgets a trigger that is gone, so that a host does not carry the names of all that it ever ran.
    pub(crate) fn forget(&self, owner: &WorkloadId) {
        let (namespace, trigger) = (owner.namespace.to_string(), owner.name.to_string());
        let labels = [namespace.as_str(), trigger.as_str()];
        // A series that never had a value is not there to be removed.
        let _ = self.duration.remove_label_values(&labels);
        let _ = self.in_flight.remove_label_values(&labels);
        let _ = self.waiting.remove_label_values(&labels);
        for (_, code) in CODES {
            let _ = self.requests.remove_label_values(&[namespace.as_str(), trigger.as_str(), code]);
        }
        for reason in REASONS {
            let _ = self.errors.remove_label_values(&[namespace.as_str(), trigger.as_str(), reason]);
        }
    }
}

/// Every value of the label `reason`: the kinds of `respond` and of call errors, and the ways in which an exchange
/// breaks off. A value that is not here is counted as `other`.
const REASONS: &[&str] = &[
    "bad-request",
    "head-timeout",
    "target-too-long",
    "headers-too-large",
    "body-too-large",
    "body-timeout",
    "not-implemented",
    "misdirected",
    "no-route",
    "no-replica",
    "memory-pressure",
    "trigger-rate",
    "trigger-concurrency",
    "trigger-queue-timeout",
    "tenant-rate",
    "tenant-concurrency",
    "tenant-queue-timeout",
    "deadline",
    "trap",
    "stack-overflow",
    "memory-limit",
    "cpu-limit",
    "exit",
    "no-response",
    "guest-error",
    "host-panic",
    "instantiation",
    "workload-busy",
    "tenant-busy",
    "host-busy",
    "admission-timeout",
    "not-running",
    "client-gone",
    "drained",
    "other",
];

/// Handles for the requests of one trigger.
#[derive(Debug)]
pub(crate) struct TriggerMetrics {
    namespace: Box<str>,
    trigger: Box<str>,
    requests: IntCounterVec,
    codes: [OnceLock<IntCounter>; CODES.len()],
    errors: IntCounterVec,
    waiting: IntGaugeVec,
    pub(crate) duration: Histogram,
    pub(crate) in_flight: IntGauge,
}

impl TriggerMetrics {
    fn new(
        namespace: &str,
        trigger: &str,
        requests: &IntCounterVec,
        duration: &HistogramVec,
        in_flight: &IntGaugeVec,
        waiting: &IntGaugeVec,
        errors: &IntCounterVec,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            trigger: trigger.into(),
            requests: requests.clone(),
            codes: [const { OnceLock::new() }; CODES.len()],
            errors: errors.clone(),
            waiting: waiting.clone(),
            duration: duration.with_label_values(&[namespace, trigger]),
            in_flight: in_flight.with_label_values(&[namespace, trigger]),
        }
    }

    /// Counts a request by the status that the client was sent, 499 when it left before there was one.
    pub(crate) fn count(&self, status: u16) {
        let Some((slot, (_, code))) = code_slot(status).and_then(|slot| self.codes.get(slot).zip(CODES.get(slot)))
        else {
            return;
        };
        slot.get_or_init(|| self.requests.with_label_values(&[&*self.namespace, &*self.trigger, code])).inc();
    }

    /// Requests that have ended, by the class of their status: 1xx to 5xx, and whatever is beyond.
    pub(crate) fn classes(&self) -> [u64; 6] {
        let mut classes = [0; 6];
        for (counter, (code, _)) in self.codes.iter().zip(CODES) {
            let class = if code < 100 { code } else { code / 100 };
            if let (Some(sum), Some(counter)) = (classes.get_mut(usize::from(class) - 1), counter.get()) {
                *sum += counter.get();
            }
        }
        classes
    }

    /// How long they took.
    pub(crate) fn latency(&self) -> LatencyCounts {
        let metric = self.duration.metric();
        let histogram = metric.get_histogram();
        let mut below = 0;
        let mut counts: Vec<u64> = Vec::with_capacity(BUCKETS_S.len() + 1);
        for bucket in histogram.get_bucket() {
            counts.push(bucket.cumulative_count().saturating_sub(below));
            below = bucket.cumulative_count();
        }
        counts.push(histogram.get_sample_count().saturating_sub(below));
        LatencyCounts { bounds_s: BUCKETS_S, counts }
    }

    /// How many requests wait. Looked up when it is wanted: few triggers have a queue.
    pub(crate) fn waiting(&self) -> IntGauge {
        self.waiting.with_label_values(&[&*self.namespace, &*self.trigger])
    }

    /// Counts a request that ended otherwise than with a workload's response.
    pub(crate) fn count_error(&self, reason: &'static str) {
        let reason = if REASONS.contains(&reason) { reason } else { "other" };
        self.errors.with_label_values(&[&*self.namespace, &*self.trigger, reason]).inc();
    }
}

/// The place of a status code's label value in [`CODES`].
fn code_slot(status: u16) -> Option<usize> {
    let place = |key| CODES.iter().position(|(code, _)| *code == key);
    place(status).or_else(|| place((status / 100).clamp(1, 6)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_label_value() {
        let label = |status| code_slot(status).map(|slot| CODES[slot].1);
        assert_eq!(label(200), Some("200"));
        assert_eq!(label(418), Some("4xx"));
        assert_eq!(label(999), Some("6xx+"));
        assert_eq!(label(103), Some("1xx"));
    }

    #[test]
    fn a_trigger_tells_its_classes_and_how_long_its_requests_took() {
        let metrics = Metrics::new().unwrap();
        let owner = WorkloadId { namespace: "team".parse().unwrap(), name: "app".parse().unwrap() };
        let trigger = metrics.trigger(&owner);
        for status in [200, 204, 299, 404, 418, 503, 999, 100] {
            trigger.count(status);
        }
        assert_eq!(trigger.classes(), [1, 3, 0, 2, 1, 1]);
        for seconds in [0.000_4, 0.000_5, 0.03, 1_000.0] {
            trigger.duration.observe(seconds);
        }
        let LatencyCounts { bounds_s, counts } = trigger.latency();
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (bounds_s.len() + 1, 4));
        assert_eq!((counts[0], counts[6], counts[bounds_s.len()]), (2, 1, 1));
    }

    #[test]
    fn a_forgotten_trigger_leaves_no_series() {
        let metrics = Metrics::new().unwrap();
        let registry = Registry::new();
        metrics.register(&registry).unwrap();
        let owner = WorkloadId { namespace: "team".parse().unwrap(), name: "app".parse().unwrap() };
        let trigger = metrics.trigger(&owner);
        trigger.count(200);
        trigger.count_error("trap");
        trigger.duration.observe(0.1);
        let series =
            || registry.gather().iter().map(|family| format!("{family:?}").matches("team").count()).sum::<usize>();
        assert!(series() > 0);
        metrics.forget(&owner);
        assert_eq!(series(), 0);
    }
}
