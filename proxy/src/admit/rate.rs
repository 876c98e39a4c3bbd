//! Requests per second, without a lock or a timer. It knows nothing of who asks.
//!
//! This is the generic cell rate algorithm on one number, the moment until which what was let in has used the rate up.
//! That is all of it; `governor` counts in the same way, and brings clocks, maps and waiting that nothing here has a
//! use for.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use roadstead_config::manifest::RequestRate;
use tokio::time::Instant;

/// Requests per second.
#[derive(Debug)]
pub(super) struct Rate {
    /// What one request takes of the time.
    interval_ns: u64,
    /// How far ahead of the time a burst may go.
    ahead_ns: u64,
    begun: Instant,
    /// Since `begun`.
    used_until_ns: AtomicU64,
}

impl Rate {
    pub(super) fn new(RequestRate { per_second, burst }: RequestRate) -> Self {
        let interval_ns = (1_000_000_000 / u64::from(per_second.get())).max(1);
        let ahead_ns = interval_ns.saturating_mul(u64::from(burst.get()) - 1);
        Self { interval_ns, ahead_ns, begun: Instant::now(), used_until_ns: AtomicU64::new(0) }
    }

    /// Takes one request's time, or says how long there will be none.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let limit = now.saturating_add(self.ahead_ns);
        let with_one = |used: u64| (used <= limit).then(|| used.max(now).saturating_add(self.interval_ns));
        let taken = self.used_until_ns.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with_one);
        taken.map(drop).map_err(|used| Duration::from_nanos(used.saturating_sub(limit)))
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::Arc};

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        let number = |number| NonZeroU32::new(number).unwrap();
        Rate::new(RequestRate { per_second: number(per_second), burst: number(burst) })
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_lets_a_burst_in_and_then_so_many_a_second() {
        let rate = rate(10, 3);
        let let_in = || std::iter::repeat_with(|| rate.take()).take_while(Result::is_ok).count();
        assert_eq!(let_in(), 3);
        assert_eq!(rate.take(), Err(Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(50)).await;
        assert_eq!(rate.take(), Err(Duration::from_millis(50)));
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
        let rate = rate(u32::MAX, u32::MAX);
        assert!((0..1000).all(|_| rate.take().is_ok()));
        let slow = super::tests::rate(1, u32::MAX);
        assert!((0..1000).all(|_| slow.take().is_ok()));
    }

    /// What threads take together is the burst, and one for each second that it lasts.
    #[test]
    fn threads_do_not_take_more_together() {
        let rate = Arc::new(rate(1, 1000));
        let begun = Instant::now();
        let take = || {
            let rate = rate.clone();
            std::thread::spawn(move || (0..1000).filter(|_| rate.take().is_ok()).count())
        };
        let taken: usize = [(); 4].map(|()| take()).into_iter().map(|thread| thread.join().unwrap()).sum();
        let earned = usize::try_from(begun.elapsed().as_secs()).unwrap();
        assert!((1000..=1001 + earned).contains(&taken), "{taken}");
    }
}
