//! What a capability of the host looks like to the runtime: its life cycle, its interfaces, its state per workload.
//!
//! A plugin starts with the host; is bound once for each component that was granted one of its interfaces (grants
//! checked, backends opened); is linked into that component; and, where it calls into components, is activated
//! when the workload runs. A call costs it nothing that could have been done before.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use roadstead_config::{
    InterfaceName, InterfaceVersion, Limits, PackageName, ResourceName, interface::InterfaceError,
    manifest::HostInterface,
};
use roadstead_metrics::{Metrics, Registry};
use wasmtime::component::Linker;

use crate::{InstanceState, WorkloadId, component::ComponentHandle};

/// One package in one version, as a plugin serves it.
#[derive(Debug, Clone)]
pub struct InterfaceOffer {
    pub package: PackageName,
    pub version: InterfaceVersion,
    /// Interfaces that components import and must declare.
    pub imports: &'static [&'static str],
    /// Interfaces that hold only types: granted with any other of the package.
    pub types: &'static [&'static str],
    /// Interfaces that components export and the plugin calls.
    pub exports: &'static [&'static str],
}

impl InterfaceOffer {
    /// Makes an offer from a package's name and version as text.
    ///
    /// # Errors
    /// When one of them is not well formed.
    pub fn new(namespace: &str, package: &str, version: &str) -> Result<Self, InterfaceError> {
        Ok(Self {
            package: PackageName::new(namespace, package)?,
            version: version.parse()?,
            imports: &[],
            types: &[],
            exports: &[],
        })
    }

    /// Adds interfaces that components import.
    pub fn with_imports(self, imports: &'static [&'static str]) -> Self {
        Self { imports, ..self }
    }

    /// Adds interfaces that hold only types.
    pub fn with_types(self, types: &'static [&'static str]) -> Self {
        Self { types, ..self }
    }

    /// Adds interfaces that components export.
    pub fn with_exports(self, exports: &'static [&'static str]) -> Self {
        Self { exports, ..self }
    }

    pub(crate) fn has(&self, interface: &str) -> bool {
        [self.imports, self.types, self.exports].iter().any(|names| names.contains(&interface))
    }
}

/// Why a plugin refuses or fails.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The manifest asks for something that the plugin does not do, or says it wrongly.
    #[error("{0}")]
    Configuration(String),
    /// What stands behind the plugin failed.
    #[error("{message}")]
    Backend {
        message: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl PluginError {
    /// A failure of what stands behind the plugin.
    pub fn backend(message: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Backend { message: message.into(), source: Some(Box::new(source)) }
    }
}

/// What a plugin is given when the host starts.
#[derive(Clone)]
pub struct PluginContext {
    pub limits: Arc<Limits>,
    /// Those of the catalogue. What is not in it is shown in `registry`.
    pub metrics: Metrics,
    /// Where the host's metrics are shown, for metrics of the plugin's own: their names begin otherwise than with
    /// `roadstead_`.
    pub registry: Registry,
    /// What the host was given for whichever plugin asks for it, by its type: a connection that several share, for
    /// example ([`HostBuilder::with_shared`](crate::host::HostBuilder::with_shared)).
    pub shared: http::Extensions,
}

/// One component of one workload, as a plugin sees it before it runs.
pub struct ComponentBinding<'a> {
    pub workload: &'a WorkloadId,
    /// What all replicas of the workload have in common.
    pub deployment: &'a ResourceName,
    pub component: &'a ResourceName,
    /// The workload's entries for the plugin's packages. What `configFrom` and `secretFrom` name is among their values, unless
    /// the plugin [reads secrets itself](HostPlugin::reads_secrets).
    pub interfaces: &'a [HostInterface],
    /// The names of those values that `secretFrom` brought.
    pub secrets: &'a BTreeSet<String>,
    /// `localResources.config` of the component, which wins over the entries' own.
    pub local_config: &'a BTreeMap<String, String>,
    /// Interfaces of the plugin that the component exports.
    pub exports: &'a [InterfaceName],
}

/// State that a plugin keeps for one component of one workload.
pub type BoundState = Arc<dyn Any + Send + Sync>;

/// A capability of the host.
#[async_trait]
pub trait HostPlugin: Send + Sync + 'static {
    /// The plugin's name, unique in a host.
    fn id(&self) -> &'static str;

    /// What it serves.
    fn offers(&self) -> &[InterfaceOffer];

    /// The host starts.
    ///
    /// # Errors
    /// A plugin that cannot start keeps the host from starting.
    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Checks what a component was granted and prepares its state, found again with [`InstanceState::bound`].
    ///
    /// # Errors
    /// The workload ends in an error with the plugin's message.
    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let _ = binding;
        Ok(None)
    }

    /// Puts the granted `interfaces` into a component's linker. What is linked serves every workload that has the
    /// component.
    ///
    /// # Errors
    /// Those of the linker.
    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()>;

    /// The workload runs: begin to call the component. Dropping the activation must end it as well.
    ///
    /// # Errors
    /// The workload ends in an error with the plugin's message.
    async fn activate(&self, component: Arc<ComponentHandle>) -> Result<Option<Box<dyn Activation>>, PluginError> {
        let _ = component;
        Ok(None)
    }

    /// What a running component is called for by this plugin, such as the subjects of its messages.
    fn subscriptions(&self, component: &ComponentHandle) -> Vec<String> {
        let _ = component;
        Vec::new()
    }

    /// Whether the plugin itself looks up what `secretFrom` of its packages' entries names: then the names are left in the
    /// entries it is bound with, and no value is among their settings.
    fn reads_secrets(&self) -> bool {
        false
    }

    /// Whether what stands behind the plugin can be reached; the reason when it cannot.
    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }

    /// Why a workload that runs is to have nothing of this plugin any more; its state then is an error with this reason.
    fn condemns(&self, workload: &WorkloadId) -> Option<String> {
        let _ = workload;
        None
    }

    /// Whether what stands behind an instance may be lost to it by no doing of its own: then a message that met such a
    /// loss is handled once more, by another instance.
    fn can_be_lost(&self) -> bool {
        false
    }

    /// The host stops; all activations are stopped already.
    async fn stop(&self) {}
}

/// A plugin's work for one running component, such as its subscriptions.
#[async_trait]
pub trait Activation: Send + Sync {
    /// Takes no new work and waits for what is under way, no longer than `limit`.
    async fn stop(self: Box<Self>, limit: std::time::Duration);
}
