//! The requests themselves, so many and no more. What goes when there is no room is the oldest of the trigger that has most:
//! a busy trigger does not push a quiet one out. No clock and no lock here.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use super::{EndedSpan, RequestEnd, RequestFilter, RequestHead, RequestSummary, RequestTimeline, TimelineSpan};
use crate::WorkloadId;

/// Bytes that are kept of a text of a span.
pub(super) const SPAN_TEXT_BYTES_MAX: usize = 128;

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoreBounds {
    /// Ordinary requests, and as many that were slow or failed.
    pub(super) requests: usize,
    /// Spans of one request.
    pub(super) spans: usize,
}

#[derive(Debug)]
pub(super) struct Store {
    bounds: StoreBounds,
    next: u64,
    /// By their numbers, which is by their age.
    kept: BTreeMap<u64, Kept>,
    by_trace: HashMap<u128, u64>,
}

#[derive(Debug)]
struct Kept {
    owner: WorkloadId,
    trace_id: u128,
    head: RequestHead,
    started: SystemTime,
    end: Option<RequestEnd>,
    /// Slow, or failed.
    is_notable: bool,
    spans: Vec<EndedSpan>,
    spans_left_out: u64,
}

impl Store {
    pub(super) fn new(bounds: StoreBounds) -> Self {
        Self { bounds, next: 1, kept: BTreeMap::new(), by_trace: HashMap::new() }
    }

    /// A request begins; `None` where another of its trace is kept, for whose spans its own would be taken.
    pub(super) fn begin(
        &mut self,
        owner: &WorkloadId,
        trace_id: u128,
        started: SystemTime,
        head: RequestHead,
    ) -> Option<u64> {
        if self.by_trace.contains_key(&trace_id) {
            return None;
        }
        let id = self.add(owner, trace_id, started, head);
        self.by_trace.insert(trace_id, id);
        self.make_room(false);
        Some(id)
    }

    /// A request has ended of which nothing was kept before.
    pub(super) fn note(
        &mut self,
        owner: &WorkloadId,
        trace_id: u128,
        started: SystemTime,
        head: RequestHead,
        end: RequestEnd,
    ) {
        let id = self.add(owner, trace_id, started, head);
        self.end(id, end, true);
    }

    pub(super) fn end(&mut self, id: u64, end: RequestEnd, is_notable: bool) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        kept.end = Some(end);
        kept.is_notable = is_notable;
        if is_notable {
            self.make_room(true);
        }
    }

    pub(super) fn forget(&mut self, id: u64) {
        if let Some(gone) = self.kept.remove(&id)
            && self.by_trace.get(&gone.trace_id) == Some(&id)
        {
            self.by_trace.remove(&gone.trace_id);
        }
    }

    pub(super) fn follows(&self, trace_id: u128) -> bool {
        let kept = self.by_trace.get(&trace_id).and_then(|id| self.kept.get(id));
        kept.is_some_and(|kept| kept.end.is_none())
    }

    pub(super) fn ended(&mut self, mut span: EndedSpan) {
        let Some(kept) = self.by_trace.get(&span.trace_id).and_then(|id| self.kept.get_mut(id)) else { return };
        kept.spans_left_out = kept.spans_left_out.saturating_add(span.left_out);
        // The request's own span is the last to end; what it says is in its head and its end.
        if kept.spans.len() >= self.bounds.spans {
            kept.spans_left_out = kept.spans_left_out.saturating_add(1);
            return;
        }
        cut(&mut span.name);
        for text in [&mut span.namespace, &mut span.workload, &mut span.component, &mut span.error] {
            text.as_mut().into_iter().for_each(cut);
        }
        kept.spans.push(span);
    }

    pub(super) fn list(&self, filter: &RequestFilter, slow: Duration) -> Vec<RequestSummary> {
        let asked_for = |asked: &Option<String>, name: &str| asked.as_deref().is_none_or(|asked| asked == name);
        let mut found: Vec<RequestSummary> = self
            .kept
            .iter()
            .rev()
            .filter(|(_, kept)| {
                asked_for(&filter.namespace, kept.owner.namespace.as_str())
                    && asked_for(&filter.trigger, kept.owner.name.as_str())
            })
            .map(|(id, kept)| kept.summary(*id, slow))
            .filter(|summary| summary.is_failure || !filter.failures)
            .collect();
        if filter.slowest_first {
            found.sort_by_key(|summary| std::cmp::Reverse(summary.duration_us));
        }
        found.truncate(filter.count_max);
        found
    }

    pub(super) fn request(&self, id: u64, slow: Duration) -> Option<RequestTimeline> {
        let kept = self.kept.get(&id)?;
        let mut timeline: Vec<TimelineSpan> = kept.spans.iter().map(|span| kept.place(span)).collect();
        timeline.sort_by_key(|span| span.start_us);
        Some(RequestTimeline { summary: kept.summary(id, slow), timeline, spans_left_out: kept.spans_left_out })
    }

    /// Whether there is nothing at all.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.by_trace.is_empty()
    }

    fn add(&mut self, owner: &WorkloadId, trace_id: u128, started: SystemTime, head: RequestHead) -> u64 {
        let id = self.next;
        self.next += 1;
        let kept = Kept {
            owner: owner.clone(),
            trace_id,
            head,
            started,
            end: None,
            is_notable: false,
            spans: Vec::new(),
            spans_left_out: 0,
        };
        self.kept.insert(id, kept);
        id
    }

    /// Of the ordinary ones, or of the notable ones, there are no more than there may be.
    fn make_room(&mut self, notable: bool) {
        let of_kind = || self.kept.iter().filter(move |(_, kept)| kept.is_notable == notable);
        if of_kind().count() <= self.bounds.requests {
            return;
        }
        // For each owner: how many it has, and which is its oldest.
        let mut owners: HashMap<&WorkloadId, (usize, u64)> = HashMap::new();
        for (id, kept) in of_kind() {
            owners.entry(&kept.owner).or_insert((0, *id)).0 += 1;
        }
        let most = owners.values().max_by_key(|(count, oldest)| (*count, std::cmp::Reverse(*oldest)));
        if let Some(oldest) = most.map(|(_, oldest)| *oldest) {
            self.forget(oldest);
        }
    }
}

impl Kept {
    fn summary(&self, id: u64, slow: Duration) -> RequestSummary {
        let end = self.end.as_ref();
        let duration = end.map_or_else(|| self.started.elapsed().unwrap_or_default(), |end| end.duration);
        RequestSummary {
            id,
            namespace: self.owner.namespace.to_string(),
            trigger: self.owner.name.to_string(),
            method: self.head.method,
            path: self.head.path.clone(),
            started_ms: self.started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis),
            status: end.map(|end| end.status),
            reason: end.and_then(|end| end.reason),
            duration_us: micros(duration),
            waited_us: end.and_then(|end| end.waited).map(micros),
            trace_id: format!("{:032x}", self.trace_id),
            is_slow: duration >= slow,
            is_failure: end.is_some_and(RequestEnd::is_failure),
            spans: self.spans.len(),
        }
    }

    fn place(&self, span: &EndedSpan) -> TimelineSpan {
        let hex = |id: u64| format!("{id:016x}");
        let start_us = match span.begun.duration_since(self.started) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |before| -before),
        };
        TimelineSpan {
            id: hex(span.span_id),
            parent: (span.parent_id != 0).then(|| hex(span.parent_id)),
            name: span.name.clone(),
            start_us,
            duration_us: micros(span.ended.duration_since(span.begun).unwrap_or_default()),
            namespace: span.namespace.clone(),
            workload: span.workload.clone(),
            component: span.component.clone(),
            error: span.error.clone(),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Cuts a text to what is kept of it.
fn cut(text: &mut String) {
    if text.len() > SPAN_TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(SPAN_TEXT_BYTES_MAX);
        text.truncate(end);
    }
    text.shrink_to_fit();
}
