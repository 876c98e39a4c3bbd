//! Outgoing HTTP of components (`wasi:http/outgoing-handler`): what a host lets out, and one pool of connections for each
//! workload, which no other workload ever has a connection of. Must not know how a store or an instance works.
//!
//! A request goes this way: its head is read into a [`Target`] and checked (`request`), the manifest's rules are asked, a
//! connection is taken from the pool or made (`connect`: the name is resolved once, each address is checked, and one of
//! those that passed is dialled), and request and response are streamed over it (`exchange`, `body`).

mod body;
mod connect;
mod error;
mod exchange;
mod metrics;
mod pool;
mod quota;
mod request;
mod resolve;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use roadstead_config::{
    EgressNetworks, Limits, ResourceName, Target,
    manifest::{AllowedHost, LocalResources, WorkloadSpec},
};
use roadstead_metrics::Metrics;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_rustls::TlsConnector;

use crate::{Call, WorkloadId};
pub(crate) use error::EgressError;
use metrics::{EgressMetrics, EgressSeries};
use pool::{Key, Pool, PoolBounds};
use quota::Quota;
pub use resolve::{Resolve, SystemResolver};

/// Names that are looked up at a time, over all workloads.
const LOOKUPS_MAX: usize = 64;
/// The same of one workload.
const WORKLOAD_LOOKUPS_MAX: usize = 8;
/// TLS sessions of servers that a workload may resume.
const SESSIONS_MAX: usize = 64;

/// What an operator says about outgoing HTTP.
#[derive(Clone)]
pub struct EgressOptions {
    /// Networks that are open beside the public internet.
    pub networks: EgressNetworks,
    /// Whether components may reach the ports of the host's own loopback addresses that their manifests list
    /// (`allowedHostLoopbackPorts`).
    pub host_loopback: bool,
    /// Certificates (PEM) of authorities that are believed beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// What finds the addresses of names.
    pub resolver: Arc<dyn Resolve>,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            networks: EgressNetworks::default(),
            host_loopback: false,
            ca_file: None,
            resolver: Arc::new(SystemResolver),
        }
    }
}

/// Why outgoing requests cannot be had as they were asked for.
#[derive(Debug, thiserror::Error)]
pub enum EgressSetupError {
    #[error("the certificates of {} cannot be used: {reason}", path.display())]
    Authorities { path: PathBuf, reason: String },
    #[error("TLS cannot be configured: {0}")]
    Tls(String),
    #[error("the metrics of outgoing requests cannot be registered")]
    Metrics(#[from] roadstead_metrics::Error),
}

/// What all workloads of a host have in common.
pub(crate) struct Egress {
    limits: Arc<Limits>,
    networks: EgressNetworks,
    pub(crate) host_loopback: bool,
    resolver: Arc<dyn Resolve>,
    lookups: Arc<Semaphore>,
    authorities: Authorities,
    metrics: EgressMetrics,
    /// Where connections are made and kept.
    threads: Handle,
}

impl Egress {
    /// # Errors
    /// When the certificates of `options` cannot be read, or a metric is there already.
    pub(crate) fn new(
        options: EgressOptions,
        limits: Arc<Limits>,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, EgressSetupError> {
        Ok(Arc::new(Self {
            authorities: Authorities::new(options.ca_file.as_deref())?,
            limits,
            networks: options.networks,
            host_loopback: options.host_loopback,
            resolver: options.resolver,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            metrics: EgressMetrics::new(metrics)?,
            threads: Handle::current(),
        }))
    }

    /// What a workload has for its requests; `None` where no component of it may send any, so that it costs nothing.
    ///
    /// # Errors
    /// When TLS cannot be configured.
    pub(crate) async fn workload(
        self: &Arc<Self>,
        id: &WorkloadId,
        spec: &WorkloadSpec,
    ) -> Result<Option<Arc<WorkloadEgress>>, EgressSetupError> {
        match spec.components.iter().all(|component| component.local_resources.allowed_hosts.is_empty()) {
            true => Ok(None),
            false => self.open(id).await.map(Some),
        }
    }

    async fn open(self: &Arc<Self>, id: &WorkloadId) -> Result<Arc<WorkloadEgress>, EgressSetupError> {
        let host = self.clone();
        let loaded = tokio::task::spawn_blocking(move || host.authorities.connector()).await;
        let tls = loaded.map_err(|error| EgressSetupError::Tls(error.to_string()))??;
        let metrics = Arc::new(self.metrics.of(id));
        let limits = &self.limits;
        let bounds = PoolBounds {
            connections_max: usize::try_from(limits.outgoing_connections_max).unwrap_or(Semaphore::MAX_PERMITS),
            wait: Duration::from_millis(limits.outgoing_wait_ms),
            idle: Duration::from_millis(limits.outgoing_idle_ms),
            head_bytes_max: usize::try_from(limits.outgoing_head_bytes_max).unwrap_or(usize::MAX),
        };
        Ok(Arc::new(WorkloadEgress {
            id: id.clone(),
            tls,
            pool: Pool::new(bounds, metrics.clone(), self.threads.clone()),
            lookups: Semaphore::new(WORKLOAD_LOOKUPS_MAX),
            metrics,
            host: self.clone(),
        }))
    }
}

/// What the components of one workload share: its connections, its TLS sessions, its metrics.
pub(crate) struct WorkloadEgress {
    host: Arc<Egress>,
    id: WorkloadId,
    pool: Arc<Pool>,
    tls: TlsConnector,
    lookups: Semaphore,
    metrics: Arc<EgressSeries>,
}

impl WorkloadEgress {
    /// What one component may do; `None` where it may send nothing.
    pub(crate) fn component(
        self: &Arc<Self>,
        name: &ResourceName,
        resources: &LocalResources,
    ) -> Option<Arc<ComponentEgress>> {
        if resources.allowed_hosts.is_empty() {
            return None;
        }
        let loopback_ports = match self.host.host_loopback {
            true => resources.allowed_host_loopback_ports.clone(),
            false => Vec::new(),
        };
        Some(Arc::new(ComponentEgress {
            workload: self.clone(),
            name: name.clone(),
            allowed: resources.allowed_hosts.clone(),
            loopback_ports,
        }))
    }
}

/// What one component may do.
pub(crate) struct ComponentEgress {
    workload: Arc<WorkloadEgress>,
    name: ResourceName,
    allowed: Vec<AllowedHost>,
    /// Ports of the host's own addresses.
    loopback_ports: Vec<u16>,
}

impl ComponentEgress {
    /// Asks the manifest.
    fn permit(&self, target: Target) -> Result<Key, EgressError> {
        match self.allowed.iter().any(|allowed| allowed.allows(&target)) {
            true => Ok(Key { loopback: self.loopback_ports.contains(&target.port()), target }),
            false => Err(EgressError::Denied),
        }
    }

    /// What one call may do.
    pub(crate) fn begin(self: &Arc<Self>, call: &Call) -> CallEgress {
        let limits = &self.workload.host.limits;
        CallEgress {
            component: self.clone(),
            call: call.clone(),
            requests_left: limits.outgoing_requests_per_call_max,
            quota: Quota::new(limits.outgoing_request_bytes_per_call_max, limits.outgoing_response_bytes_per_call_max),
            ended: body::Ended::default(),
        }
    }
}

/// What one call may do. Dropped with its call: what it has not sent whole then breaks off and does not look complete.
pub(crate) struct CallEgress {
    component: Arc<ComponentEgress>,
    call: Call,
    requests_left: u64,
    quota: Quota,
    ended: body::Ended,
}

impl Drop for CallEgress {
    fn drop(&mut self) {
        self.ended.set();
    }
}

/// The authorities that are believed. Those of the system are read when the first workload may send requests.
struct Authorities {
    given: Option<RootCertStore>,
    all: OnceLock<Arc<RootCertStore>>,
}

impl Authorities {
    fn new(file: Option<&Path>) -> Result<Self, EgressSetupError> {
        let given = file.map(read_authorities).transpose()?;
        Ok(Self { given, all: OnceLock::new() })
    }

    /// TLS for one workload: its sessions are no other's. Reads files, the first time.
    fn connector(&self) -> Result<TlsConnector, EgressSetupError> {
        let roots = self.all.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots.extend(self.given.iter().flat_map(|given| given.roots.iter().cloned()));
            Arc::new(roots)
        });
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| EgressSetupError::Tls(error.to_string()))?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn read_authorities(path: &Path) -> Result<RootCertStore, EgressSetupError> {
    let unusable = |reason: String| EgressSetupError::Authorities { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(unusable("there is no certificate in it".into())),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests;
