//! `wasi:blobstore@0.2.0-draft`: containers of objects (`blobstore`, `container`, `types`).
//!
//! One core for all backends. A container belongs to a namespace, whatever workload opens it; objects are written and
//! read as streams, and what of them is in memory at a time is bounded here.

mod backend;
mod bindings;
mod disk;
mod handles;
mod host;
mod in_memory;
mod measured;
mod nats;
mod postgres;
mod transfer;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, StoreName, interface::InterfaceError};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use tokio::sync::Semaphore;
use wasmtime::component::{HasSelf, Linker};

pub use backend::{BlobBackend, BlobError, Chunks, ContainerInfo, Containers, ObjectInfo, ObjectPage};
pub use disk::DiskContainers;
pub use in_memory::InMemoryContainers;
pub use nats::{NatsBlobstore, NatsContainers};
pub use postgres::{PostgresBlobstore, PostgresContainers};

use crate::{
    store_backends::{NoEntry, Routes},
    store_plugin::{Chosen, StorePlugin, unshown},
    tenant_nats::NatsClients,
};
use bindings::wasi::blobstore as wit;
use measured::Measured;

const PACKAGE: &str = "wasi:blobstore";

/// The plugin, over one backend or several.
pub struct Blobstore {
    common: StorePlugin<dyn BlobBackend>,
}

/// What the plugin keeps for one component.
pub(crate) struct Bound {
    routes: Routes<Arc<dyn Containers>>,
    pub(crate) limits: Arc<Limits>,
    /// Objects that the component may write at a time.
    pub(crate) transfers: Arc<Semaphore>,
}

impl Bound {
    /// The containers among which the one of this name is.
    fn containers_of(&self, name: &StoreName) -> Result<Arc<dyn Containers>, NoEntry> {
        self.routes.of(name.as_str(), PACKAGE).cloned()
    }

    fn too_many_transfers(&self) -> String {
        let max = self.limits.blobstore_writes_max;
        format!("the component writes {max} objects, as many as it may at a time (blobstore_writes_max)")
    }
}

impl Blobstore {
    /// The plugin over `backend`.
    pub fn new(backend: Arc<dyn BlobBackend>) -> Self {
        Self { common: StorePlugin::new(PACKAGE, backend.name(), backend, Self::offer()) }
    }

    /// Adds a backend, for entries whose `config.backend` is its name. Those that name none have the first one.
    #[must_use]
    pub fn with_backend(mut self, backend: Arc<dyn BlobBackend>) -> Self {
        self.common.add(backend.name(), backend);
        self
    }

    /// What would bring a backend that this host does not have, for the error of who asks for it.
    #[must_use]
    pub fn with_remedy(mut self, name: &'static str, remedy: &'static str) -> Self {
        self.common.explain(name, remedy);
        self
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
        self.common.offers()
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        self.common.start(context)?;
        self.common.backends().try_for_each(|backend| backend.show(&context.metrics)).map_err(unshown)
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let Chosen { routes, backends, limits, metrics } = self.common.choose(&binding)?;
        let mut opened = BTreeMap::new();
        for (name, backend) in backends {
            let inner = backend.of(&binding.workload.namespace, &limits).await?;
            let measured: Arc<dyn Containers> = Arc::new(Measured { inner, metrics: metrics.of(name) });
            opened.insert(name, measured);
        }
        let routes = routes.to(&opened);
        let writes = usize::try_from(limits.blobstore_writes_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Ok(Some(Arc::new(Bound { routes, limits, transfers: Arc::new(Semaphore::new(writes)) })))
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
        self.common.backends().try_for_each(|backend| backend.readiness())
    }
}
