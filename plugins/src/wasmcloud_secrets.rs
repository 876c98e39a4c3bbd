//! `wasmcloud:secrets`, 0.1.0-draft and 1.0.0: secrets of the operator, by handles whose values are told by `reveal` alone.
//!
//! A component has the secrets that its manifest's entry names, of its own namespace, and nothing else. Where they are kept
//! is known to `source` only, which looks at each use, so that a secret that is replaced there is the new one at the next
//! `get`. No value is printed here, nor part of an error.

mod bindings;
mod host;
mod source;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, Namespace, ResourceName, SecretKey, interface::InterfaceError};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use wasmtime::component::Linker;

pub use source::{SecretBytes, SecretError};

use source::{Folders, Object};

/// The version that was published first.
const DRAFT: &str = "0.1.0-draft";

/// Values of secrets by namespace, name and key.
type Values = BTreeMap<(Namespace, ResourceName), BTreeMap<SecretKey, Arc<SecretBytes>>>;

/// The plugin.
#[derive(Default)]
pub struct Secrets {
    folders: Option<Folders>,
    values: Values,
    offers: Vec<InterfaceOffer>,
    limits: OnceLock<Arc<Limits>>,
}

/// A secret that a guest has looked up.
pub struct SecretHandle {
    value: Arc<SecretBytes>,
}

/// What the plugin keeps for one component: the objects that its manifest names, later ones first, and what the entry itself
/// says.
struct Bound {
    objects: Arc<[Object]>,
    settings: BTreeMap<String, Arc<SecretBytes>>,
    limits: Arc<Limits>,
}

impl Secrets {
    /// The plugin without secrets: with those of the folder and of the values that it is given.
    pub fn new() -> Self {
        Self { offers: Self::offered().into_iter().flatten().collect(), ..Self::default() }
    }

    /// Takes secrets from files `NAME/KEY` of a folder, and `NAMESPACE/NAME/KEY` for another namespace than `default`.
    #[must_use]
    pub fn with_dir(self, directory: impl Into<PathBuf>) -> Self {
        Self { folders: Some(Folders::new(directory.into())), ..self }
    }

    /// Gives one value of a secret, which a file of the same namespace, name and key is preferred to.
    #[must_use]
    pub fn with_value(mut self, namespace: Namespace, name: ResourceName, key: SecretKey, value: SecretBytes) -> Self {
        self.values.entry((namespace, name)).or_default().insert(key, Arc::new(value));
        self
    }

    fn offered() -> Result<[InterfaceOffer; 2], InterfaceError> {
        let offer =
            |version| Ok(InterfaceOffer::new("wasmcloud", "secrets", version)?.with_imports(&["store", "reveal"]));
        Ok([offer(DRAFT)?, offer("1.0.0")?])
    }

    /// What a name stands for in a namespace.
    fn object(&self, namespace: &Namespace, name: &ResourceName) -> Object {
        let values = self.values.get(&(namespace.clone(), name.clone())).cloned().unwrap_or_default();
        Object { folder: self.folders.as_ref().map(|folders| folders.of(namespace, name)), values }
    }
}

#[async_trait]
impl HostPlugin for Secrets {
    fn id(&self) -> &'static str {
        "wasmcloud-secrets"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    fn reads_secrets(&self) -> bool {
        true
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let _ = self.limits.set(context.limits.clone());
        Ok(())
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let not_started = || PluginError::Configuration("the secrets plugin is not started".into());
        let limits = self.limits.get().ok_or_else(not_started)?.clone();
        let (mut objects, mut settings) = (Vec::new(), BTreeMap::new());
        for entry in binding.interfaces {
            for name in &entry.config.secret_from {
                let object = self.object(&binding.workload.namespace, name);
                object
                    .check(limits.config_file_bytes_max)
                    .await
                    .map_err(|error| PluginError::backend(format!("secretFrom {name} cannot be used"), error))?;
                objects.push(object);
            }
            let values = entry.config.config.iter();
            settings.extend(values.map(|(name, value)| (name.clone(), Arc::new(SecretBytes::of_text(value)))));
        }
        objects.reverse();
        Ok(Some(Arc::new(Bound { objects: objects.into(), settings, limits })))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        host::link(interfaces, linker)
    }
}
