//! The share of a host's instances that one namespace may hold. It does not know what the instances do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use roadstead_config::{Limits, Namespace};
use tokio::sync::Semaphore;

/// The shares of all namespaces that have a workload.
pub(crate) struct TenantSlots {
    slots_max: usize,
    by_namespace: Mutex<BTreeMap<Namespace, Weak<Semaphore>>>,
}

impl TenantSlots {
    pub(crate) fn new(limits: &Limits) -> Self {
        let slots_max = limits.tenant_instances_max.min(limits.instances_max);
        let slots_max = usize::try_from(slots_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { slots_max, by_namespace: Mutex::default() }
    }

    /// The share of `namespace`, one for all its workloads, as long as one of them lives.
    pub(crate) fn of(&self, namespace: &Namespace) -> Arc<Semaphore> {
        let mut by_namespace = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        by_namespace.retain(|_, slots| slots.strong_count() > 0);
        if let Some(slots) = by_namespace.get(namespace).and_then(Weak::upgrade) {
            return slots;
        }
        let slots = Arc::new(Semaphore::new(self.slots_max));
        by_namespace.insert(namespace.clone(), Arc::downgrade(&slots));
        slots
    }
}
