//! Whose work the GPU does next. Tenants take turns by the time that their work took; what is granted at once is
//! bounded, and a workload that is suspected of ending processes works alone.

use std::{
    collections::HashMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use roadstead_gpu_wire::control::SessionId;

/// How long a wait goes on between two calls of `meanwhile`.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Pieces of work that are granted at once, of each kind.
const RUNS_MAX: usize = 2;
const COMPILES_MAX: usize = 2;

/// Tenants whose time is remembered; beyond, those that have nothing to do are forgotten.
const TENANTS_MAX: usize = 1_024;

/// What a turn is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Compile,
    Run,
}

/// Whose a turn is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) session: SessionId,
    pub(crate) tenant: Arc<str>,
    pub(crate) alone: bool,
}

/// The turns of one GPU.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Time that each tenant's work took, in nanoseconds, never below what the least served had when it came.
    served: HashMap<Arc<str>, u64>,
    granted: Vec<Granted>,
    waiting: Vec<Waiting>,
    tickets: u64,
}

struct Granted {
    ticket: u64,
    owner: Owner,
    work: Work,
    since: Instant,
    thread: Arc<Worker>,
}

struct Waiting {
    ticket: u64,
    owner: Owner,
    work: Work,
}

/// A turn; it ends when this is dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    ticket: u64,
    /// How long it was waited for.
    pub(crate) waited: Duration,
    /// The thread that does the work, where that is known.
    pub(crate) thread: Arc<Worker>,
    since: Instant,
}

/// The thread that does a piece of work.
#[derive(Debug, Default)]
pub(crate) struct Worker(AtomicI32);

impl Worker {
    /// It is this one.
    pub(crate) fn is_here(&self) {
        self.0.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Release);
    }

    /// Its number; 0 when it is not known.
    pub(crate) fn id(&self) -> i32 {
        self.0.load(Ordering::Acquire)
    }
}

/// A piece of work that goes on.
#[derive(Debug, Clone)]
pub(crate) struct UnderWay {
    pub(crate) session: SessionId,
    pub(crate) work: Work,
    pub(crate) for_: Duration,
    pub(crate) thread: Arc<Worker>,
}

impl State {
    fn served(&self, tenant: &str) -> u64 {
        self.served.get(tenant).copied().unwrap_or(0)
    }

    /// The least that a tenant has been served who waits or works now.
    fn floor(&self) -> u64 {
        let waiting = self.waiting.iter().map(|waiting| self.served(&waiting.owner.tenant));
        let working = self.granted.iter().map(|granted| self.served(&granted.owner.tenant));
        waiting.chain(working).min().unwrap_or(0)
    }

    fn has_room_for(&self, waiting: &Waiting) -> bool {
        if self.granted.iter().any(|granted| granted.owner.alone) {
            return false;
        }
        if waiting.owner.alone {
            return self.granted.is_empty();
        }
        let max = if waiting.work == Work::Run { RUNS_MAX } else { COMPILES_MAX };
        self.granted.iter().filter(|granted| granted.work == waiting.work).count() < max
    }

    /// Whether it is the turn of the one with `ticket`: nobody who was served less waits for the same.
    fn is_next(&self, ticket: u64) -> bool {
        let rank = |waiting: &Waiting| (self.served(&waiting.owner.tenant), waiting.ticket);
        let Some(me) = self.waiting.iter().find(|waiting| waiting.ticket == ticket) else { return false };
        let before_me = self.waiting.iter().filter(|other| rank(other) < rank(me));
        let mut blocking = before_me.filter(|other| other.owner.alone || other.work == me.work);
        self.has_room_for(me) && blocking.next().is_none()
    }
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, `None` when it does not come within `limit` or `meanwhile`, which is called again and again,
    /// says that nobody wants it any more.
    pub(crate) fn wait(
        self: &Arc<Self>,
        owner: &Owner,
        work: Work,
        limit: Duration,
        mut meanwhile: impl FnMut() -> bool,
    ) -> Option<Turn> {
        let began = Instant::now();
        let mut state = self.state();
        let floor = state.floor();
        if state.served.len() >= TENANTS_MAX {
            state.served.retain(|_, served| *served > floor);
        }
        let served = state.served.entry(owner.tenant.clone()).or_insert(floor);
        *served = (*served).max(floor);
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiting.push(Waiting { ticket, owner: owner.clone(), work });
        let granted = loop {
            if state.is_next(ticket) {
                break true;
            }
            if began.elapsed() >= limit {
                break false;
            }
            drop(self.changed.wait_timeout(state, LOOK_AGAIN));
            if !meanwhile() {
                state = self.state();
                break false;
            }
            state = self.state();
        };
        state.waiting.retain(|waiting| waiting.ticket != ticket);
        let since = Instant::now();
        let thread = Arc::new(Worker::default());
        if granted {
            state.granted.push(Granted { ticket, owner: owner.clone(), work, since, thread: thread.clone() });
        }
        drop(state);
        self.changed.notify_all();
        granted.then(|| Turn { turns: self.clone(), ticket, waited: since - began, thread, since })
    }

    /// All work that goes on now.
    pub(crate) fn under_way(&self) -> Vec<UnderWay> {
        let all = |granted: &Granted| UnderWay {
            session: granted.owner.session,
            work: granted.work,
            for_: granted.since.elapsed(),
            thread: granted.thread.clone(),
        };
        self.state().granted.iter().map(all).collect()
    }
}

impl Turn {
    /// How long it has gone on.
    pub(crate) fn ran(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        if let Some(place) = state.granted.iter().position(|granted| granted.ticket == self.ticket) {
            let granted = state.granted.swap_remove(place);
            let ran = u64::try_from(granted.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let served = state.served.entry(granted.owner.tenant).or_insert(0);
            *served = served.saturating_add(ran);
        }
        drop(state);
        self.turns.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    fn owner(session: SessionId, tenant: &str, alone: bool) -> Owner {
        Owner { session, tenant: tenant.into(), alone }
    }

    fn taken(turns: &Arc<Turns>, owner: &Owner, limit: Duration) -> Option<Turn> {
        turns.wait(owner, Work::Run, limit, || true)
    }

    #[test]
    fn only_so_much_runs_at_once() {
        let turns = Arc::new(Turns::default());
        let first = taken(&turns, &owner(1, "a", false), LONG);
        let _second = taken(&turns, &owner(2, "b", false), LONG);
        assert!(taken(&turns, &owner(3, "c", false), SOON).is_none());
        assert_eq!(turns.under_way().len(), 2);
        drop(first);
        assert!(taken(&turns, &owner(3, "c", false), LONG).is_some());
    }

    #[test]
    fn who_is_suspected_works_alone() {
        let turns = Arc::new(Turns::default());
        let other = taken(&turns, &owner(1, "a", false), LONG);
        assert!(taken(&turns, &owner(2, "b", true), SOON).is_none());
        drop(other);
        let alone = taken(&turns, &owner(2, "b", true), LONG);
        assert!(alone.is_some());
        assert!(taken(&turns, &owner(1, "a", false), SOON).is_none());
        assert!(turns.wait(&owner(1, "a", false), Work::Compile, SOON, || true).is_none());
    }

    #[test]
    fn the_tenant_who_was_served_less_comes_first() {
        let turns = Arc::new(Turns::default());
        // Both places are taken; of those who wait, the one who came later but was served less is first.
        let busy = [taken(&turns, &owner(1, "greedy", false), LONG), taken(&turns, &owner(2, "greedy", false), LONG)];
        thread::sleep(SOON);
        let (send, order) = mpsc::channel();
        let mut threads = Vec::new();
        for (place, (session, tenant)) in [(3, "greedy"), (4, "greedy"), (5, "modest")].into_iter().enumerate() {
            let (turns, send) = (turns.clone(), send.clone());
            let waits = turns.clone();
            threads.push(thread::spawn(move || {
                let turn = taken(&turns, &owner(session, tenant, false), LONG);
                let _ = send.send(session);
                drop(turn);
            }));
            while waits.state().waiting.len() <= place {
                thread::yield_now();
            }
        }
        let [first, second] = busy;
        // What they have done is charged when it ends.
        drop(first);
        let next = order.recv_timeout(LONG);
        drop(second);
        threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
        assert_eq!(next, Ok(5));
    }

    #[test]
    fn a_wait_that_nobody_wants_ends() {
        let turns = Arc::new(Turns::default());
        let _alone = taken(&turns, &owner(1, "a", true), LONG);
        assert!(turns.wait(&owner(2, "b", false), Work::Run, LONG, || false).is_none());
        assert!(turns.state().waiting.is_empty());
    }
}
