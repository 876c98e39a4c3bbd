//! `wasi:webgpu@0.0.1`: a GPU for components, in a process of its own.
//!
//! A device of a guest is a session of that process ([`session`]); the process is started, watched over and started
//! again ([`process`]); what a guest's handles stand for is the same for all versions of the interface ([`objects`]), and
//! the binding of a version ([`v0_0_1`]) only turns its types into commands. Nothing here touches a GPU.

mod convert;
mod metrics;
mod objects;
mod owner;
mod process;
mod session;
mod v0_0_1;

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_config::{InterfaceName, Limits, interface::InterfaceError};
use roadstead_runtime::{
    InstanceState, WorkloadId,
    plugin::{BoundState, ComponentBinding, HostPlugin, InterfaceOffer, PluginContext, PluginError},
};
use wasmtime::component::Linker;

pub use process::{GpuError, GpuProgram};

use metrics::GpuMetrics;
use owner::GpuOwner;
use process::Gpu;

/// Gives components a GPU.
pub struct WebGpu {
    gpu: Arc<Gpu>,
    offers: Vec<InterfaceOffer>,
}

impl WebGpu {
    /// Starts the GPU process. It lives as long as the host.
    ///
    /// # Errors
    /// When it cannot be started, or finds no adapter that may be used.
    pub async fn start(program: GpuProgram, limits: Arc<Limits>) -> Result<Self, GpuError> {
        let offers = Self::offers_of().map_err(|error| GpuError::Start(std::io::Error::other(error)))?;
        let gpu = Gpu::start(program, limits, GpuMetrics::new()).await?;
        Ok(Self { gpu, offers })
    }

    fn offers_of() -> Result<Vec<InterfaceOffer>, InterfaceError> {
        Ok(vec![
            InterfaceOffer::new("wasi", "webgpu", "0.0.1")?.with_imports(&["webgpu"]),
            InterfaceOffer::new("wasi", "graphics-context", "0.0.1")?.with_imports(&["graphics-context"]),
        ])
    }

    /// The adapter's name.
    pub fn adapter(&self) -> &str {
        &self.gpu.facts().info.name
    }
}

#[async_trait]
impl HostPlugin for WebGpu {
    fn id(&self) -> &'static str {
        "wasi-webgpu"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let registered = self.gpu.metrics.show(&context.metrics);
        registered.map_err(|error| PluginError::backend("the GPU's metrics cannot be registered", error))
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        // What is deployed now may be another program than the one that ended processes.
        self.gpu.records.forgive(binding.workload);
        let owner = GpuOwner {
            workload: binding.workload.clone(),
            key: binding.workload.to_string(),
            gpu: self.gpu.clone(),
            series: self.gpu.metrics.of(binding.workload),
        };
        Ok(Some(Arc::new(owner)))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        v0_0_1::link(interfaces, linker)
    }

    fn condemns(&self, workload: &WorkloadId) -> Option<String> {
        self.gpu.condemns(workload)
    }

    fn can_be_lost(&self) -> bool {
        true
    }

    fn readiness(&self) -> Result<(), String> {
        if self.gpu.is_up() { Ok(()) } else { Err("the GPU process is being started again".to_owned()) }
    }

    async fn stop(&self) {
        self.gpu.stop().await;
    }
}
