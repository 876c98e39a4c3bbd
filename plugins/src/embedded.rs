//! The embedded store of what lies on the host's own disk: a file of the folder of `--data-dir`, whose changes are durable
//! before anybody is told of them. What its tables hold is not known here.

mod file;
mod store;
mod writer;

use std::sync::Arc;

use redb::{Database, Key, ReadOnlyTable, ReadTransaction, TableDefinition, TableError, Value, WriteTransaction};
use tokio::sync::Semaphore;

use crate::data_dir::DataDir;
use store::Store;
use writer::Writer;

pub use store::DiskError;

/// Threads that read a store at a time, for all namespaces; who comes later waits.
const READS_AT_ONCE_MAX: usize = 16;

/// A change of a store's tables.
pub(crate) trait Change: Send + Sync + Sized + 'static {
    /// What is said of a change that was made.
    type Answer: Send + 'static;
    /// Why it was not.
    type Error: From<StoreFailure> + Send + 'static;

    /// Bytes that wait with it, about.
    fn bytes(&self) -> usize;

    /// Does it, or says why not and does nothing. It may be called again where nothing of it became durable.
    ///
    /// # Errors
    /// Those of the store.
    fn apply(&self, write: &WriteTransaction) -> Result<Applied<Self>, redb::Error>;
}

/// What became of a change.
pub(crate) struct Applied<C: Change> {
    pub(crate) answer: Result<C::Answer, C::Error>,
    /// Something is to be written.
    pub(crate) is_changed: bool,
}

/// Why a store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreFailure {
    #[error("the disk of the store is full; nothing was changed")]
    DiskFull,
    #[error("{0}")]
    Failed(String),
}

/// A store, and the way to its writer.
pub(crate) struct Embedded<C: Change> {
    store: Arc<Store>,
    writer: Writer<C>,
    reads: Arc<Semaphore>,
}

impl<C: Change> Clone for Embedded<C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), writer: self.writer.clone(), reads: self.reads.clone() }
    }
}

impl<C: Change> Embedded<C> {
    /// Opens the store in a file of `folder`, or makes it. Blocks, and reads all that is kept to find damage.
    ///
    /// # Errors
    /// When the file cannot be used, or is damaged.
    pub(crate) fn open(folder: &Arc<DataDir>, file: &'static str) -> Result<Self, DiskError> {
        let store = Arc::new(Store::open(folder, file)?);
        let started = Writer::start(store.clone());
        let writer = started.map_err(|source| DiskError::Io { path: folder.join(file), source })?;
        Ok(Self { store, writer, reads: Arc::new(Semaphore::new(READS_AT_ONCE_MAX)) })
    }

    /// Why the store cannot be used just now.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        self.store.readiness()
    }

    /// Has a change made, and waits until it is durable. Who stops waiting has not undone it.
    pub(crate) async fn make(&self, change: C) -> Result<C::Answer, C::Error> {
        self.writer.make(change).await
    }

    /// Reads in a thread that may wait for the disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, C::Error> {
        let broken_off = || C::Error::from(StoreFailure::Failed("the reading was broken off".into()));
        let permit = self.reads.clone().acquire_owned().await.map_err(|_| broken_off())?;
        let store = self.store.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            store.read(work)
        });
        Ok(reading.await.map_err(|_| broken_off())??)
    }

    /// Reads in this thread.
    pub(crate) fn read_blocking<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, C::Error> {
        Ok(self.store.read(work)?)
    }
}

/// A table to be read; `None` where nothing was ever written to it.
pub(crate) fn table_of<K: Key + 'static, V: Value + 'static>(
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, redb::Error> {
    match read.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
