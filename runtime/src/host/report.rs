//! What a host tells an operator who asks why: conditions as on Kubernetes, events, faults, and what follows from them.
//! How it is printed is not known here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use roadstead_config::HostPattern;
use serde::Serialize;

use super::{Entry, Host, WorkloadRequest, WorkloadState, WorkloadStatus};
use crate::{
    Condition, ConditionStatus, DeployError, Event, EventKind, Fault, LogPage, WorkloadId,
    component::PoolStatus,
    diagnosis::{Failure, of_backend},
    journal::{Journal, Lines},
};

/// Workloads that are remembered though nothing of them came to be.
const REFUSED_MAX: usize = 64;
/// Time before its end at which a certificate is spoken of.
const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 3600);
/// Time after which a fault is history.
const FAULT_RECENT: Duration = Duration::from_secs(15 * 60);

/// What a condition says now: status, reason, message.
type Said = (ConditionStatus, &'static str, String);

/// Something that is not as it should be, and what to do.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub cause: String,
    pub remedy: String,
}

/// A workload with all that is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadReport {
    #[serde(flatten)]
    pub status: WorkloadStatus,
    /// `Ready`, `Placed` and `Synced`, in this order.
    pub conditions: Vec<Condition>,
    /// What keeps it from its work, the most important first.
    pub findings: Vec<Finding>,
    /// The messages that its components handle.
    pub subscriptions: Vec<SubscriptionReport>,
    /// The oldest first.
    pub events: Vec<Event>,
    /// That of the longest ago first.
    pub faults: Vec<Fault>,
}

/// The messages of one component.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionReport {
    pub component: String,
    pub subject: String,
}

/// A workload in one line.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadSummary {
    #[serde(flatten)]
    pub status: WorkloadStatus,
    pub conditions: Vec<Condition>,
}

/// An event and whose it is.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadEvent {
    pub namespace: String,
    pub workload: String,
    #[serde(flatten)]
    pub event: Event,
}

/// Workloads of which nothing came to be: there is no entry that could show them.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<VecDeque<(WorkloadRequest, Failure)>>);

impl Refusals {
    /// Remembers one in place of what was there of its name; gives the one that is forgotten for it.
    fn remember(&self, request: &WorkloadRequest, failure: Failure) -> Option<WorkloadId> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, _)| other.id != request.id);
        all.push_back((request.clone(), failure));
        (all.len() > REFUSED_MAX).then(|| all.pop_front().map(|(oldest, _)| oldest.id)).flatten()
    }

    /// Whether one was remembered that is now forgotten.
    pub(super) fn forget(&self, id: &WorkloadId) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.len();
        all.retain(|(request, _)| request.id != *id);
        all.len() != before
    }

    fn all(&self) -> Vec<(WorkloadRequest, Failure)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The plugins that cannot do their work just now: whose, the id, the reason.
type Unready = Vec<(usize, &'static str, String)>;

/// One workload as it is at a moment, without a lock.
struct Seen {
    id: WorkloadId,
    request: Arc<WorkloadRequest>,
    status: WorkloadStatus,
    failure: Option<Failure>,
    has_running: bool,
    subscriptions: Vec<SubscriptionReport>,
}

impl Host {
    /// All workloads, those of which nothing came to be among them.
    pub fn summaries(&self) -> Vec<WorkloadSummary> {
        let unready = self.unready();
        let all = self.seen(|_| true).into_iter();
        all.map(|seen| {
            let (conditions, _) = self.conditions(&seen, &unready);
            WorkloadSummary { status: seen.status, conditions }
        })
        .collect()
    }

    /// All that is known of one workload; `None` for one that is not there.
    pub fn report(&self, id: &WorkloadId) -> Option<WorkloadReport> {
        let seen = self.seen(|other| other == id).pop()?;
        let (conditions, findings) = self.conditions(&seen, &self.unready());
        let journal = self.journal(id);
        let faults = journal.faults();
        let findings = findings.into_iter().chain(of_pools(&seen.status)).chain(of_faults(&faults)).collect();
        let (status, subscriptions) = (seen.status, seen.subscriptions);
        Some(WorkloadReport { status, conditions, findings, subscriptions, events: journal.events(), faults })
    }

    /// The latest `count` events of all workloads, the oldest first.
    pub fn events(&self, count: usize) -> Vec<WorkloadEvent> {
        let of = |seen: Seen| {
            let events = self.journal(&seen.id).events().into_iter();
            events.map(move |event| WorkloadEvent {
                namespace: seen.id.namespace.to_string(),
                workload: seen.id.name.to_string(),
                event,
            })
        };
        let mut all: Vec<WorkloadEvent> = self.seen(|_| true).into_iter().flat_map(of).collect();
        all.sort_by_key(|event| event.event.last);
        all.split_off(all.len().saturating_sub(count))
    }

    /// The last `count` lines that a workload's components wrote; `None` for one that is not there.
    pub fn log_lines(&self, id: &WorkloadId, count: usize) -> Option<LogPage> {
        Some(self.foundry.journals.find(id)?.lines.last(count))
    }

    /// The same as they come.
    pub fn log_source(&self, id: &WorkloadId) -> Option<Arc<Lines>> {
        Some(self.foundry.journals.find(id)?.lines.clone())
    }

    /// Looks at all workloads, so that a change of what they depend on is noted when it happens. Called now and then.
    pub fn observe(&self) {
        let unready = self.unready();
        for seen in self.seen(|_| true) {
            self.conditions(&seen, &unready);
        }
    }

    /// The same for one workload, just after something has happened to it.
    pub(super) fn look_at(&self, id: &WorkloadId) {
        let unready = self.unready();
        for seen in self.seen(|other| other == id) {
            self.conditions(&seen, &unready);
        }
    }

    pub(super) fn journal(&self, id: &WorkloadId) -> Arc<Journal> {
        self.foundry.journals.of(id)
    }

    /// Remembers a workload of which nothing has come to be, unless there is one of its name.
    pub(super) fn remember_refusal(&self, request: &WorkloadRequest, error: &DeployError) {
        if matches!(error, DeployError::HostStopping | DeployError::Stopped) {
            return;
        }
        let failure = Failure::from(error);
        self.journal(&request.id).event(EventKind::Warning, failure.reason, &failure.message);
        if self.holds(&request.id) {
            return;
        }
        if let Some(oldest) = self.refusals.remember(request, failure)
            && !self.holds(&oldest)
        {
            self.foundry.journals.forget(&oldest);
        }
    }

    fn unready(&self) -> Unready {
        let plugins = self.foundry.plugins.iter().enumerate();
        plugins.filter_map(|(index, plugin)| Some((index, plugin.id(), plugin.readiness().err()?))).collect()
    }

    fn seen(&self, wanted: impl Fn(&WorkloadId) -> bool) -> Vec<Seen> {
        let abilities = self.abilities();
        let of_entry = |(id, entry): (&WorkloadId, &Entry)| Seen {
            id: id.clone(),
            request: entry.request.clone(),
            status: self.judged(id, WorkloadStatus::of(id, entry, abilities)),
            failure: entry.failure.clone(),
            has_running: entry.running.is_some(),
            subscriptions: self.subscriptions(entry),
        };
        let mut all: Vec<Seen> = self.entries().iter().filter(|(id, _)| wanted(id)).map(of_entry).collect();
        let refused = self.refusals.all().into_iter().filter(|(request, _)| wanted(&request.id));
        let refused: Vec<Seen> = refused
            .filter(|(request, _)| all.iter().all(|seen| seen.id != request.id))
            .map(|(request, failure)| Seen {
                id: request.id.clone(),
                status: WorkloadStatus::refused(&request, failure.message.clone(), abilities),
                request: Arc::new(request),
                failure: Some(failure),
                has_running: false,
                subscriptions: Vec::new(),
            })
            .collect();
        all.extend(refused);
        all
    }

    fn subscriptions(&self, entry: &Entry) -> Vec<SubscriptionReport> {
        let components = entry.running.iter().flat_map(|workload| &workload.components);
        let of = |component| self.foundry.plugins.iter().flat_map(move |plugin| plugin.subscriptions(component));
        let named =
            components.flat_map(|component| of(component).map(|subject| (component.name().to_string(), subject)));
        named.map(|(component, subject)| SubscriptionReport { component, subject }).collect()
    }

    /// The conditions and what follows from them; notes what has changed.
    fn conditions(&self, seen: &Seen, unready: &Unready) -> (Vec<Condition>, Vec<Finding>) {
        let (ready, findings) = self.readiness_of(seen, unready);
        let said = [("Ready", ready), ("Placed", self.placed(seen)), ("Synced", synced(seen))];
        // One that has just gone begins no new journal.
        let journal = self.foundry.journals.find(&seen.id).unwrap_or_default();
        let conditions = said.map(|(name, said)| {
            let (condition, changed) = journal.condition(name, said);
            if name == "Ready" && changed {
                note_change(&journal, seen, &condition);
            }
            condition
        });
        (conditions.into(), findings)
    }

    fn placed(&self, seen: &Seen) -> Said {
        match (&seen.failure, seen.status.state) {
            (_, WorkloadState::Stopping) => {
                (ConditionStatus::False, "Stopping", "the workload is being stopped".into())
            }
            _ if seen.has_running => {
                (ConditionStatus::True, "OnHost", format!("its components are on host {}", self.name))
            }
            (Some(failure), _) => (ConditionStatus::False, failure.reason, failure.message.clone()),
            (None, _) => (ConditionStatus::Unknown, "Deploying", "its components are being made ready".into()),
        }
    }

    fn readiness_of(&self, seen: &Seen, unready: &Unready) -> (Said, Vec<Finding>) {
        let no = |reason, cause: String, remedy: String| {
            let said = (ConditionStatus::False, reason, cause.clone());
            (said, vec![Finding { cause, remedy }])
        };
        let mut warned = Vec::new();
        if let Some(failure) = &seen.failure {
            let Failure { reason, message, remedy } = failure.clone();
            if !seen.has_running {
                return no(reason, message, remedy);
            }
            warned.push(Finding { cause: format!("the form before goes on running: {message}"), remedy });
        }
        match seen.status.state {
            WorkloadState::Stopping => return no("Stopping", "the workload is being stopped".into(), "nothing".into()),
            WorkloadState::Error => {
                let cause = seen.status.reason.clone().unwrap_or_default();
                return no(
                    "Condemned",
                    cause,
                    "correct the component and deploy it again; see `roadstead logs`".into(),
                );
            }
            _ if !seen.has_running => {
                let said = (ConditionStatus::Unknown, "Deploying", "its components are being made ready".into());
                return (said, Vec::new());
            }
            _ => {}
        }
        if seen.request.replicas == 0 {
            let remedy = "set spec.replicas to 1 or more to have it answer".into();
            return no("NoReplicas", "the manifest asks for no replicas".into(), remedy);
        }
        if let Some((_, id, reason)) = unready.iter().find(|(index, ..)| self.uses(seen, *index)) {
            let cause = format!("{id}: {reason}");
            let remedy = of_backend(&cause);
            return no("BackendUnavailable", cause, remedy);
        }
        let (expired, soon) = self.certificate(seen);
        if let Some(Finding { cause, remedy }) = expired {
            return no("CertificateExpired", cause, remedy);
        }
        warned.extend(soon);
        ((ConditionStatus::True, "Ready", "it answers requests and messages".into()), warned)
    }

    /// Whether the workload declares something that the plugin serves.
    fn uses(&self, seen: &Seen, plugin: usize) -> bool {
        !self.foundry.catalogue.declared_for(plugin, &seen.request.spec.host_interfaces).is_empty()
    }

    /// What is wrong with the certificate of the workload's host now, and what will be.
    fn certificate(&self, seen: &Seen) -> (Option<Finding>, Option<Finding>) {
        let trigger = seen.request.trigger.as_ref();
        let expires = trigger.and_then(|trigger| self.handler.as_ref()?.certificate_expires(&trigger.host));
        let (Some(trigger), Some(expires)) = (trigger, expires) else { return (None, None) };
        let whose = match &trigger.certificate {
            Some(own) => format!("{} of spec.ingress.tls", own.chain.as_path().display()),
            None => "--tls-dir or --tls-cert-path".to_owned(),
        };
        let host: &HostPattern = &trigger.host;
        let date = time::OffsetDateTime::from(expires).date();
        let remedy = format!("renew the certificate ({whose}); its files are read again by themselves");
        match expires.duration_since(SystemTime::now()) {
            Err(_) => {
                let cause = format!("the certificate for {host} expired on {date}: clients refuse it");
                (Some(Finding { cause, remedy }), None)
            }
            Ok(left) if left < EXPIRES_SOON => {
                (None, Some(Finding { cause: format!("the certificate for {host} expires on {date}"), remedy }))
            }
            Ok(_) => (None, None),
        }
    }
}

fn synced(seen: &Seen) -> Said {
    match (&seen.failure, seen.has_running) {
        (Some(failure), _) => (ConditionStatus::False, failure.reason, failure.message.clone()),
        (None, true) => (ConditionStatus::True, "AsAsked", "what runs is what the manifest asks for".into()),
        (None, false) => (ConditionStatus::Unknown, "Deploying", "its components are being made ready".into()),
    }
}

/// A failed deployment has its own event.
fn note_change(journal: &Journal, seen: &Seen, condition: &Condition) {
    if seen.failure.is_none() && condition.status != ConditionStatus::Unknown {
        let kind = match condition.status {
            ConditionStatus::True => EventKind::Normal,
            _ => EventKind::Warning,
        };
        journal.event(kind, condition.reason, &condition.message);
    }
}

fn of_pools(status: &WorkloadStatus) -> impl Iterator<Item = Finding> {
    let pools = status.components.iter().filter_map(|component| Some((&component.name, component.pool?)));
    pools.filter(|(_, pool)| pool.busy >= pool.size && pool.waiting > 0).map(|(name, pool)| {
        let PoolStatus { size, waiting, .. } = pool;
        Finding {
            cause: format!(
                "the pool of component {name} is full: all {size} instances are busy, and {waiting} calls wait"
            ),
            remedy: "raise poolSize or replicas, make the component faster, or let fewer in".into(),
        }
    })
}

fn of_faults(faults: &[Fault]) -> impl Iterator<Item = Finding> {
    let recent = |fault: &&Fault| fault.last.elapsed().is_ok_and(|ago| ago < FAULT_RECENT);
    faults.iter().rev().filter(recent).map(|fault| {
        let Fault { component, kind, message, count, .. } = fault;
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
        Finding { cause: format!("component {component}: {message} ({kind}, {times})"), remedy: fault.remedy.into() }
    })
}

impl WorkloadStatus {
    /// One of which nothing came to be.
    fn refused(request: &WorkloadRequest, reason: String, abilities: crate::support::Abilities) -> Self {
        let components = request.spec.components.iter().map(|component| super::ComponentStatus {
            name: component.name.to_string(),
            image: component.image.to_string(),
            pool: None,
        });
        let components = components.collect();
        let warnings = crate::support::warnings(request, abilities);
        Self { components, warnings, ..Self::failed(&request.id, request, reason) }
    }
}

#[cfg(test)]
mod tests {
    use roadstead_config::{Limits, SourceFile};

    use super::*;

    fn request(name: &str) -> WorkloadRequest {
        let manifest = format!(
            "apiVersion: runtime.wasmcloud.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}}}\n\
             spec: {{components: [{{name: one, image: 'file:one.wasm'}}]}}\n"
        );
        let file = SourceFile { name: "app.yaml".into(), bytes: manifest.into_bytes() };
        let set = roadstead_config::load(&[file], &Limits::default()).unwrap();
        WorkloadRequest::from_document(&set.documents[0]).unwrap()
    }

    #[test]
    fn so_many_are_remembered_of_which_nothing_came_to_be() {
        let refusals = Refusals::default();
        let failure = || Failure::from(&DeployError::TooManyWorkloads { max: 1 });
        for n in 0..REFUSED_MAX {
            assert!(refusals.remember(&request(&format!("w{n}")), failure()).is_none());
        }
        assert!(refusals.remember(&request("w1"), failure()).is_none(), "one of the same name takes its place");
        let oldest = refusals.remember(&request("one-more"), failure()).unwrap();
        assert_eq!((oldest.name.as_str(), refusals.all().len()), ("w0", REFUSED_MAX));
        assert!(refusals.forget(&request("w2").id) && !refusals.forget(&request("w2").id));
    }
}
