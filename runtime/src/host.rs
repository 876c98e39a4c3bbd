//! A host: its engine, its plugins, its HTTP handler and the workloads that it runs.
//!
//! Workloads are replaced whole: a new one is complete before anything is taken from the old one, and one that cannot
//! be made leaves what was serving as it was.

mod builder;
pub(crate) mod deploy;
mod live;
mod report;
mod request;
mod status;
mod turns;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use roadstead_config::Limits;
use roadstead_metrics::{Metrics, Registry};
use tokio::time::Instant;

pub use builder::{BuildError, HostBuilder};
pub use live::{HostLive, PoolLive, TriggerLive};
pub use report::{Finding, SubscriptionReport, WorkloadEvent, WorkloadReport, WorkloadSummary};
pub use request::{TriggerSpec, WorkloadRequest};
pub use status::{
    ComponentStatus, HostStatus, InterfaceStatus, PluginStatus, TriggerStatus, WorkloadState, WorkloadStatus,
};

use crate::{
    HostHandler, Timelines, WorkloadId,
    diagnosis::Failure,
    engine::EngineWithClock,
    support::Abilities,
    workload::{Foundry, Workload},
};
use deploy::Begun;
use report::Refusals;
use turns::{Attempt, Turns};

/// What can be asked of a host, by a program that embeds it or by a control plane.
#[async_trait]
pub trait HostApi: Send + Sync {
    /// Who the host is and what it holds.
    async fn heartbeat(&self) -> HostStatus;

    /// Starts a workload; an error when one of this name is there, also one that starts or stops just now. What could
    /// not be fetched leaves the name free; any other failure is kept, as a state, until the workload is stopped.
    async fn workload_start(&self, request: WorkloadRequest) -> WorkloadStatus;

    /// The state of a workload; [`WorkloadState::NotFound`] for one that is not there.
    async fn workload_status(&self, id: &WorkloadId) -> WorkloadStatus;

    /// Stops a workload and forgets it; an attempt to start it that is under way ends. Returns when its work is done or
    /// cut off, and at once where somebody else is stopping it already.
    async fn workload_stop(&self, id: &WorkloadId) -> WorkloadStatus;
}

/// A running host. Shared as `Arc<Host>`.
pub struct Host {
    name: String,
    limits: Arc<Limits>,
    metrics: Metrics,
    foundry: Foundry,
    handler: Option<Arc<dyn HostHandler>>,
    timelines: Option<Arc<Timelines>>,
    workloads: std::sync::Mutex<BTreeMap<WorkloadId, Entry>>,
    /// What happens to one workload happens one after the other; others do not wait for it.
    turns: Turns,
    /// What was asked for and came to nothing.
    refusals: Refusals,
    /// Nothing is started any more.
    stopping: AtomicBool,
    started: Instant,
    _engine: EngineWithClock,
}

/// One workload as the host keeps it.
struct Entry {
    request: Arc<WorkloadRequest>,
    state: WorkloadState,
    /// Why the state is an error; for a replaced workload, why its successor did not come to be.
    failure: Option<Failure>,
    running: Option<Arc<Workload>>,
    /// Ends the attempt to start it that is under way; and tells this entry from one that came after it.
    attempt: Attempt,
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

    /// The host's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The registry in which they are shown.
    pub fn registry(&self) -> &Registry {
        self.metrics.registry()
    }

    /// What is remembered of requests, where anything is.
    pub fn timelines(&self) -> Option<&Timelines> {
        self.timelines.as_deref()
    }

    /// Starts a workload, or replaces the one of its name. On failure what ran before goes on running, and the
    /// status says so.
    pub async fn workload_apply(&self, request: WorkloadRequest) -> WorkloadStatus {
        let turn = self.turns.of(&request.id);
        let _turn = turn.lock().await;
        match self.enter(&request) {
            Ok(attempt) => self.deploy(request, attempt).await,
            Err(error) => self.refused(&request, &error),
        }
    }

    /// Notes that a workload cannot be started for a reason that lies outside of the host, such as a secret that is not
    /// there. What ran before goes on running, and the status says why.
    pub async fn workload_refuse(
        &self,
        request: WorkloadRequest,
        reason: &(dyn std::error::Error + Sync),
    ) -> WorkloadStatus {
        let turn = self.turns.of(&request.id);
        let _turn = turn.lock().await;
        let status = match self.enter(&request) {
            Ok(attempt) => self.note_failure(&request, Failure::refused(reason), &attempt),
            Err(error) => self.refused(&request, &error),
        };
        self.count_states();
        status
    }

    /// Why the host cannot do its work just now, one reason for each part; empty when it can.
    pub fn not_ready(&self) -> Vec<String> {
        let plugins = self.foundry.plugins.iter();
        let plugins = plugins.filter_map(|plugin| Some(format!("{}: {}", plugin.id(), plugin.readiness().err()?)));
        let handler = self.handler.as_ref().and_then(|handler| handler.refuses());
        plugins.chain(handler.map(str::to_owned)).collect()
    }

    /// Starts no workload any more, and ends the attempts that are under way. What runs goes on.
    pub fn refuse_starts(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for entry in self.entries().values() {
            entry.attempt.cancel();
        }
    }

    /// Ends all: no new connection, requests under way finish within `limit`, then workloads and plugins stop.
    /// Returns how many requests were cut off.
    pub async fn stop(&self, limit: Duration) -> usize {
        let until = Instant::now() + limit;
        self.refuse_starts();
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

    fn unbind_routes(&self, id: &WorkloadId) {
        if let Some(handler) = &self.handler {
            handler.unbind(id);
        }
    }

    fn abilities(&self) -> Abilities {
        Abilities { speaks_tls: self.https_address().is_some(), host_loopback: self.foundry.egress.host_loopback }
    }

    fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.limits.drain_timeout_ms)
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<WorkloadId, Entry>> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_states(&self) {
        let entries = self.entries();
        for (state, gauge) in &self.foundry.metrics.workloads {
            let count = entries.values().filter(|entry| entry.state == *state).count();
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
        match self.begin_start(&request) {
            Ok(attempt) => self.finish_start(request, attempt).await,
            Err(error) => self.refused(&request, &error),
        }
    }

    async fn workload_status(&self, id: &WorkloadId) -> WorkloadStatus {
        self.status_of(id)
    }

    async fn workload_stop(&self, id: &WorkloadId) -> WorkloadStatus {
        match self.begin_stop(id) {
            Begun::Nothing => {
                if self.refusals.forget(id) {
                    self.foundry.journals.forget(id);
                }
                return WorkloadStatus::not_found(id);
            }
            Begun::Already => {}
            Begun::Now(attempt) => self.finish_stop(id, &attempt).await,
        }
        WorkloadStatus { state: WorkloadState::Stopping, ..WorkloadStatus::not_found(id) }
    }
}
