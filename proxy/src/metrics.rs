//! The ingress in numbers. Label values come from what was bound and from the catalogue, never from a client.

use std::sync::{Arc, OnceLock};

use roadstead_metrics::{
    Counter, CounterBy, Counters, CountersBy, Error, Gauge, Gauges, Histogram, Histograms, Metrics as Shown, Owner,
    catalogue::{
        HTTP_CODES, HTTP_CONNECTIONS, HTTP_CONNECTIONS_ACCEPTED, HTTP_DURATION, HTTP_ERRORS, HTTP_IN_FLIGHT,
        HTTP_REFUSED, HTTP_REQUEST_BYTES, HTTP_REQUESTS, HTTP_RESPONSE_BYTES, HTTP_WAITING,
    },
};
use roadstead_runtime::{LatencyCounts, Timelines, WorkloadId};

/// Metrics of one ingress.
#[derive(Debug)]
pub(crate) struct Metrics {
    families: Families,
    /// Where they are shown, once they are.
    shown: OnceLock<Shown>,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections that were taken.
    pub(crate) accepted: Counter,
    /// Connections that were closed as soon as they were accepted.
    pub(crate) refused: CounterBy,
    /// Requests that no route took.
    pub(crate) unrouted: TriggerMetrics,
    /// What remembers requests, from the start on, where the host does.
    pub(crate) timelines: OnceLock<Arc<Timelines>>,
}

#[derive(Debug)]
struct Families {
    requests: CountersBy<2>,
    errors: CountersBy<2>,
    duration: Histograms<2>,
    request_bytes: Counters<2>,
    response_bytes: Counters<2>,
    in_flight: Gauges<2>,
    waiting: Gauges<2>,
    connections: Gauges<0>,
    accepted: Counters<0>,
    refused: CountersBy<0>,
}

impl Metrics {
    /// Makes the metrics; [`Metrics::show`] shows them.
    pub(crate) fn new() -> Self {
        let families = Families {
            requests: CountersBy::new(&HTTP_REQUESTS),
            errors: CountersBy::new(&HTTP_ERRORS),
            duration: Histograms::new(&HTTP_DURATION),
            request_bytes: Counters::new(&HTTP_REQUEST_BYTES),
            response_bytes: Counters::new(&HTTP_RESPONSE_BYTES),
            in_flight: Gauges::new(&HTTP_IN_FLIGHT),
            waiting: Gauges::new(&HTTP_WAITING),
            connections: Gauges::new(&HTTP_CONNECTIONS),
            accepted: Counters::new(&HTTP_CONNECTIONS_ACCEPTED),
            refused: CountersBy::new(&HTTP_REFUSED),
        };
        Self {
            connections: families.connections.with([]),
            accepted: families.accepted.with([]),
            refused: families.refused.with([], &[]),
            unrouted: TriggerMetrics::new(Owner::unbounded("", ""), &families),
            families,
            shown: OnceLock::new(),
            timelines: OnceLock::new(),
        }
    }

    /// Shows the metrics with those of a host.
    pub(crate) fn show(&self, shown: &Shown) -> Result<(), Error> {
        let families = &self.families;
        shown.show(&families.requests)?;
        shown.show(&families.errors)?;
        shown.show(&families.duration)?;
        shown.show(&families.request_bytes)?;
        shown.show(&families.response_bytes)?;
        shown.show(&families.in_flight)?;
        shown.show(&families.waiting)?;
        shown.show(&families.connections)?;
        shown.show(&families.accepted)?;
        shown.show(&families.refused)?;
        let _ = self.shown.set(shown.clone());
        Ok(())
    }

    /// The handles of a trigger, looked up once per binding. Its series end with them, so that a host does not carry the
    /// names of all that it ever ran.
    pub(crate) fn trigger(&self, owner: &WorkloadId) -> TriggerMetrics {
        let (namespace, name) = (owner.namespace.as_str(), owner.name.as_str());
        let owner = match self.shown.get() {
            Some(shown) => shown.owner(namespace, name),
            None => Owner::unbounded(namespace, name),
        };
        TriggerMetrics::new(owner, &self.families)
    }
}

/// Handles for the requests of one trigger.
#[derive(Debug)]
pub(crate) struct TriggerMetrics {
    requests: CounterBy,
    errors: CounterBy,
    pub(crate) duration: Histogram,
    pub(crate) request_bytes: Counter,
    pub(crate) response_bytes: Counter,
    pub(crate) in_flight: Gauge,
    /// Requests in a queue.
    pub(crate) waiting: Gauge,
    _owner: Owner,
}

impl TriggerMetrics {
    fn new(owner: Owner, families: &Families) -> Self {
        let labels = [owner.namespace(), owner.name()];
        Self {
            requests: families.requests.with(labels, &[]),
            errors: families.errors.with(labels, &[]),
            duration: families.duration.with(labels),
            request_bytes: families.request_bytes.with(labels),
            response_bytes: families.response_bytes.with(labels),
            in_flight: families.in_flight.with(labels),
            waiting: families.waiting.with(labels),
            _owner: owner,
        }
    }

    /// Counts a request by the status that the client was sent, 499 when it left before there was one.
    pub(crate) fn count(&self, status: u16) {
        self.requests.inc(code(status));
    }

    /// Requests that have ended, by the class of their status: 1xx to 5xx, and whatever is beyond.
    pub(crate) fn classes(&self) -> [u64; 6] {
        let mut classes = [0; 6];
        for (code, count) in self.requests.counted() {
            let class = code.bytes().next().map_or(0, |digit| usize::from(digit.wrapping_sub(b'1')));
            if let Some(sum) = classes.get_mut(class) {
                *sum += count;
            }
        }
        classes
    }

    /// How long they took.
    pub(crate) fn latency(&self) -> LatencyCounts {
        LatencyCounts { bounds_s: self.duration.bounds(), counts: self.duration.counts() }
    }

    /// Counts a request that ended otherwise than with a workload's response.
    pub(crate) fn count_error(&self, reason: &'static str) {
        self.errors.inc(reason);
    }
}

/// The word of the catalogue for a status: its own where it has one, else that of its class.
fn code(status: u16) -> &'static str {
    let own = || {
        let mut digits = [b'0'; 3];
        let mut rest = status;
        for digit in digits.iter_mut().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        HTTP_CODES.iter().find(|code| rest == 0 && code.as_bytes() == digits).copied()
    };
    let class = match status / 100 {
        0 | 1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "6xx+",
    };
    own().unwrap_or(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_label_value() {
        assert_eq!(code(200), "200");
        assert_eq!(code(418), "4xx");
        assert_eq!(code(999), "6xx+");
        assert_eq!(code(103), "1xx");
        assert_eq!(code(2_000), "6xx+");
        for status in 0..=u16::MAX {
            assert!(HTTP_CODES.contains(&code(status)), "{status}");
        }
    }

    #[test]
    fn a_trigger_tells_its_classes_and_how_long_its_requests_took() {
        let metrics = Metrics::new();
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
        let (metrics, shown) = (Metrics::new(), Shown::default());
        metrics.show(&shown).unwrap();
        let owner = WorkloadId { namespace: "team".parse().unwrap(), name: "app".parse().unwrap() };
        let trigger = metrics.trigger(&owner);
        trigger.count(200);
        trigger.count_error("trap");
        trigger.duration.observe(0.1);
        let series = || String::from_utf8(shown.text().unwrap()).unwrap().matches("team").count();
        assert!(series() > 0);
        drop(trigger);
        assert_eq!(series(), 0);
    }
}
