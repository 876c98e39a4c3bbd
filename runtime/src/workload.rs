//! A workload that runs: its components, what plugins do for them, and how all of it is made from a manifest.

use std::{sync::Arc, time::Duration};

use roadstead_config::{
    InterfaceName, PackageName, RegistryCredentials,
    manifest::{self, SourcePlace, WorkloadSpec},
};
use tokio::sync::Mutex;
use wasmtime::component::{Component, types::ComponentItem};

use crate::{
    Call, DeployError,
    artifact::{ArtifactLease, ArtifactStore, Wanted, read_component},
    compile::CompileService,
    component::{ComponentHandle, bound_entry},
    egress::{Egress, WorkloadEgress},
    fault::{detail, one_line},
    grant::{Catalogue, ComponentLabel, INCOMING_HANDLER},
    host::WorkloadRequest,
    http_call::HttpTarget,
    instance::HostShared,
    journal::Journals,
    lanes::LongRuns,
    link::ComponentLinker,
    metrics::RuntimeMetrics,
    plan::ComponentPlan,
    plugin::{Activation, ComponentBinding, HostPlugin},
    pool::PoolBounds,
    references::{self, ReferenceFolders, SecretNames},
    support,
    tenant::TenantSlots,
};

/// Bytes of a megabyte, as `memoryLimitMb` counts them.
const MEGABYTE: usize = 1 << 20;

/// A workload from the moment its plan is complete.
pub(crate) struct Workload {
    pub(crate) components: Vec<Arc<ComponentHandle>>,
    activations: Mutex<Vec<Box<dyn Activation>>>,
    /// What it was made of stays in the image cache for as long as it runs.
    _images: Vec<Arc<ArtifactLease>>,
}

/// A component as code, and what keeps its image in the cache.
struct Compiled {
    code: Arc<Component>,
    lease: Option<Arc<ArtifactLease>>,
}

/// What an operator told about where things are.
pub(crate) struct Given {
    /// What would bring packages that are not offered.
    pub(crate) remedies: Vec<(PackageName, String)>,
    /// What manifests may refer to.
    pub(crate) folders: ReferenceFolders,
    /// Where requests may go.
    pub(crate) egress: Arc<Egress>,
}

/// What workloads are made with.
pub(crate) struct Foundry {
    pub(crate) shared: Arc<HostShared>,
    pub(crate) plugins: Vec<Arc<dyn HostPlugin>>,
    pub(crate) catalogue: Catalogue,
    pub(crate) metrics: RuntimeMetrics,
    pub(crate) egress: Arc<Egress>,
    compiler: CompileService,
    images: ArtifactStore,
    linker: ComponentLinker,
    tenants: TenantSlots,
    folders: ReferenceFolders,
    /// What became of workloads.
    pub(crate) journals: Journals,
}

impl Foundry {
    pub(crate) fn new(
        shared: Arc<HostShared>,
        plugins: Vec<Arc<dyn HostPlugin>>,
        metrics: RuntimeMetrics,
        compiler: CompileService,
        images: ArtifactStore,
        given: Given,
    ) -> wasmtime::Result<Self> {
        let Given { remedies, folders, egress } = given;
        let linker = ComponentLinker::new(&shared.engine)?;
        let catalogue = Catalogue::new(&plugins, remedies);
        let tenants = TenantSlots::new(&shared.limits);
        let journals = Journals::default();
        Ok(Self { shared, plugins, catalogue, metrics, egress, compiler, images, linker, tenants, folders, journals })
    }

    /// Makes a workload: reads, compiles, checks and links its components, binds plugins, warms pools. Nothing of it
    /// is called by anybody yet; dropping it undoes it.
    pub(crate) async fn build(&self, request: &WorkloadRequest) -> Result<Workload, DeployError> {
        let (replicas, credentials) = (request.replicas, &request.registry_credentials);
        support::refuse(&request.spec)?;
        let (spec, secrets) = self.resolve(request).await?;
        let spec = &spec;
        support::check_sizes(spec, &self.shared.limits)?;
        self.catalogue.check_declared(&spec.host_interfaces)?;
        let pools =
            spec.components.iter().map(|c| self.pool_bounds(c, replicas)).collect::<Result<Vec<_>, DeployError>>()?;
        let compiled =
            futures::future::try_join_all(spec.components.iter().map(|c| self.compile(c, credentials.get(&c.name))))
                .await?;
        let images = compiled.iter().filter_map(|compiled| compiled.lease.clone()).collect();
        let egress = self.egress.workload(&request.id, spec).await;
        let egress = egress.map_err(|source| DeployError::Egress { source })?;
        let mut components = Vec::with_capacity(spec.components.len());
        for ((component, compiled), pool) in spec.components.iter().zip(compiled).zip(pools) {
            let egress = egress.as_ref();
            let component = self.build_component(request, (spec, &secrets), component, compiled.code, (pool, egress));
            components.push(Arc::new(component.await?));
        }
        let start_timeout = Duration::from_millis(self.shared.limits.start_timeout_ms);
        for (handle, component) in components.iter().zip(&spec.components) {
            handle.warm(Call::new(start_timeout)).await.map_err(|error| DeployError::Start {
                component: component.name.to_string(),
                place: component.place.clone(),
                detail: error.to_string(),
            })?;
        }
        Ok(Workload { components, activations: Mutex::default(), _images: images })
    }

    /// The specification with what `configFrom` and `secretFrom` name.
    async fn resolve(&self, request: &WorkloadRequest) -> Result<(WorkloadSpec, SecretNames), DeployError> {
        let (spec, namespace) = (request.spec.clone(), request.id.namespace.clone());
        let (folders, limits) = (self.folders.clone(), self.shared.limits.clone());
        let reading = self.plugins.iter().filter(|plugin| plugin.reads_secrets());
        let left = reading.flat_map(|plugin| plugin.offers()).map(|offer| offer.package.clone()).collect();
        let read = move || references::resolve(&spec, &namespace, &folders, &limits, &left);
        tokio::task::spawn_blocking(read).await.map_err(|_| DeployError::HostStopping)?
    }

    async fn build_component(
        &self,
        request: &WorkloadRequest,
        (spec, secrets): (&WorkloadSpec, &SecretNames),
        component: &manifest::Component,
        compiled: Arc<Component>,
        (pool, egress): (Option<PoolBounds>, Option<&Arc<WorkloadEgress>>),
    ) -> Result<ComponentHandle, DeployError> {
        let id = &request.id;
        let (imports, exports) = interfaces(&compiled, component)?;
        let label = ComponentLabel { name: component.name.as_str(), place: &component.place };
        let grants = self.catalogue.grant_imports(&imports, &spec.host_interfaces, &label)?;
        let linked = self.linker.link(compiled, &grants, &self.plugins).map_err(|error| DeployError::Link {
            component: component.name.to_string(),
            place: component.place.clone(),
            detail: detail(&error),
        })?;
        let (bound, granted_exports) = self.bind_plugins(request, (spec, secrets), component, &exports).await?;
        let plan = Arc::new(ComponentPlan {
            workload: id.clone(),
            deployment: request.deployment.clone(),
            name: component.name.clone(),
            journal: self.journals.of(id),
            linked,
            environment: component.local_resources.environment.config.clone().into_iter().collect(),
            memory_bytes_max: self.memory_bytes_max(component),
            tenant_slots: self.tenants.of(&id.namespace),
            granted_exports,
            long_runs: LongRuns::new(Duration::from_millis(self.shared.limits.epoch_tick_ms)),
            max_invocations: component.max_invocations,
            cpu_limit_ms: component.local_resources.cpu_limit,
            egress: egress.and_then(|egress| egress.component(&component.name, &component.local_resources)),
            bound,
        });
        let metrics = self.metrics.for_component(id, &component.name);
        let pool = pool.map(|bounds| (bounds, self.metrics.for_pool(id, &component.name)));
        Ok(ComponentHandle::new(plan, self.shared.clone(), metrics, pool))
    }

    async fn bind_plugins(
        &self,
        request: &WorkloadRequest,
        (spec, secrets): (&WorkloadSpec, &SecretNames),
        component: &manifest::Component,
        exports: &[InterfaceName],
    ) -> Result<(Vec<(std::any::TypeId, crate::BoundState)>, Vec<InterfaceName>), DeployError> {
        let (mut bound, mut granted_exports) = (Vec::new(), Vec::new());
        for (index, plugin) in self.plugins.iter().enumerate() {
            let interfaces = self.catalogue.declared_for(index, &spec.host_interfaces);
            let Some(first) = interfaces.first() else { continue };
            let granted = self.catalogue.granted_exports(index, exports, &spec.host_interfaces);
            let binding = ComponentBinding {
                workload: &request.id,
                deployment: &request.deployment,
                component: &component.name,
                secrets: &references::secret_names(&interfaces, secrets),
                interfaces: &interfaces,
                local_config: &component.local_resources.config,
                exports: &granted,
            };
            let state = plugin.bind(binding).await.map_err(|source| DeployError::Plugin {
                place: first.place.clone(),
                message: format!("component {} cannot use {}", component.name, plugin.id()),
                source,
            })?;
            bound.extend(state.map(bound_entry));
            granted_exports.extend(granted);
        }
        Ok((bound, granted_exports))
    }

    fn pool_bounds(&self, component: &manifest::Component, replicas: u32) -> Result<Option<PoolBounds>, DeployError> {
        let limits = &self.shared.limits;
        let Some(pool_size) = component.pool_size else { return Ok(None) };
        let size = u64::from(pool_size.get()).saturating_mul(u64::from(replicas.max(1)));
        let too_large = || DeployError::PoolTooLarge {
            place: component.place.clone(),
            pool_size: pool_size.get(),
            replicas,
            max: limits.pool_size_max,
        };
        if size > limits.pool_size_max {
            return Err(too_large());
        }
        let size = usize::try_from(size).ok().and_then(std::num::NonZeroUsize::new).ok_or_else(too_large)?;
        Ok(Some(PoolBounds {
            size,
            waiting_max: limits.pool_waiting_max,
            admission_wait: Duration::from_millis(limits.admission_wait_ms),
        }))
    }

    fn memory_bytes_max(&self, component: &manifest::Component) -> usize {
        let limits = &self.shared.limits;
        let asked = component.local_resources.memory_limit_mb.map(|mb| MEGABYTE.saturating_mul(mb.get() as usize));
        let default = usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX);
        let most = usize::try_from(limits.memory_slot_bytes_max).unwrap_or(usize::MAX);
        asked.unwrap_or(default).min(most)
    }

    async fn compile(
        &self,
        component: &manifest::Component,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Compiled, DeployError> {
        let bytes_max = self.shared.limits.component_bytes_max;
        let wanted = Wanted {
            image: &component.image,
            place: &component.image_place,
            policy: component.image_pull_policy,
            credentials,
        };
        let read = read_component(&self.images, wanted, bytes_max).await?;
        let begun = std::time::Instant::now();
        let ready = self.compiler.ready(read.bytes).await.map_err(|source| DeployError::Compile {
            place: component.image_place.clone(),
            path: component.image.to_string(),
            source,
        })?;
        tracing::debug!(
            component = %component.name,
            digest = ready.digest,
            source = ready.source.as_str(),
            seconds = begun.elapsed().as_secs_f64(),
            "component ready"
        );
        Ok(Compiled { code: ready.component, lease: read.lease })
    }
}

impl Workload {
    /// Lets plugins call the components.
    pub(crate) async fn activate(
        &self,
        plugins: &[Arc<dyn HostPlugin>],
        place: &SourcePlace,
    ) -> Result<(), DeployError> {
        let mut activations = self.activations.lock().await;
        for component in self.components.iter().filter(|component| !component.granted_exports().is_empty()) {
            for plugin in plugins {
                let failed = |source| DeployError::Plugin {
                    place: place.clone(),
                    message: format!("{} cannot serve component {}", plugin.id(), component.name()),
                    source,
                };
                activations.extend(plugin.activate(component.clone()).await.map_err(failed)?);
            }
        }
        Ok(())
    }

    /// Begins to make the rest of the pools' instances, beside the first of each.
    pub(crate) fn fill_pools(&self) {
        self.components.iter().for_each(ComponentHandle::fill);
    }

    /// What answers HTTP requests: the one component that exports the handler.
    pub(crate) fn http_target(&self, place: &SourcePlace) -> Result<Arc<HttpTarget>, DeployError> {
        let mut handlers = self.components.iter().filter(|component| exports_http(component));
        let first = handlers.next().ok_or_else(|| DeployError::NoHttpHandler { place: place.clone() })?;
        if let Some(second) = handlers.next() {
            return Err(DeployError::SeveralHttpHandlers {
                place: place.clone(),
                first: first.name().to_string(),
                second: second.name().to_string(),
            });
        }
        let target = HttpTarget::new(first.clone()).map_err(|error| DeployError::Link {
            component: first.name().to_string(),
            place: place.clone(),
            detail: detail(&error),
        })?;
        Ok(Arc::new(target))
    }

    /// Takes no new work, waits for what is under way, at most `limit`, and gives up the pools.
    pub(crate) async fn stop(&self, limit: Duration) {
        let activations = std::mem::take(&mut *self.activations.lock().await);
        futures::future::join_all(activations.into_iter().map(|activation| activation.stop(limit))).await;
        self.components.iter().for_each(|component| component.close());
    }
}

fn exports_http(component: &Arc<ComponentHandle>) -> bool {
    let compiled = component.plan.linked.pre.component();
    let ty = compiled.component_type();
    ty.exports(compiled.engine()).any(|(name, _)| name.parse().is_ok_and(|name| is_http_handler(&name)))
}

fn is_http_handler(name: &InterfaceName) -> bool {
    PackageName::new("wasi", "http").is_ok_and(|http| name.package == http) && &*name.interface == INCOMING_HANDLER
}

/// The interfaces that a component imports and exports.
fn interfaces(
    compiled: &Component,
    component: &manifest::Component,
) -> Result<(Vec<InterfaceName>, Vec<InterfaceName>), DeployError> {
    let ty = compiled.component_type();
    let unknown = |import: &str| DeployError::ImportUnknown {
        component: component.name.to_string(),
        place: component.place.clone(),
        import: one_line(format_args!("{import}")),
    };
    let imports = ty
        .imports(compiled.engine())
        .filter(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
        .map(|(name, _)| name.parse().map_err(|_| unknown(name)))
        .collect::<Result<_, _>>()?;
    let exports = ty.exports(compiled.engine()).filter_map(|(name, _)| name.parse().ok()).collect();
    Ok((imports, exports))
}
