//! From "takes connections" to "is closed": what is under way, and how it is told to end. It knows no protocol.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout_at,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clock;

/// What closing connections get to say goodbye in, once the last request has been answered.
const GOODBYE: Duration = Duration::from_secs(1);

/// The state of an ingress between its start and its end.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    /// No new connection; the next response of each connection is its last.
    pub(crate) draining: CancellationToken,
    /// Whatever is left ends now.
    pub(crate) cut: CancellationToken,
    /// pingora's own form of `draining`: HTTP/2 connections send GOAWAY.
    pub(crate) shutdown: watch::Sender<bool>,
    /// The connections' tasks.
    pub(crate) connections: TaskTracker,
    requests: AtomicUsize,
    idle: Notify,
}

impl Lifecycle {
    pub(crate) fn new() -> Self {
        Self {
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            shutdown: watch::Sender::new(false),
            connections: TaskTracker::new(),
            requests: AtomicUsize::new(0),
            idle: Notify::new(),
        }
    }

    /// Counts a request as under way until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::AcqRel);
        RequestGuard(self.clone())
    }

    /// Ends it all, giving the requests under way at most `limit`; returns how many were cut off.
    pub(crate) async fn drain(&self, limit: Duration) -> usize {
        let deadline = clock::from_now(limit);
        self.draining.cancel();
        self.shutdown.send_replace(true);
        self.connections.close();
        loop {
            // Neither wait can fail: running out of time is what the count below is about.
            let _ = timeout_at(deadline, self.wait_idle()).await;
            let goodbye = deadline.min(clock::from_now(GOODBYE));
            let closed = timeout_at(goodbye, self.connections.wait()).await.is_ok();
            // A request that was on its way may have arrived meanwhile.
            if closed || goodbye == deadline || self.requests.load(Ordering::Acquire) == 0 {
                break;
            }
        }
        let left = self.requests.load(Ordering::Acquire);
        self.cut.cancel();
        let _ = timeout_at(clock::from_now(GOODBYE), self.connections.wait()).await;
        left
    }

    async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.requests.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct RequestGuard(Arc<Lifecycle>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_does_not_say_goodbye_is_not_waited_for() {
        let lifecycle = Lifecycle::new();
        lifecycle.connections.spawn(std::future::pending::<()>());
        let begun = Instant::now();
        let drained = tokio::time::timeout(Duration::from_secs(30), lifecycle.drain(Duration::from_secs(600))).await;
        assert_eq!(drained, Ok(0));
        // Once by itself, and once when it is told to.
        assert!(begun.elapsed() >= 2 * GOODBYE, "{:?}", begun.elapsed());
    }
}
