//! A host: its engine, its plugins, its HTTP handler and the workloads that it runs.
//!
//! Workloads are replaced whole: a new one is complete before anything is taken from the old one, and one that cannot
//! be made leaves what was serving as it was.

mod builder;
mod request;
mod status;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU64, sync::Arc, sync::PoisonError, time::Duration};

use async_trait::async_trait;
use prometheus::Registry;
use roadstead_config::Limits;
use tokio::time::Instant;

pub use builder::{BuildError, HostBuilder};
pub use request::{TriggerSpec, WorkloadRequest};
pub use status::{
    ComponentStatus, HostStatus, InterfaceStatus, PluginStatus, TriggerStatus, WorkloadState, WorkloadStatus,
};

use crate::{
    DeployError, HostHandler, TriggerBinding, WorkloadId,
    dispatch::Dispatch,
    engine::EngineWithClock,
    support,
    workload::{Foundry, Workload},
};

/// What can be asked of a host, by a program that embeds it or by a control plane.
#[async_trait]
pub trait HostApi: Send + Sync {
    /// Who the host is and what it holds.
    async fn heartbeat(&self) -> HostStatus;

    /// Starts a workload; an error when one of this name is there.
    async fn workload_start(&self, request: WorkloadRequest) -> WorkloadStatus;

    /// The state of a workload; [`WorkloadState::NotFound`] for one that is not there.
    async fn workload_status(&self, id: &WorkloadId) -> WorkloadStatus;

    /// Stops a workload and forgets it.
    async fn workload_stop(&self, id: &WorkloadId) -> WorkloadStatus;
}

/// A running host. Shared as `Arc<Host>`.
pub struct Host {
    name: String,
    limits: Arc<Limits>,
    registry: Registry,
    foundry: Foundry,
    handler: Option<Arc<dyn HostHandler>>,
    workloads: std::sync::Mutex<BTreeMap<WorkloadId, Entry>>,
    /// Deployments happen one at a time; status and requests do not wait for them.
    deploying: tokio::sync::Mutex<()>,
    started: Instant,
    _engine: EngineWithClock,
}

/// One workload as the host keeps it.
struct Entry {
    request: Arc<WorkloadRequest>,
    state: WorkloadState,
    /// Why the state is an error; for a replaced workload, why its successor did not come to be.
    reason: Option<String>,
    running: Option<Arc<Workload>>,
}

impl Host {
    /// The address of the HTTP handler, if there is one.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.handler.as_ref().and_then(|handler| handler.address())
    }

    /// The address of the HTTP handler for TLS, if there is one.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.handler.as_ref().and_then(|handler| handler.tls_address())
    }

    /// The bounds that the host keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The registry of the host's metrics.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Starts a workload, or replaces the one of its name. On failure what ran before goes on running, and the
    /// status says so.
    pub async fn workload_apply(&self, request: WorkloadRequest) -> WorkloadStatus {
        let _turn = self.deploying.lock().await;
        self.deploy(request).await
    }

    /// Notes that a workload cannot be started for a reason that lies outside of the host, such as a secret that is not
    /// there. What ran before goes on running, and the status says why.
    pub async fn workload_refuse(
        &self,
        request: WorkloadRequest,
        reason: &(dyn std::error::Error + Sync),
    ) -> WorkloadStatus {
        let _turn = self.deploying.lock().await;
        let (id, request) = (request.id.clone(), Arc::new(request));
        if let Err(error) = self.make_room(&id, &request) {
            return WorkloadStatus::failed(&id, &request, error_text(&error));
        }
        let still_serving = self.entries().get(&id).is_some_and(|entry| entry.running.is_some());
        self.note_failure(&id, reason, still_serving);
        self.count_states();
        self.status_of(&id)
    }

    /// Why the host cannot do its work just now, one reason for each part; empty when it can.
    pub fn not_ready(&self) -> Vec<String> {
        let plugins = self.foundry.plugins.iter();
        let plugins = plugins.filter_map(|plugin| Some(format!("{}: {}", plugin.id(), plugin.readiness().err()?)));
        let handler = self.handler.as_ref().and_then(|handler| handler.refuses());
        plugins.chain(handler.map(str::to_owned)).collect()
    }

    /// Ends all: no new connection, requests under way finish within `limit`, then workloads and plugins stop.
    /// Returns how many requests were cut off.
    pub async fn stop(&self, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        let cut_off = match &self.handler {
            Some(handler) => handler.drain(limit).await,
            None => 0,
        };
        let workloads: Vec<Arc<Workload>> =
            self.entries().values_mut().filter_map(|entry| entry.running.take()).collect();
        let remaining = until.saturating_duration_since(Instant::now());
        futures::future::join_all(workloads.iter().map(|workload| workload.stop(remaining))).await;
        for plugin in &self.foundry.plugins {
            plugin.stop().await;
        }
        cut_off
    }

    async fn deploy(&self, request: WorkloadRequest) -> WorkloadStatus {
        let id = request.id.clone();
        let request = Arc::new(request);
        let previous = self.entries().get(&id).and_then(|entry| entry.running.clone());
        if let Err(error) = self.make_room(&id, &request) {
            // It has no entry in which `/status` could show it.
            let text = error_text(&error);
            tracing::error!(namespace = %id.namespace, workload = %id.name, "workload failed: {text}");
            return WorkloadStatus::failed(&id, &request, text);
        }
        self.count_states();
        for warning in support::warnings(&request, self.https_address().is_some()) {
            tracing::warn!(namespace = %id.namespace, workload = %id.name, "{warning}");
        }
        let result = self.start(&request).await;
        match result {
            Ok(workload) => {
                self.set(&id, |entry| {
                    entry.request = request.clone();
                    entry.state = WorkloadState::Running;
                    entry.reason = None;
                    entry.running = Some(workload);
                });
                tracing::info!(namespace = %id.namespace, workload = %id.name, "workload running");
                if let Some(previous) = previous {
                    let limit = self.drain_timeout();
                    tokio::spawn(async move { previous.stop(limit).await });
                }
            }
            Err(error) => self.note_failure(&id, &error, previous.is_some()),
        }
        self.count_states();
        self.status_of(&id)
    }

    /// Enters a new workload as starting, if there is room for it.
    fn make_room(&self, id: &WorkloadId, request: &Arc<WorkloadRequest>) -> Result<(), DeployError> {
        let mut entries = self.entries();
        let max = self.limits.workloads_max;
        if !entries.contains_key(id) && entries.len() as u64 >= max {
            return Err(DeployError::TooManyWorkloads { max });
        }
        entries.entry(id.clone()).or_insert_with(|| Entry {
            request: request.clone(),
            state: WorkloadState::Starting,
            reason: None,
            running: None,
        });
        Ok(())
    }

    fn note_failure(&self, id: &WorkloadId, error: &dyn std::error::Error, still_serving: bool) {
        let text = error_text(error);
        tracing::error!(namespace = %id.namespace, workload = %id.name, still_serving, "workload failed: {text}");
        self.set(id, |entry| {
            entry.reason = Some(text);
            if !still_serving {
                entry.state = WorkloadState::Error;
            }
        });
    }

    /// Builds a workload and lets requests and messages at it, in an order in which a failure can be undone.
    async fn start(&self, request: &WorkloadRequest) -> Result<Arc<Workload>, DeployError> {
        let WorkloadRequest { id, spec, replicas, place, trigger, registry_credentials, .. } = request;
        let workload = Arc::new(self.foundry.build(id, spec, *replicas, registry_credentials).await?);
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
            paths: trigger.paths.clone(),
            timeout: trigger.timeout,
            limits: trigger.limits,
            certificate: trigger.certificate.clone(),
            target,
        };
        handler.bind(binding).map_err(|source| DeployError::Route { place: trigger.place.clone(), source })
    }

    fn unbind_routes(&self, id: &WorkloadId) {
        if let Some(handler) = &self.handler {
            handler.unbind(id);
        }
    }

    fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.limits.drain_timeout_ms)
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkloadId, Entry>> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: &WorkloadId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries().get_mut(id) {
            change(entry);
        }
    }

    fn count_states(&self) {
        let entries = self.entries();
        for state in WorkloadState::COUNTED {
            let count = entries.values().filter(|entry| entry.state == state).count();
            let gauge = self.foundry.metrics.workloads.with_label_values(&[state.label()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

#[async_trait]
impl HostApi for Host {
    async fn heartbeat(&self) -> HostStatus {
        self.status()
    }

    async fn workload_start(&self, request: WorkloadRequest) -> WorkloadStatus {
        let _turn = self.deploying.lock().await;
        if self.entries().contains_key(&request.id) {
            let error = DeployError::Exists(request.id.clone());
            return WorkloadStatus::failed(&request.id, &request, error_text(&error));
        }
        self.deploy(request).await
    }

    async fn workload_status(&self, id: &WorkloadId) -> WorkloadStatus {
        self.status_of(id)
    }

    async fn workload_stop(&self, id: &WorkloadId) -> WorkloadStatus {
        let _turn = self.deploying.lock().await;
        let entry = self.entries().remove(id);
        let Some(entry) = entry else { return WorkloadStatus::not_found(id) };
        self.unbind_routes(id);
        if let Some(workload) = entry.running {
            workload.stop(self.drain_timeout()).await;
        }
        self.count_states();
        tracing::info!(namespace = %id.namespace, workload = %id.name, "workload stopped");
        WorkloadStatus { state: WorkloadState::Stopping, ..WorkloadStatus::not_found(id) }
    }
}

/// An error and what it came from, in one line.
pub(crate) fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
