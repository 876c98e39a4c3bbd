//! A batch as it travels: one message of OTLP for each signal, encoded once for all attempts, in which what is of one resource
//! stands together. It must not know how it travels.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans},
};
use prost::Message;

use crate::outbox::Signal;

/// What is sent at once of one signal.
#[derive(Debug)]
pub(crate) struct Export {
    /// Of what.
    pub(crate) kind: Kind,
    /// How many things of the queue are in it.
    pub(crate) count: usize,
    /// The message.
    pub(crate) body: Bytes,
}

/// The three signals of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Spans,
    Logs,
    Metrics,
}

impl Kind {
    /// The signal in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// The exports of what was gathered, at most one a signal.
pub(crate) fn exports(signals: impl Iterator<Item = Signal>) -> Vec<Export> {
    let (mut spans, mut logs, mut metrics) = (Vec::new(), Vec::new(), Vec::new());
    let (mut own, mut own_count) = (Vec::new(), 0);
    for signal in signals {
        match signal {
            Signal::HostSpans { resource, spans } => {
                own_count += 1;
                add(&mut own, resource, spans);
            }
            Signal::Spans(of_one) => spans.push(of_one),
            Signal::Logs(of_one) => logs.push(of_one),
            Signal::Metrics(of_one) => metrics.push(of_one),
        }
    }
    let span_count = spans.len() + own_count;
    spans.extend(own.into_iter().map(|(resource, scope_spans)| ResourceSpans {
        resource: Some(Resource::clone(&resource)),
        scope_spans,
        ..ResourceSpans::default()
    }));
    let (log_count, metric_count) = (logs.len(), metrics.len());
    let spans = ExportTraceServiceRequest { resource_spans: spans }.encode_to_vec();
    let logs = ExportLogsServiceRequest { resource_logs: logs }.encode_to_vec();
    let metrics = ExportMetricsServiceRequest { resource_metrics: metrics }.encode_to_vec();
    let all = [(Kind::Spans, span_count, spans), (Kind::Logs, log_count, logs), (Kind::Metrics, metric_count, metrics)];
    let some = all.into_iter().filter(|(_, count, _)| *count > 0);
    some.map(|(kind, count, body)| Export { kind, count, body: body.into() }).collect()
}

/// Puts spans to those of the same resource and scope. A process has one resource, and few scopes.
fn add(groups: &mut Vec<(Arc<Resource>, Vec<ScopeSpans>)>, resource: Arc<Resource>, spans: ScopeSpans) {
    match groups.iter_mut().find(|(of, _)| Arc::ptr_eq(of, &resource)) {
        None => groups.push((resource, vec![spans])),
        Some((_, scopes)) => match scopes.iter_mut().find(|of| of.scope == spans.scope) {
            Some(of) => of.spans.extend(spans.spans),
            None => scopes.push(spans),
        },
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, logs::v1::ResourceLogs, trace::v1::Span};

    use super::*;

    fn span(resource: &Arc<Resource>, scope: &str, name: &str) -> Signal {
        let scope = InstrumentationScope { name: scope.to_owned(), ..InstrumentationScope::default() };
        let spans = vec![Span { name: name.to_owned(), ..Span::default() }];
        Signal::HostSpans {
            resource: resource.clone(),
            spans: ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() },
        }
    }

    #[test]
    fn what_is_of_one_resource_stands_together() {
        let host = Arc::new(Resource { dropped_attributes_count: 7, ..Resource::default() });
        let signals = [span(&host, "a", "1"), Signal::Spans(ResourceSpans::default()), span(&host, "a", "2")];
        let more = [span(&host, "b", "3"), Signal::Logs(ResourceLogs::default())];
        let exports = exports(signals.into_iter().chain(more));
        let counts: Vec<_> = exports.iter().map(|export| (export.kind, export.count)).collect();
        assert_eq!(counts, [(Kind::Spans, 4), (Kind::Logs, 1)]);
        let sent = ExportTraceServiceRequest::decode(exports[0].body.clone()).unwrap().resource_spans;
        assert_eq!(sent.len(), 2, "the component's, and the host's");
        assert_eq!(sent[1].resource.as_ref().unwrap().dropped_attributes_count, 7);
        let scopes: Vec<usize> = sent[1].scope_spans.iter().map(|scope| scope.spans.len()).collect();
        assert_eq!(scopes, [2, 1]);
    }
}
