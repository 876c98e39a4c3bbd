//! Components linked to what they import. What that is follows from the imports alone: a workload's declarations are
//! checked before and change nothing here. So all workloads that have a component share what is linked, for as long as
//! one of them has it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use wasmtime::{
    Engine,
    component::{Component, InstancePre, Linker},
};
use wasmtime_wasi_http::{
    WasiHttp, WasiHttpView,
    p2::bindings::{LinkOptions, ProxyPre, http::types},
};

use crate::{InstanceState, engine::slots_of, grant::PluginImports, http_call, outgoing_handler, plugin::HostPlugin};

/// A component that can be instantiated.
pub(crate) struct LinkedComponent {
    pub(crate) pre: InstancePre<InstanceState>,
    /// Whether what plugins put behind an instance may be lost.
    pub(crate) can_be_lost: bool,
    /// How many of the host's slots one instance takes.
    pub(crate) slots: u32,
    /// The component as one that answers HTTP, once that was asked for.
    proxy: OnceLock<Arc<ProxyPre<InstanceState>>>,
    /// Kept so that another deployment of the same bytes shares the code, and to be found by its address.
    _code: Arc<Component>,
}

impl LinkedComponent {
    /// The component as one that answers HTTP requests.
    ///
    /// # Errors
    /// When it does not export the handler as published.
    pub(crate) fn proxy(&self) -> wasmtime::Result<Arc<ProxyPre<InstanceState>>> {
        if let Some(proxy) = self.proxy.get() {
            return Ok(proxy.clone());
        }
        let proxy = Arc::new(http_call::proxy_of(&self.pre)?);
        Ok(self.proxy.get_or_init(|| proxy).clone())
    }
}

/// Links components and remembers those that are in use.
pub(crate) struct ComponentLinker {
    base: Linker<InstanceState>,
    /// By the address of the code, which nobody else has while the value lives.
    linked: Mutex<HashMap<usize, Weak<LinkedComponent>>>,
}

impl ComponentLinker {
    /// A linker that knows what every component may import.
    ///
    /// # Errors
    /// Those of the engine.
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut base = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut base)?;
        types::add_to_linker::<_, WasiHttp>(&mut base, &LinkOptions::default().into(), InstanceState::http)?;
        outgoing_handler::add_to_linker(&mut base)?;
        Ok(Self { base, linked: Mutex::default() })
    }

    /// Links a component to the base and to the plugins that it imports from.
    ///
    /// # Errors
    /// When an import is missing or of another type.
    pub(crate) fn link(
        &self,
        code: Arc<Component>,
        imports: &[PluginImports],
        plugins: &[Arc<dyn HostPlugin>],
    ) -> wasmtime::Result<Arc<LinkedComponent>> {
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        let address = Arc::as_ptr(&code).addr();
        if let Some(known) = linked.get(&address).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let mut linker = self.base.clone();
        let mut can_be_lost = false;
        for of_plugin in imports {
            if let Some(plugin) = plugins.get(of_plugin.plugin) {
                plugin.link(&of_plugin.interfaces, &mut linker)?;
                can_be_lost |= plugin.can_be_lost();
            }
        }
        let pre = linker.instantiate_pre(&code)?;
        let new =
            Arc::new(LinkedComponent { pre, can_be_lost, slots: slots_of(&code), proxy: OnceLock::new(), _code: code });
        linked.retain(|_, component| component.strong_count() > 0);
        linked.insert(address, Arc::downgrade(&new));
        Ok(new)
    }
}
