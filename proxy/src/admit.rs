//! How many requests a trigger, and all triggers of a namespace together, may have: in a second, and at a time, with a
//! queue for those beyond where there is one. Counted before a workload is asked for anything. It knows no HTTP message,
//! and a route without limits has nothing of this.

mod rate;

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use roadstead_config::{
    Limits, Namespace,
    manifest::{RequestLimits, RequestQueue, RequestRate},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use rate::Rate;

/// What a request has to pass on its way to a workload.
pub(crate) struct Admission {
    trigger: Option<Arc<Share>>,
    tenant: Option<Arc<Share>>,
}

/// A request that was let in; it counts as one until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _places: [Option<OwnedSemaphorePermit>; 2],
}

/// What becomes of a request that is not refused at once.
pub(crate) enum Entry<'a> {
    Admitted(Admitted),
    /// It waits for its turn; dropping this leaves the queue.
    Waits(BoxFuture<'a, Result<Admitted, OverLimit>>),
}

/// Whose limit does not let a request in, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverLimit {
    pub(crate) whose: Whose,
    pub(crate) excess: Excess,
}

/// Whom a limit is set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The trigger: its `spec.limits`.
    Trigger,
    /// All triggers of its namespace: the limits `tenant_requests_*`.
    Tenant,
}

/// Of what there would be too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Requests a second, for as long.
    Rate(Duration),
    /// Requests at a time, and, where there is a queue, requests in it.
    Concurrency,
    /// Time in the queue.
    Wait,
}

impl Admission {
    /// `None` where nothing is bounded.
    pub(crate) fn new(trigger: Option<Arc<Share>>, tenant: Option<Arc<Share>>) -> Option<Self> {
        (trigger.is_some() || tenant.is_some()).then_some(Self { trigger, tenant })
    }

    /// Lets a request in, now or when its turn in the queue comes, or says which limit does not. What has no place at
    /// once is not counted on a rate, and what a trigger's own limits refuse not on the tenant's.
    pub(crate) fn enter(&self) -> Result<Entry<'_>, OverLimit> {
        let mut entering = self.pass().boxed();
        match (&mut entering).now_or_never() {
            Some(entered) => entered.map(Entry::Admitted),
            None => Ok(Entry::Waits(entering)),
        }
    }

    async fn pass(&self) -> Result<Admitted, OverLimit> {
        let trigger = enter(&self.trigger, Whose::Trigger).await?;
        let tenant = enter(&self.tenant, Whose::Tenant).await?;
        Ok(Admitted { _places: [trigger, tenant] })
    }
}

async fn enter(share: &Option<Arc<Share>>, whose: Whose) -> Result<Option<OwnedSemaphorePermit>, OverLimit> {
    let Some(share) = share else { return Ok(None) };
    share.enter().await.map_err(|excess| OverLimit { whose, excess })
}

/// What one trigger, or one tenant, has of requests.
#[derive(Debug)]
pub(crate) struct Share {
    limits: RequestLimits,
    rate: Option<Rate>,
    places: Option<Places>,
}

impl Share {
    /// `None` where the limits are none.
    pub(crate) fn new(limits: RequestLimits) -> Option<Arc<Self>> {
        let RequestLimits { rate, concurrent, queue, .. } = limits;
        let places = concurrent.map(|max| Places::new(max, queue));
        let share = || Arc::new(Self { limits, rate: rate.map(Rate::new), places });
        (limits != RequestLimits::default()).then(share)
    }

    pub(crate) fn limits(&self) -> RequestLimits {
        self.limits
    }

    async fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Excess> {
        // In this order, so that what has no place does not use the rate up, and what is too much does not wait.
        let seat = self.places.as_ref().map(Places::seat).transpose()?;
        self.rate.as_ref().map_or(Ok(()), Rate::take).map_err(Excess::Rate)?;
        match seat {
            None => Ok(None),
            Some(seat) => seat.place().await.map(Some),
        }
    }
}

/// Requests at a time, and the queue before them. First come, first served.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    queue: Option<RequestQueue>,
    waiting: AtomicU32,
}

/// A place, or a turn in the queue for one.
enum Seat<'a> {
    Place(OwnedSemaphorePermit),
    Turn(Turn<'a>),
}

/// A request in the queue.
struct Turn<'a> {
    places: &'a Places,
    wait: Duration,
}

impl Places {
    fn new(max: NonZeroU32, queue: Option<RequestQueue>) -> Self {
        let max = usize::try_from(max.get()).map_or(Semaphore::MAX_PERMITS, |max| max.min(Semaphore::MAX_PERMITS));
        Self { free: Arc::new(Semaphore::new(max)), queue, waiting: AtomicU32::new(0) }
    }

    fn seat(&self) -> Result<Seat<'_>, Excess> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Ok(Seat::Place(place));
        }
        let queue = self.queue.ok_or(Excess::Concurrency)?;
        let more = |waiting: u32| (waiting < queue.requests.get()).then_some(waiting + 1);
        let queued = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more);
        queued.map_err(|_| Excess::Concurrency)?;
        Ok(Seat::Turn(Turn { places: self, wait: queue.wait }))
    }
}

impl Seat<'_> {
    async fn place(self) -> Result<OwnedSemaphorePermit, Excess> {
        match self {
            Self::Place(place) => Ok(place),
            Self::Turn(turn) => match timeout(turn.wait, turn.places.free.clone().acquire_owned()).await {
                Ok(Ok(place)) => Ok(place),
                // Nobody closes it.
                Ok(Err(_)) => Err(Excess::Concurrency),
                Err(_) => Err(Excess::Wait),
            },
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.places.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The shares of the namespaces that have routes.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    limits: RequestLimits,
    shares: Mutex<Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    by_namespace: BTreeMap<Namespace, Weak<Share>>,
    /// At so many entries those are let go that nobody has any more: at most every other one is such, and no binding
    /// costs more the more namespaces there are.
    sweep_at: usize,
}

impl Tenants {
    /// Shares of the size that the operator gives each namespace.
    pub(crate) fn new(limits: &Limits) -> Self {
        let given = |limit: u64| NonZeroU32::new(u32::try_from(limit).unwrap_or(u32::MAX));
        let rate = given(limits.tenant_requests_per_second_max).map(|per_second| {
            let burst = given(limits.tenant_requests_burst_max).unwrap_or(per_second);
            RequestRate { per_second, burst }
        });
        let wait = Duration::from_millis(limits.tenant_requests_wait_ms);
        let queue = given(limits.tenant_requests_waiting_max).map(|requests| RequestQueue { requests, wait });
        let limits = RequestLimits { rate, concurrent: given(limits.tenant_requests_max), queue, body_bytes: None };
        Self { limits, shares: Mutex::default() }
    }

    /// The share of a namespace, one for all its triggers as long as it has one.
    pub(crate) fn of(&self, namespace: &Namespace) -> Option<Arc<Share>> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.by_namespace.get(namespace).and_then(Weak::upgrade) {
            return Some(share);
        }
        let share = Share::new(self.limits)?;
        if shares.by_namespace.len() >= shares.sweep_at {
            shares.by_namespace.retain(|_, share| share.strong_count() > 0);
            shares.sweep_at = 2 * shares.by_namespace.len() + 1;
        }
        shares.by_namespace.insert(namespace.clone(), Arc::downgrade(&share));
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RequestRate = RequestRate { per_second: NonZeroU32::MIN, burst: NonZeroU32::MIN };
    const QUEUE: RequestQueue = RequestQueue { requests: NonZeroU32::MIN, wait: Duration::from_secs(5) };

    fn admission(concurrent: u32, queue: Option<RequestQueue>, rate: Option<RequestRate>) -> Admission {
        let limits = RequestLimits { rate, concurrent: NonZeroU32::new(concurrent), queue, ..RequestLimits::default() };
        Admission::new(Share::new(limits), None).unwrap()
    }

    fn over(excess: Excess) -> OverLimit {
        OverLimit { whose: Whose::Trigger, excess }
    }

    /// What becomes of a request that does not have to wait.
    fn at_once(admission: &Admission) -> Result<Admitted, OverLimit> {
        match admission.enter()? {
            Entry::Admitted(admitted) => Ok(admitted),
            Entry::Waits(_) => panic!("it waits"),
        }
    }

    fn waits(admission: &Admission) -> BoxFuture<'_, Result<Admitted, OverLimit>> {
        match admission.enter() {
            Ok(Entry::Waits(turn)) => turn,
            Ok(Entry::Admitted(_)) => panic!("it does not wait"),
            Err(over) => panic!("{over:?}"),
        }
    }

    #[test]
    fn a_place_comes_back() {
        let admission = admission(2, None, None);
        let (one, two) = (at_once(&admission).unwrap(), at_once(&admission).unwrap());
        assert_eq!(at_once(&admission).unwrap_err(), over(Excess::Concurrency));
        drop(one);
        let three = at_once(&admission).unwrap();
        assert_eq!(at_once(&admission).unwrap_err(), over(Excess::Concurrency));
        drop((two, three));
    }

    #[test]
    fn what_has_no_place_does_not_use_the_rate_up() {
        let burst = RequestRate { burst: NonZeroU32::new(2).unwrap(), ..RATE };
        let admission = admission(1, None, Some(burst));
        let first = at_once(&admission).unwrap();
        assert!((0..10).all(|_| at_once(&admission).unwrap_err() == over(Excess::Concurrency)));
        drop(first);
        drop(at_once(&admission).unwrap());
        assert!(matches!(at_once(&admission).unwrap_err().excess, Excess::Rate(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_beyond_the_rate_does_not_wait() {
        let admission = admission(1, Some(QUEUE), Some(RATE));
        let first = at_once(&admission).unwrap();
        assert!(matches!(at_once(&admission).unwrap_err().excess, Excess::Rate(_)));
        tokio::time::advance(Duration::from_secs(1)).await;
        // The one that was refused is not in the queue.
        let turn = waits(&admission);
        drop(first);
        turn.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_first_in_first_out_and_bounded_in_number_and_time() {
        let queue = RequestQueue { requests: NonZeroU32::new(2).unwrap(), ..QUEUE };
        let admission = admission(1, Some(queue), None);
        let held = at_once(&admission).unwrap();
        let first = waits(&admission);
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = waits(&admission);
        assert_eq!(at_once(&admission).unwrap_err(), over(Excess::Concurrency));

        drop(held);
        // The place is the first one's; who comes now does not overtake.
        assert_eq!(at_once(&admission).unwrap_err(), over(Excess::Concurrency));
        let held = first.await.unwrap();
        assert_eq!(second.await.unwrap_err(), over(Excess::Wait));
        drop(held);
        drop(at_once(&admission).unwrap());
    }

    #[tokio::test]
    async fn who_leaves_the_queue_makes_room_in_it() {
        let admission = admission(1, Some(QUEUE), None);
        let held = at_once(&admission).unwrap();
        for _ in 0..3 {
            drop(waits(&admission));
        }
        drop(held);
        drop(at_once(&admission).unwrap());
    }

    #[tokio::test]
    async fn a_tenant_has_one_share_for_all_its_triggers() {
        let limits = Limits {
            tenant_requests_max: 1,
            tenant_requests_per_second_max: 3,
            tenant_requests_burst_max: 3,
            tenant_requests_waiting_max: 1,
            tenant_requests_wait_ms: 50,
            ..Limits::default()
        };
        let tenants = Tenants::new(&limits);
        let of = |namespace: &str| Admission::new(None, tenants.of(&namespace.parse().unwrap())).unwrap();
        let over = |excess| OverLimit { whose: Whose::Tenant, excess };
        let (first, second, other) = (of("a"), of("a"), of("b"));
        let under_way = at_once(&first).unwrap();
        let turn = waits(&second);
        assert_eq!(at_once(&first).unwrap_err(), over(Excess::Concurrency));
        assert_eq!(turn.await.unwrap_err(), over(Excess::Wait));
        drop(under_way);
        drop(at_once(&second).unwrap());
        assert!(matches!(at_once(&first).unwrap_err().excess, Excess::Rate(_)));
        drop(at_once(&other).unwrap());
        assert!(Admission::new(None, Tenants::new(&Limits::default()).of(&"a".parse().unwrap())).is_none());
    }

    #[test]
    fn shares_that_nobody_has_are_let_go() {
        let tenants = Tenants::new(&Limits { tenant_requests_max: 1, ..Limits::default() });
        let of = |number: usize| tenants.of(&format!("team-{number}").parse().unwrap());
        let kept: Vec<_> = (0..10).map(of).collect();
        (10..1000).for_each(|number| drop(of(number)));
        let entries = tenants.shares.lock().unwrap().by_namespace.len();
        assert!(entries <= 2 * kept.len() + 1, "{entries}");
        assert!(Arc::ptr_eq(kept[0].as_ref().unwrap(), &of(0).unwrap()));
    }
}
