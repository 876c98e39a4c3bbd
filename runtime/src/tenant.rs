//! The share of a host's instances that one namespace may hold. It does not know what the instances do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use roadstead_config::{Limits, Namespace};

use crate::gate::Gate;

/// The shares of all namespaces that have a workload.
pub(crate) struct TenantSlots {
    slots_max: u64,
    by_namespace: Mutex<BTreeMap<Namespace, Weak<Gate>>>,
}

impl TenantSlots {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { slots_max: limits.tenant_instances_max.min(limits.instances_max), by_namespace: Mutex::default() }
    }

    /// The share of `namespace`, one for all its workloads, as long as one of them lives.
    pub(crate) fn of(&self, namespace: &Namespace) -> Arc<Gate> {
        let mut by_namespace = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        by_namespace.retain(|_, slots| slots.strong_count() > 0);
        if let Some(slots) = by_namespace.get(namespace).and_then(Weak::upgrade) {
            return slots;
        }
        let slots = Gate::new(self.slots_max);
        by_namespace.insert(namespace.clone(), Arc::downgrade(&slots));
        slots
    }
}
