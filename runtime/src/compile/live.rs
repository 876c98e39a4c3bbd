//! The code that workloads of this host run now, so that the same component deployed again shares it; and what could
//! not be compiled a moment ago, so that whoever asks again and again does not keep the compiler busy.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use wasmtime::component::Component;

use super::{CompileError, key::ComponentKey};

/// All of it. Holds nothing alive: code goes with the last workload that runs it.
pub(super) struct LiveComponents {
    retry_after: Duration,
    slots: Mutex<HashMap<ComponentKey, Arc<tokio::sync::Mutex<Slot>>>>,
}

/// What is known of one key. Whoever holds its lock is the one that gets the code.
pub(super) struct Slot {
    component: Weak<Component>,
    failed: Option<(Instant, CompileError)>,
    retry_after: Duration,
}

impl LiveComponents {
    /// `retry_after` is the time for which a failure is remembered.
    pub(super) fn new(retry_after: Duration) -> Self {
        Self { retry_after, slots: Mutex::default() }
    }

    /// The slot of a key. Slots that tell nothing any more are removed on the way, so that there are never more than
    /// live components, fresh failures and callers at work.
    pub(super) fn slot(&self, key: ComponentKey) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|other, slot| *other == key || !is_spent(slot));
        let retry_after = self.retry_after;
        let empty = || Arc::new(tokio::sync::Mutex::new(Slot { component: Weak::new(), failed: None, retry_after }));
        slots.entry(key).or_insert_with(empty).clone()
    }
}

fn is_spent(slot: &Arc<tokio::sync::Mutex<Slot>>) -> bool {
    let in_use = Arc::strong_count(slot) > 1;
    !in_use && slot.try_lock().is_ok_and(|slot| slot.component.strong_count() == 0 && slot.failure().is_none())
}

impl Slot {
    /// The code, if a workload has it.
    pub(super) fn component(&self) -> Option<Arc<Component>> {
        self.component.upgrade()
    }

    /// Why there was none a moment ago.
    pub(super) fn failure(&self) -> Option<CompileError> {
        let (when, error) = self.failed.as_ref()?;
        (when.elapsed() < self.retry_after).then(|| error.clone())
    }

    /// Remembers the code as long as somebody has it.
    pub(super) fn enter(&mut self, component: Component) -> Arc<Component> {
        let component = Arc::new(component);
        self.component = Arc::downgrade(&component);
        self.failed = None;
        component
    }

    /// Remembers that the component cannot be compiled, where that is the component's fault.
    pub(super) fn note_failure(&mut self, error: &CompileError) {
        self.failed = error.is_of_the_component().then(|| (Instant::now(), error.clone()));
    }
}
