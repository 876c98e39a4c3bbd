//! `wasi:keyvalue@0.2.0-draft`: buckets of keys and values (`store`, `atomics`, `batch`).
//!
//! One core for all backends. A bucket belongs to a namespace, whatever workload opens it; what a guest may name and how
//! much it may store is decided here and in the backend's own checks, and nothing of it reaches another namespace.

mod backend;
mod bindings;
mod host;
mod in_memory;
mod nats;
mod postgres;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, StoreName, interface::InterfaceError};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use wasmtime::component::{HasSelf, Linker};

pub use backend::{Buckets, Expected, KeyPage, KeyValueBackend, KeyValueError, Versioned};
pub use in_memory::InMemoryBuckets;
pub use nats::{NatsBuckets, NatsKeyValue};
pub use postgres::{PostgresBuckets, PostgresKeyValue};

use crate::tenant_nats::NatsClients;
use bindings::wasi::keyvalue as wit;

/// The plugin, over any backend.
pub struct KeyValue {
    backend: Arc<dyn KeyValueBackend>,
    offers: Vec<InterfaceOffer>,
    limits: OnceLock<Arc<Limits>>,
}

/// A bucket that a guest has opened.
pub struct Bucket {
    pub(crate) name: StoreName,
}

/// What the plugin keeps for one component.
pub(crate) struct Bound {
    pub(crate) buckets: Arc<dyn Buckets>,
    pub(crate) limits: Arc<Limits>,
    opened: Mutex<BTreeSet<StoreName>>,
}

impl Bound {
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
        Self { backend, offers: Self::offer().into_iter().collect(), limits: OnceLock::new() }
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
        &self.offers
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let _ = self.limits.set(context.limits.clone());
        Ok(())
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let not_started = || PluginError::Configuration("the keyvalue plugin is not started".into());
        let limits = self.limits.get().ok_or_else(not_started)?.clone();
        let buckets = self.backend.of(&binding.workload.namespace, &limits).await?;
        Ok(Some(Arc::new(Bound { buckets, limits, opened: Mutex::default() })))
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
        self.backend.readiness()
    }
}
