//! `wasi:config`, 0.2.0-rc.1 and 0.2.0-draft: the settings that a component was deployed with; with NATS also those that an
//! operator changes while it runs.
//!
//! Settings are worked out when a workload is bound, or when they change, and never when a guest reads them. Where
//! `configFrom` and `secretFrom` have their values from is not known here.

mod bindings;
mod host;
mod live;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, interface::InterfaceError};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use wasmtime::component::Linker;

use crate::tenant_nats::NatsClients;
use live::LiveSettings;

/// The version whose interface is `runtime`.
const DRAFT: &str = "0.2.0-draft";

/// Settings of a component, by name.
type Settings = BTreeMap<String, String>;

/// The plugin.
pub struct DynamicConfig {
    is_live: bool,
    clients: OnceLock<NatsClients>,
    limits: OnceLock<Arc<Limits>>,
    offers: Vec<InterfaceOffer>,
}

/// What the plugin keeps for one component.
struct Bound {
    settings: LiveSettings,
}

impl DynamicConfig {
    /// The plugin. Where `is_live` is false, components have the settings of their manifest. Where it is true, those that
    /// an operator keeps in NATS lie over them, and under secrets, as they are at each moment.
    ///
    /// The connection to NATS is the one that [`DynamicConfig::with_clients`] gives; else the client that the host was
    /// given (`HostBuilder::with_shared`); in a host of a fleet without such a one the scheduler's
    /// (`ClusterHostBuilder::with_nats_client`). Without any the host does not start.
    pub fn new(is_live: bool) -> Self {
        let offers = Self::offered().into_iter().flatten().collect();
        Self { is_live, clients: OnceLock::new(), limits: OnceLock::new(), offers }
    }

    /// The plugin with live settings over these connections.
    pub fn with_clients(clients: NatsClients) -> Self {
        let config = Self::new(true);
        let _ = config.clients.set(clients);
        config
    }

    fn offered() -> Result<[InterfaceOffer; 2], InterfaceError> {
        Ok([
            InterfaceOffer::new("wasi", "config", "0.2.0-rc.1")?.with_imports(&["store"]),
            InterfaceOffer::new("wasi", "config", DRAFT)?.with_imports(&["runtime", "store"]),
        ])
    }
}

#[async_trait]
impl HostPlugin for DynamicConfig {
    fn id(&self) -> &'static str {
        "wasi-config"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let _ = self.limits.set(context.limits.clone());
        if !self.is_live || self.clients.get().is_some() {
            return Ok(());
        }
        let Some(client) = context.shared.get::<async_nats::Client>() else {
            return Err(PluginError::Configuration(
                "DynamicConfig::new(true) needs a connection to NATS: give the host one (HostBuilder::with_shared, \
                 ClusterHostBuilder::with_nats_client), or write DynamicConfig::new(false)"
                    .into(),
            ));
        };
        let _ = self.clients.set(NatsClients::shared(client.clone()));
        Ok(())
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let not_started = || PluginError::Configuration("the configuration plugin is not started".into());
        let limits = self.limits.get().ok_or_else(not_started)?;
        let (plain, secrets) = of_manifest(&binding);
        let settings = match self.clients.get().filter(|_| self.is_live) {
            None => LiveSettings::fixed(plain, secrets),
            Some(clients) => {
                let client = clients.of(&binding.workload.namespace).await?;
                LiveSettings::watch(client, &binding, plain, secrets, limits).await?
            }
        };
        Ok(Some(Arc::new(Bound { settings })))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        host::link(interfaces, linker)
    }
}

/// The manifest's settings: those of the interface under the component's own; and the secrets.
fn of_manifest(binding: &ComponentBinding<'_>) -> (Settings, Settings) {
    let mut all = Settings::new();
    for entry in binding.interfaces {
        all.extend(entry.config.config.clone());
    }
    let (secrets, mut plain): (Settings, Settings) =
        all.into_iter().partition(|(name, _)| binding.secrets.contains(name));
    plain.extend(binding.local_config.clone());
    (plain, secrets)
}
