//! How a workload comes to run on a host, and what is left when it does not. What is asked of a host, and by whom, is
//! not known here.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Entry, Host, TriggerSpec, WorkloadRequest, WorkloadState, WorkloadStatus, turns::Attempt};
use crate::{
    DeployError, EventKind, TriggerBinding, WorkloadId, diagnosis::Failure, dispatch::Dispatch, error_text, support,
    workload::Workload,
};

/// What became of the wish to stop a workload.
#[derive(Debug)]
pub(crate) enum Begun {
    /// There is none.
    Nothing,
    /// Somebody else is stopping it.
    Already,
    /// It is being stopped from now on.
    Now(Attempt),
}

impl Host {
    /// Enters a workload, new or in place of the one of its name. The turn is the caller's.
    pub(super) fn enter(&self, request: &WorkloadRequest) -> Result<Attempt, DeployError> {
        let mut entries = self.entries();
        match entries.get_mut(&request.id) {
            Some(entry) if entry.state == WorkloadState::Stopping => Err(DeployError::Leaving(request.id.clone())),
            Some(_) if self.stopping.load(Ordering::SeqCst) => Err(DeployError::HostStopping),
            Some(entry) => {
                entry.attempt = Attempt::default();
                Ok(entry.attempt.clone())
            }
            None => self.enter_into(&mut entries, request, Attempt::default()),
        }
    }

    /// Enters a workload whose name is free; from here on it can be seen, and stopped. What begins is to be finished by
    /// [`Host::finish_start`].
    pub(crate) fn begin_start(&self, request: &WorkloadRequest) -> Result<Attempt, DeployError> {
        let mut entries = self.entries();
        match entries.get(&request.id) {
            Some(entry) if entry.state == WorkloadState::Stopping => Err(DeployError::Leaving(request.id.clone())),
            Some(_) => Err(DeployError::Exists(request.id.clone())),
            None => self.enter_into(&mut entries, request, Attempt::freeing_name()),
        }
    }

    /// Starts what was entered.
    pub(crate) async fn finish_start(&self, request: WorkloadRequest, attempt: Attempt) -> WorkloadStatus {
        let turn = self.turns.of(&request.id);
        let _turn = turn.lock().await;
        self.deploy(request, attempt).await
    }

    fn enter_into(
        &self,
        entries: &mut BTreeMap<WorkloadId, Entry>,
        request: &WorkloadRequest,
        attempt: Attempt,
    ) -> Result<Attempt, DeployError> {
        let max = self.limits.workloads_max;
        if self.stopping.load(Ordering::SeqCst) {
            return Err(DeployError::HostStopping);
        }
        if entries.len() as u64 >= max {
            return Err(DeployError::TooManyWorkloads { max });
        }
        let entry = Entry {
            request: Arc::new(request.clone()),
            state: WorkloadState::Starting,
            failure: None,
            running: None,
            attempt: attempt.clone(),
        };
        entries.insert(request.id.clone(), entry);
        self.refusals.forget(&request.id);
        Ok(attempt)
    }

    /// What is told of a workload that has no entry in which `/status` could show it.
    pub(super) fn refused(&self, request: &WorkloadRequest, error: &DeployError) -> WorkloadStatus {
        let (id, text) = (&request.id, error_text(error));
        tracing::error!(namespace = %id.namespace, workload = %id.name, "workload failed: {text}");
        self.remember_refusal(request, error);
        WorkloadStatus::failed(id, request, text)
    }

    /// Starts what was entered, in place of what runs under its name.
    pub(super) async fn deploy(&self, request: WorkloadRequest, attempt: Attempt) -> WorkloadStatus {
        let request = Arc::new(request);
        let id = &request.id;
        self.count_states();
        self.journal(id).event(EventKind::Normal, "Deploying", "its components are being made ready");
        for warning in support::warnings(&request, self.abilities()) {
            tracing::warn!(namespace = %id.namespace, workload = %id.name, "{warning}");
        }
        let result = tokio::select! {
            biased;
            () = attempt.cancelled() => Err(DeployError::Stopped),
            result = self.start(&request) => result,
        };
        let status = match result {
            Ok(workload) => self.put_in_place(&request, workload, &attempt).await,
            Err(error) if attempt.frees_name && error.is_fetch() => self.free_name(&request, &error, &attempt),
            Err(error) => self.note_failure(&request, Failure::from(&error), &attempt),
        };
        self.count_states();
        status
    }

    async fn put_in_place(
        &self,
        request: &Arc<WorkloadRequest>,
        workload: Arc<Workload>,
        attempt: &Attempt,
    ) -> WorkloadStatus {
        let id = &request.id;
        let replaced = match self.entries().get_mut(id).filter(|entry| entry.attempt.is(attempt)) {
            // Stopped just after it was complete: who stops it waits for this turn.
            Some(_) if attempt.is_cancelled() => None,
            Some(entry) => {
                entry.request = request.clone();
                entry.state = WorkloadState::Running;
                entry.failure = None;
                Some(entry.running.replace(workload.clone()))
            }
            None => None,
        };
        let Some(previous) = replaced else {
            self.unbind_routes(id);
            workload.stop(Duration::ZERO).await;
            return WorkloadStatus::failed(id, request, error_text(&DeployError::Stopped));
        };
        tracing::info!(namespace = %id.namespace, workload = %id.name, "workload running");
        let what = if previous.is_some() { "it runs, in place of its form before" } else { "it runs" };
        self.journal(id).event(EventKind::Normal, "Running", what);
        self.look_at(id);
        if let Some(previous) = previous {
            let limit = self.drain_timeout();
            tokio::spawn(async move { previous.stop(limit).await });
        }
        self.status_of(id)
    }

    /// Nothing has come to be of a workload: its name is free again.
    fn free_name(&self, request: &WorkloadRequest, error: &DeployError, attempt: &Attempt) -> WorkloadStatus {
        if !attempt.is_cancelled() {
            // Its journal stays with what is remembered of it.
            self.remove(&request.id, attempt);
        }
        self.refused(request, error)
    }

    /// Keeps why a workload does not run, or not in its new form.
    pub(super) fn note_failure(
        &self,
        request: &WorkloadRequest,
        failure: Failure,
        attempt: &Attempt,
    ) -> WorkloadStatus {
        let id = &request.id;
        let mut entries = self.entries();
        let own = entries.get_mut(id).filter(|entry| entry.attempt.is(attempt) && !attempt.is_cancelled());
        let Some(entry) = own else { return WorkloadStatus::failed(id, request, failure.message) };
        let still_serving = entry.running.is_some();
        tracing::error!(namespace = %id.namespace, workload = %id.name, still_serving, "workload failed: {}", failure.message);
        self.journal(id).event(EventKind::Warning, failure.reason, &failure.message);
        entry.failure = Some(failure);
        if !still_serving {
            entry.state = WorkloadState::Error;
        }
        drop(entries);
        self.look_at(id);
        self.status_of(id)
    }

    /// Begins to stop a workload, at once: an attempt to start it ends. What begins now is to be finished by
    /// [`Host::finish_stop`].
    pub(crate) fn begin_stop(&self, id: &WorkloadId) -> Begun {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(id) else { return Begun::Nothing };
        if entry.state == WorkloadState::Stopping {
            return Begun::Already;
        }
        entry.state = WorkloadState::Stopping;
        entry.attempt.cancel();
        self.journal(id).event(EventKind::Normal, "Stopping", "it is being stopped");
        Begun::Now(entry.attempt.clone())
    }

    /// Waits for what is under way, and forgets the workload.
    pub(crate) async fn finish_stop(&self, id: &WorkloadId, attempt: &Attempt) {
        let turn = self.turns.of(id);
        let _turn = turn.lock().await;
        self.unbind_routes(id);
        let running = self.entries().get_mut(id).and_then(|entry| entry.running.take());
        if let Some(workload) = running {
            workload.stop(self.drain_timeout()).await;
        }
        self.forget(id, attempt);
        self.count_states();
        tracing::info!(namespace = %id.namespace, workload = %id.name, "workload stopped");
    }

    /// Forgets a workload, unless another one has its name by now.
    fn forget(&self, id: &WorkloadId, attempt: &Attempt) {
        if self.remove(id, attempt) {
            self.foundry.journals.forget(id);
        }
    }

    /// The same, but for what was noted of it. Whether it was there.
    fn remove(&self, id: &WorkloadId, attempt: &Attempt) -> bool {
        let mut entries = self.entries();
        let is_own = entries.get(id).is_some_and(|entry| entry.attempt.is(attempt));
        is_own && entries.remove(id).is_some()
    }

    /// Builds a workload and lets requests and messages at it, in an order in which a failure can be undone.
    async fn start(&self, request: &WorkloadRequest) -> Result<Arc<Workload>, DeployError> {
        let WorkloadRequest { id, replicas, place, trigger, .. } = request;
        let workload = Arc::new(self.foundry.build(request).await?);
        let target = match trigger {
            Some(_) => Some(workload.http_target(place)?),
            None => None,
        };
        if *replicas > 0
            && let Err(error) = workload.activate(&self.foundry.plugins, place).await
        {
            workload.stop(self.drain_timeout()).await;
            return Err(error);
        }
        let bound = match trigger {
            Some(trigger) => self.bind_routes(id, trigger, target.filter(|_| *replicas > 0).map(|t| t as _)),
            None => {
                self.unbind_routes(id);
                Ok(())
            }
        };
        if let Err(error) = bound {
            workload.stop(self.drain_timeout()).await;
            return Err(error);
        }
        if *replicas > 0 {
            workload.fill_pools();
        }
        Ok(workload)
    }

    fn bind_routes(
        &self,
        id: &WorkloadId,
        trigger: &TriggerSpec,
        target: Option<Arc<dyn Dispatch>>,
    ) -> Result<(), DeployError> {
        let Some(handler) = &self.handler else {
            return Err(DeployError::Unsupported {
                place: trigger.place.clone(),
                feature: "an HTTP trigger",
                reason: "this host has no HTTP address; start it with --http-addr",
            });
        };
        let max = self.limits.trigger_body_bytes_max;
        if let Some(found) = trigger.limits.body_bytes.map(NonZeroU64::get).filter(|found| *found > max) {
            return Err(DeployError::TriggerBody { place: trigger.place.clone(), found, max });
        }
        let binding = TriggerBinding {
            owner: id.clone(),
            host: trigger.host.clone(),
            aliases: trigger.aliases.clone(),
            is_shared: trigger.is_shared,
            paths: trigger.paths.clone(),
            timeout: trigger.timeout,
            limits: trigger.limits,
            certificate: trigger.certificate.clone(),
            target,
        };
        handler.bind(binding).map_err(|source| DeployError::Route { place: trigger.place.clone(), source })
    }
}
