//! What a host tells about itself, as `/status` prints it.

use std::num::{NonZeroU32, NonZeroU64};

use serde::Serialize;

use super::{Entry, Host, WorkloadRequest};
use crate::{
    WorkloadId,
    component::PoolStatus,
    plugin::InterfaceOffer,
    support::{self, Abilities},
};

/// The published states of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum WorkloadState {
    #[serde(rename = "WORKLOAD_STATE_STARTING")]
    Starting,
    #[serde(rename = "WORKLOAD_STATE_RUNNING")]
    Running,
    /// Its service has done its work. No service runs in this version.
    #[serde(rename = "WORKLOAD_STATE_COMPLETED")]
    Completed,
    #[serde(rename = "WORKLOAD_STATE_STOPPING")]
    Stopping,
    #[serde(rename = "WORKLOAD_STATE_ERROR")]
    Error,
    #[serde(rename = "WORKLOAD_STATE_NOT_FOUND")]
    NotFound,
}

impl WorkloadState {
    /// The states that the gauge of workloads shows.
    pub(crate) const COUNTED: [Self; 3] = [Self::Starting, Self::Running, Self::Error];

    /// The state as a metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Stopping => "stopping",
            Self::Error => "error",
            Self::NotFound => "not-found",
        }
    }
}

/// A workload and how it fares.
#[derive(Debug, Clone, Serialize)]
pub struct WorkloadStatus {
    pub namespace: String,
    pub name: String,
    pub state: WorkloadState,
    /// Why the state is an error, or why a replacement did not come to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the manifest asks for and has no effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub replicas: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerStatus>,
    pub components: Vec<ComponentStatus>,
}

/// The HTTP requests that a workload answers.
#[derive(Debug, Clone, Serialize)]
pub struct TriggerStatus {
    pub host: String,
    pub paths: Vec<String>,
    pub timeout_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
}

/// One component of a workload.
#[derive(Debug, Clone, Serialize)]
pub struct ComponentStatus {
    pub name: String,
    pub image: String,
    /// Absent where every call gets a fresh instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolStatus>,
}

/// A host and what it holds.
#[derive(Debug, Clone, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub version: &'static str,
    pub uptime_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_address: Option<String>,
    pub workloads: Vec<WorkloadStatus>,
    pub plugins: Vec<PluginStatus>,
    pub interfaces: Vec<InterfaceStatus>,
}

/// A plugin and whether what stands behind it can be reached.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    pub id: &'static str,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One package that the host offers.
#[derive(Debug, Clone, Serialize)]
pub struct InterfaceStatus {
    pub package: String,
    pub version: String,
    pub interfaces: Vec<&'static str>,
}

impl WorkloadStatus {
    pub(crate) fn not_found(id: &WorkloadId) -> Self {
        Self {
            namespace: id.namespace.to_string(),
            name: id.name.to_string(),
            state: WorkloadState::NotFound,
            reason: None,
            warnings: Vec::new(),
            replicas: 0,
            trigger: None,
            components: Vec::new(),
        }
    }

    pub(crate) fn failed(id: &WorkloadId, request: &WorkloadRequest, reason: String) -> Self {
        let replicas = request.replicas;
        Self { state: WorkloadState::Error, reason: Some(reason), replicas, ..Self::not_found(id) }
    }

    pub(super) fn of(id: &WorkloadId, entry: &Entry, abilities: Abilities) -> Self {
        let request = &entry.request;
        let trigger = request.trigger.as_ref().map(|trigger| TriggerStatus {
            host: trigger.host.to_string(),
            paths: trigger.paths.iter().map(ToString::to_string).collect(),
            timeout_ms: trigger.timeout.as_millis(),
            requests_per_second: trigger.limits.rate.map(|rate| rate.per_second.get()),
            burst: trigger.limits.rate.map(|rate| rate.burst.get()),
            concurrent_requests: trigger.limits.concurrent.map(NonZeroU32::get),
            body_bytes: trigger.limits.body_bytes.map(NonZeroU64::get),
        });
        let pool_of = |name: &str| {
            let components = &entry.running.as_ref()?.components;
            components.iter().find(|component| component.name().as_str() == name)?.pool_status()
        };
        let components = request.spec.components.iter().map(|component| ComponentStatus {
            name: component.name.to_string(),
            image: component.image.to_string(),
            pool: pool_of(component.name.as_str()),
        });
        Self {
            state: entry.state,
            reason: entry.failure.as_ref().map(|failure| failure.message.clone()),
            warnings: support::warnings(request, abilities),
            replicas: request.replicas,
            trigger,
            components: components.collect(),
            ..Self::not_found(id)
        }
    }
}

impl Host {
    /// Who the host is and what it holds.
    pub fn status(&self) -> HostStatus {
        let plugins = self.foundry.plugins.iter().map(|plugin| {
            let reason = plugin.readiness().err();
            PluginStatus { id: plugin.id(), ready: reason.is_none(), reason }
        });
        let interfaces = self.foundry.catalogue.offers().map(|offer| InterfaceStatus {
            package: offer.package.to_string(),
            version: offer.version.to_string(),
            interfaces: offer.imports.iter().chain(offer.types).chain(offer.exports).copied().collect(),
        });
        let abilities = self.abilities();
        let workloads = self
            .entries()
            .iter()
            .map(|(id, entry)| self.judged(id, WorkloadStatus::of(id, entry, abilities)))
            .collect();
        HostStatus {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.started.elapsed().as_secs(),
            http_address: self.http_address().map(|address| address.to_string()),
            https_address: self.https_address().map(|address| address.to_string()),
            workloads,
            plugins: plugins.collect(),
            interfaces: interfaces.collect(),
        }
    }

    /// A workload that runs and that a plugin condemns is in error, for the reason that the plugin has.
    pub(super) fn judged(&self, id: &WorkloadId, status: WorkloadStatus) -> WorkloadStatus {
        if status.state != WorkloadState::Running {
            return status;
        }
        match self.foundry.plugins.iter().find_map(|plugin| plugin.condemns(id)) {
            Some(reason) => WorkloadStatus { state: WorkloadState::Error, reason: Some(reason), ..status },
            None => status,
        }
    }

    /// Workloads that run, and their components.
    pub(crate) fn running_counts(&self) -> (u64, u64) {
        let entries = self.entries();
        let running = entries.values().filter(|entry| entry.running.is_some() && entry.state == WorkloadState::Running);
        running.fold((0, 0), |(workloads, components), entry| {
            (workloads + 1, components + entry.request.spec.components.len() as u64)
        })
    }

    /// Whether there is a workload of this name, in whatever state.
    pub(crate) fn holds(&self, id: &WorkloadId) -> bool {
        self.entries().contains_key(id)
    }

    /// What the host offers to workloads. Without an HTTP address nobody calls a handler of `wasi:http`.
    pub(crate) fn offers(&self) -> impl Iterator<Item = InterfaceOffer> {
        let calls_handlers = self.handler.is_some();
        self.foundry.catalogue.offers().cloned().map(move |offer| {
            let is_http = (offer.package.namespace(), offer.package.package()) == ("wasi", "http");
            if is_http && !calls_handlers { offer.with_exports(&[]) } else { offer }
        })
    }

    pub(crate) fn status_of(&self, id: &WorkloadId) -> WorkloadStatus {
        match self.entries().get(id) {
            Some(entry) => self.judged(id, WorkloadStatus::of(id, entry, self.abilities())),
            None => WorkloadStatus::not_found(id),
        }
    }
}
