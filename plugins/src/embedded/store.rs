//! The embedded store as a file that is open: opened with all of it checked, opened anew where the file failed, read and
//! written in transactions. Who waits for what, is not known here.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use redb::{Database, DatabaseError, StorageError};

use super::{
    Change, StoreFailure,
    file::{Grant, ReservedFile},
};
use crate::data_dir::DataDir;

/// Memory for pages of the file that were read or are to be written, in bytes.
const CACHE_BYTES_MAX: usize = 32 << 20;

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system refused.
    #[error("{path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not what was written there.
    #[error(
        "{path} is damaged, or no file of this store ({reason}); put a copy of it back that is whole, or move it away \
         to begin with none of what it kept"
    )]
    Damaged { path: PathBuf, reason: String },
}

/// The file, opened.
struct Opened {
    database: Database,
    grant: Arc<Grant>,
}

/// The store.
pub(super) struct Store {
    path: PathBuf,
    /// `None` after it could not be opened anew.
    current: RwLock<Option<Arc<Opened>>>,
    /// Locked as long as this is there.
    _folder: Arc<DataDir>,
}

pub(super) type Answers<C> = Vec<Result<<C as Change>::Answer, <C as Change>::Error>>;

/// Why nothing is known to be written.
pub(super) enum Failure {
    /// Before anything could be.
    Before(redb::Error),
    /// While it was written: it may be there.
    Within(redb::Error),
    Panic,
}

impl Store {
    /// Opens the store of a folder, or makes it. Blocks, and reads all of it.
    pub(super) fn open(folder: &Arc<DataDir>, file: &str) -> Result<Self, DiskError> {
        let path = folder.join(file);
        let opened = open_file(&path, true)?;
        // A file that is new is to be found after a power cut as well.
        folder.synchronise().map_err(|source| DiskError::Io { path: path.clone(), source })?;
        Ok(Self { path, current: RwLock::new(Some(Arc::new(opened))), _folder: folder.clone() })
    }

    /// Why the store cannot be used just now.
    pub(super) fn readiness(&self) -> Result<(), String> {
        match &*self.current.read().unwrap_or_else(PoisonError::into_inner) {
            Some(_) => Ok(()),
            None => Err(format!("{} cannot be opened any more", self.path.display())),
        }
    }

    fn opened(&self) -> Result<Arc<Opened>, StoreFailure> {
        if let Some(opened) = &*self.current.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(opened.clone());
        }
        self.replace(None)
    }

    /// Opens the file anew in place of `failed`, unless somebody has done so.
    fn replace(&self, failed: Option<&Arc<Opened>>) -> Result<Arc<Opened>, StoreFailure> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match (&*current, failed) {
            (Some(now), Some(failed)) if Arc::ptr_eq(now, failed) => {}
            (Some(now), _) => return Ok(now.clone()),
            (None, _) => {}
        }
        if let Some(old) = current.take() {
            old.grant.revoke();
        }
        match open_file(&self.path, false) {
            Ok(opened) => Ok(current.insert(Arc::new(opened)).clone()),
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "a store cannot be opened any more");
                Err(StoreFailure::Failed("its file cannot be opened any more".into()))
            }
        }
    }

    /// Reads; and once more where the file failed, opened anew. Blocks.
    pub(super) fn read<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreFailure> {
        let opened = self.opened()?;
        match work(&opened.database) {
            Ok(read) => Ok(read),
            Err(redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed) => {
                let opened = self.replace(Some(&opened))?;
                work(&opened.database).map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    /// Makes all changes of `batch` durable, together, and says what became of each. Where that is not possible each is
    /// made alone: one that the disk has no room for does not keep the others from being made. Blocks.
    pub(super) fn write<C: Change>(&self, batch: &[&C]) -> Vec<Result<C::Answer, C::Error>> {
        match self.commit(batch) {
            Ok(answers) => answers,
            Err((_, true)) if batch.len() > 1 => batch
                .chunks(1)
                .flat_map(|alone| match self.commit(alone) {
                    Ok(answers) => answers,
                    Err((failure, _)) => vec![Err(failure.into())],
                })
                .collect(),
            Err((failure, _)) => batch.iter().map(|_| Err(failure.clone().into())).collect(),
        }
    }

    /// Does the work, or says why not and whether it is certain that nothing of it was done.
    fn commit<C: Change>(&self, batch: &[&C]) -> Result<Answers<C>, (StoreFailure, bool)> {
        let opened = self.opened().map_err(|error| (error, true))?;
        let done = catch_unwind(AssertUnwindSafe(|| transact(&opened.database, batch)));
        let failure = match done {
            Ok(Ok(answers)) => return Ok(answers),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Panic,
        };
        let was_full = opened.grant.was_full();
        let _ = self.replace(Some(&opened));
        let (error, is_certain) = match failure {
            _ if was_full => (StoreFailure::DiskFull, true),
            Failure::Before(error) => (failed(&error), true),
            Failure::Within(error) => (failed(&error), false),
            Failure::Panic => (StoreFailure::Failed("its file is damaged".into()), false),
        };
        tracing::warn!(path = %self.path.display(), %error, changes = batch.len(), "changes of a store could not be written");
        Err((error, is_certain))
    }
}

fn failed(error: &redb::Error) -> StoreFailure {
    StoreFailure::Failed(error.to_string())
}

pub(super) fn transact<C: Change>(database: &Database, batch: &[&C]) -> Result<Answers<C>, Failure> {
    let before = |error: redb::Error| Failure::Before(error);
    let mut write = database.begin_write().map_err(|error| before(error.into()))?;
    // The file is whole at any moment, and opening it after a crash does not take the longer the larger it is.
    write.set_quick_repair(true);
    let mut answers = Vec::with_capacity(batch.len());
    let mut is_changed = false;
    for change in batch {
        let applied = change.apply(&write).map_err(before)?;
        is_changed |= applied.is_changed;
        answers.push(applied.answer);
    }
    if is_changed {
        write.commit().map_err(|error| Failure::Within(error.into()))?;
    } else {
        write.abort().map_err(|error| before(error.into()))?;
    }
    Ok(answers)
}

fn open_file(path: &PathBuf, is_checked: bool) -> Result<Opened, DiskError> {
    let io = |source| DiskError::Io { path: path.clone(), source };
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(io)?;
    let (file, grant) = ReservedFile::new(file);
    let open = || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES_MAX).set_check_integrity_on_open(is_checked);
        builder.create_with_backend(file)
    };
    let damaged = |reason: String| DiskError::Damaged { path: path.clone(), reason };
    // The library's own words for some damage are a panic.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(Opened { database, grant }),
        Ok(Err(DatabaseError::Storage(StorageError::Io(source)))) if source.kind() != io::ErrorKind::InvalidData => {
            match source.kind() {
                io::ErrorKind::UnexpectedEof => Err(damaged("it ends too early".into())),
                _ => Err(io(source)),
            }
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its pages contradict each other".into())),
    }
}
