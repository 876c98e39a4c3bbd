//! How a connection to NATS is: what the client says of it becomes metrics, log lines, and the end of requests whose
//! answers will not come any more.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_nats::{Event, ServerError};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use roadstead_runtime::{LogText, OwnedSeries, Series, SeriesByOwner};
use tokio::{sync::watch, time::Instant};

/// Shortest time between two log lines of one kind about one connection.
const EVENTS_LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Bytes of a server's error that the log shows.
const ERROR_BYTES_SHOWN: usize = 256;

/// The metrics of all connections, by the namespace whose they are; the host's own has none.
#[derive(Clone)]
pub(crate) struct ConnectionMetrics {
    connected: IntGaugeVec,
    lost: IntCounterVec,
    slow: IntCounterVec,
    errors: IntCounterVec,
    connections: SeriesByOwner<String, ConnectionSeries>,
}

impl ConnectionMetrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), &["namespace"]);
        Ok(Self {
            connected: IntGaugeVec::new(
                Opts::new("roadstead_nats_connected", "Whether the connection to NATS is there: 1 or 0."),
                &["namespace"],
            )?,
            lost: counter("roadstead_nats_connections_lost_total", "Times that the connection to NATS was lost.")?,
            slow: counter(
                "roadstead_nats_slow_consumers_total",
                "Messages that the NATS client dropped because they were not taken from it in time.",
            )?,
            errors: counter(
                "roadstead_nats_errors_total",
                "Errors that the NATS server told, such as of permissions.",
            )?,
            connections: SeriesByOwner::default(),
        })
    }

    pub(crate) fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        registry.register(Box::new(self.connected.clone()))?;
        registry.register(Box::new(self.lost.clone()))?;
        registry.register(Box::new(self.slow.clone()))?;
        registry.register(Box::new(self.errors.clone()))
    }

    /// What is kept of one connection, as long as it is in use.
    pub(super) fn connection(&self, namespace: &str) -> ConnectionHealth {
        let labels = [namespace];
        let series = self.connections.of(namespace.to_owned(), || ConnectionSeries {
            namespace: namespace.to_owned(),
            connected: self.connected.with_label_values(&labels),
            lost: self.lost.with_label_values(&labels),
            slow: self.slow.with_label_values(&labels),
            errors: self.errors.with_label_values(&labels),
            families: self.clone(),
        });
        ConnectionHealth { series, losses: watch::Sender::new(0), logged: Mutex::new(None) }
    }
}

/// The metrics of one connection.
struct ConnectionSeries {
    namespace: String,
    connected: IntGauge,
    lost: IntCounter,
    slow: IntCounter,
    errors: IntCounter,
    families: ConnectionMetrics,
}

impl Series for ConnectionSeries {
    fn forget(&self) {
        let all = &self.families;
        let labels = [self.namespace.as_str()];
        // They are there since the connection was made.
        let _ = all.connected.remove_label_values(&labels);
        for counter in [&all.lost, &all.slow, &all.errors] {
            let _ = counter.remove_label_values(&labels);
        }
    }
}

/// One connection.
pub(super) struct ConnectionHealth {
    series: OwnedSeries<String, ConnectionSeries>,
    /// How often the connection was lost.
    losses: watch::Sender<u64>,
    /// When the last error was.
    logged: Mutex<Option<Instant>>,
}

impl ConnectionHealth {
    /// Takes in what the client says.
    pub(super) fn note(&self, event: &Event) {
        let series = &*self.series;
        let namespace = series.namespace.as_str();
        match event {
            Event::Connected => {
                series.connected.set(1);
                tracing::info!(namespace, "connected to NATS");
            }
            Event::Disconnected | Event::Closed => {
                // A connection that ends is told both.
                if series.connected.get() == 1 {
                    series.connected.set(0);
                    series.lost.inc();
                    self.losses.send_modify(|losses| *losses += 1);
                    tracing::warn!(namespace, "the connection to NATS is lost; reconnecting");
                }
            }
            Event::SlowConsumer(_) => {
                series.slow.inc();
                if self.may_log(Instant::now()) {
                    tracing::warn!(namespace, "messages from NATS were dropped: they came faster than they were taken");
                }
            }
            Event::ServerError(error) => {
                series.errors.inc();
                if self.may_log(Instant::now()) {
                    let error = LogText::new(&server_error(error), ERROR_BYTES_SHOWN).to_string();
                    tracing::warn!(namespace, error, "NATS told of an error");
                }
            }
            Event::LameDuckMode | Event::Draining | Event::ClientError(_) => {}
        }
    }

    /// Ends when the connection is lost next.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.subscribe()
    }

    fn may_log(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let due = logged.is_none_or(|logged| now.saturating_duration_since(logged) >= EVENTS_LOGGED_EVERY);
        if due {
            *logged = Some(now);
        }
        due
    }
}

fn server_error(error: &ServerError) -> String {
    match error {
        ServerError::AuthorizationViolation => "the credentials are not accepted any more".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_once_and_errors_logged_now_and_then() {
        let metrics = ConnectionMetrics::new().unwrap();
        let registry = Registry::new();
        metrics.register(&registry).unwrap();
        let health = metrics.connection("team");
        let mut losses = health.losses();
        health.note(&Event::Connected);
        assert!(!losses.has_changed().unwrap());
        health.note(&Event::Disconnected);
        health.note(&Event::Closed);
        assert_eq!(*losses.borrow_and_update(), 1);
        assert_eq!((health.series.lost.get(), health.series.connected.get()), (1, 0));
        let now = Instant::now();
        assert!(health.may_log(now) && !health.may_log(now));
        assert!(health.may_log(now + EVENTS_LOGGED_EVERY));
        assert_eq!(registry.gather().len(), 4);
        drop(health);
        assert!(registry.gather().is_empty());
    }
}
