//! Spans of calls: what is told of a trace that is sampled. A span is one of `tracing`, at the target [`SPAN_TARGET`];
//! who takes it, and where it goes, is not known here. A trace that is not sampled costs one look at a flag.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::call::TraceContext;

/// Target of the spans, by which a subscriber tells them from all others.
pub const SPAN_TARGET: &str = "roadstead::span";

/// Takes spans.
pub trait SpanKeeper: Send + Sync + 'static {
    /// Whether a trace that begins here is sampled.
    fn samples(&self) -> bool;

    /// Whether there is room for a trace that somebody else has sampled.
    fn admits(&self) -> bool;

    /// Whether spans of the trace are kept on this host, sampled or not.
    fn follows(&self, trace_id: u128) -> bool;

    /// `span` has begun at `own`, below `parent`; without one it is the first of its trace here and elsewhere.
    fn begin(&self, span: &tracing::Span, own: &TraceContext, parent: Option<&TraceContext>);

    /// `span`, which has begun, is called `name` from now on.
    fn rename(&self, span: &tracing::Span, name: String);
}

static KEEPER: OnceLock<Box<dyn SpanKeeper>> = OnceLock::new();

/// Gives all spans of the process to `keeper`.
///
/// # Errors
/// When there is a keeper already: gives back the one that came too late.
pub fn keep_spans(keeper: Box<dyn SpanKeeper>) -> Result<(), Box<dyn SpanKeeper>> {
    KEEPER.set(keeper)
}

pub(crate) fn samples() -> bool {
    KEEPER.get().is_some_and(|keeper| keeper.samples())
}

pub(crate) fn admits() -> bool {
    KEEPER.get().is_some_and(|keeper| keeper.admits())
}

pub(crate) fn follows(trace_id: u128) -> bool {
    KEEPER.get().is_some_and(|keeper| keeper.follows(trace_id))
}

/// The spans that a call may still have below its own (`call_spans_max`). All positions below the call's share it.
#[derive(Debug, Clone)]
pub(crate) struct SpanAllowance(Arc<Allowance>);

#[derive(Debug)]
struct Allowance {
    max: u64,
    /// Those that were asked for, made or not.
    asked: AtomicU64,
}

impl SpanAllowance {
    pub(crate) fn new(max: u64) -> Self {
        Self(Arc::new(Allowance { max, asked: AtomicU64::new(0) }))
    }

    fn take(&self) -> bool {
        self.0.asked.fetch_add(1, Ordering::Relaxed) < self.0.max
    }

    /// How many were asked for in vain.
    fn left_out(&self) -> u64 {
        self.0.asked.load(Ordering::Relaxed).saturating_sub(self.0.max)
    }
}

/// It bounds what is told of a position, and is no part of it.
impl PartialEq for SpanAllowance {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for SpanAllowance {}

/// A span of a call; it ends when it is dropped. Nothing is kept of it where its trace is not sampled.
#[derive(Debug)]
pub struct CallSpan {
    span: tracing::Span,
    context: TraceContext,
    /// That of the spans below, where it is this one that tells how many were left out.
    allowance: Option<SpanAllowance>,
}

impl CallSpan {
    /// A span below `parent`. `make` is asked for it only where the trace is sampled; see [`call_span!`](crate::call_span).
    pub fn below(parent: &TraceContext, make: impl FnOnce() -> tracing::Span) -> Self {
        if parent.is_recorded() && !parent.span_allowance().is_none_or(SpanAllowance::take) {
            return Self { span: tracing::Span::none(), context: parent.clone().untold(), allowance: None };
        }
        Self::at(parent.child(), Some(parent), make)
    }

    /// The same, with no more than `max` spans below it. `make` declares `roadstead.spans_left_out` empty.
    pub(crate) fn bounding(parent: &TraceContext, max: u64, make: impl FnOnce() -> tracing::Span) -> Self {
        let mut span = Self::below(parent, make);
        if !span.span.is_none() {
            let allowance = SpanAllowance::new(max);
            span.context = span.context.clone().allowed(allowance.clone());
            span.allowance = Some(allowance);
        }
        span
    }

    /// A span at `context`, below `parent` or the first of its trace.
    pub fn at(context: TraceContext, parent: Option<&TraceContext>, make: impl FnOnce() -> tracing::Span) -> Self {
        let keeper = KEEPER.get().filter(|_| context.is_recorded());
        let span = keeper.map_or_else(tracing::Span::none, |keeper| {
            let span = make();
            keeper.begin(&span, &context, parent);
            span
        });
        Self { span, context, allowance: None }
    }

    /// The position of the span: what is called from here belongs below it.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Gives a field, which was declared empty, its value.
    pub fn record(&self, field: &'static str, value: impl tracing::Value) {
        if !self.span.is_none() {
            self.span.record(field, value);
        }
    }

    /// Calls the span by another name than it began with.
    pub fn rename(&self, name: impl FnOnce() -> String) {
        if let Some(keeper) = KEEPER.get().filter(|_| !self.span.is_none()) {
            keeper.rename(&self.span, name());
        }
    }

    /// What the span tells of did not succeed: `kind` is one of few words, `text` says more.
    pub fn fail(&self, kind: &str, text: impl FnOnce() -> String) {
        if !self.span.is_none() {
            self.span.record("error.type", kind);
            self.span.record("otel.status_code", "ERROR");
            self.span.record("otel.status_description", text().as_str());
        }
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        let left_out = self.allowance.as_ref().map_or(0, SpanAllowance::left_out);
        if left_out > 0 {
            self.span.record("roadstead.spans_left_out", left_out);
        }
    }
}

/// A span for [`CallSpan`]: its name, its kind as OpenTelemetry spells it (`internal`, `server`, `client`, `producer`,
/// `consumer`), and fields as `tracing` takes them.
#[macro_export]
macro_rules! call_span {
    ($name:expr, $kind:literal $(, $($fields:tt)*)?) => {
        ::tracing::info_span!(
            target: $crate::SPAN_TARGET,
            parent: None,
            "call",
            otel.name = $name,
            otel.kind = $kind,
            otel.status_code = ::tracing::field::Empty,
            otel.status_description = ::tracing::field::Empty,
            "error.type" = ::tracing::field::Empty,
            $($($fields)*)?
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_counts_what_is_asked_for_in_vain() {
        let allowance = SpanAllowance::new(2);
        let taken: Vec<bool> = (0..5).map(|_| allowance.clone().take()).collect();
        assert_eq!((taken, allowance.left_out()), (vec![true, true, false, false, false], 3));
        assert_eq!(SpanAllowance::new(2).left_out(), 0);
    }

    #[test]
    fn beyond_the_allowance_nobody_is_told_of_the_trace() {
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let bounded = trace.allowed(SpanAllowance::new(0));
        let span = CallSpan::below(&bounded, || panic!("a span was made"));
        assert!(!span.context().is_recorded());
        assert_eq!(span.context().to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
    }

    #[test]
    fn a_trace_that_is_not_sampled_makes_no_span() {
        let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", None).unwrap();
        let span = CallSpan::below(&trace, || panic!("a span was made"));
        span.record("a", 1);
        span.fail("timeout", || panic!("a text was made"));
        assert_eq!(span.context().trace_id(), trace.trace_id());
        assert_ne!(span.context(), &trace);
    }
}
