//! Lets what several guests send leave in one write. It knows neither messages nor NATS, only how tokio chooses who
//! runs next: the task that was woken last goes before all others. That would be the connection's, after each message,
//! and each message would be a system call that wakes the server. Only speed depends on it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{runtime::Handle, sync::Notify};
use tokio_util::task::AbortOnDropHandle;

/// Sends the task that was woken last behind those that wait already.
#[derive(Clone)]
pub(super) struct Batch(Arc<Inner>);

struct Inner {
    /// A task that does nothing: woken after another, it takes that one's place. Without a runtime there is none.
    bystander: Option<AbortOnDropHandle<()>>,
    woken: Arc<Notify>,
    /// Requests that wait for their answers.
    requests: AtomicUsize,
    /// Messages that came together last.
    came_together: AtomicUsize,
}

/// A request that waits for its answer.
pub(super) struct Asking<'a> {
    batch: &'a Batch,
    alone: bool,
}

impl Batch {
    pub(super) fn new() -> Self {
        let woken = Arc::new(Notify::new());
        let waits = woken.clone();
        let bystander = Handle::try_current().ok().map(|runtime| {
            AbortOnDropHandle::new(runtime.spawn(async move {
                loop {
                    waits.notified().await;
                }
            }))
        });
        Self(Arc::new(Inner { bystander, woken, requests: AtomicUsize::new(0), came_together: AtomicUsize::new(0) }))
    }

    /// So many messages came together: as many answers may leave together.
    pub(super) fn came_together(&self, messages: usize) {
        self.0.came_together.store(messages, Ordering::Relaxed);
    }

    /// A request begins.
    pub(super) fn ask(&self) -> Asking<'_> {
        Asking { batch: self, alone: self.0.requests.fetch_add(1, Ordering::Relaxed) == 0 }
    }

    /// An answer has just been handed to the connection.
    pub(super) fn answered(&self) {
        self.let_others_send(self.0.came_together.load(Ordering::Relaxed) <= 1);
    }

    /// One that is alone has nobody to wait for, and would have an idle thread woken.
    fn let_others_send(&self, alone: bool) {
        if self.0.bystander.is_some() && !alone {
            self.0.woken.notify_one();
        }
    }
}

impl Asking<'_> {
    /// The request has just been handed to the connection.
    pub(super) fn asked(&self) {
        self.batch.let_others_send(self.alone);
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.batch.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_woken_last_is_sent_back_where_others_send_too() {
        let batch = Batch::new();
        let woken = batch.0.woken.clone();
        let sent_back = || futures::FutureExt::now_or_never(woken.notified()).is_some();
        // The bystander has not run yet, so that what wakes it is seen here.
        let first = batch.ask();
        first.asked();
        assert!(!sent_back(), "it is alone");
        batch.ask().asked();
        assert!(sent_back());
        drop(first);
        batch.ask().asked();
        assert!(!sent_back(), "those before it have their answers");
        for (messages, expected) in [(1, false), (2, true), (1, false)] {
            batch.came_together(messages);
            batch.answered();
            assert_eq!(sent_back(), expected, "{messages}");
        }
    }

    #[test]
    fn it_can_be_made_without_a_runtime() {
        let batch = Batch::new();
        batch.came_together(2);
        batch.answered();
    }
}
