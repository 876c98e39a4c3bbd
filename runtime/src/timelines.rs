//! What a host remembers of its latest requests, and of those that were slow or failed: a bounded memory for a person who
//! asks what happened. It knows no HTTP, no tracer and nobody who asks; what clients and guests sent is not among it.

mod budget;
mod store;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use roadstead_config::Limits;
use serde::Serialize;
use tokio::time::Instant;

use crate::{TraceContext, TraceId, WorkloadId};
use budget::Budget;
use store::{Store, StoreBounds};

/// Part of the requests of a second that one trigger may have kept: a fourth.
const TRIGGER_PART: u64 = 4;

/// The requests that a host remembers.
#[derive(Debug)]
pub struct Timelines {
    began: Instant,
    per_second_max: u64,
    slow: Duration,
    budget: Budget,
    /// Requests with a timeline that have not ended: where there are none, nobody needs to look for one.
    open: AtomicUsize,
    store: Mutex<Store>,
}

/// What is known of a request when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, of a fixed list.
    pub method: &'static str,
    /// The path of the manifest that matched, never the one that was asked for.
    pub path: String,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEnd {
    /// The status that the client was sent.
    pub status: u16,
    /// Why it ended otherwise than with a workload's response, of a fixed list.
    pub reason: Option<&'static str>,
    /// From its head to its end.
    pub duration: Duration,
    /// The part of it that it waited for its turn.
    pub waited: Option<Duration>,
}

impl RequestEnd {
    fn is_failure(&self) -> bool {
        self.reason.is_some() || self.status >= 500
    }
}

/// A span that has ended, as whoever keeps spans tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSpan {
    pub trace_id: u128,
    pub span_id: u64,
    /// 0 for the first of its trace.
    pub parent_id: u64,
    pub name: String,
    pub begun: SystemTime,
    pub ended: SystemTime,
    pub namespace: Option<String>,
    pub workload: Option<String>,
    pub component: Option<String>,
    /// One word for what went wrong.
    pub error: Option<String>,
    /// Spans below it that were not made (`call_spans_max`).
    pub left_out: u64,
}

/// A request as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestSummary {
    /// By which its timeline is asked for.
    pub id: u64,
    pub namespace: String,
    pub trigger: String,
    pub method: &'static str,
    pub path: String,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    /// Absent while it is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Absent where the workload's response was sent to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Until now, while it is under way.
    pub duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_us: Option<u64>,
    pub trace_id: String,
    pub is_slow: bool,
    pub is_failure: bool,
    /// How many spans its timeline has; none where only its end was noted.
    pub spans: usize,
}

/// A request with its spans.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestTimeline {
    #[serde(flatten)]
    pub summary: RequestSummary,
    pub timeline: Vec<TimelineSpan>,
    /// Spans that were not kept, or not made.
    pub spans_left_out: u64,
}

/// A span of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineSpan {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    pub name: String,
    /// From the request's start; negative where clocks were set.
    pub start_us: i64,
    pub duration_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which requests are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFilter {
    pub namespace: Option<String>,
    pub trigger: Option<String>,
    /// The slowest first; else the latest.
    pub slowest_first: bool,
    /// Those alone that failed.
    pub failures: bool,
    /// No more than these.
    pub count_max: usize,
}

impl Timelines {
    /// A memory as large as `limits` say.
    pub fn new(limits: &Limits) -> Self {
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            began: Instant::now(),
            per_second_max: limits.timelines_per_second_max,
            slow: Duration::from_millis(limits.slow_request_ms),
            budget: Budget::default(),
            open: AtomicUsize::new(0),
            store: Mutex::new(Store::new(StoreBounds {
                requests: count(limits.requests_kept_max),
                spans: count(limits.request_spans_kept_max),
            })),
        }
    }

    /// Whether nothing is ever kept.
    pub fn is_off(limits: &Limits) -> bool {
        limits.timelines_per_second_max == 0 || limits.requests_kept_max == 0
    }

    /// Whether a request of the trace is under way whose timeline is kept.
    pub fn follows(&self, trace_id: u128) -> bool {
        self.open.load(Ordering::Relaxed) > 0 && self.store().follows(trace_id)
    }

    /// Takes a span, where it belongs to a request that is kept.
    pub fn ended(&self, span: EndedSpan) {
        self.store().ended(span);
    }

    /// The requests that `filter` lets through.
    pub fn list(&self, filter: &RequestFilter) -> Vec<RequestSummary> {
        let slow = self.slow;
        self.store().list(filter, slow)
    }

    /// One request; `None` for one that is no longer kept.
    pub fn request(&self, id: u64) -> Option<RequestTimeline> {
        let slow = self.slow;
        self.store().request(id, slow)
    }

    /// Whether one more may be kept in the second of `now`.
    fn takes(&self, trigger: &Budget, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.began).as_secs();
        let of_trigger = self.per_second_max.div_ceil(TRIGGER_PART);
        trigger.take(second, of_trigger) && self.budget.take(second, self.per_second_max)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a trigger has of the host's memory. All of its requests share one.
#[derive(Debug)]
pub struct TriggerTimelines {
    all: Arc<Timelines>,
    owner: WorkloadId,
    beginnings: Budget,
    ends: Budget,
}

impl TriggerTimelines {
    /// The part of `owner`.
    pub fn new(all: Arc<Timelines>, owner: WorkloadId) -> Self {
        Self { all, owner, beginnings: Budget::default(), ends: Budget::default() }
    }

    /// Begins the timeline of a request that began `at`, where there is room for one more in this second. The request is
    /// to go on with the trace that it is given.
    pub fn begin(
        self: &Arc<Self>,
        trace: &TraceContext,
        at: Instant,
        head: impl FnOnce() -> RequestHead,
    ) -> Option<(OpenTimeline, TraceContext)> {
        if !self.all.takes(&self.beginnings, at) {
            return None;
        }
        let trace_id = trace.ids().0;
        let id = self.all.store().begin(&self.owner, trace_id, wall_clock(at), head())?;
        self.all.open.fetch_add(1, Ordering::Relaxed);
        Some((OpenTimeline { of: self.clone(), id, ended: false }, trace.recorded()))
    }

    /// Notes the end of a request that has no timeline, where it was slow or failed.
    pub fn note(&self, trace: TraceId, at: Instant, end: RequestEnd, head: impl FnOnce() -> RequestHead) {
        if (end.duration >= self.all.slow || end.is_failure()) && self.all.takes(&self.ends, at + end.duration) {
            self.all.store().note(&self.owner, trace.to_u128(), wall_clock(at), head(), end);
        }
    }
}

/// The timeline of a request that is under way.
#[derive(Debug)]
pub struct OpenTimeline {
    of: Arc<TriggerTimelines>,
    id: u64,
    ended: bool,
}

impl OpenTimeline {
    /// The request has ended.
    pub fn end(mut self, end: RequestEnd) {
        self.ended = true;
        let all = &self.of.all;
        let is_notable = end.duration >= all.slow || end.is_failure();
        all.store().end(self.id, end, is_notable);
    }
}

impl Drop for OpenTimeline {
    fn drop(&mut self) {
        self.of.all.open.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            self.of.all.store().forget(self.id);
        }
    }
}

/// The time of day of a moment that has passed.
fn wall_clock(at: Instant) -> SystemTime {
    SystemTime::now().checked_sub(at.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
