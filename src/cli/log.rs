//! The host's log: for people on a terminal, or a JSON object a line for machines. Written to standard error.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
};

use clap::{Args, ValueEnum};
use roadstead_metrics::{Metrics, Sample, catalogue::ACCESS_LOG_DROPPED};
use roadstead_runtime::SPAN_TARGET;
use roadstead_telemetry::Spans;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{LevelFilter, ParseError, Targets},
    fmt::{
        self,
        format::{Format, Json, JsonFields},
    },
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use super::access_log::{self, AccessLog, AccessLogError, Destination};
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
    /// `text` where standard error is a terminal, else `json`.
    Auto,
    /// For people; coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of the log.
#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// Form of log lines.
    #[arg(long, value_enum, default_value = "auto", env = "ROADSTEAD_LOG_FORMAT")]
    log_format: LogFormat,
    /// Least level of log lines (error, warn, info, debug, trace), or a filter such as info,roadstead::guest=debug.
    #[arg(long, default_value = "info", env = "ROADSTEAD_LOG")]
    log_level: String,
}

/// The flag of the access log, for commands that serve requests.
#[derive(Debug, Args)]
pub(super) struct AccessLogArguments {
    /// Where a line for each request goes: log (with the others, as --log-level has it), off, or a file, which gets a JSON
    /// object a line and may be moved away by what rotates logs.
    #[arg(long, value_name = "log|off|FILE", default_value = "log", env = "ROADSTEAD_ACCESS_LOG")]
    access_log: Destination,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub(super) enum LogError {
    #[error("--log-level {given:?} is no level and no filter; write for example info, or info,roadstead::guest=debug")]
    Level {
        given: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
}

/// What has to be kept as long as lines are to be written.
#[must_use]
pub(super) struct Log(Arc<LogHandle>);

impl Log {
    /// What changes the level while the process runs.
    pub(super) fn handle(&self) -> Arc<LogHandle> {
        self.0.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let Some(access) = &self.0.access else { return };
        access.finish();
        let missing = access.missing();
        if missing.lines > 0 {
            tracing::warn!(lines = missing.lines, reason = missing.reason, "the access log has gaps");
        }
    }
}

/// Changes the level of the process's log, and knows what became of its lines.
pub(super) struct LogHandle {
    access: Option<AccessLog>,
    current: Mutex<String>,
    /// Whether lines about requests are among the others.
    has_requests: bool,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl LogHandle {
    fn new<S: 'static>(
        current: &str,
        has_requests: bool,
        access: Option<AccessLog>,
        handle: reload::Handle<EnvFilter, S>,
    ) -> Self {
        let replace = Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()));
        Self { access, current: Mutex::new(current.to_owned()), has_requests, replace }
    }

    /// Shows with a host's metrics what became of the access log's lines.
    ///
    /// # Errors
    /// When they have such a metric already.
    pub(super) fn show(&self, metrics: &Metrics) -> Result<(), roadstead_metrics::Error> {
        let access = self.access.clone();
        #[expect(clippy::cast_precision_loss, reason = "the text format has no whole numbers")]
        let dropped = move || access.as_ref().map_or(0.0, |access| access.missing().lines as f64);
        metrics.poll(&ACCESS_LOG_DROPPED, move || vec![Sample { labels: [], value: dropped() }])
    }
}

impl LogLevel for LogHandle {
    fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, filter: &str) -> Result<(), String> {
        let shown: String = filter.chars().take(SHOWN_MAX).collect();
        let wrong =
            || format!("{shown:?} is no level and no filter; write for example info, or info,roadstead::guest=debug");
        if filter.is_empty() {
            return Err(wrong());
        }
        (self.replace)(filter_of(filter, self.has_requests).map_err(|_| wrong())?)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        Ok(())
    }
}

/// A level with what is left out by default.
fn filter_of(level: &str, has_requests: bool) -> Result<EnvFilter, ParseError> {
    let mut directives = format!("{},{level}", QUIET_LIBRARIES.join(","));
    if !has_requests {
        // Of two for one target the last counts.
        directives += &format!(",{}=off", access_log::TARGET);
    }
    EnvFilter::try_new(directives)
}

/// Starts the log of the process, and with `spans` the way from a call's spans to them.
pub(super) fn start(
    arguments: &LogArguments,
    access: Option<&AccessLogArguments>,
    spans: Option<&Spans>,
) -> Result<Log, LogError> {
    let destination = access.map_or(&Destination::Log, |access| &access.access_log);
    let has_requests = *destination == Destination::Log;
    let level = &arguments.log_level;
    let filter = filter_of(level, has_requests).map_err(|source| LogError::Level { given: level.clone(), source })?;
    let (filter, handle) = reload::Layer::new(filter);
    let access = match destination {
        Destination::File(path) => Some(AccessLog::open(path)?),
        Destination::Log | Destination::Off => None,
    };
    // These say of which level they are at most: without that, every line of every library that nobody reads is asked about.
    let of = |target| Targets::new().with_target(target, LevelFilter::INFO);
    let spans = spans.map(|spans| spans.layer().with_filter(of(SPAN_TARGET)));
    let requests = access.clone().map(|log| access_log::Events::to(log).with_filter(of(access_log::TARGET)));
    let registry = tracing_subscriber::registry().with(spans).with(requests);
    registry.with(lines(arguments.log_format).with_filter(filter)).init();
    Ok(Log(Arc::new(LogHandle::new(level, has_requests, access, handle))))
}

/// What writes the lines.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync> {
    let on_terminal = std::io::stderr().is_terminal();
    match format {
        LogFormat::Auto if !on_terminal => json().with_writer(std::io::stderr).boxed(),
        LogFormat::Auto | LogFormat::Text => {
            let ansi = on_terminal && std::env::var_os("NO_COLOR").is_none();
            fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).boxed()
        }
        LogFormat::Json => json().with_writer(std::io::stderr).boxed(),
    }
}

/// One JSON object a line.
fn json<S: Subscriber + for<'a> LookupSpan<'a>>() -> fmt::Layer<S, JsonFields, Format<Json>> {
    fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_changes_nothing_and_is_repeated_in_part() {
        let (_filter, handle) = reload::Layer::<_, tracing_subscriber::Registry>::new(filter_of("info", true).unwrap());
        let log = LogHandle::new("info", true, None, handle);
        let error = log.set(&format!("[{}", "y".repeat(SHOWN_MAX * 2))).unwrap_err();
        assert_eq!(error.matches('y').count(), SHOWN_MAX - 1, "{error}");
        assert_eq!(log.current(), "info");
    }
}
