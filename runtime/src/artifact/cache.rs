//! Images on disk, by the digest of their component, and what references stood for when they were last asked. The
//! directory is this user's alone, and still nothing of it is believed: a component is hashed whenever it is read, and
//! what a reference stood for carries a code of authentication. Hosts may share the directory: files appear whole or not
//! at all, and whoever uses one holds a lock on it that keeps every host's cleaner away.

mod home;
mod record;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use roadstead_config::{Limits, RegistryCredentials};
use rustix::fs::{FlockOperation, flock};

use super::{fetch::digest_of, manifest::Layer};
use crate::private_folder::{FolderError, PrivateFolder, is_unfinished};
pub(super) use home::CacheHome;
pub(super) use record::{Record, RecordKey};
use record::{SECRET_BYTES, Secret};

/// Name of the file with the directory's secret.
const SECRET_FILE: &str = "secret";
/// Age at which a file that was not finished belongs to nobody any more.
const UNFINISHED_AGE: Duration = Duration::from_secs(3_600);

/// An open cache.
pub(super) struct ImageCache {
    components: PrivateFolder,
    references: PrivateFolder,
    secret: Secret,
    bytes_max: u64,
    files_max: u64,
    component_bytes_max: u64,
}

/// Keeps a component in the cache for as long as it lives.
#[derive(Debug)]
pub struct ArtifactLease(#[allow(dead_code, reason = "closing it gives up the lock")] File);

/// What a round of the cleaner did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cleaned {
    pub(super) removed: u64,
    pub(super) bytes: u64,
}

impl ImageCache {
    /// Opens the cache at `path`, or makes it.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Self, FolderError> {
        let folder = PrivateFolder::open(path)?;
        let io = |source| FolderError::Io { path: path.to_owned(), source };
        Ok(Self {
            secret: secret(&folder).map_err(io)?,
            components: PrivateFolder::open(&path.join("components"))?,
            references: PrivateFolder::open(&path.join("references"))?,
            bytes_max: limits.artifact_cache_bytes_max,
            files_max: limits.artifact_cache_files_max,
            component_bytes_max: limits.component_bytes_max,
        })
    }

    /// Under which name it is remembered what an image stands for, for who shows these credentials.
    pub(super) fn key(&self, image: &str, credentials: Option<&RegistryCredentials>) -> RecordKey {
        RecordKey::new(&self.secret, image, credentials)
    }

    /// What an image stood for. A record that is damaged is removed.
    pub(super) fn recall(&self, key: &RecordKey) -> io::Result<Option<Record>> {
        let found = match self.references.read(key.name(), record::RECORD_BYTES_MAX) {
            Ok(Some(file)) => record::open(&self.secret, key, &file),
            Ok(None) => return Ok(None),
            // Larger than one may be, or somebody else's.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(record) => {
                let _ = self.references.touch(key.name());
                Ok(Some(record))
            }
            None => {
                tracing::warn!(file = key.name(), "a damaged reference in the image cache is removed");
                self.references.remove(key.name())?;
                Ok(None)
            }
        }
    }

    /// Remembers what an image stands for.
    pub(super) fn remember(&self, key: &RecordKey, record: &Record) -> io::Result<()> {
        self.references.write(key.name(), &[&record::seal(&self.secret, key, record)?])
    }

    /// A component, whole and with the digest that it was kept under. One that is damaged is removed.
    pub(super) fn read(&self, layer: &Layer) -> io::Result<Option<(Bytes, Arc<ArtifactLease>)>> {
        let name = layer.digest.hex();
        let Some(mut file) = self.leased(&name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        if layer.bytes <= self.component_bytes_max {
            (&mut file).take(layer.bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 != layer.bytes || digest_of(&bytes) != layer.digest {
            tracing::warn!(digest = %layer.digest, "a damaged component in the image cache is removed");
            self.components.remove(&name)?;
            return Ok(None);
        }
        // Only its place in the order of removal depends on it.
        let _ = self.components.touch(&name);
        Ok(Some((bytes.into(), Arc::new(ArtifactLease(file)))))
    }

    /// Keeps a component, and makes room for it.
    pub(super) fn write(&self, layer: &Layer, bytes: &[u8]) -> io::Result<Option<Arc<ArtifactLease>>> {
        let name = layer.digest.hex();
        self.components.write(&name, &[bytes])?;
        let lease = self.leased(&name)?.map(|file| Arc::new(ArtifactLease(file)));
        self.clean(None)?;
        Ok(lease)
    }

    /// Removes what nobody has used for `max_age`, and beyond the size of the cache what was used longest ago. What a
    /// host uses just now stays.
    pub(super) fn clean(&self, max_age: Option<Duration>) -> io::Result<Cleaned> {
        let now = SystemTime::now();
        let age = |modified: SystemTime| now.duration_since(modified).unwrap_or_default();
        let is_old = |modified| max_age.is_some_and(|max| age(modified) > max);
        let mut cleaned = Cleaned::default();
        for (folder, bytes_max) in [(&self.components, self.bytes_max), (&self.references, u64::MAX)] {
            let (mut unfinished, mut kept): (Vec<_>, Vec<_>) =
                folder.files()?.into_iter().partition(|file| is_unfinished(&file.name));
            unfinished.retain(|file| age(file.modified) > UNFINISHED_AGE);
            for file in unfinished {
                folder.remove(&file.name)?;
            }
            kept.sort_by_key(|file| file.modified);
            let mut bytes: u64 = kept.iter().map(|file| file.bytes).sum();
            let mut count = kept.len() as u64;
            for file in kept {
                let is_beyond = bytes > bytes_max || count > self.files_max;
                if (is_beyond || is_old(file.modified)) && remove_unused(folder, &file.name)? {
                    bytes = bytes.saturating_sub(file.bytes);
                    count = count.saturating_sub(1);
                    cleaned.removed += 1;
                    cleaned.bytes += file.bytes;
                }
            }
        }
        Ok(cleaned)
    }

    /// Opens a component with a lock on it. `None` when it is not there, or a cleaner is just removing it.
    fn leased(&self, name: &str) -> io::Result<Option<File>> {
        let Some(file) = self.components.open_file(name)? else { return Ok(None) };
        if flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
            return Ok(None);
        }
        // Between opening and locking a cleaner may have been quicker.
        Ok((rustix::fs::fstat(&file)?.st_nlink > 0).then_some(file))
    }
}

/// Removes a file unless somebody has a lock on it.
fn remove_unused(folder: &PrivateFolder, name: &str) -> io::Result<bool> {
    let Some(file) = folder.open_file(name)? else { return Ok(true) };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    folder.remove(name)?;
    Ok(true)
}

/// The secret of the directory, made where there is none.
fn secret(folder: &PrivateFolder) -> io::Result<Secret> {
    let read = || folder.read(SECRET_FILE, SECRET_BYTES as u64 + 1);
    let found = match read()? {
        Some(secret) => secret,
        None => {
            folder.write_once(SECRET_FILE, &record::new_secret()?)?;
            // Another process may have been first: what counts is what lies there.
            read()?.unwrap_or_default()
        }
    };
    let wrong = |_| io::Error::other(format!("{SECRET_FILE} has not {SECRET_BYTES} bytes; remove the directory"));
    found.try_into().map_err(wrong)
}

#[cfg(test)]
mod tests;
