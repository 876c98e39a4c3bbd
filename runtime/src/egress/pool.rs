//! The connections of one workload: how many there may be, who waits for one, and which are kept for a next request. A
//! connection of HTTP/1.1 has one request at a time, one of HTTP/2 many. Must not know how connections are made.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use hyper::client::conn::{http1, http2};
use roadstead_config::Target;
use roadstead_metrics::Held;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{EgressError, body::OutgoingBody, metrics::EgressSeries};

/// Requests that one connection of HTTP/2 has at a time. Where the server takes fewer, the others wait on it.
pub(super) const STREAMS_MAX: usize = 100;
/// Requests of one workload that wait for a connection.
pub(super) const WAITING_MAX: usize = 1_024;
/// Time that a connection has to be ready for a next request after a response.
pub(super) const READY_TIME: Duration = Duration::from_secs(1);

/// The bounds of one workload's pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct PoolBounds {
    pub(super) connections_max: usize,
    /// Longest wait for a connection.
    pub(super) wait: Duration,
    /// How long a connection is kept for a next request.
    pub(super) idle: Duration,
    /// Size of the head of a response.
    pub(super) head_bytes_max: usize,
}

/// Whom a connection is to, and whether it was made by somebody who may reach the host itself: one who may not must not
/// get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) target: Target,
    pub(super) loopback: bool,
}

/// A place among the workload's connections, taken for as long as its socket is open.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _counted: Held,
}

/// What sends requests over a connection. The task that moves its bytes ends with the last copy.
pub(super) enum Sender {
    Http1(http1::SendRequest<OutgoingBody>, AbortOnDropHandle<()>),
    Http2(http2::SendRequest<OutgoingBody>, Arc<AbortOnDropHandle<()>>),
}

/// A connection that waits for a next request, or takes more than one.
struct Entry {
    id: u64,
    key: Key,
    sender: Sender,
    /// Requests under way; of HTTP/1.1 none, since such a connection is not here while it has one.
    active: usize,
    since: Instant,
}

impl Entry {
    fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, _) => sender.is_closed(),
            Sender::Http2(sender, _) => sender.is_closed(),
        }
    }

    fn takes_one_more(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, _) => sender.is_ready(),
            Sender::Http2(..) => self.active < STREAMS_MAX,
        }
    }
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    last_id: u64,
    is_swept: bool,
}

pub(super) struct Pool {
    bounds: PoolBounds,
    places: Arc<Semaphore>,
    /// A connection was given back.
    given_back: Notify,
    waiting: Semaphore,
    state: Mutex<State>,
    metrics: Arc<EgressSeries>,
    /// Whoever asks may be in the background: what goes on without it is not.
    threads: Handle,
}

/// What a request gets: a connection, or the right to make one.
pub(super) enum Taken {
    Connection(Lease),
    Place(Place),
}

impl Pool {
    pub(super) fn new(bounds: PoolBounds, metrics: Arc<EgressSeries>, threads: Handle) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            places: Arc::new(Semaphore::new(bounds.connections_max.min(Semaphore::MAX_PERMITS))),
            given_back: Notify::new(),
            waiting: Semaphore::new(WAITING_MAX),
            state: Mutex::default(),
            metrics,
            threads,
        })
    }

    /// How many more connections there may be.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }

    pub(super) fn bounds(&self) -> &PoolBounds {
        &self.bounds
    }

    /// A connection to `key`, or a place for one. Where all places are taken, the connection that has had nothing to do
    /// for longest is closed for it, and where there is none, the request waits.
    pub(super) async fn take(self: &Arc<Self>, key: &Key) -> Result<Taken, EgressError> {
        if let Some(lease) = self.find(key) {
            return Ok(Taken::Connection(lease));
        }
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(Taken::Place(self.place(permit)));
        }
        let none = || EgressError::NoConnection { max: self.bounds.connections_max, waited: self.bounds.wait };
        let _waits = self.waiting.try_acquire().map_err(|_| none())?;
        let _counted = self.metrics.waiting.hold(1);
        timeout(self.bounds.wait, self.wait(key)).await.map_err(|_| none())
    }

    async fn wait(self: &Arc<Self>, key: &Key) -> Taken {
        loop {
            let mut given_back = pin!(self.given_back.notified());
            given_back.as_mut().enable();
            if let Some(lease) = self.find(key) {
                return Taken::Connection(lease);
            }
            self.close_one(key);
            tokio::select! {
                permit = self.places.clone().acquire_owned() => {
                    if let Ok(permit) = permit {
                        return Taken::Place(self.place(permit));
                    }
                }
                () = given_back => {}
            }
        }
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place { _permit: permit, _counted: self.metrics.connections.hold(1) }
    }

    /// A connection to `key` that takes a request now.
    fn find(self: &Arc<Self>, key: &Key) -> Option<Lease> {
        let mut state = self.state();
        state.sweep(self.bounds.idle);
        let at = state.entries.iter().rposition(|entry| entry.key == *key && entry.takes_one_more())?;
        let entry = state.entries.get_mut(at)?;
        let http2 = match &entry.sender {
            Sender::Http1(..) => None,
            Sender::Http2(sender, task) => Some(Sender::Http2(sender.clone(), task.clone())),
        };
        let (id, sender) = match http2 {
            Some(sender) => {
                entry.active += 1;
                (entry.id, sender)
            }
            None => {
                let entry = state.entries.remove(at);
                (entry.id, entry.sender)
            }
        };
        Some(Lease { pool: self.clone(), id, key: key.clone(), sender: Some(sender), is_new: false })
    }

    /// Closes the connection that has had nothing to do for longest, so that there is a place for one to `key`. What has
    /// come back meanwhile for that very target stays: who waits is told of it.
    fn close_one(&self, key: &Key) {
        let mut state = self.state();
        let idle = state.entries.iter().enumerate().filter(|(_, entry)| entry.active == 0 && entry.key != *key);
        let longest = idle.min_by_key(|(_, entry)| entry.since).map(|(at, _)| at);
        let closed = longest.map(|at| state.entries.remove(at));
        drop(state);
        drop(closed);
    }

    /// Lends out a connection that was made for a request to `key`. One of HTTP/2 is at once there for others.
    pub(super) fn lend(self: &Arc<Self>, key: &Key, sender: Sender) -> Lease {
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        if let Sender::Http2(shared, task) = &sender {
            let sender = Sender::Http2(shared.clone(), task.clone());
            state.entries.push(Entry { id, key: key.clone(), sender, active: 1, since: Instant::now() });
        }
        drop(state);
        self.given_back.notify_one();
        Lease { pool: self.clone(), id, key: key.clone(), sender: Some(sender), is_new: true }
    }

    fn put(self: &Arc<Self>, entry: Entry) {
        let mut state = self.state();
        state.entries.push(entry);
        self.is_free(state);
    }

    /// One request more could be sent.
    fn is_free(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let sweeps = !std::mem::replace(&mut state.is_swept, true);
        drop(state);
        self.given_back.notify_one();
        if sweeps {
            self.threads.spawn(sweep(Arc::downgrade(self), self.bounds.idle));
        }
    }

    /// A request over a connection of HTTP/2 is over.
    fn end_stream(self: &Arc<Self>, id: u64) {
        let mut state = self.state();
        if let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == id) {
            entry.active = entry.active.saturating_sub(1);
            entry.since = Instant::now();
        }
        self.is_free(state);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of connections that are closed, or were kept for long enough.
    fn sweep(&mut self, idle: Duration) {
        let now = Instant::now();
        self.entries.retain(|entry| {
            let used_up = entry.active == 0 && now.saturating_duration_since(entry.since) >= idle;
            !entry.is_closed() && !used_up
        });
    }
}

/// Closes idle connections when their time is over, for as long as there are any.
async fn sweep(pool: Weak<Pool>, idle: Duration) {
    loop {
        tokio::time::sleep(idle.max(Duration::from_millis(1))).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut state = pool.state();
        state.sweep(idle);
        if state.entries.is_empty() {
            state.is_swept = false;
            return;
        }
    }
}

/// A connection for one request. Dropped, it is closed, or of HTTP/2 the request's stream is; given back, it is kept.
pub(super) struct Lease {
    pool: Arc<Pool>,
    id: u64,
    key: Key,
    /// `None` once it was given back.
    sender: Option<Sender>,
    is_new: bool,
}

impl Lease {
    pub(super) fn sender(&mut self) -> Option<&mut Sender> {
        self.sender.as_mut()
    }

    /// Whether nothing was sent over it before.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The connection takes no more: nobody is to get it again.
    pub(super) fn discard(self) {
        let mut state = self.pool.state();
        let found = state.entries.iter().position(|entry| entry.id == self.id);
        let discarded = found.map(|at| state.entries.remove(at));
        drop(state);
        drop(discarded);
    }

    /// The response was read whole: the connection is there for a next request.
    pub(super) fn give_back(mut self) {
        let Some(Sender::Http1(mut sender, task)) = self.sender.take_if(|sender| matches!(sender, Sender::Http1(..)))
        else {
            return;
        };
        let (pool, id, key) = (self.pool.clone(), self.id, self.key.clone());
        let entry =
            move |sender| Entry { id, key, sender: Sender::Http1(sender, task), active: 0, since: Instant::now() };
        if sender.is_ready() {
            pool.put(entry(sender));
            return;
        }
        // The last bytes are read, but the connection's task has not come so far, or the request is still being sent.
        let threads = pool.threads.clone();
        let pool = Arc::downgrade(&pool);
        threads.spawn(async move {
            let ready = timeout(READY_TIME, sender.ready()).await;
            if let (Ok(Ok(())), Some(pool)) = (ready, pool.upgrade()) {
                pool.put(entry(sender));
            }
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(Sender::Http2(..)) = &self.sender {
            self.pool.end_stream(self.id);
        }
    }
}
