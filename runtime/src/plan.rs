//! The immutable plan of one component: everything that a call would otherwise work out again.

use std::{
    any::{Any, TypeId},
    num::NonZeroU32,
    sync::Arc,
};

use roadstead_config::{InterfaceName, ResourceName};

use crate::{
    WorkloadId, cpu::CpuBudget, egress::ComponentEgress, gate::Gate, journal::Journal, lanes::LongRuns,
    link::LinkedComponent, plugin::BoundState,
};

/// What is fixed for a component from its deployment to its end.
pub(crate) struct ComponentPlan {
    pub(crate) workload: WorkloadId,
    /// Whose replica the workload is.
    pub(crate) deployment: ResourceName,
    pub(crate) name: ResourceName,
    /// Where faults and lines go.
    pub(crate) journal: Arc<Journal>,
    pub(crate) linked: Arc<LinkedComponent>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) memory_bytes_max: usize,
    /// The namespace's share of the host's instances.
    pub(crate) tenant_slots: Arc<Gate>,
    /// Exports that a plugin was granted to call.
    pub(crate) granted_exports: Vec<InterfaceName>,
    pub(crate) long_runs: LongRuns,
    pub(crate) max_invocations: Option<NonZeroU32>,
    /// Processor time of one call, in milliseconds.
    pub(crate) cpu_limit_ms: Option<NonZeroU32>,
    /// Where its requests may go; `None`: nowhere.
    pub(crate) egress: Option<Arc<ComponentEgress>>,
    pub(crate) bound: Vec<(TypeId, BoundState)>,
}

impl ComponentPlan {
    /// A plugin's state for this component.
    pub(crate) fn bound<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let wanted = TypeId::of::<T>();
        let (_, state) = self.bound.iter().find(|(id, _)| *id == wanted)?;
        state.clone().downcast().ok()
    }

    /// What a call may take of the processor; `None` where nothing bounds it.
    pub(crate) fn cpu_budget(&self) -> Option<Arc<CpuBudget>> {
        self.cpu_limit_ms.map(|limit_ms| Arc::new(CpuBudget::new(limit_ms)))
    }
}
