//! How much memory the process has, looked at every so often, and what is taken in meanwhile: everything; connections
//! without their requests; nothing. It ends nothing that is under way.

use std::{fs, time::Duration};

use roadstead_config::Limits;
use roadstead_metrics::{
    Counter, Error, Gauge, Metrics,
    catalogue::{MEMORY_ACCEPT_PAUSED, MEMORY_ADMISSION, MEMORY_PRESSURE, MEMORY_USED},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::cgroup::MemoryGroup;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of what the control group or the machine has, the part from which on requests are refused where the operator names
/// no bytes.
const ADMISSION_PERCENT: u64 = 90;
/// This part of the mark more, and no connection is taken; this part less, and requests are let in again.
const BAND: u64 = 16;

/// What is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Everything.
    None,
    /// Connections; their requests are refused.
    Refusing,
    /// No connection either: new ones wait in the kernel.
    Closed,
}

impl Pressure {
    /// What follows on `self` with so much memory in use. From one state to the next below there is a band, so that the
    /// host does not go to and fro with each request.
    fn next(self, used: u64, mark: u64) -> Self {
        let band = mark / BAND;
        match self {
            _ if used >= mark.saturating_add(band) => Self::Closed,
            Self::Closed if used >= mark => Self::Closed,
            _ if used >= mark => Self::Refusing,
            Self::None => Self::None,
            _ if used >= mark - band => Self::Refusing,
            _ => Self::None,
        }
    }
}

/// The memory of a host.
#[derive(Debug)]
pub(crate) struct Memory {
    /// In bytes; `None` where there is nothing to measure against.
    mark: Option<u64>,
    /// Of whose memory all counts; without it the process's own does.
    group: Option<MemoryGroup>,
    pressure: watch::Sender<Pressure>,
    used: Gauge,
    passes: Counter,
    closed: Counter,
    _mark_shown: Gauge,
}

impl Memory {
    /// Finds out what there is to measure against, and shows it; [`Memory::watch`] measures.
    pub(crate) fn new(limits: &Limits, metrics: &Metrics) -> Result<Self, Error> {
        let (mark, group) = match limits.memory_admission_bytes {
            0 => {
                let group = MemoryGroup::find();
                let all = group.as_ref().map(|group| group.limit_bytes).or_else(machine_bytes);
                (all.map(|bytes| bytes / 100 * ADMISSION_PERCENT), group)
            }
            bytes => (Some(bytes), None),
        };
        let mark_shown = metrics.gauges(&MEMORY_ADMISSION)?.with([]);
        mark_shown.set(i64::try_from(mark.unwrap_or(0)).unwrap_or(i64::MAX));
        Ok(Self {
            mark,
            group,
            pressure: watch::Sender::new(Pressure::None),
            used: metrics.gauges(&MEMORY_USED)?.with([]),
            passes: metrics.counters(&MEMORY_PRESSURE)?.with([]),
            closed: metrics.counters(&MEMORY_ACCEPT_PAUSED)?.with([]),
            _mark_shown: mark_shown,
        })
    }

    /// What is taken in now.
    pub(crate) fn pressure(&self) -> Pressure {
        *self.pressure.borrow()
    }

    /// Takes the next connection, while connections are taken.
    pub(crate) async fn while_open<F: Future>(&self, accept: impl Fn() -> F) -> F::Output {
        let mut pressure = self.pressure.subscribe();
        loop {
            // Neither wait can fail: the sender is in `self`.
            let _ = pressure.wait_for(|pressure| *pressure < Pressure::Closed).await;
            tokio::select! {
                biased;
                _ = pressure.wait_for(|pressure| *pressure == Pressure::Closed) => {}
                accepted = accept() => return accepted,
            }
        }
    }

    /// Looks until `end`.
    pub(crate) async fn watch(&self, end: CancellationToken) {
        let Some(mark) = self.mark else { return };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = looks.tick() => {}
            }
            let own = process_bytes();
            let of_group = self.group.as_ref().and_then(|group| group.used_bytes(mark));
            if let Some(used) = own.max(of_group) {
                self.see(used, mark);
            }
        }
    }

    fn see(&self, used: u64, mark: u64) {
        self.used.set(i64::try_from(used).unwrap_or(i64::MAX));
        let before = self.pressure();
        let now = before.next(used, mark);
        if now == before {
            return;
        }
        self.pressure.send_replace(now);
        if before == Pressure::None {
            self.passes.inc();
        }
        match now {
            Pressure::None => tracing::info!(used, mark, "memory is below its mark again: requests are let in"),
            Pressure::Refusing => tracing::warn!(used, mark, "memory has reached its mark: requests are refused"),
            Pressure::Closed => {
                self.closed.inc();
                tracing::warn!(used, mark, "memory is beyond its mark: no connection is taken");
            }
        }
    }
}

/// What the process has resident: the second field of `statm`, in pages.
fn process_bytes() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// All memory of the machine.
fn machine_bytes() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let total = told.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_step_by_step_and_does_not_go_to_and_fro() {
        let mut pressure = Pressure::None;
        for (used, expected) in [
            (1599, Pressure::None),
            (1600, Pressure::Refusing),
            (1550, Pressure::Refusing),
            (1699, Pressure::Refusing),
            (1700, Pressure::Closed),
            (1600, Pressure::Closed),
            (1599, Pressure::Refusing),
            (1500, Pressure::Refusing),
            (1499, Pressure::None),
            (1599, Pressure::None),
            (5000, Pressure::Closed),
            (0, Pressure::None),
        ] {
            pressure = pressure.next(used, 1600);
            assert_eq!(pressure, expected, "{used}");
        }
    }

    #[test]
    fn there_is_something_to_measure() {
        let memory = Memory::new(&Limits::default(), &Metrics::default()).unwrap();
        let used = process_bytes().unwrap();
        assert!(used > 100_000 && used < memory.mark.unwrap(), "{used} of {:?}", memory.mark);
        assert!(memory.mark.unwrap() <= machine_bytes().unwrap());
        let named =
            Memory::new(&Limits { memory_admission_bytes: 1 << 20, ..Limits::default() }, &Metrics::default()).unwrap();
        assert_eq!((named.mark, named.group), (Some(1 << 20), None));
    }

    #[tokio::test]
    async fn who_waits_for_connections_goes_on_when_there_is_memory() {
        let memory = Memory::new(&Limits::default(), &Metrics::default()).unwrap();
        let (came, comes) = watch::channel(1);
        let accept = async || comes.clone().wait_for(|number| *number > 0).await.map(|number| *number).unwrap();
        assert_eq!(memory.while_open(accept).await, 1);
        came.send_replace(0);
        let mut waits = std::pin::pin!(memory.while_open(accept));
        assert!(futures::poll!(&mut waits).is_pending());
        // Who waited already waits on, though one comes.
        memory.see(200, 100);
        assert_eq!((memory.passes.get(), memory.closed.get()), (1, 1));
        came.send_replace(2);
        assert!(futures::poll!(&mut waits).is_pending());
        memory.see(99, 100);
        assert_eq!(waits.await, 2);
        assert_eq!(memory.pressure(), Pressure::Refusing);
        memory.see(10, 100);
        assert_eq!((memory.pressure(), memory.used.get()), (Pressure::None, 10));
    }
}
