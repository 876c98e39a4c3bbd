//! `wasi:blobstore@0.2.0-draft`: containers of objects (`blobstore`, `container`, `types`).
//!
//! One core for all backends. A container belongs to a namespace, whatever workload opens it; objects are written and
//! read as streams, and what of them is in memory at a time is bounded here.

mod backend;
mod bindings;
mod handles;
mod host;
mod in_memory;
mod nats;
mod postgres;
mod transfer;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, interface::InterfaceError};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};

pub use backend::{BlobBackend, BlobError, Chunks, ContainerInfo, Containers, ObjectInfo, ObjectPage};
pub use in_memory::InMemoryContainers;
pub use nats::{NatsBlobstore, NatsContainers};
pub use postgres::{PostgresBlobstore, PostgresContainers};

use crate::tenant_nats::NatsClients;
use bindings::wasi::blobstore as wit;

/// The plugin, over any backend.
pub struct Blobstore {
    backend: Arc<dyn BlobBackend>,
    offers: Vec<InterfaceOffer>,
    limits: OnceLock<Arc<Limits>>,
}

/// What the plugin keeps for one component.
pub(crate) struct Bound {
    pub(crate) containers: Arc<dyn Containers>,
    pub(crate) limits: Arc<Limits>,
    /// Objects that the component may write at a time.
    pub(crate) transfers: Arc<Semaphore>,
}

impl Bound {
    fn too_many_transfers(&self) -> String {
        let max = self.limits.blobstore_writes_max;
        format!("the component writes {max} objects, as many as it may at a time (blobstore_writes_max)")
    }
}

impl Blobstore {
    /// The plugin over `backend`.
    pub fn new(backend: Arc<dyn BlobBackend>) -> Self {
        Self { backend, offers: Self::offer().into_iter().collect(), limits: OnceLock::new() }
    }

    /// The plugin with all objects in the memory of this process.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemoryContainers::default()))
    }

    /// The plugin over NATS, with `clients`' connections.
    pub fn nats(clients: NatsClients) -> Self {
        Self::new(Arc::new(NatsContainers::new(clients)))
    }

    fn offer() -> Result<InterfaceOffer, InterfaceError> {
        let offer = InterfaceOffer::new("wasi", "blobstore", "0.2.0-draft")?;
        Ok(offer.with_imports(&["blobstore", "container"]).with_types(&["types"]))
    }
}

#[async_trait]
impl HostPlugin for Blobstore {
    fn id(&self) -> &'static str {
        "wasi-blobstore"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let _ = self.limits.set(context.limits.clone());
        Ok(())
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let not_started = || PluginError::Configuration("the blobstore plugin is not started".into());
        let limits = self.limits.get().ok_or_else(not_started)?.clone();
        let containers = self.backend.of(&binding.workload.namespace, &limits).await?;
        let writes = usize::try_from(limits.blobstore_writes_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Some(Arc::new(Bound { containers, limits, transfers: Arc::new(Semaphore::new(writes)) })))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        wit::types::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?;
        for interface in interfaces {
            match &*interface.interface {
                "container" => wit::container::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                "blobstore" => wit::blobstore::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn readiness(&self) -> Result<(), String> {
        self.backend.readiness()
    }
}
