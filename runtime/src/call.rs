//! One call: who it is for, until when, and which trace it belongs to. All three travel with it.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::spans::{self, SpanAllowance};

/// What every call into a guest carries.
#[derive(Debug, Clone)]
pub struct Call {
    /// When the caller stops waiting. Nothing is started, and nothing goes on, after it.
    pub deadline: Instant,
    /// The trace that the call belongs to.
    pub trace: TraceContext,
}

impl Call {
    /// A call that begins a trace of its own and ends `limit` from now.
    pub fn new(limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, trace: TraceContext::generate() }
    }

    /// The time left, zero when the deadline has passed.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The same call under a nearer deadline: the smaller of its own and `limit` from now.
    pub fn narrowed(&self, limit: Duration) -> Self {
        Self { deadline: self.deadline.min(Instant::now() + limit), trace: self.trace.child() }
    }
}

/// A position in a trace, as W3C Trace Context writes it in `traceparent`.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
    /// Its spans are kept on this host, whether or not it is sampled. Nobody else is told.
    recorded: bool,
    /// What is left of the spans of the call that it is at.
    spans: Option<SpanAllowance>,
    /// `tracestate` of the caller, handed on unread.
    state: Option<Arc<str>>,
    /// `baggage` of the caller, handed on unread.
    baggage: Option<Arc<str>>,
}

/// Longest `tracestate` that is handed on, in bytes (the recommendation's own minimum).
const STATE_BYTES_MAX: usize = 512;
/// Longest `baggage` that is handed on, in bytes (W3C Baggage, section 3.3.2: what has to be handed on at least).
pub const BAGGAGE_BYTES_MAX: usize = 8_192;
/// The flag of a trace whose spans are kept.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// A new trace, sampled where this host samples it.
    pub fn generate() -> Self {
        let flags = u8::from(spans::samples());
        Self {
            trace_id: random_u128(),
            span_id: random_u64(),
            flags,
            recorded: false,
            spans: None,
            state: None,
            baggage: None,
        }
    }

    /// The same with the caller's `baggage`; without it where it is too long, or no text that a header may have.
    #[must_use]
    pub fn with_baggage(mut self, baggage: Option<&str>) -> Self {
        let fit = |text: &&str| {
            (1..=BAGGAGE_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        self.baggage = baggage.filter(fit).map(Into::into);
        self
    }

    /// The trace as somebody else began it, sampled where there is room for that here, and recorded where a request of it
    /// is recorded on this host.
    #[must_use]
    pub fn admitted(mut self) -> Self {
        if self.is_sampled() && !spans::admits() {
            self.flags &= !SAMPLED;
        }
        self.recorded = spans::follows(self.trace_id);
        self
    }

    /// The same position, whose spans are kept on this host from here on.
    #[must_use]
    pub fn recorded(&self) -> Self {
        Self { recorded: true, ..self.clone() }
    }

    /// The same position, from which on there are no more spans than `allowance` has.
    pub(crate) fn allowed(self, allowance: SpanAllowance) -> Self {
        Self { spans: Some(allowance), ..self }
    }

    /// The same position in a trace of which nothing more is told: whoever is called from here makes no spans either.
    pub(crate) fn untold(self) -> Self {
        Self { flags: self.flags & !SAMPLED, recorded: false, spans: None, ..self }
    }

    pub(crate) fn span_allowance(&self) -> Option<&SpanAllowance> {
        self.spans.as_ref()
    }

    /// Whether the trace is sampled: its spans are kept on all hosts that it comes to.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether spans are made here: the trace is sampled, or recorded on this host.
    pub fn is_recorded(&self) -> bool {
        self.is_sampled() || self.recorded
    }

    /// The bytes of the trace's id and of the span's.
    pub fn ids(&self) -> (u128, u64) {
        (self.trace_id, self.span_id)
    }

    /// Reads a `traceparent` (version 00, and later ones as far as they agree with it).
    pub fn parse(traceparent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let well_formed = lower_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
        if !well_formed || !lower_hex(trace, 32) || !lower_hex(span, 16) || !lower_hex(flags, 2) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let state = state.filter(|s| s.len() <= STATE_BYTES_MAX && s.is_ascii()).map(Into::into);
        Some(Self { trace_id, span_id, flags, recorded: false, spans: None, state, baggage: None })
    }

    /// The same trace, one span further in.
    pub fn child(&self) -> Self {
        Self { span_id: random_u64(), ..self.clone() }
    }

    /// The trace's identity, the same from the ingress to the last worker.
    pub fn trace_id(&self) -> TraceId {
        TraceId(self.trace_id)
    }

    /// The identity of the position itself.
    pub fn span_id(&self) -> SpanId {
        SpanId(self.span_id)
    }

    /// `tracestate` of the caller, if it sent one.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// `baggage` of the caller, if it sent one (W3C Baggage).
    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }
}

/// The value of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", TraceId(self.trace_id), SpanId(self.span_id), self.flags)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes two digits for each of `bytes`, for which there is exactly the room in `text`.
fn hex_of<const N: usize>(bytes: [u8; N], text: &mut [u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    hex::encode_to_slice(bytes, text).map_err(|_| fmt::Error)?;
    f.write_str(str::from_utf8(text).map_err(|_| fmt::Error)?)
}

/// A trace's identity, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    pub(crate) fn to_u128(self) -> u128 {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex_of(self.0.to_be_bytes(), &mut [0; 32], f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The identity of a position in a trace, written as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex_of(self.0.to_be_bytes(), &mut [0; 16], f)
    }
}

fn random_u64() -> u64 {
    rand::random::<u64>().max(1)
}

fn random_u128() -> u128 {
    rand::random::<u128>().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_round_trip() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parsed = TraceContext::parse(text, Some("a=b")).map(|t| (t.to_string(), t.state().map(str::to_owned)));
        assert_eq!(parsed, Some((text.to_owned(), Some("a=b".to_owned()))));
        let child = TraceContext::parse(text, None).map(|t| t.child().to_string()).unwrap_or_default();
        assert!(child.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && child != text, "{child}");
    }

    #[test]
    fn malformed_traceparents_are_ignored() {
        for bad in [
            "",
            "00-0-0-0",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        ] {
            assert_eq!(TraceContext::parse(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn a_long_state_is_left_aside() {
        let kept = |bytes: usize| {
            let state = "s".repeat(bytes);
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            TraceContext::parse(trace, Some(&state)).unwrap().state().is_some()
        };
        assert!(kept(STATE_BYTES_MAX) && !kept(STATE_BYTES_MAX + 1));
    }

    #[test]
    fn baggage_goes_on_as_it_came_or_not_at_all() {
        let kept = |text: &str| {
            let trace = TraceContext::generate().with_baggage(Some(text)).child();
            trace.baggage().map(str::to_owned)
        };
        assert_eq!(kept("plan=gold, region=sg;ttl=1"), Some("plan=gold, region=sg;ttl=1".to_owned()));
        assert_eq!(kept(&"b".repeat(BAGGAGE_BYTES_MAX)).map(|text| text.len()), Some(BAGGAGE_BYTES_MAX));
        for bad in ["", "a=b\r\nx: y", "a=\u{e9}", "a=\0", &"b".repeat(BAGGAGE_BYTES_MAX + 1)] {
            assert_eq!(kept(bad), None, "{bad:?}");
        }
    }
}
