//! Whose guest a thread of the background lane runs next: tenants take turns, however many guests each has there. It
//! knows neither guests nor why they run for long.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use roadstead_config::Namespace;

/// The turns of one lane, as many at a time as it has threads.
pub(super) struct Turns(Mutex<State>);

struct State {
    /// Turns that nobody has.
    free: usize,
    tenants: HashMap<Namespace, Tenant>,
    next_id: u64,
    /// Turns given so far.
    given: u64,
}

/// A tenant with guests that have a turn or wait for one.
struct Tenant {
    held: usize,
    waiting: VecDeque<(u64, Waker)>,
    /// When it was last given a turn, as the number of that turn.
    last: u64,
}

/// One guest's place in the order.
pub(super) struct Turn {
    turns: Arc<Turns>,
    tenant: Namespace,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Away,
    /// Waits, under this number, or has been given a turn since.
    Asked(u64),
    Held,
}

impl Turns {
    pub(super) fn new(threads: usize) -> Self {
        Self(Mutex::new(State { free: threads.max(1), tenants: HashMap::new(), next_id: 0, given: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tenant(&mut self, namespace: &Namespace) -> &mut Tenant {
        let new = Tenant { held: 0, waiting: VecDeque::new(), last: self.given };
        self.tenants.entry(namespace.clone()).or_insert(new)
    }

    /// Joins those who wait.
    fn ask(&mut self, namespace: &Namespace, waker: &Waker) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.tenant(namespace).waiting.push_back((id, waker.clone()));
        id
    }

    /// Whether the guest that asked as `id` has been given its turn; otherwise it is to be woken by `waker`.
    fn is_given(&mut self, namespace: &Namespace, id: u64, waker: &Waker) -> bool {
        let waiting = self.tenants.get_mut(namespace).into_iter().flat_map(|tenant| &mut tenant.waiting);
        match waiting.into_iter().find(|(other, _)| *other == id) {
            Some((_, own)) => {
                own.clone_from(waker);
                false
            }
            None => true,
        }
    }

    fn give_back(&mut self, namespace: &Namespace) {
        self.free += 1;
        self.tenant(namespace).held -= 1;
    }

    /// Gives what is free: to the tenant that has the fewest turns, and among equals to the one that has waited longest
    /// since its last. The one who is to be woken comes back, with its number.
    #[must_use]
    fn give(&mut self) -> Option<(u64, Waker)> {
        if self.free == 0 {
            return None;
        }
        let waiting = self.tenants.values_mut().filter(|tenant| !tenant.waiting.is_empty());
        let tenant = waiting.min_by_key(|tenant| (tenant.held, tenant.last))?;
        let given = tenant.waiting.pop_front()?;
        self.free -= 1;
        self.given += 1;
        tenant.held += 1;
        tenant.last = self.given;
        Some(given)
    }

    fn forget_idle(&mut self, namespace: &Namespace) {
        if self.tenants.get(namespace).is_some_and(|tenant| tenant.held == 0 && tenant.waiting.is_empty()) {
            self.tenants.remove(namespace);
        }
    }
}

impl Turn {
    pub(super) fn new(turns: &Arc<Turns>, tenant: &Namespace) -> Self {
        Self { turns: turns.clone(), tenant: tenant.clone(), place: Place::Away }
    }

    /// Waits for a turn.
    pub(super) fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let woken = {
            let mut state = self.turns.state();
            let id = match self.place {
                Place::Held => return Poll::Ready(()),
                Place::Asked(id) => id,
                Place::Away => state.ask(&self.tenant, cx.waker()),
            };
            self.place = Place::Asked(id);
            let given = state.give();
            if state.is_given(&self.tenant, id, cx.waker()) {
                self.place = Place::Held;
            }
            given.filter(|(given, _)| *given != id)
        };
        wake(woken);
        if self.place == Place::Held { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends the turn. A guest that `goes_on` waits for the next one at once: it may be its own again.
    pub(super) fn end(&mut self, goes_on: bool, waker: &Waker) {
        if self.place != Place::Held {
            return;
        }
        let woken = {
            let mut state = self.turns.state();
            state.give_back(&self.tenant);
            self.place = match goes_on {
                true => Place::Asked(state.ask(&self.tenant, waker)),
                false => Place::Away,
            };
            let woken = state.give();
            state.forget_idle(&self.tenant);
            woken
        };
        wake(woken);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let woken = {
            let mut state = self.turns.state();
            let held = match self.place {
                Place::Away => false,
                Place::Held => true,
                Place::Asked(id) => state.is_given(&self.tenant, id, Waker::noop()),
            };
            match (self.place, held) {
                (_, true) => state.give_back(&self.tenant),
                (Place::Asked(id), false) => state.tenant(&self.tenant).waiting.retain(|(other, _)| *other != id),
                _ => {}
            }
            let woken = state.give();
            state.forget_idle(&self.tenant);
            woken
        };
        wake(woken);
    }
}

/// Wakes who was given a turn.
fn wake(given: Option<(u64, Waker)>) {
    if let Some((_, waker)) = given {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Namespace {
        name.parse().unwrap()
    }

    fn takes(turn: &mut Turn) -> bool {
        turn.poll_taken(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn goes_on(turn: &mut Turn) {
        turn.end(true, Waker::noop());
    }

    /// How many of `rounds` ticks each guest runs in.
    fn run(guests: &mut [Turn], rounds: usize) -> Vec<usize> {
        let mut ran = vec![0; guests.len()];
        for _ in 0..rounds {
            let running: Vec<usize> = (0..guests.len()).filter(|guest| takes(&mut guests[*guest])).collect();
            for guest in running {
                ran[guest] += 1;
                goes_on(&mut guests[guest]);
            }
        }
        ran
    }

    #[test]
    fn a_tenant_with_one_guest_has_as_much_as_one_with_many() {
        let turns = Arc::new(Turns::new(2));
        let mut guests: Vec<_> = (0..8).map(|_| Turn::new(&turns, &tenant("crowd"))).collect();
        guests.push(Turn::new(&turns, &tenant("single")));
        let ran = run(&mut guests, 1_000);
        // A thread of its own for the one, the other for the eight.
        assert!(ran[8] >= 995, "{ran:?}");
        assert!(ran[..8].iter().all(|ran| (120..=130).contains(ran)), "{ran:?}");
    }

    #[test]
    fn more_tenants_than_threads_take_turns() {
        let turns = Arc::new(Turns::new(1));
        let mut guests: Vec<_> = ["a", "a", "a", "b", "c"].map(|name| Turn::new(&turns, &tenant(name))).into();
        let ran = run(&mut guests, 900);
        for (tenant, share) in [(&ran[..3], 300), (&ran[3..4], 300), (&ran[4..], 300)] {
            let sum: usize = tenant.iter().sum();
            assert!((share - 2..=share + 2).contains(&sum), "{ran:?}");
        }
    }

    #[test]
    fn one_tenant_has_all_threads_when_it_is_alone() {
        let turns = Arc::new(Turns::new(2));
        let mut guests: Vec<_> = (0..4).map(|_| Turn::new(&turns, &tenant("a"))).collect();
        assert_eq!(run(&mut guests, 100).iter().sum::<usize>(), 200);
    }

    #[test]
    fn what_leaves_in_any_place_leaves_nothing_behind() {
        let turns = Arc::new(Turns::new(1));
        let [mut held, mut given, mut waits, mut last] =
            ["a", "b", "a", "c"].map(|name| Turn::new(&turns, &tenant(name)));
        assert!(takes(&mut held) && !takes(&mut given) && !takes(&mut waits));
        // Given a turn that it has not looked at.
        drop(held);
        drop(waits);
        assert!(!takes(&mut last));
        drop(given);
        assert!(takes(&mut last));
        last.end(false, Waker::noop());
        drop(last);
        let state = turns.state();
        assert_eq!((state.free, state.tenants.len()), (1, 0));
    }
}
