//! How a connection to NATS is: what the client says of it becomes metrics, log lines, and the end of requests whose
//! answers will not come any more.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_nats::{Event, ServerError};
use roadstead_metrics::{
    Counter, Counters, Error, Gauge, Gauges, Held, Metrics, Owner,
    catalogue::{NATS_CONNECTED, NATS_CONNECTS, NATS_ERRORS, NATS_LOST, NATS_SLOW},
};
use roadstead_runtime::LogText;
use tokio::{sync::watch, time::Instant};

/// Shortest time between two log lines of one kind about one connection.
const EVENTS_LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Bytes of a server's error that the log shows.
const ERROR_BYTES_SHOWN: usize = 256;

/// The metrics of all connections, by the namespace whose they are; the host's own has none.
#[derive(Clone)]
pub(crate) struct ConnectionMetrics(Arc<Families>);

struct Families {
    connected: Gauges<1>,
    connects: Counters<1>,
    lost: Counters<1>,
    slow: Counters<1>,
    errors: Counters<1>,
    /// Where they are shown, once they are.
    shown: OnceLock<Metrics>,
}

impl Default for ConnectionMetrics {
    fn default() -> Self {
        Self(Arc::new(Families {
            connected: Gauges::new(&NATS_CONNECTED),
            connects: Counters::new(&NATS_CONNECTS),
            lost: Counters::new(&NATS_LOST),
            slow: Counters::new(&NATS_SLOW),
            errors: Counters::new(&NATS_ERRORS),
            shown: OnceLock::new(),
        }))
    }
}

impl ConnectionMetrics {
    pub(crate) fn show(&self, metrics: &Metrics) -> Result<(), Error> {
        let families = &self.0;
        metrics.show(&families.connected)?;
        metrics.show(&families.connects)?;
        metrics.show(&families.lost)?;
        metrics.show(&families.slow)?;
        metrics.show(&families.errors)?;
        let _ = families.shown.set(metrics.clone());
        Ok(())
    }

    /// What is kept of one connection, as long as it is in use.
    pub(super) fn connection(&self, namespace: &str) -> ConnectionHealth {
        let families = &self.0;
        let owner = match families.shown.get() {
            Some(metrics) => metrics.owner(namespace, ""),
            None => Owner::unbounded(namespace, ""),
        };
        let labels = [owner.namespace()];
        let series = ConnectionSeries {
            namespace: namespace.to_owned(),
            connected: families.connected.with(labels),
            connects: families.connects.with(labels),
            lost: families.lost.with(labels),
            slow: families.slow.with(labels),
            errors: families.errors.with(labels),
            _owner: owner,
        };
        ConnectionHealth { series, is_up: Mutex::new(None), losses: watch::Sender::new(0), logged: Mutex::new(None) }
    }
}

/// The metrics of one connection.
struct ConnectionSeries {
    namespace: String,
    connected: Gauge,
    connects: Counter,
    lost: Counter,
    slow: Counter,
    errors: Counter,
    _owner: Owner,
}

/// One connection.
pub(super) struct ConnectionHealth {
    series: ConnectionSeries,
    /// While it is there.
    is_up: Mutex<Option<Held>>,
    /// How often the connection was lost.
    losses: watch::Sender<u64>,
    /// When the last error was.
    logged: Mutex<Option<Instant>>,
}

impl ConnectionHealth {
    /// Takes in what the client says.
    pub(super) fn note(&self, event: &Event) {
        let series = &self.series;
        let namespace = series.namespace.as_str();
        match event {
            Event::Connected => {
                let mut is_up = self.is_up.lock().unwrap_or_else(PoisonError::into_inner);
                is_up.get_or_insert_with(|| series.connected.hold(1));
                series.connects.inc();
                tracing::info!(namespace, "connected to NATS");
            }
            Event::Disconnected | Event::Closed => {
                // A connection that ends is told both.
                let was_up = self.is_up.lock().unwrap_or_else(PoisonError::into_inner).take();
                if was_up.is_some() {
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
        let (metrics, shown) = (ConnectionMetrics::default(), Metrics::default());
        metrics.show(&shown).unwrap();
        let registry = shown.registry();
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
        assert_eq!(registry.gather().len(), 5);
        drop(health);
        assert!(registry.gather().is_empty());
    }
}
