//! `wasi:keyvalue@0.2.0-draft`: buckets of keys and values (`store`, `atomics`, `batch`).
//!
//! One core for all backends. A bucket belongs to a namespace, whatever workload opens it; what a guest may name and how
//! much it may store is decided here and in the backend's own checks, and nothing of it reaches another namespace.

mod backend;
mod bindings;
mod disk;
mod host;
mod in_memory;
mod increment;
mod measured;
mod nats;
mod postgres;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, StoreName, interface::InterfaceError};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use wasmtime::component::{HasSelf, Linker};

pub use backend::{Buckets, Expected, KeyPage, KeyValueBackend, KeyValueError, Versioned};
pub use disk::DiskBuckets;
pub use in_memory::InMemoryBuckets;
pub use nats::{NatsBuckets, NatsKeyValue};
pub use postgres::{PostgresBuckets, PostgresKeyValue};

use crate::{
    store_backends::{NoEntry, Routes},
    store_plugin::{Chosen, StorePlugin, unshown},
    tenant_nats::NatsClients,
};
use bindings::wasi::keyvalue as wit;
use measured::Measured;

const PACKAGE: &str = "wasi:keyvalue";

/// The plugin, over one backend or several.
pub struct KeyValue {
    common: StorePlugin<dyn KeyValueBackend>,
}

/// A bucket that a guest has opened.
#[derive(Clone)]
pub struct Bucket {
    pub(crate) name: StoreName,
    /// Those of the backend that its name led to.
    pub(crate) buckets: Arc<dyn Buckets>,
}

/// What the plugin keeps for one component.
pub(crate) struct Bound {
    routes: Routes<Arc<dyn Buckets>>,
    pub(crate) limits: Arc<Limits>,
    opened: Mutex<BTreeSet<StoreName>>,
}

impl Bound {
    /// The buckets among which the one of this name is.
    fn buckets_of(&self, name: &StoreName) -> Result<Arc<dyn Buckets>, NoEntry> {
        self.routes.of(name.as_str(), PACKAGE).cloned()
    }

    /// The component opens a bucket.
    fn note_bucket(&self, name: &StoreName) -> Result<(), TooManyBuckets> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let max = self.limits.keyvalue_buckets_max;
        if !opened.contains(name) && opened.len() as u64 >= max {
            return Err(TooManyBuckets { max });
        }
        opened.insert(name.clone());
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the component has opened {max} different buckets, as many as it may (keyvalue_buckets_max)")]
struct TooManyBuckets {
    max: u64,
}

impl KeyValue {
    /// The plugin over `backend`.
    pub fn new(backend: Arc<dyn KeyValueBackend>) -> Self {
        Self { common: StorePlugin::new(PACKAGE, backend.name(), backend, Self::offer()) }
    }

    /// Adds a backend, for entries whose `config.backend` is its name. Those that name none have the first one.
    #[must_use]
    pub fn with_backend(mut self, backend: Arc<dyn KeyValueBackend>) -> Self {
        self.common.add(backend.name(), backend);
        self
    }

    /// What would bring a backend that this host does not have, for the error of who asks for it.
    #[must_use]
    pub fn with_remedy(mut self, name: &'static str, remedy: &'static str) -> Self {
        self.common.explain(name, remedy);
        self
    }

    /// The plugin with all values in the memory of this process.
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemoryBuckets::default()))
    }

    /// The plugin over NATS, with `clients`' connections.
    pub fn nats(clients: NatsClients) -> Self {
        Self::new(Arc::new(NatsBuckets::new(clients)))
    }

    fn offer() -> Result<InterfaceOffer, InterfaceError> {
        Ok(InterfaceOffer::new("wasi", "keyvalue", "0.2.0-draft")?.with_imports(&["store", "atomics", "batch"]))
    }
}

#[async_trait]
impl HostPlugin for KeyValue {
    fn id(&self) -> &'static str {
        "wasi-keyvalue"
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
            let measured: Arc<dyn Buckets> = Arc::new(Measured { inner, metrics: metrics.of(name) });
            opened.insert(name, measured);
        }
        let routes = routes.to(&opened);
        Ok(Some(Arc::new(Bound { routes, limits, opened: Mutex::default() })))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        for interface in interfaces {
            match &*interface.interface {
                "store" => wit::store::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                "atomics" => wit::atomics::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                "batch" => wit::batch::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn readiness(&self) -> Result<(), String> {
        self.common.backends().try_for_each(|backend| backend.readiness())
    }
}
