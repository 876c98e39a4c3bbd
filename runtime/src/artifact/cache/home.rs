//! Where the cache of a host is: the directory that was named for it, or a temporary folder of its own, which is made
//! when there is something to keep and goes with the host. A host that was killed leaves its folder behind; the next one
//! removes it, which it can tell by the lock that nobody holds any more.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use roadstead_config::Limits;
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};
use tokio::sync::OnceCell;

use super::ImageCache;

/// How the names of temporary folders begin.
const PREFIX: &str = "roadstead-images-";
/// The file in such a folder on which its host holds a lock.
const LOCK_FILE: &str = "in-use";
/// Entries beside a new folder that are looked at for folders of hosts that are gone.
const SWEPT_MAX: usize = 2_000;

/// The cache of one host.
pub(in crate::artifact) struct CacheHome {
    limits: Arc<Limits>,
    named: Option<Arc<ImageCache>>,
    /// Where the temporary folder is made.
    parent: PathBuf,
    temporary: OnceCell<Option<Temporary>>,
}

/// A cache that ends with the host.
struct Temporary {
    cache: Arc<ImageCache>,
    _lock: File,
    _folder: tempfile::TempDir,
}

impl CacheHome {
    /// Opens the cache at `directory`, beside which there may be a temporary one in `parent`. One that cannot be used is warned of and done without.
    pub(in crate::artifact) fn open(directory: Option<&Path>, parent: PathBuf, limits: Arc<Limits>) -> Self {
        let named = directory.and_then(|path| match ImageCache::open(path, &limits) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!("images are kept for the life of this host only: {}", crate::error_text(&error));
                None
            }
        });
        Self { limits, named, parent, temporary: OnceCell::new() }
    }

    /// The cache, if there is anything in it.
    pub(in crate::artifact) fn to_read(&self) -> Option<Arc<ImageCache>> {
        let temporary = || Some(self.temporary.get()?.as_ref()?.cache.clone());
        self.named.clone().or_else(temporary)
    }

    /// The cache, made where it was not there; `None` where it cannot be.
    pub(in crate::artifact) async fn to_write(&self) -> Option<Arc<ImageCache>> {
        if let Some(cache) = &self.named {
            return Some(cache.clone());
        }
        let (parent, limits) = (self.parent.clone(), self.limits.clone());
        let make = || async {
            let made = tokio::task::spawn_blocking(move || temporary(&parent, &limits)).await;
            made.unwrap_or_else(|error| Err(io::Error::other(error)))
                .inspect_err(|error| {
                    tracing::warn!("images are not kept, there is no temporary folder for them: {error}")
                })
                .ok()
        };
        self.temporary.get_or_init(make).await.as_ref().map(|temporary| temporary.cache.clone())
    }
}

fn temporary(parent: &Path, limits: &Limits) -> io::Result<Temporary> {
    sweep(parent);
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
    let lock = File::create(folder.path().join(LOCK_FILE))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let cache = ImageCache::open(&folder.path().join("cache"), limits);
    let cache = cache.map_err(|error| io::Error::other(crate::error_text(&error)))?;
    Ok(Temporary { cache: Arc::new(cache), _lock: lock, _folder: folder })
}

/// Removes what hosts of this user left behind that were killed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.take(SWEPT_MAX).flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw());
        // Without a lock it may be one that is just being made.
        let is_left = || {
            let lock = File::open(entry.path().join(LOCK_FILE));
            lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
        };
        if is_ours && is_left() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(parent: &Path) -> usize {
        fs::read_dir(parent).unwrap().count()
    }

    #[test]
    fn what_a_killed_host_left_is_removed_and_what_a_living_one_has_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let living = temporary(parent.path(), &Limits::default()).unwrap();
        let mut killed = temporary(parent.path(), &Limits::default()).unwrap();
        killed._folder.disable_cleanup(true);
        let left = killed._folder.path().to_owned();
        drop(killed);
        assert_eq!(folders(parent.path()), 2);
        let next = temporary(parent.path(), &Limits::default()).unwrap();
        assert!(!left.exists());
        drop((living, next));
        assert_eq!(folders(parent.path()), 0);
    }

    #[test]
    fn so_many_neighbours_are_looked_at() {
        let parent = tempfile::tempdir().unwrap();
        for number in 0..=SWEPT_MAX {
            let folder = parent.path().join(format!("{PREFIX}{number}"));
            fs::create_dir(&folder).unwrap();
            File::create(folder.join(LOCK_FILE)).unwrap();
        }
        sweep(parent.path());
        assert_eq!(folders(parent.path()), 1);
    }
}
