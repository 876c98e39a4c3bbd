//! A component for the tests: each path calls functions of `wasi:otel`, with arguments from the query.
//!
//! It exists so that a test reads as a conversation with a known peer. It must not know which test is asking.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

use guest_http::{Query, Response};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../wit/wasi-otel", "wit"],
    world: "roadstead:probe-otel/probe-otel",
    generate_all,
});

use wasi::{
    clocks::wall_clock::Datetime,
    otel::{
        logs::{LogRecord, on_emit},
        metrics::{self, Metric, MetricData, MetricNumber, ResourceMetrics, ScopeMetrics},
        tracing::{self, Event, Link, SpanContext, SpanData, SpanKind, Status, TraceFlags},
        types::{InstrumentationScope, KeyValue, Resource},
    },
};

const SPAN_ID: &str = "00000000000000a1";
const START: Datetime = Datetime { seconds: 1_700_000_000, nanoseconds: 1 };
const END: Datetime = Datetime { seconds: 1_700_000_001, nanoseconds: 2 };

struct ProbeOtel;

impl wasip2::exports::http::incoming_handler::Guest for ProbeOtel {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::of_target(request.path_with_query());
        let outcome = match query.path() {
            "/span" => span(&query),
            "/log" => log(&query),
            "/metrics" => export(&query),
            "/contexts" => contexts(),
            _ => Ok(Response::text(404, "the probe has no such path\n")),
        };
        let response = outcome.unwrap_or_else(|reason| Response::text(409, reason));
        // A client that left is nobody to tell.
        response.send(outparam).ok();
    }
}

wasip2::http::proxy::export!(ProbeOtel);

type Outcome = Result<Response, String>;

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

fn scope() -> InstrumentationScope {
    let attributes = vec![attribute("scope", "1")];
    InstrumentationScope { name: "probe".into(), version: Some("1.2".into()), schema_url: None, attributes }
}

fn shown(context: &SpanContext) -> String {
    let sampled = context.trace_flags.contains(TraceFlags::SAMPLED);
    format!("{} {} {sampled} {:?}", context.trace_id, context.span_id, context.trace_state)
}

/// Below the call's own span, unless the query says otherwise; `count` times.
fn span(query: &Query) -> Outcome {
    let outer = tracing::outer_span_context();
    let flags =
        if query.text("sampled").is_some_and(|text| text == "no") { TraceFlags::empty() } else { TraceFlags::SAMPLED };
    let context =
        SpanContext { span_id: query.text("span").unwrap_or(SPAN_ID).to_owned(), trace_flags: flags, ..outer.clone() };
    let name = query.text("name").unwrap_or("of guest").to_owned();
    for _ in 0..query.number("count", 1) {
        tracing::on_start(&context);
        let event = Event { name: "moment".into(), time: START, attributes: vec![attribute("e", "true")] };
        let link = Link { span_context: outer.clone(), attributes: vec![attribute("l", "[1,\"a\"]")] };
        tracing::on_end(&SpanData {
            span_context: context.clone(),
            parent_span_id: outer.span_id.clone(),
            span_kind: SpanKind::Client,
            name: name.clone(),
            start_time: START,
            end_time: END,
            attributes: vec![attribute("text", "\"a b\""), attribute("number", "7"), attribute("broken", "{")],
            events: vec![event],
            links: vec![link],
            status: Status::Error("it failed".into()),
            instrumentation_scope: scope(),
            dropped_attributes: 1,
            dropped_events: 2,
            dropped_links: 3,
        });
    }
    Ok(Response::text(200, shown(&outer)))
}

fn log(query: &Query) -> Outcome {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "\"chosen\""),
            attribute("roadstead.namespace", "\"somebody else\""),
            attribute("service.namespace", "\"somebody else\""),
        ],
        schema_url: None,
    };
    on_emit(&LogRecord {
        timestamp: Some(START),
        observed_timestamp: Some(END),
        severity_text: Some("WARN".into()),
        severity_number: Some(13),
        body: Some(query.text("body").map_or_else(|| "\"a line\"".to_owned(), str::to_owned)),
        attributes: Some(vec![attribute("k", "{\"a\":1.5}")]),
        event_name: Some("happened".into()),
        resource: Some(resource),
        instrumentation_scope: Some(scope()),
        trace_id: None,
        span_id: None,
        trace_flags: None,
    });
    Ok(Response::text(200, "told"))
}

fn export(query: &Query) -> Outcome {
    let number = |value| MetricNumber::U64(value);
    let exemplar = || metrics::Exemplar {
        filtered_attributes: vec![attribute("f", "1")],
        time: END,
        value: MetricNumber::F64(0.5),
        span_id: SPAN_ID.to_owned(),
        trace_id: String::new(),
    };
    let gauge = metrics::Gauge {
        data_points: vec![metrics::GaugeDataPoint {
            attributes: vec![attribute("room", "\"a\"")],
            value: MetricNumber::F64(21.5),
            exemplars: vec![exemplar()],
        }],
        start_time: Some(START),
        time: END,
    };
    let sum = metrics::Sum {
        data_points: vec![metrics::SumDataPoint { attributes: Vec::new(), value: number(3), exemplars: Vec::new() }],
        start_time: START,
        time: END,
        temporality: metrics::Temporality::Cumulative,
        is_monotonic: true,
    };
    let histogram = metrics::Histogram {
        data_points: vec![metrics::HistogramDataPoint {
            attributes: Vec::new(),
            count: 3,
            bounds: vec![1.0, 2.0],
            bucket_counts: vec![1, 1, 1],
            min: Some(number(1)),
            max: Some(number(5)),
            sum: number(8),
            exemplars: Vec::new(),
        }],
        start_time: START,
        time: END,
        temporality: metrics::Temporality::Delta,
    };
    let bucket = |counts| metrics::ExponentialBucket { offset: -1, counts };
    let exponential = metrics::ExponentialHistogram {
        data_points: vec![metrics::ExponentialHistogramDataPoint {
            attributes: Vec::new(),
            count: 2,
            min: None,
            max: None,
            sum: MetricNumber::S64(-4),
            scale: -2,
            zero_count: 1,
            positive_bucket: bucket(vec![1]),
            negative_bucket: bucket(Vec::new()),
            zero_threshold: 0.25,
            exemplars: Vec::new(),
        }],
        start_time: START,
        time: END,
        temporality: metrics::Temporality::LowMemory,
    };
    let named =
        |name: &str, data| Metric { name: name.to_owned(), description: "of the probe".into(), unit: "1".into(), data };
    let all = ResourceMetrics {
        resource: Resource { attributes: vec![attribute("r", "1")], schema_url: None },
        scope_metrics: vec![ScopeMetrics {
            scope: scope(),
            metrics: vec![
                named("gauge", MetricData::F64Gauge(gauge)),
                named("sum", MetricData::U64Sum(sum)),
                named("histogram", MetricData::U64Histogram(histogram)),
                named("exponential", MetricData::S64ExponentialHistogram(exponential)),
            ],
        }],
    };
    for _ in 0..query.number("count", 1) {
        metrics::export(&all)?;
    }
    Ok(Response::text(200, "taken"))
}

/// The host's span; the innermost with one begun; the innermost with that one ended.
fn contexts() -> Outcome {
    let outer = tracing::outer_span_context();
    let inner = SpanContext { span_id: SPAN_ID.to_owned(), ..outer.clone() };
    let before = tracing::current_span_context();
    tracing::on_start(&inner);
    let during = tracing::current_span_context();
    let contexts = [outer, before, during].iter().map(shown).collect::<Vec<_>>();
    Ok(Response::text(200, contexts.join("\n")))
}
