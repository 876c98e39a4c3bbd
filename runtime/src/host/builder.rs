//! How a host is put together.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use roadstead_config::{Limits, PackageName};
use roadstead_metrics::{Metrics, Registry};
use tokio::time::Instant;

use super::{Host, report::Refusals, turns::Turns};
use crate::{
    HandlerContext, HandlerError, HostHandler, PluginError, Timelines,
    artifact::{ArtifactCleaner, ArtifactOptions, ArtifactStore, PullError},
    compile::{CompileOptions, CompileService, CompilerProgram},
    egress::{Egress, EgressOptions, EgressSetupError},
    engine::{EngineError, EngineWithClock},
    gate::Gate,
    instance::HostShared,
    lanes::BackgroundLane,
    metrics::RuntimeMetrics,
    plugin::{HostPlugin, PluginContext},
    process_metrics,
    references::ReferenceFolders,
    workload::{Foundry, Given},
};

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("two plugins are called {0}; a plugin's id must be unique in a host")]
    DuplicatePlugin(&'static str),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the threads of the background lane cannot be started")]
    Threads(#[source] std::io::Error),
    #[error("the base interfaces cannot be linked: {0}")]
    Base(String),
    #[error("images cannot be fetched")]
    Images(#[source] PullError),
    #[error("components cannot send requests")]
    Egress(#[from] EgressSetupError),
    #[error("the host's metrics cannot be registered")]
    Metrics(#[from] roadstead_metrics::Error),
    #[error("the plugin {id} cannot start")]
    Plugin {
        id: &'static str,
        #[source]
        source: PluginError,
    },
    #[error(transparent)]
    Handler(#[from] HandlerError),
}

/// Puts a host together: name, limits, plugins, HTTP handler.
#[derive(Default)]
pub struct HostBuilder {
    name: Option<String>,
    limits: Limits,
    registry: Registry,
    plugins: Vec<Arc<dyn HostPlugin>>,
    handler: Option<Arc<dyn HostHandler>>,
    compile: CompileOptions,
    artifacts: ArtifactOptions,
    remedies: Vec<(PackageName, String)>,
    folders: ReferenceFolders,
    egress: EgressOptions,
    shared: http::Extensions,
    timelines: Option<Arc<Timelines>>,
}

impl HostBuilder {
    /// A host without plugins and without HTTP.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is to be done for a package that the host could offer and does not, such as the flag that it was not started
    /// with. Workloads that declare the package end in an error with these words at its end.
    pub fn with_remedy(mut self, package: PackageName, remedy: impl Into<String>) -> Self {
        self.remedies.push((package, remedy.into()));
        self
    }

    /// What people call the host.
    pub fn with_host_name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Other bounds than the defaults.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A registry that the caller serves; the default is one of the host's own.
    pub fn with_registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// Adds a capability.
    ///
    /// # Errors
    /// When a plugin of the same id is there.
    pub fn with_plugin(mut self, plugin: Arc<dyn HostPlugin>) -> Result<Self, BuildError> {
        if self.plugins.iter().any(|other| other.id() == plugin.id()) {
            return Err(BuildError::DuplicatePlugin(plugin.id()));
        }
        self.plugins.push(plugin);
        Ok(self)
    }

    /// Brings HTTP to the host's workloads.
    pub fn with_http_handler(self, handler: Arc<dyn HostHandler>) -> Self {
        Self { handler: Some(handler), ..self }
    }

    /// Compiles components in child processes of `program`, with bounds on time and memory. Without it the compiler
    /// works in this process, where a component that is made for it can take as much of both as there is: right for
    /// programs that run components of their own only.
    ///
    /// Children need a tokio runtime with `enable_all`.
    pub fn with_compiler_program(mut self, program: CompilerProgram) -> Self {
        self.compile.program = Some(program);
        self
    }

    /// Keeps compiled components in `directory`, which is made where it is not there and must be this user's alone
    /// (mode 0700). A directory that cannot be used is warned of at the start, and the host does without.
    pub fn with_component_cache(mut self, directory: impl Into<PathBuf>) -> Self {
        self.compile.cache_directory = Some(directory.into());
        self
    }

    /// Fetches images as `options` say. Without it the host reads public registries without credentials, and keeps what
    /// it fetched for as long as it lives.
    pub fn with_artifacts(self, options: ArtifactOptions) -> Self {
        Self { artifacts: options, ..self }
    }

    /// Cleans the cache of images as `cleaner` says, and leaves the other options of images as they are.
    pub fn with_artifact_cleaner(mut self, cleaner: ArtifactCleaner) -> Self {
        self.artifacts.cleaner = Some(cleaner);
        self
    }

    /// Finds what `configFrom` names in `directory`: a file `NAME/KEY` for each value, as Kubernetes mounts a ConfigMap;
    /// `NAMESPACE/NAME/KEY` for workloads of another namespace than `default`.
    pub fn with_config_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.folders.config = Some(directory.into());
        self
    }

    /// The same for what `secretFrom` names.
    pub fn with_secret_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.folders.secret = Some(directory.into());
        self
    }

    /// Lets components send requests as `options` say. Without it they reach the public internet, as far as their
    /// manifests let them (`allowedHosts`), and nothing else.
    pub fn with_egress(self, options: EgressOptions) -> Self {
        Self { egress: options, ..self }
    }

    /// Has the HTTP handler keep requests in `timelines`. Their spans come there by whoever keeps the process's
    /// ([`keep_spans`](crate::keep_spans)).
    pub fn with_timelines(self, timelines: Arc<Timelines>) -> Self {
        Self { timelines: Some(timelines), ..self }
    }

    /// Gives the host something that plugins ask for by its type, in place of an earlier one of the type: a NATS client,
    /// for example, that they share ([`PluginContext::shared`]).
    pub fn with_shared<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.shared.insert(value);
        self
    }

    /// Whether something of this type was given.
    pub(crate) fn shares<T: Clone + Send + Sync + 'static>(&self) -> bool {
        self.shared.get::<T>().is_some()
    }

    /// Starts the host: engine, plugins, HTTP handler, in this order.
    ///
    /// # Errors
    /// When one of them cannot start.
    pub async fn start(self) -> Result<Arc<Host>, BuildError> {
        let limits = Arc::new(self.limits);
        let engine = EngineWithClock::new(&limits)?;
        let shown = Metrics::new(self.registry, limits.metrics_workloads_max);
        let metrics = RuntimeMetrics::new(&shown)?;
        process_metrics::show(&shown)?;
        let registry = shown.registry().clone();
        let context = PluginContext { limits: limits.clone(), metrics: shown.clone(), registry, shared: self.shared };
        for plugin in &self.plugins {
            plugin.start(&context).await.map_err(|source| BuildError::Plugin { id: plugin.id(), source })?;
        }
        let shared = Arc::new(HostShared {
            engine: engine.engine().clone(),
            limits: limits.clone(),
            instance_slots: Gate::new(limits.instances_max),
            background: BackgroundLane::start().map_err(BuildError::Threads)?,
        });
        let compiler =
            CompileService::new(engine.engine().clone(), limits.clone(), self.compile, metrics.compiles.clone()).await;
        let images = ArtifactStore::open(self.artifacts, limits.clone(), metrics.images.clone()).await;
        let images = images.map_err(BuildError::Images)?;
        let egress = Egress::new(self.egress, limits.clone(), &shown)?;
        let given = Given { remedies: self.remedies, folders: self.folders, egress };
        let foundry = Foundry::new(shared, self.plugins, metrics, compiler, images, given)
            .map_err(|error| BuildError::Base(format!("{error:#}")))?;
        if let Some(handler) = &self.handler {
            let timelines = self.timelines.clone();
            handler.start(HandlerContext { limits: limits.clone(), metrics: shown.clone(), timelines }).await?;
        }
        Ok(Arc::new(Host {
            name: self.name.unwrap_or_else(|| "roadstead".into()),
            limits,
            metrics: shown,
            foundry,
            handler: self.handler,
            timelines: self.timelines,
            workloads: std::sync::Mutex::new(BTreeMap::new()),
            turns: Turns::default(),
            refusals: Refusals::default(),
            stopping: AtomicBool::new(false),
            started: Instant::now(),
            _engine: engine,
        }))
    }
}
