//! TLS in numbers. Label values are words of the catalogue and the hosts of certificates.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use roadstead_metrics::{
    CounterBy, Error, Gauge, Gauges, Metrics,
    catalogue::{TLS_EXPIRY, TLS_HANDSHAKES, TLS_RELOADS},
};

use super::store::Store;

/// Metrics of the TLS address.
#[derive(Debug)]
pub(crate) struct TlsMetrics {
    handshakes: CounterBy,
    reloads: CounterBy,
    expiry: Gauges<1>,
    /// Of those that are served.
    served: Mutex<BTreeMap<String, Gauge>>,
}

impl TlsMetrics {
    /// Makes the metrics and shows them.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            handshakes: metrics.counters_by(&TLS_HANDSHAKES)?.with([], &[]),
            reloads: metrics.counters_by(&TLS_RELOADS)?.with([], &[]),
            expiry: metrics.gauges(&TLS_EXPIRY)?,
            served: Mutex::default(),
        })
    }

    pub(super) fn handshake(&self, outcome: &'static str) {
        self.handshakes.inc(outcome);
    }

    /// Files changed, and all (`true`) or not all of them could be taken over.
    pub(super) fn reload(&self, whole: bool) {
        self.reloads.inc(if whole { "ok" } else { "failed" });
    }

    /// The certificates that are served from now on; those that are served no more are forgotten.
    pub(super) fn certificates(&self, now: &Store) {
        let served = now.all().map(|(place, certificate)| {
            let place = place.to_string();
            let gauge = self.expiry.with([&place]);
            gauge.set(certificate.expires_at_s);
            (place, gauge)
        });
        let served = served.collect();
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) = served;
    }

    /// How many reloads have ended so.
    #[cfg(test)]
    pub(super) fn reloads(&self, outcome: &str) -> u64 {
        self.reloads.get(outcome)
    }
}
