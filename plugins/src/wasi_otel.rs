//! `wasi:otel@0.2.0-rc.2`: spans, log records and metrics that components tell of, sent on to the host's collector.
//!
//! What a component says of itself is joined to the trace of its call; who it is, the host says: each resource carries
//! namespace, workload and component, whatever the component calls itself. Without a collector everything is taken and
//! nothing is sent.

mod bindings;
mod common;
mod logs;
mod metrics;
mod tracing;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, interface::InterfaceError};
use roadstead_metrics::{CounterBy, catalogue::OTEL_ITEMS};
use roadstead_runtime::{
    BoundState, InstanceState, PluginError,
    plugin::{ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use roadstead_telemetry::{
    Outbox, Signal,
    proto::{common::v1::KeyValue, resource::v1::Resource},
};
use wasmtime::component::{HasSelf, Linker};

use bindings::wasi::otel as wit;
use common::text_attribute;

/// What components tell of.
const SIGNALS: [&str; 3] = ["spans", "logs", "metrics"];

/// Counters of each, by what became of it.
type Items = Arc<[(&'static str, CounterBy)]>;

/// The plugin.
pub struct Otel {
    outbox: Option<Outbox>,
    offers: Vec<InterfaceOffer>,
    started: OnceLock<(Arc<Limits>, Items)>,
}

/// What the plugin keeps for one component.
struct Bound {
    outbox: Option<Outbox>,
    limits: Arc<Limits>,
    items: Items,
    /// What the host says of the component with everything that comes from it.
    identity: Vec<KeyValue>,
}

/// What a call has sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    items: u64,
    bytes: u64,
}

/// Why something of a guest's does not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Withheld {
    /// Nobody takes it.
    NoCollector,
    /// The call has sent as much as it may.
    OverLimit,
}

impl Otel {
    /// The plugin, whose guests' telemetry goes to `outbox`; without one it goes nowhere.
    pub fn new(outbox: Option<Outbox>) -> Self {
        Self { outbox, offers: Self::offer().into_iter().collect(), started: OnceLock::new() }
    }

    fn offer() -> Result<InterfaceOffer, InterfaceError> {
        let offer = InterfaceOffer::new("wasi", "otel", "0.2.0-rc.2")?;
        Ok(offer.with_imports(&["tracing", "logs", "metrics"]).with_types(&["types"]))
    }
}

#[async_trait]
impl HostPlugin for Otel {
    fn id(&self) -> &'static str {
        "wasi-otel"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let bad = |error| PluginError::backend("the metric of wasi:otel cannot be made", error);
        let items = context.metrics.counters_by(&OTEL_ITEMS).map_err(bad)?;
        let items: Arc<[_]> = SIGNALS.map(|signal| (signal, items.with([signal], &[]))).into();
        let _ = self.started.set((context.limits.clone(), items));
        Ok(())
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let not_started = || PluginError::Configuration("the plugin of wasi:otel is not started".into());
        let (limits, items) = self.started.get().ok_or_else(not_started)?.clone();
        let identity = vec![
            text_attribute("service.namespace", binding.workload.namespace.as_str()),
            text_attribute("roadstead.namespace", binding.workload.namespace.as_str()),
            text_attribute("roadstead.workload", binding.workload.name.as_str()),
            text_attribute("roadstead.component", binding.component.as_str()),
        ];
        Ok(Some(Arc::new(Bound { outbox: self.outbox.clone(), limits, items, identity })))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        for interface in interfaces {
            match &*interface.interface {
                "tracing" => wit::tracing::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                "logs" => wit::logs::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                "metrics" => wit::metrics::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                "types" => wit::types::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl wit::types::Host for InstanceState {}

fn bound(state: &InstanceState) -> wasmtime::Result<Arc<Bound>> {
    state.bound::<Bound>().ok_or_else(|| wasmtime::Error::msg("wasi:otel is not bound to this component"))
}

impl Bound {
    /// Counts what became of something that a guest told.
    fn count(&self, signal: &str, outcome: &str) {
        let items = self.items.iter().find(|(of, _)| *of == signal);
        items.into_iter().for_each(|(_, items)| items.inc(outcome));
    }

    /// The component as the subject of what it tells: what it says of itself, and over it what the host knows.
    fn resource(&self, said: Vec<KeyValue>) -> Resource {
        let known = |key: &str| self.identity.iter().any(|own| own.key == key);
        let named = said.iter().any(|attribute| attribute.key == "service.name");
        let workload = self.identity.iter().find(|own| own.key == "roadstead.workload");
        let service =
            workload.filter(|_| !named).map(|workload| KeyValue { key: "service.name".to_owned(), ..workload.clone() });
        let said = said.into_iter().filter(|attribute| !known(&attribute.key));
        Resource {
            attributes: said.chain(service).chain(self.identity.iter().cloned()).collect(),
            ..Resource::default()
        }
    }

    /// Sends a signal of `bytes`, where the call may send it.
    fn send(&self, state: &mut InstanceState, name: &str, bytes: usize, signal: Signal) -> Result<(), Withheld> {
        let Some(outbox) = &self.outbox else {
            self.count(name, "no-collector");
            return Err(Withheld::NoCollector);
        };
        let sent = state.call_state().get_or_insert_default::<Sent>();
        let after = Sent { items: sent.items.saturating_add(1), bytes: sent.bytes.saturating_add(bytes as u64) };
        let limits = &self.limits;
        if after.items > limits.otel_items_per_call_max || after.bytes > limits.otel_bytes_per_call_max {
            self.count(name, "over-limit");
            return Err(Withheld::OverLimit);
        }
        *sent = after;
        self.count(name, "taken");
        outbox.offer(signal);
        Ok(())
    }
}
