//! The one thread that writes to the embedded store. Changes wait for it in a bounded queue; it makes as many durable at
//! once as there are, so that all who wait share one synchronisation of the disk. What a change does, is not known here.

use std::{sync::Arc, thread};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Change, StoreFailure, store::Store};

/// Changes that wait, of all namespaces.
const QUEUE_CHANGES_MAX: usize = 1_024;
/// Bytes that wait with them, in units of `UNIT_BYTES`.
const QUEUE_UNITS_MAX: usize = 65_536;
/// What a permit of the queue stands for, in bytes.
const UNIT_BYTES: usize = 1_024;
/// Changes that are made durable together.
const BATCH_CHANGES_MAX: usize = 256;

/// A change on its way.
struct Job<C: Change> {
    change: C,
    answer: oneshot::Sender<Result<C::Answer, C::Error>>,
    _room: OwnedSemaphorePermit,
}

/// The way to the thread, which ends when the last of these is gone.
pub(super) struct Writer<C: Change> {
    queue: mpsc::Sender<Job<C>>,
    room: Arc<Semaphore>,
}

impl<C: Change> Clone for Writer<C> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), room: self.room.clone() }
    }
}

impl<C: Change> Writer<C> {
    /// Starts the thread.
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_CHANGES_MAX);
        thread::Builder::new().name("store-writer".into()).spawn(move || run(&store, waiting))?;
        Ok(Self { queue, room: Arc::new(Semaphore::new(QUEUE_UNITS_MAX)) })
    }

    /// Has a change made, and waits until it is durable. Who stops waiting has not undone it.
    pub(super) async fn make(&self, change: C) -> Result<C::Answer, C::Error> {
        let ended = || C::Error::from(StoreFailure::Failed("the host stops".into()));
        let units = (change.bytes() / UNIT_BYTES + 1).min(QUEUE_UNITS_MAX);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(units).await.map_err(|_| ended())?;
        let (answer, answered) = oneshot::channel();
        self.queue.send(Job { change, answer, _room: room }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

fn run<C: Change>(store: &Store, mut waiting: mpsc::Receiver<Job<C>>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_CHANGES_MAX {
            match waiting.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let changes: Vec<&C> = batch.iter().map(|job| &job.change).collect();
        let answers = store.write(&changes);
        for (job, answer) in batch.into_iter().zip(answers) {
            // Who does not wait any more needs no answer.
            let _ = job.answer.send(answer);
        }
    }
}
