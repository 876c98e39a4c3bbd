//! Warm instances of one component: one call at a time each, waiting bounded, faults thrown away.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use roadstead_metrics::Held;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use wasmtime::component::Instance;

use crate::{Call, CallError, instance::LiveStore, metrics::PoolMetrics};

/// An instance between two calls, or in one.
pub(crate) struct PooledInstance {
    pub(crate) live: LiveStore,
    pub(crate) instance: Instance,
    pub(crate) calls: u32,
}

/// The bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolBounds {
    pub(crate) size: NonZeroUsize,
    pub(crate) waiting_max: u64,
    pub(crate) admission_wait: Duration,
}

pub(crate) struct Pool {
    bounds: PoolBounds,
    /// First come, first served.
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    waiting: AtomicU64,
    metrics: PoolMetrics,
    _counted: Held,
}

/// An instance that has no call, counted for as long as it has none.
struct Idle {
    instance: PooledInstance,
    _counted: Held,
}

/// A place in the pool, with a warm instance when there was one.
pub(crate) struct Place {
    pub(crate) warm: Option<PooledInstance>,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(crate) fn new(bounds: PoolBounds, metrics: PoolMetrics) -> Self {
        let counted = metrics.size.hold(i64::try_from(bounds.size.get()).unwrap_or(i64::MAX));
        Self {
            bounds,
            places: Arc::new(Semaphore::new(bounds.size.get())),
            idle: Mutex::new(Vec::new()),
            waiting: AtomicU64::new(0),
            metrics,
            _counted: counted,
        }
    }

    pub(crate) fn metrics(&self) -> &PoolMetrics {
        &self.metrics
    }

    pub(crate) fn bounds(&self) -> PoolBounds {
        self.bounds
    }

    /// Instances with a call.
    pub(crate) fn busy(&self) -> usize {
        self.bounds.size.get().saturating_sub(self.places.available_permits())
    }

    /// Warm instances without a call.
    pub(crate) fn idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a place: within the call's deadline and until `admit_by`, behind a bounded number of others.
    pub(crate) async fn enter(&self, call: &Call, admit_by: Instant) -> Result<Place, CallError> {
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => {
                self.metrics.wait.observe(0.0);
                permit
            }
            Err(_) => self.wait(call, admit_by).await?,
        };
        let warm = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Place { warm: warm.map(|idle| idle.instance), permit })
    }

    /// A place without an instance that nobody has asked for, so that one can be made there in advance.
    pub(crate) fn vacancy(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        (self.idle() + self.busy() <= self.bounds.size.get()).then_some(permit)
    }

    async fn wait(&self, call: &Call, admit_by: Instant) -> Result<OwnedSemaphorePermit, CallError> {
        let _waiting = Waiting::join(self)?;
        let begun = Instant::now();
        let until = call.deadline.min(admit_by);
        let entered = tokio::time::timeout_at(until, self.places.clone().acquire_owned()).await;
        let waited = begun.elapsed();
        self.metrics.wait.observe(waited.as_secs_f64());
        match entered {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(CallError::NotRunning),
            Err(_) if Instant::now() >= call.deadline => Err(CallError::Deadline),
            Err(_) => Err(CallError::AdmissionTimeout { waited }),
        }
    }

    /// Keeps an instance for the next call.
    pub(crate) fn put_back(&self, instance: PooledInstance) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.bounds.size.get() && !self.places.is_closed() {
            idle.push(Idle { instance, _counted: self.metrics.idle.hold(1) });
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    /// Lets nobody in any more and drops the idle instances.
    pub(crate) fn close(&self) {
        self.places.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Counts one waiting call for as long as it waits.
struct Waiting<'a> {
    pool: &'a Pool,
    _counted: Held,
}

impl<'a> Waiting<'a> {
    fn join(pool: &'a Pool) -> Result<Self, CallError> {
        let max = pool.bounds.waiting_max;
        pool.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| (waiting < max).then_some(waiting + 1))
            .map_err(|_| CallError::WorkloadBusy { bound: "pool_waiting_max", limit: max })?;
        Ok(Self { pool, _counted: pool.metrics.waiting.hold(1) })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use roadstead_metrics::Metrics;

    use super::*;
    use crate::{WorkloadId, metrics::RuntimeMetrics};

    #[tokio::test]
    async fn calls_wait_behind_a_bounded_number_of_others_and_for_a_bounded_time() {
        let workload = WorkloadId { namespace: "team".parse().unwrap(), name: "app".parse().unwrap() };
        let metrics = RuntimeMetrics::new(&Metrics::default()).unwrap().for_pool(&workload, &"app".parse().unwrap());
        let (soon, long) = (Duration::from_millis(30), Duration::from_secs(60));
        let pool = Pool::new(PoolBounds { size: NonZeroUsize::MIN, waiting_max: 1, admission_wait: long }, metrics);
        let call = Call::new(long);
        let late = Instant::now() + long;

        let held = pool.enter(&call, late).await.unwrap();
        {
            let mut waiting = pin!(pool.enter(&call, late));
            assert!(poll!(waiting.as_mut()).is_pending());
            let refused = pool.enter(&call, late).await.err();
            assert!(matches!(refused, Some(CallError::WorkloadBusy { limit: 1, .. })), "{refused:?}");
            drop(held);
            waiting.await.unwrap();
        }
        let _held = pool.enter(&call, late).await.unwrap();
        let waited = pool.enter(&call, Instant::now() + soon).await.err();
        assert!(matches!(waited, Some(CallError::AdmissionTimeout { .. })), "{waited:?}");
        let waited = pool.enter(&Call::new(soon), late).await.err();
        assert!(matches!(waited, Some(CallError::Deadline)), "{waited:?}");
        // Each gave up its place among those who wait.
        assert_eq!((pool.waiting(), pool.metrics.waiting.get()), (0, 0));
    }
}
