//! How much processor time one call may take (`cpuLimit`). It knows neither who runs nor what.
//!
//! Counted is the time of the thread while it runs the call: neither what the call waits for, nor what others take of
//! the processor meanwhile. A look costs a system call, which calls without a limit do not pay.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// A call that took more processor time than it may is ended with this.
#[derive(Debug, thiserror::Error)]
#[error("the call took more than the {limit_ms} ms of processor time that it may (cpuLimit)")]
pub(crate) struct CpuLimitReached {
    limit_ms: u32,
}

/// The processor time of one call.
#[derive(Debug)]
pub(crate) struct CpuBudget {
    limit_ms: NonZeroU32,
    /// Nanoseconds of the polls that are over.
    used: AtomicU64,
    /// The thread's clock when the poll under way began.
    resumed: AtomicU64,
}

impl CpuBudget {
    pub(crate) fn new(limit_ms: NonZeroU32) -> Self {
        Self { limit_ms, used: AtomicU64::new(0), resumed: AtomicU64::new(0) }
    }

    /// Polls the call with the meter running. Only one thread at a time may do so.
    ///
    /// # Errors
    /// When the budget is used up; the call is not polled then.
    pub(crate) fn metered<T>(&self, poll: impl FnOnce() -> Poll<T>) -> Result<Poll<T>, CpuLimitReached> {
        self.check(self.used.load(Ordering::Relaxed))?;
        self.resumed.store(thread_nanoseconds(), Ordering::Relaxed);
        let polled = poll();
        self.used.store(self.with_the_poll_under_way(), Ordering::Relaxed);
        Ok(polled)
    }

    /// Looks at the budget from within a poll.
    ///
    /// # Errors
    /// When it is used up.
    pub(crate) fn look(&self) -> Result<(), CpuLimitReached> {
        self.check(self.with_the_poll_under_way())
    }

    fn with_the_poll_under_way(&self) -> u64 {
        let since = thread_nanoseconds().saturating_sub(self.resumed.load(Ordering::Relaxed));
        self.used.load(Ordering::Relaxed).saturating_add(since)
    }

    fn check(&self, used: u64) -> Result<(), CpuLimitReached> {
        let limit_ms = self.limit_ms.get();
        match Duration::from_nanos(used) >= Duration::from_millis(limit_ms.into()) {
            true => Err(CpuLimitReached { limit_ms }),
            false => Ok(()),
        }
    }
}

/// What the calling thread has had of the processor.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn thread_nanoseconds() -> u64 {
    u64::try_from(thread_time().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(time: Duration) {
        let begun = thread_time();
        while thread_time() - begun < time {}
    }

    #[test]
    fn work_counts_over_all_polls_and_waiting_does_not() {
        let budget = CpuBudget::new(NonZeroU32::new(40).unwrap());
        for _ in 0..2 {
            let polled = budget.metered(|| {
                busy(Duration::from_millis(15));
                budget.look().unwrap();
                Poll::<()>::Pending
            });
            assert!(polled.unwrap().is_pending());
            std::thread::sleep(Duration::from_millis(50));
            busy(Duration::from_millis(15));
        }
        let polled = budget.metered(|| {
            busy(Duration::from_millis(15));
            let text = budget.look().unwrap_err().to_string();
            assert!(text.contains("40 ms") && text.contains("cpuLimit"), "{text}");
            Poll::<()>::Pending
        });
        assert!(polled.unwrap().is_pending());
        assert!(budget.metered(|| Poll::Ready(())).is_err());
    }
}
