//! The host's log: for people on a terminal, or a JSON object a line for machines. Written to standard error.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use roadstead_runtime::SPAN_TARGET;
use roadstead_telemetry::Spans;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// What is left out by default: the inner life of libraries.
const QUIET_LIBRARIES: [&str; 10] = [
    "pingora_core=warn",
    "pingora_proxy=error",
    "async_nats=warn",
    // Says the parameters of each statement, which are what workloads store.
    "tokio_postgres=warn",
    // What is wrong with a connection is told by who uses it.
    "deadpool=error",
    "cranelift=warn",
    "wasmtime=warn",
    "hyper=warn",
    // Warns of what clients send: whoever wants could fill the log.
    "rustls=off",
    // These are no lines.
    "roadstead::span=off",
];

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of the log.
#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// Form of log lines.
    #[arg(long, value_enum, default_value = "text", env = "ROADSTEAD_LOG_FORMAT")]
    log_format: LogFormat,
    /// Least level of log lines (error, warn, info, debug, trace), or a filter such as info,roadstead::guest=debug.
    #[arg(long, default_value = "info", env = "ROADSTEAD_LOG")]
    log_level: String,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[error("--log-level {given:?} is no level and no filter; write for example info, or info,roadstead::guest=debug")]
pub(super) struct LogLevelError {
    given: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Starts the log of the process, and with `spans` the way from a call's spans to them.
pub(super) fn start(arguments: &LogArguments, spans: Option<&Spans>) -> Result<(), LogLevelError> {
    let directives = format!("{},{}", QUIET_LIBRARIES.join(","), arguments.log_level);
    let filter = EnvFilter::try_new(directives)
        .map_err(|source| LogLevelError { given: arguments.log_level.clone(), source })?;
    match spans {
        None => tracing_subscriber::registry().with(lines(arguments.log_format).with_filter(filter)).init(),
        Some(spans) => {
            let of_calls = filter_fn(|metadata| metadata.target() == SPAN_TARGET);
            let registry = tracing_subscriber::registry().with(spans.layer().with_filter(of_calls));
            registry.with(lines(arguments.log_format).with_filter(filter)).init();
        }
    }
    Ok(())
}

/// What writes the lines.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    match format {
        LogFormat::Text => {
            let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).boxed()
        }
        LogFormat::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
            layer.with_writer(std::io::stderr).boxed()
        }
    }
}
