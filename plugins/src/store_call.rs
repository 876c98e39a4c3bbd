//! What calls to stored things have in common: the time that one may take, and the trace that it belongs to. Which store it
//! is, is not known here.

use std::time::Duration;

use roadstead_config::Limits;
use roadstead_runtime::{CallSpan, InstanceState, TraceContext};

tokio::task_local! {
    /// The trace, where spans are made of it, of the call that the work is done for.
    static TRACE: Option<TraceContext>;
}

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store did not answer within {} ms", .0.as_millis())]
pub(crate) struct TookTooLong(Duration);

/// The time that one call may take, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct CallTime {
    time: Duration,
    /// Only where spans are made of it.
    trace: Option<TraceContext>,
}

impl CallTime {
    /// As long as any call to a store, and no longer than the guest's own call goes on.
    pub(crate) fn of(state: &InstanceState, limits: &Limits) -> Self {
        Self::within(Duration::from_millis(limits.store_call_ms).min(state.call().remaining()), state)
    }

    /// As long as the guest's own call goes on: for what takes the longer, the larger it is.
    pub(crate) fn of_transfer(state: &InstanceState) -> Self {
        Self::within(state.call().remaining(), state)
    }

    fn within(time: Duration, state: &InstanceState) -> Self {
        Self { time, trace: Some(&state.call().trace).filter(|trace| trace.is_recorded()).cloned() }
    }

    /// Waits for `work`.
    pub(crate) async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, TookTooLong> {
        self.traced(tokio::time::timeout(self.time, work)).await.map_err(|_| TookTooLong(self.time))
    }

    /// `work`, whose spans are below the call's, in whatever task it is done.
    pub(crate) fn traced<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        TRACE.scope(self.trace.clone(), work)
    }
}

/// A span below that of the call that this work is done for. `make` is asked for it only where the trace is sampled.
pub(crate) fn span(make: impl FnOnce() -> tracing::Span) -> Option<CallSpan> {
    let below = |trace: &Option<TraceContext>| trace.as_ref().map(|trace| CallSpan::below(trace, make));
    // What is done for no call belongs to no trace.
    TRACE.try_with(below).ok().flatten()
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::call_span;

    use super::*;

    fn time(trace: Option<&str>) -> CallTime {
        let trace = trace.map(|trace| TraceContext::parse(trace, None).unwrap());
        CallTime { time: Duration::from_secs(60), trace }
    }

    #[tokio::test]
    async fn work_is_in_the_trace_of_its_call_in_other_tasks_too() {
        let sampled = time(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        let below = || span(|| call_span!("test", "client")).map(|span| span.context().trace_id().to_string());
        let trace = Some("0af7651916cd43dd8448eb211c80319c".to_owned());
        assert_eq!(sampled.wait(async { below() }).await.unwrap(), trace);
        assert_eq!(tokio::spawn(sampled.traced(async move { below() })).await.unwrap(), trace);
        assert_eq!(below(), None);
    }

    #[tokio::test]
    async fn work_for_a_trace_that_is_not_sampled_makes_no_span() {
        let none = || span(|| panic!("a span was made")).is_none();
        assert!(time(None).wait(async { none() }).await.unwrap());
    }
}
