//! The plugin of the example: `acme:ledger/counter@1.0.0`, with counters that each tenant has for itself. It knows no HTTP
//! and no manifest file; what it needs of the manifest is handed to it when a component is bound.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use roadstead::{
    config::{InterfaceName, Namespace, interface::InterfaceError},
    plugin::{BoundState, ComponentBinding, HostPlugin, InstanceState, InterfaceOffer, PluginError},
};
use wasmtime::component::{HasSelf, Linker};

use bindings::acme::ledger::counter::{self, Host};

mod bindings {
    wasmtime::component::bindgen!({ path: "examples/custom-plugin/wit", world: "host" });
}

/// Counters of a tenant, where the manifest says nothing (`max-counters` in the interface's `config`).
const COUNTERS_MAX: usize = 100;
/// Longest name of a counter, in bytes.
const NAME_BYTES_MAX: usize = 64;

type Counters = Arc<Mutex<BTreeMap<String, u64>>>;

/// The plugin.
pub(crate) struct Ledger {
    offers: [InterfaceOffer; 1],
    /// One set for each tenant, as long as the host lives.
    by_tenant: Mutex<HashMap<Namespace, Counters>>,
}

/// What the plugin keeps for one component, worked out when its workload is deployed.
struct Bound {
    counters: Counters,
    max: usize,
}

impl Ledger {
    /// The plugin, with no counters.
    ///
    /// # Errors
    /// When the interface's name or version is not well formed.
    pub(crate) fn new() -> Result<Self, InterfaceError> {
        let offer = InterfaceOffer::new("acme", "ledger", "1.0.0")?.with_imports(&["counter"]);
        Ok(Self { offers: [offer], by_tenant: Mutex::default() })
    }
}

#[async_trait]
impl HostPlugin for Ledger {
    fn id(&self) -> &'static str {
        "acme-ledger"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let asked = binding.interfaces.iter().find_map(|entry| entry.config.config.get("max-counters"));
        let max = match asked.map(|text| (text, text.parse())) {
            None => COUNTERS_MAX,
            Some((_, Ok(max))) => max,
            Some((text, Err(_))) => {
                return Err(PluginError::Configuration(format!("max-counters is {text:?}; write a number")));
            }
        };
        // The tenant is the workload's namespace, never anything that a guest says.
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = by_tenant.entry(binding.workload.namespace.clone()).or_default().clone();
        Ok(Some(Arc::new(Bound { counters, max })))
    }

    fn link(&self, _interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        counter::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)
    }
}

impl Host for InstanceState {
    fn add(&mut self, name: String, amount: u64) -> Result<u64, String> {
        let bound = self.bound::<Bound>().ok_or("no counters are bound to this component")?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(format!("a name has 1 to {NAME_BYTES_MAX} bytes"));
        }
        let mut counters = bound.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if !counters.contains_key(&name) && counters.len() >= bound.max {
            return Err(format!("the tenant has {} counters, as many as it may (max-counters)", bound.max));
        }
        let counter = counters.entry(name).or_insert(0);
        *counter = counter.checked_add(amount).ok_or("the sum would be too large")?;
        Ok(*counter)
    }
}
