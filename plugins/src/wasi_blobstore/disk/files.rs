//! The files with the bytes of objects: each has a number for a name, is written under another name, made durable and
//! renamed. Which object a file belongs to, is not known here, and no name that a guest gave.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::Semaphore;

use super::index::FileId;
use crate::wasi_blobstore::backend::{BlobError, Chunks};

/// Bytes that are read or written at once.
const STEP_BYTES: usize = 262_144;
/// Threads that wait for the disk at a time, of all namespaces, and as many to read as to write: who writes much does not
/// keep others from reading. Who comes later waits.
const STEPS_AT_ONCE_MAX: usize = 16;
/// Bytes of a file that are written before the disk is waited for, so that its end does not wait for all of it.
const UNSYNCHRONISED_BYTES_MAX: usize = 33_554_432;
/// How the name of a file ends that is being written.
const UNFINISHED: &str = ".part";

/// The folder of the files.
#[derive(Clone)]
pub(super) struct Files {
    path: Arc<PathBuf>,
    next: Arc<AtomicU64>,
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

impl Files {
    /// Opens the folder, and removes what no object has: what was being written when a host ended, and what was not
    /// needed any more. Blocks. Returns how many files of `kept` are not there as well.
    pub(super) fn open(path: PathBuf, kept: &BTreeSet<FileId>) -> io::Result<(Self, usize)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let mut there = 0;
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| u64::from_str_radix(name, 16).ok()).map(FileId);
            if id.is_some_and(|id| kept.contains(&id)) {
                there += 1;
            } else if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        let next = kept.last().map_or(1, |last| last.0 + 1);
        let [reading, writing] = [(); 2].map(|()| Arc::new(Semaphore::new(STEPS_AT_ONCE_MAX)));
        let files = Self { path: Arc::new(path), next: Arc::new(AtomicU64::new(next)), reading, writing };
        Ok((files, kept.len() - there))
    }

    fn path_of(&self, id: FileId) -> PathBuf {
        self.path.join(format!("{:016x}", id.0))
    }

    async fn read_step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        self.step(&self.reading, work).await
    }

    async fn write_step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        self.step(&self.writing, work).await
    }

    /// Does something that waits for the disk.
    async fn step<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobError> {
        let broken_off = || BlobError::Failed("it was broken off".into());
        let permit = places.clone().acquire_owned().await.map_err(|_| broken_off())?;
        let files = self.clone();
        let step = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&files)
        });
        step.await.map_err(|_| broken_off())?.map_err(|error| of_io(&error))
    }

    /// Begins a file.
    pub(super) async fn create(&self) -> Result<Part, BlobError> {
        let id = FileId(self.next.fetch_add(1, Ordering::Relaxed));
        let unfinished = self.path_of(id).with_extension(&UNFINISHED[1..]);
        // It is removed with this, also where the making of it is waited for by nobody.
        let mut part = Part {
            files: self.clone(),
            id,
            path: unfinished.clone(),
            file: None,
            gathered: BytesMut::new(),
            unsynchronised: 0,
        };
        let make = move |_: &Self| OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished);
        part.file = Some(self.write_step(make).await?);
        Ok(part)
    }

    /// Reads a file from its first byte on; `None` where it is not there.
    pub(super) async fn read(&self, id: FileId) -> Result<Option<FileChunks>, BlobError> {
        let opened = self.read_step(move |files| match File::open(files.path_of(id)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        let opened = opened.await?;
        Ok(opened.map(|file| FileChunks { files: self.clone(), file: Arc::new(file), offset: 0 }))
    }

    /// Removes files; one that cannot be removed is removed at the next start.
    pub(super) async fn remove(&self, ids: Vec<FileId>) {
        if ids.is_empty() {
            return;
        }
        let removed = self.write_step(move |files| ids.iter().try_for_each(|id| fs::remove_file(files.path_of(*id))));
        if let Err(error) = removed.await {
            tracing::warn!(%error, "files of objects that are gone stay until the next start");
        }
    }
}

fn of_io(error: &io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::DiskFull,
        _ => BlobError::Failed(error.to_string()),
    }
}

/// A file in the making. It is removed where it is dropped before it is finished.
pub(super) struct Part {
    files: Files,
    id: FileId,
    path: PathBuf,
    file: Option<File>,
    gathered: BytesMut,
    /// Bytes that the disk was not waited for.
    unsynchronised: usize,
}

impl Part {
    /// Adds bytes; they are written a step at a time.
    pub(super) async fn write(&mut self, piece: &Bytes) -> Result<(), BlobError> {
        self.gathered.extend_from_slice(piece);
        match self.gathered.len() {
            few if few < STEP_BYTES => Ok(()),
            _ => self.flush().await,
        }
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        let lost = || BlobError::Failed("a step before this failed".into());
        let mut file = self.file.take().ok_or_else(lost)?;
        let gathered = self.gathered.split();
        self.unsynchronised += gathered.len();
        let synchronise = self.unsynchronised >= UNSYNCHRONISED_BYTES_MAX;
        if synchronise {
            self.unsynchronised = 0;
        }
        let write = move |_: &Files| {
            file.write_all(&gathered)?;
            if synchronise {
                file.sync_data()?;
            }
            Ok(file)
        };
        self.file = Some(self.files.write_step(write).await?);
        Ok(())
    }

    /// Makes the file durable under its own name.
    pub(super) async fn finish(mut self) -> Result<Finished, BlobError> {
        self.flush().await?;
        let lost = || BlobError::Failed("a step before this failed".into());
        let (file, path, id) = (self.file.take().ok_or_else(lost)?, self.path.clone(), self.id);
        let finished = Finished { files: self.files.clone(), id: Some(id) };
        let keep = move |files: &Files| {
            file.sync_all()?;
            fs::rename(path, files.path_of(id))?;
            File::open(&**files.path)?.sync_all()
        };
        self.files.write_step(keep).await?;
        Ok(finished)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After it was finished there is none of this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// A durable file that no object has yet. It is removed where it is dropped before it is one's.
pub(super) struct Finished {
    files: Files,
    id: Option<FileId>,
}

impl Finished {
    /// From now on the index decides whether it stays.
    pub(super) fn keep(mut self) -> Option<FileId> {
        self.id.take()
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Where it stays, it is removed at the next start.
            let _ = fs::remove_file(self.files.path_of(id));
        }
    }
}

/// A file that is read. Whoever has it open has all of it, also when it is removed.
pub(super) struct FileChunks {
    files: Files,
    file: Arc<File>,
    offset: u64,
}

#[async_trait]
impl Chunks for FileChunks {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let (file, offset) = (self.file.clone(), self.offset);
        let read = move |_: &Files| {
            let mut piece = vec![0; STEP_BYTES];
            let count = file.read_at(&mut piece, offset)?;
            piece.truncate(count);
            Ok(Bytes::from(piece))
        };
        let piece = self.files.read_step(read).await?;
        self.offset += piece.len() as u64;
        Ok((!piece.is_empty()).then_some(piece))
    }

    fn skip(&mut self, bytes: u64) -> u64 {
        self.offset += bytes;
        bytes
    }
}
