//! Fills a cache directory before a host needs it. Runs nothing.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use roadstead_config::{ImageReference, Limits, PullPolicy, RegistryCredentials, manifest::SourcePlace};
use roadstead_metrics::Metrics;

use super::{CodeSource, CompileService, CompilerProgram, Kept, cache::CacheError, open_cache};
use crate::{
    DeployError,
    artifact::{ArtifactOptions, ArtifactStore, PullError, Wanted, read_component, read_file},
    engine::{EngineError, compiler_engine},
    metrics::RuntimeMetrics,
};

/// Why a component is not in the cache.
#[derive(Debug, thiserror::Error)]
pub enum PrecompileError {
    #[error("the cache cannot be used")]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the metrics cannot be registered")]
    Metrics(#[from] roadstead_metrics::Error),
    #[error(transparent)]
    Component(#[from] DeployError),
    #[error("images cannot be fetched")]
    Images(#[source] PullError),
    #[error("the compiled component cannot be written to the cache")]
    Write(#[source] std::io::Error),
}

/// A component that is in the cache now.
#[derive(Debug, Clone)]
pub struct Precompiled {
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// [`CodeSource::Disk`] or [`CodeSource::Memory`] where it was in the cache before.
    pub source: CodeSource,
    /// Time that it took.
    pub took: Duration,
}

/// Compiles components into a cache directory, for hosts with the same limits.
pub struct Precompiler {
    service: CompileService,
    limits: Arc<Limits>,
    images: ArtifactStore,
}

impl Precompiler {
    /// Opens the cache at `directory`, or makes it. Without a `program` the compiler works in this process. Images come as
    /// `artifacts` say.
    ///
    /// # Errors
    /// When the directory cannot be used, or the limits fit no engine.
    pub async fn new(
        limits: Limits,
        program: Option<CompilerProgram>,
        directory: PathBuf,
        artifacts: ArtifactOptions,
    ) -> Result<Self, PrecompileError> {
        let limits = Arc::new(limits);
        let engine = compiler_engine(&limits)?;
        let metrics = RuntimeMetrics::new(&Metrics::default())?;
        let images = ArtifactStore::open(artifacts, limits.clone(), metrics.images.clone()).await;
        let cache = open_cache(directory, limits.clone()).await?;
        let service = CompileService::with_cache(engine, limits.clone(), program, Some(cache), metrics.compiles);
        Ok(Self { service, limits, images: images.map_err(PrecompileError::Images)? })
    }

    /// Compiles what a manifest names; a registry is shown `credentials`.
    ///
    /// # Errors
    /// When it cannot be read, compiled or written.
    pub async fn image(
        &self,
        image: &ImageReference,
        place: &SourcePlace,
        policy: PullPolicy,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Precompiled, PrecompileError> {
        let wanted = Wanted { image, place, policy, credentials };
        let read = read_component(&self.images, wanted, self.limits.component_bytes_max).await?;
        self.compile(read.bytes, image.to_string(), place).await
    }

    /// Compiles a component file.
    ///
    /// # Errors
    /// When it cannot be read, compiled or written.
    pub async fn file(&self, path: &Path) -> Result<Precompiled, PrecompileError> {
        let shown = path.display().to_string();
        let place = SourcePlace { file: shown.as_str().into(), line: 1, column: 1 };
        let bytes = read_file(path, shown.clone(), &place, self.limits.component_bytes_max).await?;
        self.compile(bytes, shown, &place).await
    }

    async fn compile(&self, bytes: Bytes, path: String, place: &SourcePlace) -> Result<Precompiled, PrecompileError> {
        let begun = Instant::now();
        let failed = |source| DeployError::Compile { place: place.clone(), path, source };
        let ready = self.service.ready(bytes).await.map_err(failed)?;
        match ready.kept {
            Kept::Failed(error) => Err(PrecompileError::Write(error)),
            Kept::AsItWas | Kept::Written => {
                Ok(Precompiled { digest: ready.digest, source: ready.source, took: begun.elapsed() })
            }
        }
    }
}
