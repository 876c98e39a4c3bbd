//! The file under the embedded store. It takes room on the disk before it says that it is longer, so that a disk that is
//! full is met when the file should grow and not in the middle of it; and it can be taken away from a store that failed,
//! so that nothing which is left of that store writes beside its successor. What is in the file is not known here.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::StorageBackend;
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

/// The file, as the store has it.
#[derive(Debug)]
pub(super) struct ReservedFile {
    file: File,
    grant: Arc<Grant>,
}

/// What the one who gave the file keeps.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// Locked by whoever is reading or writing, so that who takes the file away waits for that.
    is_revoked: RwLock<bool>,
    was_full: AtomicBool,
}

impl Grant {
    /// The store has the file no longer; what it was just doing with it is done.
    pub(super) fn revoke(&self) {
        *self.is_revoked.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether the disk had no room when the file was to grow or to be written.
    pub(super) fn was_full(&self) -> bool {
        self.was_full.load(Ordering::Acquire)
    }
}

impl ReservedFile {
    pub(super) fn new(file: File) -> (Self, Arc<Grant>) {
        let grant = Arc::new(Grant::default());
        (Self { file, grant: grant.clone() }, grant)
    }

    fn with<T>(&self, work: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let is_revoked = self.grant.is_revoked.read().unwrap_or_else(PoisonError::into_inner);
        if *is_revoked {
            return Err(io::Error::other("the file was given to another"));
        }
        work(&self.file).inspect_err(|error| {
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                self.grant.was_full.store(true, Ordering::Release);
            }
        })
    }
}

fn grow(file: &File, from: u64, to: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), from, to - from) {
        Ok(()) => Ok(()),
        // A file system that reserves nothing: then writing meets the full disk.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(to),
        Err(error) => {
            // What was reserved of it is given back; where that fails as well, it is the same error again.
            let _ = file.set_len(from);
            Err(error.into())
        }
    }
}

impl StorageBackend for ReservedFile {
    fn len(&self) -> io::Result<u64> {
        self.with(|file| Ok(file.metadata()?.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|file| file.read_exact_at(out, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|file| match file.metadata()?.len() {
            now if now < len => grow(file, now, len),
            _ => file.set_len(len),
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(File::sync_data)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|file| file.write_all_at(data, offset))
    }
}
