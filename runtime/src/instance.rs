//! One store with its bounds, and a call into it that always ends: by result, trap, deadline or panic.

use std::{future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc, task::Poll};

use futures::FutureExt;
use roadstead_config::Limits;
use tokio::time::Instant;
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};

use crate::{
    Call, CallError, FaultKind, InstanceState,
    cpu::CpuBudget,
    fault::{DeadlinePassed, classify, detail, panic_text},
    gate::{Entered, Gate},
    lanes::BackgroundLane,
    metrics::ComponentMetrics,
    plan::ComponentPlan,
};

/// Ticks of the epoch clock between two looks at a running guest.
const TICKS_BETWEEN_YIELDS: u64 = 1;

/// What all components of a host share.
pub(crate) struct HostShared {
    pub(crate) engine: Engine,
    pub(crate) limits: Arc<Limits>,
    /// One place for each slot of an instance that the host may hold (`instances_max`).
    pub(crate) instance_slots: Arc<Gate>,
    pub(crate) background: BackgroundLane,
}

/// A store that counts as an instance of the host until it is dropped.
pub(crate) struct LiveStore {
    pub(crate) store: Store<InstanceState>,
    _slots: [Entered; 2],
    alive: Arc<ComponentMetrics>,
}

impl Drop for LiveStore {
    fn drop(&mut self) {
        self.note_memory();
        self.alive.instances.dec();
    }
}

impl LiveStore {
    /// Makes a store for `call`; refused when the tenant or the host is full.
    pub(crate) fn new(
        shared: &HostShared,
        plan: &Arc<ComponentPlan>,
        metrics: &Arc<ComponentMetrics>,
        call: Call,
    ) -> Result<Self, CallError> {
        let limits = &shared.limits;
        let slots = plan.linked.slots;
        let tenant_slot =
            plan.tenant_slots.enter(slots).ok_or(CallError::TenantBusy { limit: limits.tenant_instances_max })?;
        let slot = shared
            .instance_slots
            .enter(slots)
            .ok_or(CallError::HostBusy { bound: "instances_max", limit: limits.instances_max })?;
        let state = InstanceState::new(plan.clone(), limits, call);
        let mut store = Store::try_new(&shared.engine, state)
            .map_err(|error| CallError::fault(FaultKind::Instantiation, detail(&error)))?;
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.hostcall_bytes_max).unwrap_or(usize::MAX));
        store.set_max_component_handles(usize::try_from(limits.component_handles_max).unwrap_or(usize::MAX));
        store.epoch_deadline_callback(on_tick);
        store.set_epoch_deadline(TICKS_BETWEEN_YIELDS);
        metrics.instances.inc();
        Ok(Self { store, _slots: [tenant_slot, slot], alive: metrics.clone() })
    }

    /// Tells the metrics how much memory the instance has had so far.
    pub(crate) fn note_memory(&self) {
        let bytes = self.store.data().limiter.used_bytes();
        self.alive.memory_peak.raise_to(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// What guards work on this store.
    pub(crate) fn bounds(&self) -> Bounds {
        let state = self.store.data();
        Bounds { deadline: state.call().deadline, cpu: state.cpu.clone() }
    }

    /// Reads how a guarded piece of work on this store ended.
    pub(crate) fn settle<T>(&self, ended: Result<T, Ended>) -> Result<T, CallError> {
        ended.map_err(|ended| match ended {
            Ended::Deadline => CallError::Deadline,
            Ended::Panic(text) => CallError::fault(FaultKind::HostPanic, text),
            Ended::Error(error) => classify(&error, self.store.data().limiter.refused()),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the engine hands it over by value")]
/// At each tick a running guest lets others run, and ends when its call's time is up, by the clock or by its budget.
fn on_tick(store: StoreContextMut<'_, InstanceState>) -> wasmtime::Result<UpdateDeadline> {
    if Instant::now() >= store.data().call().deadline {
        return Err(DeadlinePassed.into());
    }
    store.data().cpu.as_deref().map_or(Ok(()), CpuBudget::look)?;
    store.data().note_tick();
    Ok(UpdateDeadline::YieldCustom(TICKS_BETWEEN_YIELDS, Box::pin(tokio::task::yield_now())))
}

/// Why guarded work gave no result.
pub(crate) enum Ended {
    Deadline,
    Panic(String),
    Error(wasmtime::Error),
}

/// How long guest work may go on.
pub(crate) struct Bounds {
    deadline: Instant,
    /// `None` where processor time has no limit.
    cpu: Option<Arc<CpuBudget>>,
}

/// Runs guest work within its bounds. A panic of a host function ends the work, not the host.
pub(crate) async fn guarded<T>(bounds: Bounds, work: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Ended> {
    let Bounds { deadline, cpu } = bounds;
    let mut work = pin!(work);
    let metered = poll_fn(|cx| match &cpu {
        None => work.as_mut().poll(cx),
        Some(cpu) => cpu.metered(|| work.as_mut().poll(cx)).unwrap_or_else(|over| Poll::Ready(Err(over.into()))),
    });
    let caught = AssertUnwindSafe(metered).catch_unwind();
    match tokio::time::timeout_at(deadline, caught).await {
        Err(_) => Err(Ended::Deadline),
        Ok(Err(panic)) => Err(Ended::Panic(panic_text(&*panic))),
        Ok(Ok(result)) => result.map_err(Ended::Error),
    }
}
