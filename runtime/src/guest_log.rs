//! What a guest says: bounded per call, cleaned, and marked with who said it.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use roadstead_config::{Limits, ResourceName};
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{Call, SpanId, TraceId, WorkloadId, journal::Journal};

/// The `tracing` target of everything that guests say.
pub const GUEST_LOG_TARGET: &str = "roadstead::guest";

/// Bytes that a guest may write to its standard output at once.
const WRITE_BYTES_MAX: usize = 8_192;

/// A guest's text as it may stand in a log: control characters escaped, length bounded.
pub struct LogText<'a> {
    text: &'a str,
    bytes_max: usize,
}

impl<'a> LogText<'a> {
    /// Shows at most `bytes_max` bytes of `text`.
    pub fn new(text: &'a str, bytes_max: usize) -> Self {
        Self { text, bytes_max }
    }
}

impl fmt::Display for LogText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let end = self.text.floor_char_boundary(self.bytes_max.min(self.text.len()));
        let (shown, rest) = self.text.split_at(end);
        for c in shown.chars() {
            if c.is_control() && c != '\t' { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        if rest.is_empty() { Ok(()) } else { write!(f, "... ({} bytes more)", rest.len()) }
    }
}

/// The log of one instance: who speaks, for which trace, and how much it may still say in this call.
pub struct GuestLog {
    workload: WorkloadId,
    component: ResourceName,
    journal: Arc<Journal>,
    trace: Mutex<Option<(TraceId, SpanId)>>,
    bytes_left: AtomicU64,
    bytes_dropped: AtomicU64,
    call_bytes_max: u64,
    message_bytes_max: usize,
}

impl GuestLog {
    pub(crate) fn new(workload: WorkloadId, component: ResourceName, journal: Arc<Journal>, limits: &Limits) -> Self {
        Self {
            workload,
            component,
            journal,
            trace: Mutex::new(None),
            bytes_left: AtomicU64::new(limits.log_bytes_per_call_max),
            bytes_dropped: AtomicU64::new(0),
            call_bytes_max: limits.log_bytes_per_call_max,
            message_bytes_max: usize::try_from(limits.log_message_bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// Begins a call: its own trace, a full allowance.
    pub(crate) fn begin(&self, call: &Call) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((call.trace.trace_id(), call.trace.span_id()));
        self.bytes_left.store(self.call_bytes_max, Ordering::Relaxed);
    }

    /// Ends a call; what went over the allowance is said once.
    pub(crate) fn end(&self) {
        let dropped = self.bytes_dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let (trace, span) = self.trace().unzip();
            tracing::warn!(
                target: GUEST_LOG_TARGET,
                namespace = %self.workload.namespace,
                workload = %self.workload.name,
                component = %self.component,
                trace_id = trace.map(tracing::field::display),
                span_id = span.map(tracing::field::display),
                dropped_bytes = dropped,
                "the component logged more than a call may; the rest was dropped"
            );
        }
    }

    /// Writes one message at `level`; `context` is what the guest calls the place.
    pub fn write(&self, level: tracing::Level, context: &str, message: &str) {
        let bytes = (context.len() + message.len()) as u64;
        let taken =
            self.bytes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok();
        if !taken {
            self.bytes_dropped.fetch_add(bytes, Ordering::Relaxed);
            return;
        }
        macro_rules! emit {
            ($level:expr) => {
                // What the host's log leaves out is not kept elsewhere.
                if tracing::enabled!(target: GUEST_LOG_TARGET, $level) {
                    let context = LogText::new(context, self.message_bytes_max).to_string();
                    let message = LogText::new(message, self.message_bytes_max).to_string();
                    let workload = &self.workload;
                    let (trace, span) = self.trace().unzip();
                    tracing::event!(
                        target: GUEST_LOG_TARGET,
                        $level,
                        namespace = %workload.namespace,
                        workload = %workload.name,
                        component = %self.component,
                        trace_id = trace.map(tracing::field::display),
                        span_id = span.map(tracing::field::display),
                        context,
                        "{message}"
                    );
                    self.keep($level, (context, message), trace);
                }
            };
        }
        match level {
            tracing::Level::TRACE => emit!(tracing::Level::TRACE),
            tracing::Level::DEBUG => emit!(tracing::Level::DEBUG),
            tracing::Level::INFO => emit!(tracing::Level::INFO),
            tracing::Level::WARN => emit!(tracing::Level::WARN),
            tracing::Level::ERROR => emit!(tracing::Level::ERROR),
        }
    }

    /// Keeps a line for who asks for the workload's.
    fn keep(&self, level: tracing::Level, said: (String, String), trace: Option<TraceId>) {
        self.journal.lines.write(level.as_str(), self.component.as_str(), said, trace);
    }

    fn trace(&self) -> Option<(TraceId, SpanId)> {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for GuestLog {
    /// A call that is given up ends here.
    fn drop(&mut self) {
        self.end();
    }
}

/// A guest's standard output or standard error, a line a message. All handles that a guest opens of it write to one
/// line: a handle costs the host nothing.
#[derive(Clone)]
pub(crate) struct LogStream {
    line: Arc<Mutex<OpenLine>>,
}

/// The line that is not at its end yet.
struct OpenLine {
    log: Arc<GuestLog>,
    name: &'static str,
    level: tracing::Level,
    bytes: Vec<u8>,
}

impl LogStream {
    pub(crate) fn stdout(log: Arc<GuestLog>) -> Self {
        Self::new(log, "stdout", tracing::Level::INFO)
    }

    pub(crate) fn stderr(log: Arc<GuestLog>) -> Self {
        Self::new(log, "stderr", tracing::Level::WARN)
    }

    fn new(log: Arc<GuestLog>, name: &'static str, level: tracing::Level) -> Self {
        Self { line: Arc::new(Mutex::new(OpenLine { log, name, level, bytes: Vec::new() })) }
    }

    fn take(&self, bytes: &[u8]) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
    }

    /// Writes what there is of a line: it belongs to the call that ends, not to the next.
    pub(crate) fn end_line(&self) {
        self.line.lock().unwrap_or_else(PoisonError::into_inner).emit();
    }
}

impl OpenLine {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = self.log.message_bytes_max.saturating_sub(self.bytes.len()).min(part.len());
            let (kept, cut) = part.split_at(room);
            self.bytes.extend_from_slice(kept);
            self.log.bytes_dropped.fetch_add(cut.len() as u64, Ordering::Relaxed);
            if part.ends_with(b"\n") {
                self.emit();
            }
        }
    }

    fn emit(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            self.log.write(self.level, self.name, text);
        }
    }
}

impl Drop for OpenLine {
    fn drop(&mut self) {
        self.emit();
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl tokio::io::AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_text_is_bounded_and_clean() {
        assert_eq!(LogText::new("a\u{1b}[31mb\nc", 100).to_string(), "a\\u{1b}[31mb\\nc");
        assert_eq!(LogText::new("héllo", 2).to_string(), "h... (5 bytes more)");
    }

    #[test]
    fn a_guest_writes_so_much_to_its_output_at_once() {
        let id = WorkloadId { namespace: "a".parse().unwrap(), name: "b".parse().unwrap() };
        let log = Arc::new(GuestLog::new(id, "c".parse().unwrap(), Arc::default(), &Limits::default()));
        // The engine ends a guest that writes more than it was told.
        assert_eq!(LogStream::stdout(log).check_write().unwrap(), WRITE_BYTES_MAX);
    }
}
