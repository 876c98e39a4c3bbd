//! The stores' metrics, each declared here once with its help text: calls, how they ended and how long they took, by
//! interface, backend and operation; and a span of each call with the same words. All of them are words of this program;
//! nothing that a guest names is among them.

use std::time::Instant;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use roadstead_runtime::{CallSpan, call_span};

use crate::store_call;

/// Upper bounds of the time of a call, in seconds.
const BUCKETS: [f64; 12] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];

/// What a backend says of an error.
pub(crate) trait Outcome {
    /// The caller's own: a quota, a name that is not there, a change that came first. Else the backend failed.
    fn is_refusal(&self) -> bool;
}

/// Those of one interface.
#[derive(Clone)]
pub(crate) struct StoreMetrics {
    interface: &'static str,
    calls: IntCounterVec,
    seconds: HistogramVec,
}

/// Those of one backend of the interface.
#[derive(Clone)]
pub(crate) struct BackendMetrics {
    all: StoreMetrics,
    backend: &'static str,
}

impl StoreMetrics {
    /// Of `interface`, registered. Several interfaces have a part of the same metrics each.
    pub(crate) fn register(interface: &'static str, registry: &Registry) -> Result<Self, prometheus::Error> {
        let calls = Opts::new(
            "roadstead_store_calls_total",
            "Calls to stores: done, refused by a limit or for what is or is not there, failed, or left by their caller.",
        );
        let seconds = HistogramOpts::new("roadstead_store_call_seconds", "Time that calls to stores took.");
        let seconds = seconds.buckets(BUCKETS.to_vec()).const_label("interface", interface);
        let metrics = Self {
            interface,
            calls: IntCounterVec::new(calls.const_label("interface", interface), &["backend", "operation", "outcome"])?,
            seconds: HistogramVec::new(seconds, &["backend", "operation"])?,
        };
        registry.register(Box::new(metrics.calls.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn of(&self, backend: &'static str) -> BackendMetrics {
        BackendMetrics { all: self.clone(), backend }
    }
}

impl BackendMetrics {
    /// Does `work`, and counts it however it ends, with a span where its call is traced.
    pub(crate) async fn measure<T, E: Outcome>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let span = store_call::span(|| self.span(operation));
        let mut call = Call { metrics: self, operation, outcome: "left", begun: Instant::now(), span };
        let done = work.await;
        call.outcome = match &done {
            Ok(_) => "done",
            Err(error) if error.is_refusal() => "refused",
            Err(_) => "failed",
        };
        done
    }

    fn span(&self, operation: &'static str) -> tracing::Span {
        call_span!(
            format!("{} {operation}", self.all.interface.trim_start_matches("wasi:")),
            "client",
            db.system.name = self.backend,
            db.operation.name = operation,
        )
    }
}

/// A call under way.
struct Call<'a> {
    metrics: &'a BackendMetrics,
    operation: &'static str,
    outcome: &'static str,
    begun: Instant,
    span: Option<CallSpan>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.span.as_ref().filter(|_| self.outcome != "done") {
            // An error may repeat what the guest named.
            span.fail(self.outcome, String::new);
        }
        let BackendMetrics { all, backend } = self.metrics;
        all.calls.with_label_values(&[backend, self.operation, self.outcome]).inc();
        let seconds = self.begun.elapsed().as_secs_f64();
        all.seconds.with_label_values(&[backend, self.operation]).observe(seconds);
    }
}
