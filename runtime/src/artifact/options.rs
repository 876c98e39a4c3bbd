//! How a host gets at images: what an embedding program or the command line may choose. Does nothing by itself.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use roadstead_config::RegistryMirror;

/// The longest time that one image may take, when nothing else is said (`--registry-pull-timeout`).
pub const PULL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Time between two rounds of the cleaner.
pub const CLEAN_EVERY_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// Time for which an image stays that nobody uses.
pub const UNUSED_FOR_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where images come from and where they are kept. The default reads public registries and keeps what it fetched in a
/// temporary folder for as long as the host lives.
#[derive(Debug, Clone)]
pub struct ArtifactOptions {
    /// Directory of the cache, made where it is not there; it must be this user's alone (mode 0700), and hosts may share
    /// it. `None`: a temporary folder of this host's own.
    pub cache_directory: Option<PathBuf>,
    /// Where the temporary folder is made. `/tmp`, when nothing else is said.
    pub temporary_directory: PathBuf,
    /// Registries may be spoken to without TLS: those whose reference begins with `http://`, and those that speak none.
    pub allow_insecure: bool,
    /// Bound of the whole fetch of one image, from the first connection to the last byte, all tries together.
    pub pull_timeout: Duration,
    /// Certificates (PEM) of authorities that are believed beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Registries that are asked in place of others; the first that fits is taken.
    pub mirrors: Vec<RegistryMirror>,
    /// Docker's `config.json`, with credentials and credential helpers. `None`: none is read.
    pub docker_config: Option<PathBuf>,
    /// What is removed from the cache and when. `None`: only what is beyond its size (`artifact_cache_bytes_max`).
    pub cleaner: Option<ArtifactCleaner>,
    /// Who is told how far fetches have come.
    pub progress: Option<Arc<dyn PullProgress>>,
}

/// Is told how far fetches have come, for a person who waits. Called for every piece that comes: it should be quick.
pub trait PullProgress: fmt::Debug + Send + Sync {
    /// So many bytes of `image` have come.
    fn received(&self, image: &str, bytes: u64, of: u64);

    /// The fetch is over, however it ended. Called for what is announced by `received` and for other fetches.
    fn ended(&self, image: &str);
}

/// The progress of one fetch.
pub(super) struct ProgressSink<'s> {
    pub(super) image: &'s str,
    pub(super) watcher: Option<&'s dyn PullProgress>,
}

impl ProgressSink<'_> {
    pub(super) fn received(&self, bytes: u64, of: u64) {
        if let Some(watcher) = self.watcher {
            watcher.received(self.image, bytes, of);
        }
    }
}

impl Drop for ProgressSink<'_> {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher {
            watcher.ended(self.image);
        }
    }
}

/// When images leave the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactCleaner {
    /// Time between two rounds.
    pub frequency: Duration,
    /// An image that no host has used for longer is removed.
    pub max_age: Duration,
}

impl Default for ArtifactCleaner {
    fn default() -> Self {
        Self { frequency: CLEAN_EVERY_DEFAULT, max_age: UNUSED_FOR_DEFAULT }
    }
}

impl Default for ArtifactOptions {
    fn default() -> Self {
        Self {
            cache_directory: None,
            temporary_directory: "/tmp".into(),
            allow_insecure: false,
            pull_timeout: PULL_TIMEOUT_DEFAULT,
            ca_file: None,
            mirrors: Vec::new(),
            docker_config: None,
            cleaner: Some(ArtifactCleaner::default()),
            progress: None,
        }
    }
}
