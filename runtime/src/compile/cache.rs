//! Compiled components on disk, in a directory that is this user's alone. What is read from it becomes machine code of
//! this process, so nothing is believed: not the directory, not a file's owner, not its contents without their code of
//! authentication. Everything wrong is an error for the caller to compile again.
//!
//! Knows keys and artifacts, not components. Several hosts may share a directory: files appear whole or not at all.

mod entry;

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use roadstead_config::Limits;

use self::entry::SECRET_BYTES;
use super::{key::ComponentKey, load::Artifact};
use crate::private_folder::{self, FolderError, PrivateFolder};

/// Name of the file with the directory's secret.
const SECRET_FILE: &str = "secret";
/// Extension of a compiled component.
const EXTENSION: &str = ".compiled";
/// Age at which a file that was not finished belongs to nobody any more.
const UNFINISHED_AGE: Duration = Duration::from_secs(3_600);

pub(super) use entry::EntryError;

/// Why a cache directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("the component cache {path} cannot be used; choose another --component-cache-dir")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the component cache {path} belongs to user {owner}, not to user {user} who runs this; choose another \
         --component-cache-dir"
    )]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("the component cache {path} is open to other users (mode {mode:04o}); run `chmod go-rwx` on it")]
    Mode { path: PathBuf, mode: u32 },
    #[error("the secret of the component cache {path} is {found} bytes long, not {SECRET_BYTES}; remove the directory")]
    Secret { path: PathBuf, found: usize },
    #[error("the component cache cannot be opened: {0}")]
    Internal(String),
}

impl From<FolderError> for CacheError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::Io { path, source } => Self::Io { path, source },
            FolderError::Owner { path, owner, user } => Self::Owner { path, owner, user },
            FolderError::Mode { path, mode } => Self::Mode { path, mode },
        }
    }
}

/// An open cache directory.
pub(super) struct Cache {
    folder: PrivateFolder,
    secret: [u8; SECRET_BYTES],
    bytes_max: u64,
    files_max: u64,
    artifact_bytes_max: u64,
}

impl Cache {
    /// Opens the cache at `path`, or makes it, with a secret of its own.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Self, CacheError> {
        let folder = PrivateFolder::open(path)?;
        let io = |source| CacheError::Io { path: path.to_owned(), source };
        let secret = match folder.read(SECRET_FILE, SECRET_BYTES as u64 + 1).map_err(io)? {
            Some(secret) => secret,
            None => {
                folder.write_once(SECRET_FILE, &entry::new_secret().map_err(io)?).map_err(io)?;
                // Another process may have been first: what counts is what lies there.
                folder.read(SECRET_FILE, SECRET_BYTES as u64 + 1).map_err(io)?.unwrap_or_default()
            }
        };
        let wrong = |secret: Vec<u8>| CacheError::Secret { path: path.to_owned(), found: secret.len() };
        Ok(Self {
            folder,
            secret: secret.try_into().map_err(wrong)?,
            bytes_max: limits.component_cache_bytes_max,
            files_max: limits.component_cache_files_max,
            artifact_bytes_max: limits.compile_output_bytes_max,
        })
    }

    /// The code of `key`; `None` when it is not there.
    pub(super) fn read(&self, key: &ComponentKey) -> Result<Option<Artifact>, EntryError> {
        let name = file_name(key);
        let size_max = self.artifact_bytes_max.saturating_add(entry::HEADER_BYTES as u64);
        let Some(file) = self.folder.read(&name, size_max)? else { return Ok(None) };
        let artifact = entry::open(file, key, &self.secret)?;
        // Only its place in the order of removal depends on it.
        let _ = self.folder.touch(&name);
        Ok(Some(artifact))
    }

    /// Keeps the code of `key`, and removes the least recently used where the directory is full.
    pub(super) fn write(&self, key: &ComponentKey, artifact: &Artifact) -> io::Result<()> {
        let header = entry::header(artifact, key, &self.secret)?;
        self.folder.write(&file_name(key), &[&header, artifact.as_bytes()])?;
        self.trim()
    }

    fn trim(&self) -> io::Result<()> {
        let now = SystemTime::now();
        let mut kept = Vec::new();
        for file in self.folder.files()? {
            if file.name.ends_with(EXTENSION) {
                kept.push(file);
            } else if private_folder::is_unfinished(&file.name)
                && now.duration_since(file.modified).is_ok_and(|age| age > UNFINISHED_AGE)
            {
                self.folder.remove(&file.name)?;
            }
        }
        kept.sort_by_key(|file| file.modified);
        let mut bytes: u64 = kept.iter().map(|file| file.bytes).sum();
        let mut count = kept.len() as u64;
        for file in kept {
            if bytes <= self.bytes_max && count <= self.files_max {
                break;
            }
            self.folder.remove(&file.name)?;
            bytes = bytes.saturating_sub(file.bytes);
            count = count.saturating_sub(1);
        }
        Ok(())
    }
}

fn file_name(key: &ComponentKey) -> String {
    key.file_stem() + EXTENSION
}

#[cfg(test)]
mod tests;
