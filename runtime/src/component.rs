//! A running component: how a call gets an instance, fresh or pooled, and what becomes of the instance afterwards.

mod pooled;

use std::sync::Arc;

use futures::future::BoxFuture;
use roadstead_config::{InterfaceName, ResourceName};
use tokio::time::Instant;
use wasmtime::{
    Store,
    component::{Instance, InstancePre},
};

use crate::{
    Call, CallError, CallSpan, InstanceState, TraceContext, TraceId, WorkloadId, call_span,
    gate::{Entered, Gate},
    instance::{HostShared, LiveStore, guarded},
    lanes::{Entrance, InLane},
    metrics::{ComponentMetrics, PoolMetrics},
    plan::ComponentPlan,
    plugin::BoundState,
    pool::{Pool, PoolBounds, PooledInstance},
};

/// One component of a running workload, for plugins that call it.
pub struct ComponentHandle {
    pub(crate) plan: Arc<ComponentPlan>,
    pub(crate) shared: Arc<HostShared>,
    pub(crate) metrics: Arc<ComponentMetrics>,
    fresh_places: Arc<Gate>,
    pool: Option<Pool>,
    background: Arc<Entrance>,
}

/// The future of a call into a guest, as [`ComponentHandle::call`] takes it.
pub type GuestFuture<'a, T> = BoxFuture<'a, wasmtime::Result<T>>;

/// The figures of a pool at one moment.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct PoolStatus {
    pub size: usize,
    pub busy: usize,
    pub idle: usize,
    pub waiting: u64,
}

impl ComponentHandle {
    pub(crate) fn new(
        plan: Arc<ComponentPlan>,
        shared: Arc<HostShared>,
        metrics: ComponentMetrics,
        pool: Option<(PoolBounds, PoolMetrics)>,
    ) -> Self {
        Self {
            fresh_places: Gate::new(shared.limits.workload_instances_max),
            background: shared.background.entrance(&plan.workload.namespace),
            plan,
            shared,
            metrics: Arc::new(metrics),
            pool: pool.map(|(bounds, metrics)| Pool::new(bounds, metrics)),
        }
    }

    /// The workload that the component belongs to.
    pub fn workload(&self) -> &WorkloadId {
        &self.plan.workload
    }

    /// What all replicas of the workload on all hosts have in common as their name.
    pub fn deployment(&self) -> &ResourceName {
        &self.plan.deployment
    }

    /// The component's name in its workload.
    pub fn name(&self) -> &ResourceName {
        &self.plan.name
    }

    /// The exports that the workload declares and a plugin may call.
    pub fn granted_exports(&self) -> &[InterfaceName] {
        &self.plan.granted_exports
    }

    /// The linked component, from which a plugin takes the indices of its exports once.
    pub fn instance_pre(&self) -> &InstancePre<InstanceState> {
        &self.plan.linked.pre
    }

    /// Whether an instance of the component may lose what plugins put behind it.
    pub fn can_be_lost(&self) -> bool {
        self.plan.linked.can_be_lost
    }

    /// What the plugin prepared when the component was bound.
    pub fn bound<T: std::any::Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.plan.bound::<T>()
    }

    /// The figures of the component's pool; `None` when it has none.
    pub fn pool_status(&self) -> Option<PoolStatus> {
        self.pool.as_ref().map(|pool| PoolStatus {
            size: pool.bounds().size.get(),
            busy: pool.busy(),
            idle: pool.idle(),
            waiting: pool.waiting(),
        })
    }

    /// Calls into an instance: a pooled one where the component has a pool, else a fresh one.
    ///
    /// `work` gets the store and the instance. The future may be dropped at any time: the instance goes with it.
    ///
    /// # Errors
    /// When no instance is to be had in time, the guest fails, or the call's deadline passes.
    pub async fn call<T, F>(self: &Arc<Self>, call: Call, work: F) -> Result<T, CallError>
    where
        T: Send,
        F: for<'a> FnOnce(&'a mut Store<InstanceState>, &'a Instance) -> GuestFuture<'a, T> + Send,
    {
        let admit_by = self.pool.as_ref().and_then(|pool| Instant::now().checked_add(pool.bounds().admission_wait));
        self.call_admitted_by(admit_by.unwrap_or(call.deadline), call, work).await
    }

    /// The same, where the wait for a pooled instance ends at `admit_by` instead of after the host's own
    /// `admission_wait_ms`.
    ///
    /// # Errors
    /// As for [`ComponentHandle::call`].
    pub async fn call_admitted_by<T, F>(
        self: &Arc<Self>,
        admit_by: Instant,
        call: Call,
        work: F,
    ) -> Result<T, CallError>
    where
        T: Send,
        F: for<'a> FnOnce(&'a mut Store<InstanceState>, &'a Instance) -> GuestFuture<'a, T> + Send,
    {
        let watch = self.watch(&call);
        let (span, call) = self.call_span(&call, if self.pool.is_some() { "pooled" } else { "fresh" });
        let result = match &self.pool {
            Some(pool) => self.call_pooled(pool, admit_by, call, work).await,
            None => self.call_fresh(call, work).await,
        };
        note_failure(&span, &result);
        watch.end(&result);
        result
    }

    /// Begins to look after a call that must end by its deadline.
    pub(crate) fn watch(&self, call: &Call) -> CallWatch<'_> {
        CallWatch { component: self, deadline: call.deadline, trace: call.trace.trace_id(), ended: false }
    }

    /// Runs a task that calls into the component where it disturbs nobody: where its caller is, and in the background
    /// once a call keeps its thread for long.
    pub fn in_lane<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> InLane<T> {
        InLane::new(&self.background, &self.plan.long_runs, task)
    }

    /// The span of a call into the component, and the call below it.
    pub(crate) fn call_span(&self, call: &Call, instance: &'static str) -> (CallSpan, Call) {
        let span = CallSpan::bounding(&call.trace, self.shared.limits.call_spans_max, || {
            let workload = self.workload();
            call_span!(
                format!("call {}", self.name()),
                "internal",
                roadstead.namespace = %workload.namespace,
                roadstead.workload = %workload.name,
                roadstead.component = %self.name(),
                roadstead.instance = instance,
                roadstead.spans_left_out = tracing::field::Empty,
            )
        });
        let call = Call { deadline: call.deadline, trace: span.context().clone() };
        (span, call)
    }

    async fn call_fresh<T, F>(&self, call: Call, work: F) -> Result<T, CallError>
    where
        F: for<'a> FnOnce(&'a mut Store<InstanceState>, &'a Instance) -> GuestFuture<'a, T>,
    {
        let _place = self.enter_fresh()?;
        let live = LiveStore::new(&self.shared, &self.plan, &self.metrics, call.clone())?;
        let mut instance = self.instantiate(live).await?;
        self.metrics.created_fresh();
        self.run(&mut instance, &call, work).await
    }

    /// A place among the component's fresh instances, kept as long as the instance lives.
    pub(crate) fn enter_fresh(&self) -> Result<Entered, CallError> {
        let limit = self.shared.limits.workload_instances_max;
        self.fresh_places.enter(1).ok_or(CallError::WorkloadBusy { bound: "workload_instances_max", limit })
    }

    async fn run<T, F>(&self, instance: &mut PooledInstance, call: &Call, work: F) -> Result<T, CallError>
    where
        F: for<'a> FnOnce(&'a mut Store<InstanceState>, &'a Instance) -> GuestFuture<'a, T>,
    {
        let timer = self.metrics.begin_call(call.deadline);
        let ended = guarded(instance.live.bounds(), work(&mut instance.live.store, &instance.instance)).await;
        let result = instance.live.settle(ended);
        instance.live.store.data_mut().end_call();
        instance.live.note_memory();
        timer.end(&result);
        result
    }

    async fn instantiate(&self, mut live: LiveStore) -> Result<PooledInstance, CallError> {
        let _span = start_span(&live.store.data().call().trace);
        let begun = Instant::now();
        let ended = guarded(live.bounds(), self.plan.linked.pre.instantiate_async(&mut live.store)).await;
        self.metrics.start.observe(begun.elapsed().as_secs_f64());
        let instance = live.settle(ended)?;
        Ok(PooledInstance { live, instance, calls: 0 })
    }

    /// Takes no further call into the pool and gives up its idle instances.
    pub(crate) fn close(&self) {
        if let Some(pool) = &self.pool {
            pool.close();
        }
    }
}

/// Notes how a call failed. Dropped before its end, the call was given up: by its caller, or because its time was over.
pub(crate) struct CallWatch<'a> {
    component: &'a ComponentHandle,
    deadline: Instant,
    trace: TraceId,
    ended: bool,
}

impl CallWatch<'_> {
    /// The call is over.
    pub(crate) fn end<T>(mut self, result: &Result<T, CallError>) {
        self.ended = true;
        if let Err(error) = result {
            self.note(error);
        }
    }

    fn note(&self, error: &CallError) {
        self.component.plan.journal.failed(self.component.name(), error, self.trace);
    }
}

impl Drop for CallWatch<'_> {
    fn drop(&mut self) {
        if !self.ended && Instant::now() >= self.deadline {
            self.note(&CallError::Deadline);
        }
    }
}

/// A plugin's state as a plan keeps it.
pub(crate) fn bound_entry(state: BoundState) -> (std::any::TypeId, BoundState) {
    ((*state).type_id(), state)
}

/// The span of an instance's start.
pub(crate) fn start_span(parent: &TraceContext) -> CallSpan {
    CallSpan::below(parent, || call_span!("start instance", "internal"))
}

/// Tells a call's span how the call failed.
pub(crate) fn note_failure<T>(span: &CallSpan, result: &Result<T, CallError>) {
    if let Err(error) = result {
        span.fail(error.kind(), || error.to_string());
    }
}
