//! TLS in numbers. Label values are fixed lists and the names of certificates' files.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::store::Store;

/// Metrics of the TLS address.
#[derive(Debug)]
pub(crate) struct TlsMetrics {
    handshakes: IntCounterVec,
    reloads: IntCounterVec,
    expiry: IntGaugeVec,
}

impl TlsMetrics {
    /// Makes the metrics and shows them in a registry.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let handshakes = IntCounterVec::new(
            Opts::new("roadstead_tls_handshakes_total", "TLS handshakes by how they ended"),
            &["outcome"],
        )?;
        let reloads = IntCounterVec::new(
            Opts::new("roadstead_tls_reloads_total", "Changes of certificate files by what became of them"),
            &["outcome"],
        )?;
        let expiry = IntGaugeVec::new(
            Opts::new(
                "roadstead_tls_certificate_expiry_seconds",
                "When the certificate that is served for a host expires, in seconds since 1970",
            ),
            &["host"],
        )?;
        registry.register(Box::new(handshakes.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        registry.register(Box::new(expiry.clone()))?;
        Ok(Self { handshakes, reloads, expiry })
    }

    pub(super) fn handshake(&self, outcome: &'static str) {
        self.handshakes.with_label_values(&[outcome]).inc();
    }

    /// Files changed, and all (`true`) or not all of them could be taken over.
    pub(super) fn reload(&self, whole: bool) {
        self.reloads.with_label_values(&[if whole { "ok" } else { "failed" }]).inc();
    }

    /// The certificates that are served from now on; those that are served no more are forgotten.
    pub(super) fn certificates(&self, now: &Store, before: Option<&Store>) {
        for (place, certificate) in now.all() {
            self.expiry.with_label_values(&[&place.to_string()]).set(certificate.expires_at_s);
        }
        for (place, _) in before.into_iter().flat_map(Store::all).filter(|(place, _)| !now.has(place)) {
            // A series that is not there need not be removed.
            let _ = self.expiry.remove_label_values(&[&place.to_string()]);
        }
    }

    /// How many reloads have ended so.
    #[cfg(test)]
    pub(super) fn reloads(&self, outcome: &str) -> u64 {
        self.reloads.with_label_values(&[outcome]).get()
    }
}
