//! `wasi:logging@0.1.0-draft`: a component's log lines, as structured events of the host's own log.
//!
//! Each event carries tenant, workload, component and trace. How much a call may say is bounded by the host.

use roadstead_config::{InterfaceName, interface::InterfaceError};
use roadstead_runtime::{
    InstanceState,
    plugin::{HostPlugin, InterfaceOffer},
};
use wasmtime::component::{HasSelf, Linker};

use bindings::wasi::logging::logging::{Host, Level, add_to_linker};

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/wasi-logging",
        inline: "package roadstead:host; world logging { import wasi:logging/logging@0.1.0-draft; }",
        world: "roadstead:host/logging",
    });
}

/// Writes what components log to the host's own log.
pub struct TracingLogger {
    offers: Vec<InterfaceOffer>,
}

impl TracingLogger {
    fn offer() -> Result<InterfaceOffer, InterfaceError> {
        Ok(InterfaceOffer::new("wasi", "logging", "0.1.0-draft")?.with_imports(&["logging"]))
    }
}

impl Default for TracingLogger {
    fn default() -> Self {
        Self { offers: Self::offer().into_iter().collect() }
    }
}

#[async_trait::async_trait]
impl HostPlugin for TracingLogger {
    fn id(&self) -> &'static str {
        "wasi-logging"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    fn link(&self, _interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)
    }
}

impl Host for InstanceState {
    fn log(&mut self, level: Level, context: String, message: String) {
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error | Level::Critical => tracing::Level::ERROR,
        };
        InstanceState::log(self).write(level, &context, &message);
    }
}
