//! Calls into pooled instances, and how a pool is kept full: what is given up is replaced before it is missed.

use std::{sync::Arc, time::Duration};

use roadstead_metrics::Held;
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::Instant};
use wasmtime::{Store, component::Instance};

use super::{ComponentHandle, GuestFuture, note_failure};
use crate::{
    Call, CallError, CallSpan, InstanceState, call_span,
    instance::LiveStore,
    pool::{Place, Pool, PooledInstance},
};

impl ComponentHandle {
    pub(super) async fn call_pooled<T, F>(
        self: &Arc<Self>,
        pool: &Pool,
        admit_by: Instant,
        call: Call,
        work: F,
    ) -> Result<T, CallError>
    where
        F: for<'a> FnOnce(&'a mut Store<InstanceState>, &'a Instance) -> GuestFuture<'a, T>,
    {
        let waits = CallSpan::below(&call.trace, || call_span!("wait for instance", "internal"));
        let entered = pool.enter(&call, admit_by).await;
        note_failure(&waits, &entered);
        drop(waits);
        let Place { warm, permit } = entered?;
        let mut busy = Busy::new(self, pool, permit);
        let warm = warm.filter(|instance| {
            let lost = instance.live.store.data().backend().is_lost();
            if lost {
                pool.metrics().instance_retired("backend");
            }
            !lost
        });
        let mut instance = match warm {
            Some(instance) => instance,
            None => self.instantiate_pooled(call.clone()).await?,
        };
        busy.lost = Some("cancelled");
        instance.live.store.data_mut().begin_call(call.clone());
        let result = self.run(&mut instance, &call, work).await;
        instance.calls = instance.calls.saturating_add(1);
        let used_up = self.plan.max_invocations.is_some_and(|max| instance.calls >= max.get());
        busy.lost = match &result {
            Err(CallError::Deadline) => Some("deadline"),
            Err(_) => Some("fault"),
            Ok(_) if instance.live.store.data().backend().is_lost() => Some("backend"),
            Ok(_) if used_up => Some("max-invocations"),
            Ok(_) => None,
        };
        match busy.lost {
            // Its place among the host's instances is free before another takes it.
            Some(_) => drop(instance),
            None => pool.put_back(instance),
        }
        result
    }

    /// Makes an instance that goes to the pool: its start is no call's, and has the time that `call` has.
    async fn instantiate_pooled(&self, call: Call) -> Result<PooledInstance, CallError> {
        let mut live = LiveStore::new(&self.shared, &self.plan, &self.metrics, call)?;
        live.store.data_mut().cpu = None;
        let instance = self.instantiate(live).await?;
        self.metrics.created_pooled();
        Ok(instance)
    }

    /// Makes the first instance of the pool, so that a component that cannot start is found out at deployment.
    pub(crate) async fn warm(&self, call: Call) -> Result<(), CallError> {
        if let Some(pool) = &self.pool {
            pool.put_back(self.instantiate_pooled(call).await?);
        }
        Ok(())
    }

    /// Begins to make the other instances of the pool, as many as there is room for: half of what the tenant and the
    /// host may have is left to those who need an instance now.
    pub(crate) fn fill(self: &Arc<Self>) {
        let missing = |component: &Self| {
            let pool = component.pool.as_ref()?;
            let room = [&component.plan.tenant_slots, &component.shared.instance_slots];
            if room.iter().any(|slots| slots.is_half_full()) {
                return None;
            }
            pool.vacancy()
        };
        let Some(mut permit) = missing(self) else { return };
        let component = self.clone();
        self.in_background(async move {
            while component.add(permit).await {
                permit = match missing(&component) {
                    Some(permit) => permit,
                    None => return,
                };
            }
        });
    }

    /// Makes an instance in the place that `permit` keeps. Where that fails, the next call tries again and is told why.
    async fn add(&self, permit: OwnedSemaphorePermit) -> bool {
        let Some(pool) = &self.pool else { return false };
        let within = Duration::from_millis(self.shared.limits.start_timeout_ms);
        let made = self.instantiate_pooled(Call::new(within)).await;
        let made = made.map(|instance| pool.put_back(instance));
        drop(permit);
        if let Err(error) = &made {
            let workload = self.workload();
            tracing::debug!(namespace = %workload.namespace, workload = %workload.name, component = %self.name(), %error,
                "no instance was made in advance");
        }
        made.is_ok()
    }

    fn in_background(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(threads) = Handle::try_current() else { return };
        let work = self.in_lane(work);
        threads.spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(%error, "an instance was not made in advance");
            }
        });
    }
}

/// A place in the pool with a call in it.
struct Busy<'a> {
    component: &'a Arc<ComponentHandle>,
    pool: &'a Pool,
    permit: Option<OwnedSemaphorePermit>,
    /// Why the place has lost its instance, if it has. A call that is dropped has lost it.
    lost: Option<&'static str>,
    _counted: Held,
}

impl<'a> Busy<'a> {
    fn new(component: &'a Arc<ComponentHandle>, pool: &'a Pool, permit: OwnedSemaphorePermit) -> Self {
        let counted = pool.metrics().busy.hold(1);
        Self { component, pool, permit: Some(permit), lost: None, _counted: counted }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Some(reason) = self.lost else { return };
        self.pool.metrics().instance_retired(reason);
        let Some(permit) = self.permit.take().filter(|_| !self.pool.is_closed()) else { return };
        let component = self.component.clone();
        self.component.in_background(async move {
            let _ = component.add(permit).await;
        });
    }
}
