//! Where a host's spans go (a collector, its own memory of requests), and its guests' telemetry: the flags, by the names that OpenTelemetry gave their variables.

use std::{num::ParseFloatError, str::FromStr, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use roadstead_config::Limits;
use roadstead_runtime::{EndedSpan, SpanKeeper, Timelines, TraceContext, keep_spans};
use roadstead_telemetry::{
    Endpoint, Inbox, Onlooker, OtlpHeaders, Outbox, Protocol, ResourceAttributes, Sampling, Sending, Settings,
    SpanPlace, Spans, TransportError,
};

/// Traces that are sampled in a second, at most, whoever began them.
const TRACES_PER_SECOND_MAX: u64 = 100;

/// Flags of telemetry.
#[derive(Debug, Args)]
pub(super) struct TelemetryArguments {
    /// OpenTelemetry collector that spans, and the telemetry of components, are sent to, such as
    /// http://collector:4317 [default: none; nothing is sent].
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<Endpoint>,
    /// How the collector is spoken to.
    #[arg(long, value_enum, default_value = "grpc", env = "OTEL_EXPORTER_OTLP_PROTOCOL")]
    otlp_protocol: OtlpProtocol,
    /// Headers for the collector: name=value,name=value, with %-codes in values. Give keys by the variable, which other
    /// users of the machine do not see [default: none].
    #[arg(long, value_name = "LIST", env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true)]
    otlp_headers: Option<OtlpHeaders>,
    /// Longest time of one export, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000),
        env = "OTEL_EXPORTER_OTLP_TIMEOUT")]
    otlp_timeout: u64,
    /// Time after which what waits is sent, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=600_000),
        env = "OTEL_BSP_SCHEDULE_DELAY")]
    otlp_delay: u64,
    /// The host's service.name.
    #[arg(long, value_name = "NAME", default_value = "roadstead", env = "OTEL_SERVICE_NAME")]
    otlp_service_name: String,
    /// Further attributes of the host: name=value,name=value, with %-codes in values [default: none].
    #[arg(long, value_name = "LIST", env = "OTEL_RESOURCE_ATTRIBUTES")]
    otlp_resource_attributes: Option<ResourceAttributes>,
    /// Part of the traces that begin here which is sampled, from 0 to 1, and never more than 100 traces a second. A
    /// trace that a trusted proxy or a message's sender has begun is sampled where that says so.
    #[arg(long, value_name = "RATIO", default_value = "1", env = "OTEL_TRACES_SAMPLER_ARG")]
    trace_sampling: Ratio,
}

/// Forms of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OtlpProtocol {
    /// gRPC; collectors listen for it on port 4317.
    Grpc,
    /// HTTP with protocol buffers; on port 4318.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
}

/// A part of a whole.
#[derive(Debug, Clone, Copy)]
struct Ratio(f64);

/// Why a text is no part of a whole.
#[derive(Debug, thiserror::Error)]
enum RatioError {
    #[error("this is no number; write one from 0 to 1, such as 0.01")]
    Number(#[from] ParseFloatError),
    #[error("this is not between 0 and 1; write for example 0.01")]
    Range,
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, RatioError> {
        let ratio: f64 = text.parse()?;
        if (0.0..=1.0).contains(&ratio) { Ok(Self(ratio)) } else { Err(RatioError::Range) }
    }
}

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
pub(super) enum TelemetryError {
    #[error("the collector of --otlp-endpoint cannot be used")]
    Transport(#[from] TransportError),
}

/// Telemetry that has somewhere to go, before the process has its runtime.
pub(super) struct Telemetry {
    spans: Spans,
    timelines: Option<Arc<Timelines>>,
    collector: Option<Collector>,
}

/// A collector that nothing has been sent to.
struct Collector {
    settings: Settings,
    outbox: Outbox,
    inbox: Inbox,
}

impl TelemetryArguments {
    /// What the flags and `limits` ask for; `None` where there is nobody to tell anything: neither a collector nor the
    /// host's own memory of requests.
    pub(super) fn prepare(&self, limits: &Limits) -> Result<Option<Telemetry>, TelemetryError> {
        let timelines = (!Timelines::is_off(limits)).then(|| Arc::new(Timelines::new(limits)));
        let collector = self.collector()?;
        if timelines.is_none() && collector.is_none() {
            return Ok(None);
        }
        let sampling = collector.as_ref().map(|collector| Sampling {
            settings: &collector.settings,
            outbox: collector.outbox.clone(),
            ratio: self.trace_sampling.0,
            per_second_max: TRACES_PER_SECOND_MAX,
        });
        let spans = Spans::new(sampling, timelines.clone().map(tell));
        Ok(Some(Telemetry { spans, timelines, collector }))
    }

    fn collector(&self) -> Result<Option<Collector>, TelemetryError> {
        let Some(endpoint) = self.otlp_endpoint.clone() else { return Ok(None) };
        let settings = Settings {
            endpoint,
            protocol: match self.otlp_protocol {
                OtlpProtocol::Grpc => Protocol::Grpc,
                OtlpProtocol::HttpProtobuf => Protocol::HttpProtobuf,
            },
            headers: self.otlp_headers.clone().unwrap_or_default(),
            timeout: Duration::from_millis(self.otlp_timeout),
            delay: Duration::from_millis(self.otlp_delay),
            service_name: self.otlp_service_name.clone(),
            resource: self.otlp_resource_attributes.clone().unwrap_or_default(),
        };
        let (outbox, inbox) = Outbox::new();
        Ok(Some(Collector { settings, outbox, inbox }))
    }
}

/// Tells the host's memory of requests about spans.
fn tell(timelines: Arc<Timelines>) -> Onlooker {
    Box::new(move |span| {
        timelines.ended(EndedSpan {
            trace_id: span.place.trace_id,
            span_id: span.place.span_id,
            parent_id: span.parent_id,
            name: span.name.to_owned(),
            begun: span.begun,
            ended: span.ended,
            namespace: span.text("roadstead.namespace"),
            workload: span.text("roadstead.workload"),
            component: span.text("roadstead.component"),
            error: span.text("error.type"),
            left_out: span.count("roadstead.spans_left_out"),
        });
    })
}

impl Telemetry {
    /// Takes spans from the log's subscriber.
    pub(super) fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Begins to keep spans and to send; must be called on the runtime.
    pub(super) fn start(self) -> Result<RunningTelemetry, TelemetryError> {
        let Self { spans, timelines, collector } = self;
        let collector = match collector {
            Some(Collector { settings, outbox, inbox }) => Some((outbox, inbox.send(&settings)?)),
            None => None,
        };
        // A process has one host; were there another, it would have the first one's keeper.
        let _ = keep_spans(Box::new(Keeper { spans, timelines: timelines.clone() }));
        Ok(RunningTelemetry { timelines, collector })
    }
}

/// What takes the telemetry of guests, and what remembers requests.
pub(super) type Told = (Option<Outbox>, Option<Arc<Timelines>>);

/// Telemetry that is sent, and kept.
#[derive(Default)]
pub(super) struct RunningTelemetry {
    timelines: Option<Arc<Timelines>>,
    collector: Option<(Outbox, Sending)>,
}

impl RunningTelemetry {
    /// Starts what `telemetry` prepared, where there is some; must be called on the runtime.
    pub(super) fn of(telemetry: Option<Telemetry>) -> Result<Self, TelemetryError> {
        telemetry.map(Telemetry::start).transpose().map(Option::unwrap_or_default)
    }

    /// Takes what is to be sent, where there is a collector.
    pub(super) fn outbox(&self) -> Option<&Outbox> {
        self.collector.as_ref().map(|(outbox, _)| outbox)
    }

    /// What is remembered of requests.
    pub(super) fn timelines(&self) -> Option<Arc<Timelines>> {
        self.timelines.clone()
    }

    /// Sends what waits.
    pub(super) async fn close(self) {
        if let Some((_, sending)) = self.collector {
            sending.close().await;
        }
    }
}

/// Keeps the spans of calls.
struct Keeper {
    spans: Spans,
    timelines: Option<Arc<Timelines>>,
}

impl SpanKeeper for Keeper {
    fn samples(&self) -> bool {
        self.spans.samples()
    }

    fn admits(&self) -> bool {
        self.spans.admits()
    }

    fn follows(&self, trace_id: u128) -> bool {
        self.timelines.as_ref().is_some_and(|timelines| timelines.follows(trace_id))
    }

    fn begin(&self, span: &tracing::Span, own: &TraceContext, parent: Option<&TraceContext>) {
        self.spans.begin(span, place(own), parent.map(place));
    }

    fn rename(&self, span: &tracing::Span, name: String) {
        self.spans.rename(span, name);
    }
}

fn place(trace: &TraceContext) -> SpanPlace {
    let (trace_id, span_id) = trace.ids();
    SpanPlace { trace_id, span_id, is_sampled: trace.is_sampled() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        telemetry: TelemetryArguments,
    }

    #[test]
    fn a_host_samples_so_many_traces_in_a_second() {
        let flags = ["program", "--otlp-endpoint", "http://127.0.0.1:9", "--trace-sampling", "1"];
        let telemetry = Program::parse_from(flags).telemetry.prepare(&Limits::default()).unwrap().unwrap();
        let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let began = second();
        let sampled = (0..TRACES_PER_SECOND_MAX * 10).filter(|_| telemetry.spans().samples()).count() as u64;
        // As many again for each second that began meanwhile.
        assert!(
            (TRACES_PER_SECOND_MAX..=TRACES_PER_SECOND_MAX * (second() - began + 1)).contains(&sampled),
            "{sampled}"
        );
    }

    #[test]
    fn a_part_is_between_nothing_and_all() {
        for bad in ["-0.1", "1.1", "NaN", "inf", "", "half"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
        assert!("0".parse::<Ratio>().is_ok() && "1".parse::<Ratio>().is_ok());
    }
}
