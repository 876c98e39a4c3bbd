//! The stores' metrics: calls, how they ended and how long they took, by interface, backend and operation; and a span of
//! each call with the same words. All of them are words of this program; nothing that a guest names is among them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use roadstead_metrics::{
    CounterBy, CountersBy, Error, Histogram, Histograms, Metrics, Slots,
    catalogue::{STORE_CALLS, STORE_OPERATIONS, STORE_SECONDS},
};
use roadstead_runtime::{CallSpan, call_span};

use crate::store_call;

/// What a backend says of an error.
pub(crate) trait Outcome {
    /// The caller's own: a quota, a name that is not there, a change that came first. Else the backend failed.
    fn is_refusal(&self) -> bool;
}

/// Those of one interface.
pub(crate) struct StoreMetrics {
    families: Families,
    /// They go on when the last workload that used them is gone.
    backends: Mutex<BTreeMap<&'static str, BackendMetrics>>,
}

#[derive(Clone)]
struct Families {
    interface: &'static str,
    calls: CountersBy<3>,
    seconds: Histograms<3>,
}

/// Those of one backend of the interface.
#[derive(Clone)]
pub(crate) struct BackendMetrics {
    all: Families,
    backend: &'static str,
    operations: Arc<Slots<OperationMetrics>>,
}

/// Those of one of its operations.
struct OperationMetrics {
    calls: CounterBy,
    seconds: Histogram,
}

impl StoreMetrics {
    /// Of `interface`, shown. Several interfaces have a part of the same metrics each.
    pub(crate) fn show(interface: &'static str, metrics: &Metrics) -> Result<Self, Error> {
        let (calls, seconds) = (metrics.counters_by(&STORE_CALLS)?, metrics.histograms(&STORE_SECONDS)?);
        Ok(Self { families: Families { interface, calls, seconds }, backends: Mutex::default() })
    }

    pub(crate) fn of(&self, backend: &'static str) -> BackendMetrics {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let (all, operations) = (self.families.clone(), Arc::new(Slots::new(&STORE_OPERATIONS)));
            BackendMetrics { all, backend, operations }
        };
        backends.entry(backend).or_insert_with(made).clone()
    }
}

impl BackendMetrics {
    fn operation(&self, operation: &str) -> Option<&OperationMetrics> {
        self.operations.of(operation, |operation| {
            let labels = [self.all.interface, self.backend, operation];
            OperationMetrics { calls: self.all.calls.with(labels, &[]), seconds: self.all.seconds.with(labels) }
        })
    }

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
        let Some(operation) = self.metrics.operation(self.operation) else { return };
        operation.calls.inc(self.outcome);
        operation.seconds.observe(self.begun.elapsed().as_secs_f64());
    }
}
