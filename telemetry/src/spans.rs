//! The host's own spans: from `tracing`, through OpenTelemetry's tracer, into the outbox. Their ids are given from outside:
//! they are in headers and logs before a span is.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Link, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider},
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue as ProtoKeyValue, any_value},
    resource::v1::Resource as ProtoResource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        IdGenerator, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, Span, SpanData,
        SpanProcessor,
    },
};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::{
    outbox::{Outbox, Signal},
    settings::Settings,
};

/// Name of the tracer, which is the instrumentation scope of the spans.
const SCOPE: &str = "roadstead";

thread_local! {
    /// The place of the span that is begun next on this thread.
    static NEXT: Cell<Option<SpanPlace>> = const { Cell::new(None) };
}

/// The host's spans.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    /// The part of traces that is sampled, of 2^32.
    part: u64,
    budget: Budget,
}

/// A position in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanPlace {
    /// The trace.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
    /// Whether it is for the collector; else it is for those alone who look at this host.
    pub is_sampled: bool,
}

/// A span that has ended, for those who look at this host.
#[derive(Debug)]
pub struct EndedSpan<'a> {
    /// Where it was.
    pub place: SpanPlace,
    /// The span that it was below; 0 for the first of its trace.
    pub parent_id: u64,
    /// Its name.
    pub name: &'a str,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    attributes: &'a [KeyValue],
}

impl EndedSpan<'_> {
    /// An attribute as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(|value| value.as_str().into_owned())
    }

    /// An attribute that counts something; 0 where there is none.
    pub fn count(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(Value::I64(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        }
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.key.as_str() == name).map(|attribute| &attribute.value)
    }
}

/// Takes what has ended; it must not wait.
pub type Onlooker = Box<dyn Fn(EndedSpan<'_>) + Send + Sync>;

/// Which traces are sampled, and where their spans go.
#[derive(Debug)]
pub struct Sampling<'a> {
    /// What is said of this host.
    pub settings: &'a Settings,
    /// Takes the spans.
    pub outbox: Outbox,
    /// The part of traces that begin here, from 0 to 1.
    pub ratio: f64,
    /// Traces of a second, at most, those that others have begun among them.
    pub per_second_max: u64,
}

impl Spans {
    /// Spans of which those that are sampled go to a collector, where there is one, and all are told to `onlooker`.
    pub fn new(sampling: Option<Sampling<'_>>, onlooker: Option<Onlooker>) -> Self {
        let mut builder = SdkTracerProvider::builder()
            .with_resource(Resource::builder_empty().build())
            .with_id_generator(GivenPlaces)
            .with_sampler(GivenPlaces);
        let (mut part, mut per_second_max) = (0, 0);
        if let Some(Sampling { settings, outbox, ratio, per_second_max: max }) = sampling {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^32")]
            let of_all = (ratio.clamp(0.0, 1.0) * (1_u64 << 32) as f64) as u64;
            (part, per_second_max) = (of_all, max);
            builder = builder.with_span_processor(ToOutbox { outbox, resource: resource(settings) });
        }
        if let Some(onlooker) = onlooker {
            builder = builder.with_span_processor(ToOnlooker(onlooker));
        }
        Self { provider: builder.build(), part, budget: Budget { per_second_max, state: AtomicU64::new(0) } }
    }

    /// What takes the spans from `tracing`. It must see those alone that [`Spans::begin`] is told of.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer::<S>()
            .with_tracer::<SdkTracer>(self.provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_level(false)
    }

    /// Whether a trace that begins now is sampled.
    pub fn samples(&self) -> bool {
        self.part > 0 && u64::from(rand::random::<u32>()) < self.part && self.budget.take()
    }

    /// Whether there is room for a trace that somebody else has sampled.
    pub fn admits(&self) -> bool {
        self.budget.take()
    }

    /// `span` has begun at `own`, below `parent`.
    pub fn begin(&self, span: &tracing::Span, own: SpanPlace, parent: Option<SpanPlace>) {
        if let Some(parent) = parent {
            let parent = SpanContext::new(
                TraceId::from(parent.trace_id),
                SpanId::from(parent.span_id),
                if own.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED },
                true,
                TraceState::NONE,
            );
            // It fails for a span that is nothing, and for one that has begun.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        NEXT.set(Some(own));
        // Whoever asks for its context has it begun.
        let _begun = span.context();
        NEXT.set(None);
    }

    /// Gives a span that has begun another name. A field of it would come too late.
    pub fn rename(&self, span: &tracing::Span, name: String) {
        span.context().span().update_name(name);
    }
}

/// What is said of this host with each of its spans.
fn resource(settings: &Settings) -> ProtoResource {
    let own = [
        ("service.name", settings.service_name.as_str()),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "opentelemetry"),
    ];
    let own = own.into_iter().filter(|(name, _)| !settings.resource.0.iter().any(|(given, _)| given == name));
    let given = settings.resource.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let attributes = own.chain(given).map(|(name, value)| text_attribute(name, value)).collect();
    ProtoResource { attributes, ..ProtoResource::default() }
}

fn text_attribute(name: &str, value: &str) -> ProtoKeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    ProtoKeyValue { key: name.to_owned(), value: Some(value), ..ProtoKeyValue::default() }
}

/// Ids that were given before, made up where none were; and whether the span is for the collector.
#[derive(Debug, Clone)]
struct GivenPlaces;

impl ShouldSample for GivenPlaces {
    fn should_sample(
        &self,
        _: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let decision = match NEXT.get() {
            Some(place) if place.is_sampled => SamplingDecision::RecordAndSample,
            Some(_) => SamplingDecision::RecordOnly,
            None => SamplingDecision::Drop,
        };
        SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::NONE }
    }
}

impl IdGenerator for GivenPlaces {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from(NEXT.get().map_or_else(rand::random, |place| place.trace_id))
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from(NEXT.get().map_or_else(rand::random, |place| place.span_id))
    }
}

/// Hands on each span as it ends; the outbox makes batches of them.
#[derive(Debug)]
struct ToOutbox {
    outbox: Outbox,
    resource: ProtoResource,
}

impl SpanProcessor for ToOutbox {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        let scope = InstrumentationScope { name: SCOPE.to_owned(), ..InstrumentationScope::default() };
        let spans = ScopeSpans { scope: Some(scope), spans: vec![span.into()], ..ScopeSpans::default() };
        let resource = Some(self.resource.clone());
        self.outbox.offer(Signal::Spans(ResourceSpans {
            resource,
            scope_spans: vec![spans],
            ..ResourceSpans::default()
        }));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Tells of each span as it ends.
struct ToOnlooker(Onlooker);

impl fmt::Debug for ToOnlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToOnlooker")
    }
}

impl SpanProcessor for ToOnlooker {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let context = &span.span_context;
        let id = |id: SpanId| u64::from_be_bytes(id.to_bytes());
        let place = SpanPlace {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: id(context.span_id()),
            is_sampled: context.is_sampled(),
        };
        (self.0)(EndedSpan {
            place,
            parent_id: id(span.parent_span_id),
            name: &span.name,
            begun: span.start_time,
            ended: span.end_time,
            attributes: &span.attributes,
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// So many in a second.
#[derive(Debug)]
struct Budget {
    per_second_max: u64,
    /// The second, and how many were taken in it, in one number: 40 bits and 24.
    state: AtomicU64,
}

impl Budget {
    const TAKEN_BITS: u32 = 24;

    fn take(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.take_at(now)
    }

    fn take_at(&self, second: u64) -> bool {
        let most = self.per_second_max.min((1 << Self::TAKEN_BITS) - 1);
        let taken = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let (then, taken) = (state >> Self::TAKEN_BITS, state & ((1 << Self::TAKEN_BITS) - 1));
            let taken = if then == second { taken } else { 0 };
            (taken < most).then_some((second << Self::TAKEN_BITS) | (taken + 1))
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_sampled_in_a_second() {
        let budget = Budget { per_second_max: 3, state: AtomicU64::new(0) };
        let taken = |second| (0..10).filter(|_| budget.take_at(second)).count();
        assert_eq!((taken(5), taken(5), taken(6)), (3, 0, 3));
    }
}
