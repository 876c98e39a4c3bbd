//! How many requests a trigger, and all triggers of a namespace together, may have: in a second, and at a time. Counted
//! before a workload is asked for anything, without a lock. It knows no HTTP message, and a route without limits has
//! nothing of this.
//!
//! The rate is the generic cell rate algorithm on one number, the moment until which what was let in has used the rate
//! up. That is all of it; `governor` counts in the same way, and brings clocks, maps and waiting that nothing here has a
//! use for.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use roadstead_config::{
    Limits, Namespace,
    manifest::{RequestLimits, RequestRate},
};
use tokio::time::Instant;

/// What a request has to pass on its way to a workload.
pub(crate) struct Admission {
    trigger: Option<Arc<Share>>,
    tenant: Option<Arc<Share>>,
}

/// A request that was let in; it counts as one until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _places: [Option<Entered>; 2],
}

/// Which limit does not let a request in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverLimit {
    /// `limits.requestsPerSecond` of the trigger, for as long.
    TriggerRate(Duration),
    /// `limits.concurrentRequests` of the trigger.
    TriggerConcurrency,
    /// `tenant_requests_per_second_max`, for as long.
    TenantRate(Duration),
    /// `tenant_requests_max`.
    TenantConcurrency,
}

impl Admission {
    /// `None` where nothing is bounded.
    pub(crate) fn new(trigger: Option<Arc<Share>>, tenant: Option<Arc<Share>>) -> Option<Self> {
        (trigger.is_some() || tenant.is_some()).then_some(Self { trigger, tenant })
    }

    /// Lets a request in or says which limit does not. What a trigger's own limits refuse is not counted on the
    /// tenant's rate.
    pub(crate) fn enter(&self) -> Result<Admitted, OverLimit> {
        let place = |share: &Option<Arc<Share>>, over| match share {
            Some(share) => share.enter().ok_or(over).map(Some),
            None => Ok(None),
        };
        let take = |share: &Option<Arc<Share>>, over: fn(Duration) -> OverLimit| match share {
            Some(share) => share.take().map_err(over),
            None => Ok(()),
        };
        let places =
            [place(&self.trigger, OverLimit::TriggerConcurrency)?, place(&self.tenant, OverLimit::TenantConcurrency)?];
        take(&self.trigger, OverLimit::TriggerRate)?;
        take(&self.tenant, OverLimit::TenantRate)?;
        Ok(Admitted { _places: places })
    }
}

/// What one trigger, or one tenant, has of requests.
#[derive(Debug)]
pub(crate) struct Share {
    limits: RequestLimits,
    rate: Option<Rate>,
    under_way: AtomicU64,
}

/// A request that is being answered.
#[derive(Debug)]
struct Entered(Arc<Share>);

impl Share {
    /// `None` where the limits are none.
    pub(crate) fn new(limits: RequestLimits) -> Option<Arc<Self>> {
        let share = || Arc::new(Self { limits, rate: limits.rate.map(Rate::new), under_way: AtomicU64::new(0) });
        (limits != RequestLimits::default()).then(share)
    }

    pub(crate) fn limits(&self) -> RequestLimits {
        self.limits
    }

    fn enter(self: &Arc<Self>) -> Option<Entered> {
        let max = self.limits.concurrent.map_or(u64::MAX, |max| max.get().into());
        let more = |under_way: u64| (under_way < max).then_some(under_way + 1);
        self.under_way.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Entered(self.clone()))
    }

    fn take(&self) -> Result<(), Duration> {
        self.rate.as_ref().map_or(Ok(()), Rate::take)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Requests per second.
#[derive(Debug)]
struct Rate {
    /// What one request takes of the time.
    interval_ns: u64,
    /// How far ahead of the time a burst may go.
    ahead_ns: u64,
    begun: Instant,
    /// Since `begun`.
    used_until_ns: AtomicU64,
}

impl Rate {
    fn new(RequestRate { per_second, burst }: RequestRate) -> Self {
        let interval_ns = (1_000_000_000 / u64::from(per_second.get())).max(1);
        let ahead_ns = interval_ns.saturating_mul(u64::from(burst.get()) - 1);
        Self { interval_ns, ahead_ns, begun: Instant::now(), used_until_ns: AtomicU64::new(0) }
    }

    /// Takes one request's time, or says how long there will be none.
    fn take(&self) -> Result<(), Duration> {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let limit = now.saturating_add(self.ahead_ns);
        let with_one = |used: u64| (used <= limit).then(|| used.max(now).saturating_add(self.interval_ns));
        let taken = self.used_until_ns.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_one);
        taken.map(drop).map_err(|used| Duration::from_nanos(used.saturating_sub(limit)))
    }
}

/// The shares of the namespaces that have routes.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    limits: RequestLimits,
    by_namespace: Mutex<BTreeMap<Namespace, Weak<Share>>>,
}

impl Tenants {
    /// Shares of the size that the operator gives each namespace.
    pub(crate) fn new(limits: &Limits) -> Self {
        let given = |limit: u64| NonZeroU32::new(u32::try_from(limit).unwrap_or(u32::MAX));
        let rate = given(limits.tenant_requests_per_second_max).map(|per_second| {
            let burst = given(limits.tenant_requests_burst_max).unwrap_or(per_second);
            RequestRate { per_second, burst }
        });
        let limits = RequestLimits { rate, concurrent: given(limits.tenant_requests_max), body_bytes: None };
        Self { limits, by_namespace: Mutex::default() }
    }

    /// The share of a namespace, one for all its triggers as long as it has one.
    pub(crate) fn of(&self, namespace: &Namespace) -> Option<Arc<Share>> {
        let mut by_namespace = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        by_namespace.retain(|_, share| share.strong_count() > 0);
        if let Some(share) = by_namespace.get(namespace).and_then(Weak::upgrade) {
            return Some(share);
        }
        let share = Share::new(self.limits)?;
        by_namespace.insert(namespace.clone(), Arc::downgrade(&share));
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn share(per_second: u32, burst: u32) -> Arc<Share> {
        let rate = RequestRate { per_second: number(per_second), burst: number(burst) };
        Share::new(RequestLimits { rate: Some(rate), ..RequestLimits::default() }).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_burst_in_and_then_so_many_a_second() {
        let share = share(10, 3);
        let let_in = || std::iter::repeat_with(|| share.take()).take_while(Result::is_ok).count();
        assert_eq!(let_in(), 3);
        assert_eq!(share.take(), Err(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(50)).await;
        assert_eq!(share.take(), Err(Duration::from_millis(50)));
        tokio::time::advance(Duration::from_millis(50)).await;
        assert_eq!(let_in(), 1);
        // Nobody saves up more than a burst.
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(let_in(), 3);
        let mut second = 0;
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            second += let_in();
        }
        assert_eq!(second, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_rate_does_not_overflow() {
        let share = share(u32::MAX, u32::MAX);
        assert!((0..1000).all(|_| share.take().is_ok()));
        let slow = super::tests::share(1, u32::MAX);
        assert!((0..1000).all(|_| slow.take().is_ok()));
    }

    /// What threads take together is the burst, and one for each second that it lasts.
    #[test]
    fn threads_do_not_take_more_together() {
        let share = share(1, 1000);
        let begun = Instant::now();
        let take = || {
            let share = share.clone();
            std::thread::spawn(move || (0..1000).filter(|_| share.take().is_ok()).count())
        };
        let taken: usize = [(); 4].map(|()| take()).into_iter().map(|thread| thread.join().unwrap()).sum();
        let earned = usize::try_from(begun.elapsed().as_secs()).unwrap();
        assert!((1000..=1001 + earned).contains(&taken), "{taken}");
    }

    #[test]
    fn a_place_comes_back() {
        let limits = RequestLimits { concurrent: Some(number(2)), ..RequestLimits::default() };
        let admission = Admission::new(Share::new(limits), None).unwrap();
        let (one, two) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert_eq!(admission.enter().unwrap_err(), OverLimit::TriggerConcurrency);
        drop(one);
        let three = admission.enter().unwrap();
        assert_eq!(admission.enter().unwrap_err(), OverLimit::TriggerConcurrency);
        drop((two, three));
    }

    #[test]
    fn a_tenant_has_one_share_for_all_its_triggers() {
        let limits = Limits {
            tenant_requests_max: 1,
            tenant_requests_per_second_max: 2,
            tenant_requests_burst_max: 2,
            ..Limits::default()
        };
        let tenants = Tenants::new(&limits);
        let of = |namespace: &str| Admission::new(None, tenants.of(&namespace.parse().unwrap())).unwrap();
        let (first, second, other) = (of("a"), of("a"), of("b"));
        let under_way = first.enter().unwrap();
        assert_eq!(second.enter().unwrap_err(), OverLimit::TenantConcurrency);
        drop(under_way);
        drop(second.enter().unwrap());
        assert!(matches!(first.enter().unwrap_err(), OverLimit::TenantRate(_)));
        drop(other.enter().unwrap());
        assert!(Admission::new(None, Tenants::new(&Limits::default()).of(&"a".parse().unwrap())).is_none());
    }
}
