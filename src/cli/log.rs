//! The host's log: for people on a terminal, or a JSON object a line for machines. Written to standard error.

use std::{
    io::IsTerminal,
    sync::{Mutex, PoisonError},
};

use clap::{Args, ValueEnum};
use roadstead_runtime::SPAN_TARGET;
use roadstead_telemetry::Spans;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{ParseError, filter_fn},
    fmt,
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use crate::admin::control::LogLevel;

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

/// Characters of a filter that is repeated.
const SHOWN_MAX: usize = 200;

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

/// What changes the level of the process's log.
pub(super) struct LogHandle {
    current: Mutex<String>,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl LogHandle {
    fn new<S: Subscriber>(current: &str, handle: reload::Handle<EnvFilter, S>) -> Self
    where
        S: 'static,
    {
        let replace = Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        Self { current: Mutex::new(current.to_owned()), replace }
    }
}

impl LogLevel for LogHandle {
    fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        let shown: String = filter.chars().take(SHOWN_MAX).collect();
        let wrong = |error: &dyn std::fmt::Display| {
            format!(
                "{shown:?} is no level and no filter ({error}); write for example info, or info,roadstead::guest=debug"
            )
        };
        if filter.is_empty() {
            return Err(wrong(&"it is empty"));
        }
        (self.replace)(filter_of(filter).map_err(|error| wrong(&error))?)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        Ok(())
    }
}

fn filter_of(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{},{level}", QUIET_LIBRARIES.join(",")))
}

/// Starts the log of the process, and with `spans` the way from a call's spans to them.
pub(super) fn start(arguments: &LogArguments, spans: Option<&Spans>) -> Result<LogHandle, LogLevelError> {
    let level = &arguments.log_level;
    let filter = filter_of(level).map_err(|source| LogLevelError { given: level.clone(), source })?;
    Ok(match spans {
        None => {
            let (filter, handle) = reload::Layer::new(filter);
            tracing_subscriber::registry().with(lines(arguments.log_format).with_filter(filter)).init();
            LogHandle::new(level, handle)
        }
        Some(spans) => {
            let (filter, handle) = reload::Layer::new(filter);
            let of_calls = filter_fn(|metadata| metadata.target() == SPAN_TARGET);
            let registry = tracing_subscriber::registry().with(spans.layer().with_filter(of_calls));
            registry.with(lines(arguments.log_format).with_filter(filter)).init();
            LogHandle::new(level, handle)
        }
    })
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
