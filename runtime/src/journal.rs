//! What an operator may ask about a workload afterwards: what happened to it, how its calls failed, what its components
//! wrote. All of it is bounded, in memory, and gone with the workload. A call that goes well leaves nothing here and
//! takes no lock. What makes a condition true, and who asks, is not known here.

mod lines;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use roadstead_config::ResourceName;
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub use lines::{Lines, LogLine, LogPage};

use crate::{CallError, LogText, TraceId, WorkloadId};

/// Different events that are kept of a workload.
const EVENTS_MAX: usize = 32;
/// Different faults that are kept of a workload.
const FAULTS_MAX: usize = 16;
/// Bytes of a text that is kept.
const TEXT_BYTES_MAX: usize = 2_048;

/// Whether an event is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum EventKind {
    Normal,
    Warning,
}

/// Something that happened to a workload.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// One word that stays the same over versions.
    pub reason: &'static str,
    pub message: String,
    /// How many times it happened.
    pub count: u64,
    #[serde(rename = "firstTimestamp", serialize_with = "as_rfc3339")]
    pub first: SystemTime,
    #[serde(rename = "lastTimestamp", serialize_with = "as_rfc3339")]
    pub last: SystemTime,
}

/// A way in which calls of a component have failed.
#[derive(Debug, Clone, Serialize)]
pub struct Fault {
    pub component: String,
    /// As metric labels and logs name it.
    pub kind: &'static str,
    /// What was said last: no addresses, paths or backtraces.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
    pub count: u64,
    #[serde(rename = "firstTimestamp", serialize_with = "as_rfc3339")]
    pub first: SystemTime,
    #[serde(rename = "lastTimestamp", serialize_with = "as_rfc3339")]
    pub last: SystemTime,
    /// The trace of the last call, by which the log has its lines.
    #[serde(rename = "lastTraceId", skip_serializing_if = "Option::is_none")]
    pub last_trace_id: Option<String>,
}

/// What a condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// A condition as Kubernetes has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// `Ready`, `Placed` or `Synced`.
    #[serde(rename = "type")]
    pub name: &'static str,
    pub status: ConditionStatus,
    /// One word that stays the same over versions.
    pub reason: &'static str,
    pub message: String,
    #[serde(rename = "lastTransitionTime", serialize_with = "as_rfc3339")]
    pub since: SystemTime,
}

/// The journal of one workload.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pages: Mutex<Pages>,
    pub(crate) lines: Arc<Lines>,
}

#[derive(Debug, Default)]
struct Pages {
    events: VecDeque<Event>,
    faults: VecDeque<Fault>,
    /// By the names of the conditions.
    conditions: BTreeMap<&'static str, (ConditionStatus, &'static str, SystemTime)>,
}

impl Journal {
    /// Notes what happened; what has happened before is counted.
    pub(crate) fn event(&self, kind: EventKind, reason: &'static str, message: &str) {
        let message = cut(message);
        let now = SystemTime::now();
        let events = &mut self.pages().events;
        let known = events.iter().position(|event| event.reason == reason && event.message == message);
        let event = match known.and_then(|at| events.remove(at)) {
            Some(event) => Event { count: event.count.saturating_add(1), last: now, ..event },
            None => Event { kind, reason, message, count: 1, first: now, last: now },
        };
        push(events, event, EVENTS_MAX);
    }

    /// Notes how a call failed.
    pub(crate) fn failed(&self, component: &ResourceName, error: &CallError, trace: TraceId) {
        // Who stops a workload knows it.
        if !matches!(error, CallError::NotRunning) {
            self.fault(component, error.kind(), &error.public_message(), error.remedy(), Some(trace));
        }
    }

    /// The same for what a plugin has found out.
    pub(crate) fn fault(
        &self,
        component: &ResourceName,
        kind: &'static str,
        message: &str,
        remedy: &'static str,
        trace: Option<TraceId>,
    ) {
        let message = cut(message);
        let now = SystemTime::now();
        let faults = &mut self.pages().faults;
        let known = faults.iter().position(|fault| fault.kind == kind && fault.component == component.as_str());
        let before = known.and_then(|at| faults.remove(at));
        let (count, first) = before.map_or((0, now), |fault| (fault.count, fault.first));
        let fault = Fault {
            component: component.to_string(),
            kind,
            message,
            remedy,
            count: count.saturating_add(1),
            first,
            last: now,
            last_trace_id: trace.map(|trace| trace.to_string()),
        };
        push(faults, fault, FAULTS_MAX);
    }

    /// A condition as it is now. Whether it changed by this is told as well; the first time it did not.
    pub(crate) fn condition(
        &self,
        name: &'static str,
        (status, reason, message): (ConditionStatus, &'static str, String),
    ) -> (Condition, bool) {
        let now = SystemTime::now();
        let mut pages = self.pages();
        let before = pages.conditions.get(name).copied();
        let since = before.filter(|(before, ..)| *before == status).map_or(now, |(.., since)| since);
        pages.conditions.insert(name, (status, reason, since));
        let changed = before.is_some_and(|(before, because, _)| (before, because) != (status, reason));
        (Condition { name, status, reason, message: cut(&message), since }, changed)
    }

    /// The events, the oldest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.pages().events.iter().cloned().collect()
    }

    /// The faults, that of the longest ago first.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.pages().faults.iter().cloned().collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The journals of a host's workloads.
#[derive(Debug, Default)]
pub(crate) struct Journals(Mutex<BTreeMap<WorkloadId, Arc<Journal>>>);

impl Journals {
    /// The journal of a workload, begun where there is none.
    pub(crate) fn of(&self, id: &WorkloadId) -> Arc<Journal> {
        self.all().entry(id.clone()).or_default().clone()
    }

    /// The same of one that is there.
    pub(crate) fn find(&self, id: &WorkloadId) -> Option<Arc<Journal>> {
        self.all().get(id).cloned()
    }

    /// The workload is gone.
    pub(crate) fn forget(&self, id: &WorkloadId) {
        self.all().remove(id);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<WorkloadId, Arc<Journal>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(kept: &mut VecDeque<T>, item: T, max: usize) {
    kept.push_back(item);
    while kept.len() > max {
        kept.pop_front();
    }
}

/// Text of which a manifest, a registry or a component may have said a part.
fn cut(text: &str) -> String {
    LogText::new(text, TEXT_BYTES_MAX).to_string()
}

/// A time as JSON has it, in UTC and to the millisecond.
pub(crate) fn as_rfc3339<S: serde::Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let at = OffsetDateTime::from(*at);
    let at = at.replace_millisecond(at.millisecond()).unwrap_or(at);
    serializer.serialize_str(&at.format(&Rfc3339).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Call, FaultKind};
    use std::time::Duration;

    fn trace() -> TraceId {
        Call::new(Duration::from_secs(1)).trace.trace_id()
    }

    #[test]
    fn so_many_events_are_kept_and_repeats_are_counted() {
        let journal = Journal::default();
        for n in 0..=EVENTS_MAX {
            journal.event(EventKind::Normal, "Deploying", &format!("number {n}"));
        }
        journal.event(EventKind::Normal, "Deploying", "number 1");
        let events = journal.events();
        assert_eq!(events.len(), EVENTS_MAX);
        assert!(events.iter().all(|event| event.message != "number 0"));
        let last = events.last().unwrap();
        assert_eq!((last.message.as_str(), last.count), ("number 1", 2));
    }

    #[test]
    fn so_many_faults_are_kept_and_repeats_are_counted() {
        let journal = Journal::default();
        let error = CallError::fault(FaultKind::Trap, "with a backtrace");
        for n in 0..=FAULTS_MAX {
            journal.failed(&format!("component-{n}").parse().unwrap(), &error, trace());
        }
        journal.failed(&"component-1".parse().unwrap(), &error, trace());
        journal.failed(&"component-1".parse().unwrap(), &CallError::NotRunning, trace());
        let faults = journal.faults();
        let last = faults.last().unwrap();
        assert_eq!((faults.len(), last.count, last.kind), (FAULTS_MAX, 2, "trap"));
        assert!(!last.message.contains("backtrace") && !last.remedy.is_empty(), "{last:?}");
    }

    #[test]
    fn a_text_is_cut_and_escaped() {
        let journal = Journal::default();
        journal.event(EventKind::Warning, "Odd", &format!("\u{1b}[31m{}", "x".repeat(TEXT_BYTES_MAX)));
        let message = journal.events()[0].message.clone();
        assert!(!message.contains('\u{1b}') && message.ends_with("more)"), "{message}");
    }

    #[test]
    fn a_condition_has_the_time_of_its_last_change_of_status() {
        let journal = Journal::default();
        let set = |status, reason| journal.condition("Ready", (status, reason, String::new()));
        let (first, changed) = set(ConditionStatus::False, "Deploying");
        assert!(!changed);
        let (other_reason, changed) = set(ConditionStatus::False, "Failed");
        assert!(changed && other_reason.since == first.since);
        let (ready, changed) = set(ConditionStatus::True, "Ready");
        assert!(changed && ready.since >= first.since);
        assert!(!set(ConditionStatus::True, "Ready").1);
    }

    #[test]
    fn times_are_of_utc() {
        #[derive(Serialize)]
        struct At(#[serde(serialize_with = "as_rfc3339")] SystemTime);
        let at = At(SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_999));
        assert_eq!(serde_json::to_string(&at).unwrap(), "\"1970-01-01T00:00:01.5Z\"");
    }
}
