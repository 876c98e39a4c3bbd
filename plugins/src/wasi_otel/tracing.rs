//! `wasi:otel/tracing`: the guest's spans, below the call's own or wherever the guest puts them.

use prost::Message;
use roadstead_runtime::InstanceState;
use roadstead_telemetry::{
    Signal,
    proto::trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link, SpanKind},
        status::StatusCode,
    },
};

use super::{
    bound,
    common::{attributes, id, nanoseconds, scope},
    wit::tracing::{self as guest, Host, SpanContext, SpanData, TraceFlags},
};

/// Spans that a guest has begun and not ended, beyond which the innermost is not known any more.
const OPEN_SPANS_MAX: usize = 128;
/// Longest id, in bytes, that is remembered of a span that has begun; no valid one is longer.
const ID_BYTES_MAX: usize = 32;

/// The spans of a call that have begun and are not over, the innermost last.
#[derive(Clone, Default)]
struct OpenSpans(Vec<SpanContext>);

impl OpenSpans {
    fn begin(&mut self, context: SpanContext) {
        let short = context.trace_id.len() <= ID_BYTES_MAX && context.span_id.len() <= ID_BYTES_MAX;
        if self.0.len() < OPEN_SPANS_MAX && short {
            self.0.push(SpanContext { trace_state: Vec::new(), ..context });
        }
    }

    fn end(&mut self, span_id: &str) {
        self.0.retain(|context| context.span_id != span_id);
    }

    fn innermost(&self) -> Option<SpanContext> {
        self.0.last().cloned()
    }
}

impl Host for InstanceState {
    fn on_start(&mut self, context: SpanContext) -> wasmtime::Result<()> {
        self.call_state().get_or_insert_default::<OpenSpans>().begin(context);
        Ok(())
    }

    fn on_end(&mut self, span: SpanData) -> wasmtime::Result<()> {
        if let Some(open) = self.call_state().get_mut::<OpenSpans>() {
            open.end(&span.span_context.span_id);
        }
        let bound = bound(self)?;
        if !span.span_context.trace_flags.contains(TraceFlags::SAMPLED) {
            bound.count("spans", "not-sampled");
            return Ok(());
        }
        let (scope, schema_url) = scope(span.instrumentation_scope.clone());
        let Some(span) = proto_span(span) else {
            bound.count("spans", "malformed");
            return Ok(());
        };
        let spans = ScopeSpans { scope: Some(scope), spans: vec![span], schema_url };
        let resource = Some(bound.resource(Vec::new()));
        let message = ResourceSpans { resource, scope_spans: vec![spans], ..ResourceSpans::default() };
        // What does not go out is counted; the interface has no way to say more.
        let _ = bound.send(self, "spans", message.encoded_len(), Signal::Spans(message));
        Ok(())
    }

    fn outer_span_context(&mut self) -> wasmtime::Result<SpanContext> {
        Ok(of_call(self))
    }

    fn current_span_context(&mut self) -> wasmtime::Result<SpanContext> {
        let innermost = self.call_state().get::<OpenSpans>().and_then(OpenSpans::innermost);
        Ok(innermost.unwrap_or_else(|| of_call(self)))
    }
}

/// The span of the call that the guest is busy with.
fn of_call(state: &InstanceState) -> SpanContext {
    let trace = &state.call().trace;
    let (trace_id, span_id) = trace.ids();
    let elements = trace.state().into_iter().flat_map(|state| state.split(','));
    let pairs = elements.filter_map(|element| element.trim().split_once('='));
    SpanContext {
        trace_id: format!("{trace_id:032x}"),
        span_id: format!("{span_id:016x}"),
        trace_flags: if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::empty() },
        is_remote: false,
        trace_state: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}

/// The span as it is sent; `None` where its ids are none.
fn proto_span(span: SpanData) -> Option<Span> {
    let kind = match span.span_kind {
        guest::SpanKind::Client => SpanKind::Client,
        guest::SpanKind::Server => SpanKind::Server,
        guest::SpanKind::Producer => SpanKind::Producer,
        guest::SpanKind::Consumer => SpanKind::Consumer,
        guest::SpanKind::Internal => SpanKind::Internal,
    };
    let (code, message) = match span.status {
        guest::Status::Unset => (StatusCode::Unset, String::new()),
        guest::Status::Ok => (StatusCode::Ok, String::new()),
        guest::Status::Error(message) => (StatusCode::Error, message),
    };
    let events = span.events.into_iter().map(|event| Event {
        time_unix_nano: nanoseconds(event.time),
        name: event.name,
        attributes: attributes(event.attributes),
        dropped_attributes_count: 0,
    });
    let links = span.links.into_iter().filter_map(|link| {
        Some(Link {
            trace_id: id::<16>(&link.span_context.trace_id)?,
            span_id: id::<8>(&link.span_context.span_id)?,
            trace_state: trace_state(&link.span_context),
            attributes: attributes(link.attributes),
            ..Link::default()
        })
    });
    Some(Span {
        trace_id: id::<16>(&span.span_context.trace_id)?,
        span_id: id::<8>(&span.span_context.span_id)?,
        trace_state: trace_state(&span.span_context),
        parent_span_id: id::<8>(&span.parent_span_id).unwrap_or_default(),
        flags: 1,
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.start_time),
        end_time_unix_nano: nanoseconds(span.end_time),
        attributes: attributes(span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: events.collect(),
        dropped_events_count: span.dropped_events,
        links: links.collect(),
        dropped_links_count: span.dropped_links,
        status: Some(Status { message, code: code.into() }),
    })
}

fn trace_state(context: &SpanContext) -> String {
    let elements: Vec<String> = context.trace_state.iter().map(|(key, value)| format!("{key}={value}")).collect();
    elements.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(span_id: &str) -> SpanContext {
        SpanContext {
            trace_id: "0af7651916cd43dd8448eb211c80319c".into(),
            span_id: span_id.to_owned(),
            trace_flags: TraceFlags::SAMPLED,
            is_remote: false,
            trace_state: vec![("key".into(), "value".into())],
        }
    }

    #[test]
    fn so_many_open_spans_are_remembered() {
        let mut open = OpenSpans::default();
        for number in 0..=OPEN_SPANS_MAX {
            open.begin(context(&format!("{number:016x}")));
        }
        assert_eq!(open.0.len(), OPEN_SPANS_MAX);
        let innermost = |open: &OpenSpans| open.innermost().map(|context| context.span_id);
        assert_eq!(innermost(&open), Some(format!("{:016x}", OPEN_SPANS_MAX - 1)));
        open.end(&format!("{:016x}", OPEN_SPANS_MAX - 1));
        assert_eq!(innermost(&open), Some(format!("{:016x}", OPEN_SPANS_MAX - 2)));
        assert!(open.0.iter().all(|context| context.trace_state.is_empty()));
    }

    #[test]
    fn what_is_too_long_for_an_id_is_not_remembered() {
        let mut open = OpenSpans::default();
        open.begin(context(&"f".repeat(ID_BYTES_MAX + 1)));
        open.begin(SpanContext { trace_id: "f".repeat(ID_BYTES_MAX + 1), ..context("00000000000000a1") });
        assert!(open.innermost().is_none());
        open.begin(context(&"f".repeat(ID_BYTES_MAX)));
        assert!(open.innermost().is_some());
    }
}
