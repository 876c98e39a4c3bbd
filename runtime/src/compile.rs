//! From a component's checked bytes to code that can run: shared with a workload that has it already, read from the
//! cache on disk, or compiled, in a child process where the program offers itself as one.
//!
//! Knows bytes and code, not workloads, manifests or images.

mod cache;
mod child;
mod error;
mod frame;
mod key;
mod live;
mod load;
mod precompile;
mod process;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use roadstead_config::Limits;
use tokio::sync::Semaphore;
use wasmtime::{Engine, component::Component};

pub use child::{ChildError, compile_child};
pub use error::CompileError;
pub use precompile::{PrecompileError, Precompiled, Precompiler};
pub use process::CompilerProgram;

use crate::metrics::CompileMetrics;
use cache::{Cache, CacheError};
use key::{ComponentKey, EngineFingerprint};
use live::{LiveComponents, Slot};
use load::Artifact;

/// Where compilation happens and where its results are kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompileOptions {
    /// Compiles in a child process; without it the compiler works in this process.
    pub(crate) program: Option<CompilerProgram>,
    /// Directory of the cache; without it nothing is kept beyond the life of the workloads.
    pub(crate) cache_directory: Option<PathBuf>,
}

/// Where a component's code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeSource {
    /// Another workload runs it.
    Memory,
    /// The cache directory.
    Disk,
    /// Compiled in a child process.
    Child,
    /// Compiled in this process.
    Process,
}

impl CodeSource {
    pub(crate) const ALL: [Self; 4] = [Self::Memory, Self::Disk, Self::Child, Self::Process];

    /// The source as metric labels and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Child => "child",
            Self::Process => "process",
        }
    }
}

/// What happened to the cache directory when a component was made ready.
#[derive(Debug)]
pub(crate) enum Kept {
    /// There is no cache, or nothing had to be written.
    AsItWas,
    /// The code was written to it.
    Written,
    /// The code could not be written.
    Failed(std::io::Error),
}

/// A component that is ready to be linked.
pub(crate) struct Ready {
    pub(crate) component: Arc<Component>,
    pub(crate) source: CodeSource,
    /// SHA-256 of the component, in hexadecimal.
    pub(crate) digest: String,
    pub(crate) kept: Kept,
}

/// Makes components ready for one engine.
pub(crate) struct CompileService {
    engine: Engine,
    fingerprint: EngineFingerprint,
    limits: Arc<Limits>,
    program: Option<CompilerProgram>,
    cache: Option<Arc<Cache>>,
    /// One permit for each compilation that may happen at a time (`compiles_at_once_max`).
    places: Semaphore,
    live: LiveComponents,
    metrics: CompileMetrics,
}

impl CompileService {
    /// A service for `engine`. A cache directory that cannot be used is warned of and left alone.
    pub(crate) async fn new(
        engine: Engine,
        limits: Arc<Limits>,
        options: CompileOptions,
        metrics: CompileMetrics,
    ) -> Self {
        let cache = match options.cache_directory {
            Some(directory) => match open_cache(directory, limits.clone()).await {
                Ok(cache) => Some(cache),
                Err(error) => {
                    let reason = crate::error_text(&error);
                    tracing::warn!("compiled components are not kept: {reason}");
                    metrics.count(CodeSource::Disk, "unusable");
                    None
                }
            },
            None => None,
        };
        Self::with_cache(engine, limits, options.program, cache, metrics)
    }

    fn with_cache(
        engine: Engine,
        limits: Arc<Limits>,
        program: Option<CompilerProgram>,
        cache: Option<Arc<Cache>>,
        metrics: CompileMetrics,
    ) -> Self {
        let at_once = usize::try_from(limits.compiles_at_once_max).unwrap_or(usize::MAX);
        Self {
            fingerprint: EngineFingerprint::of(&engine),
            live: LiveComponents::new(Duration::from_millis(limits.compile_retry_ms)),
            places: Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)),
            engine,
            limits,
            program,
            cache,
            metrics,
        }
    }

    /// Makes a component ready. Of several calls with the same bytes one does the work and the others share it.
    pub(crate) async fn ready(&self, bytes: Bytes) -> Result<Ready, CompileError> {
        let begun = Instant::now();
        let fingerprint = self.fingerprint;
        let (bytes, key) = blocking(move || {
            let key = ComponentKey::new(&bytes, fingerprint);
            (bytes, key)
        })
        .await?;
        let slot = self.live.slot(key);
        let mut slot = slot.lock().await;
        let (result, source) = match slot.component() {
            Some(component) => (Ok((component, Kept::AsItWas)), CodeSource::Memory),
            None => self.fetch(&key, bytes, &mut slot).await,
        };
        let outcome = result.as_ref().map_or_else(CompileError::kind, |_| "ok");
        self.metrics.count(source, outcome);
        self.metrics.observe(source, begun.elapsed().as_secs_f64());
        let (component, kept) = result?;
        Ok(Ready { component, source, digest: key.digest(), kept })
    }

    /// Gets code that no workload runs.
    async fn fetch(
        &self,
        key: &ComponentKey,
        bytes: Bytes,
        slot: &mut Slot,
    ) -> (Result<(Arc<Component>, Kept), CompileError>, CodeSource) {
        let compiler = if self.program.is_some() { CodeSource::Child } else { CodeSource::Process };
        if let Some(error) = slot.failure() {
            return (Err(error), CodeSource::Memory);
        }
        if let Some(component) = self.read_cached(key).await {
            return (Ok((slot.enter(component), Kept::AsItWas)), CodeSource::Disk);
        }
        let result = match self.compile(bytes).await {
            Ok((component, artifact)) => {
                let kept = self.keep(key, artifact).await;
                Ok((slot.enter(component), kept))
            }
            Err(error) => {
                slot.note_failure(&error);
                Err(error)
            }
        };
        (result, compiler)
    }

    /// The cached code, if there is any that is whole and ours.
    async fn read_cached(&self, key: &ComponentKey) -> Option<Component> {
        let (cache, engine, wanted) = (self.cache.clone()?, self.engine.clone(), *key);
        let read = blocking(move || {
            let Some(artifact) = cache.read(&wanted).map_err(|error| crate::error_text(&error))? else {
                return Ok(None);
            };
            load::load(&engine, &artifact).map(Some).map_err(|error| error.to_string())
        });
        match read.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!(digest = key.digest(), "a cached component is compiled again: {reason}");
                self.metrics.count(CodeSource::Disk, "refused");
                None
            }
        }
    }

    async fn compile(&self, bytes: Bytes) -> Result<(Component, Artifact), CompileError> {
        let _place = self.places.acquire().await.map_err(|_| CompileError::Internal("the host is stopping".into()))?;
        let artifact = match &self.program {
            Some(program) => process::compile(program, &self.limits, bytes).await?,
            None => {
                let engine = self.engine.clone();
                blocking(move || load::compile_here(&engine, &bytes)).await??
            }
        };
        let engine = self.engine.clone();
        blocking(move || Ok((load::load(&engine, &artifact)?, artifact))).await?
    }

    async fn keep(&self, key: &ComponentKey, artifact: Artifact) -> Kept {
        let Some(cache) = self.cache.clone() else { return Kept::AsItWas };
        let written_key = *key;
        let written = blocking(move || cache.write(&written_key, &artifact)).await;
        match written.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => Kept::Written,
            Err(error) => {
                tracing::warn!(digest = key.digest(), %error, "a compiled component cannot be kept");
                self.metrics.count(CodeSource::Disk, "write-failed");
                Kept::Failed(error)
            }
        }
    }
}

async fn open_cache(directory: PathBuf, limits: Arc<Limits>) -> Result<Arc<Cache>, CacheError> {
    let opened = tokio::task::spawn_blocking(move || Cache::open(&directory, &limits)).await;
    opened.unwrap_or_else(|error| Err(CacheError::Internal(error.to_string()))).map(Arc::new)
}

/// Work that would keep a thread of the runtime from other work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CompileError::Internal(error.to_string()))
}

#[cfg(test)]
mod tests;
