//! What the plugins of stores have in common: backends to choose from, what is offered, limits and metrics once the host has
//! started. What is stored, and through which functions, is not known here.

use std::sync::{Arc, OnceLock};

use roadstead_config::{Limits, interface::InterfaceError};
use roadstead_runtime::{
    PluginError,
    plugin::{ComponentBinding, InterfaceOffer, PluginContext},
};

use crate::{
    store_backends::{Backends, Routes},
    store_metrics::StoreMetrics,
};

/// The common part of a plugin over backends `B`.
pub(crate) struct StorePlugin<B: ?Sized> {
    package: &'static str,
    backends: Backends<B>,
    offers: Vec<InterfaceOffer>,
    started: OnceLock<Started>,
}

struct Started {
    limits: Arc<Limits>,
    metrics: StoreMetrics,
}

/// What a component is bound with.
pub(crate) struct Chosen<'p, B: ?Sized> {
    /// The name of the backend that each entry of `hostInterfaces` asks for.
    pub(crate) routes: Routes<&'static str>,
    /// The backends to which they lead.
    pub(crate) backends: Vec<(&'static str, Arc<B>)>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: &'p StoreMetrics,
}

/// Why a plugin of stores cannot start: what it counts cannot be shown.
pub(crate) fn unshown(error: roadstead_metrics::Error) -> PluginError {
    PluginError::backend("the metrics cannot be registered", error)
}

impl<B: ?Sized> StorePlugin<B> {
    pub(crate) fn new(
        package: &'static str,
        name: &'static str,
        backend: Arc<B>,
        offer: Result<InterfaceOffer, InterfaceError>,
    ) -> Self {
        let backends = Backends::new(name, backend);
        Self { package, backends, offers: offer.into_iter().collect(), started: OnceLock::new() }
    }

    /// Adds a backend, for entries whose `config.backend` is its name.
    pub(crate) fn add(&mut self, name: &'static str, backend: Arc<B>) {
        self.backends.add(name, backend);
    }

    /// What would bring a backend that this host does not have.
    pub(crate) fn explain(&mut self, name: &'static str, remedy: &'static str) {
        self.backends.explain(name, remedy);
    }

    pub(crate) fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    pub(crate) fn backends(&self) -> impl Iterator<Item = &Arc<B>> {
        self.backends.iter()
    }

    /// # Errors
    /// When the metrics are there already.
    pub(crate) fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let metrics = StoreMetrics::show(self.package, &context.metrics).map_err(unshown)?;
        let _ = self.started.set(Started { limits: context.limits.clone(), metrics });
        Ok(())
    }

    /// # Errors
    /// When an entry asks for a backend that is not there, or the plugin was not started.
    pub(crate) fn choose(&self, binding: &ComponentBinding<'_>) -> Result<Chosen<'_, B>, PluginError> {
        let not_started = || PluginError::Configuration(format!("the plugin of {} is not started", self.package));
        let Started { limits, metrics } = self.started.get().ok_or_else(not_started)?;
        let routes = self.backends.routes(binding)?;
        let backends = self.backends.used_by(&routes);
        Ok(Chosen { routes, backends, limits: limits.clone(), metrics })
    }
}
