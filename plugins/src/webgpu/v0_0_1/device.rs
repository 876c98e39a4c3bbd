//! Devices: what is made on them, their error scopes, and their end.

use std::sync::Arc;

use roadstead_gpu_wire::{
    Op, Reply,
    op::{Create, ErrorFilter, QueryKind},
    wgt,
};
use roadstead_runtime::InstanceState;
use tokio::sync::watch;
use wasmtime::component::Resource;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::{
    BindGroup, BundleEncoder, CommandEncoder, ComputePipeline, Gpu, GroupLayout, PipelineLayout, RenderPipeline,
    Sampler, ShaderModule, canvas,
    formats::texture_format,
    label,
    states::{address_mode, compare_function, extent, filter_mode, mipmap_filter_mode, texture_dimension},
    wit,
};
use crate::webgpu::{
    objects::{self, Buffer, Device, MappedRange, Object, QuerySet, Texture, cut},
    session::{DeviceState, Session},
};

/// Ready when an error came that no scope took.
struct Uncaptured {
    session: Arc<Session>,
    state: watch::Receiver<DeviceState>,
}

#[wasmtime_wasi_io::async_trait]
impl Pollable for Uncaptured {
    async fn ready(&mut self) {
        // Who only looks does not wait at all.
        let is_ready = |state: &DeviceState| !state.uncaptured.is_empty() || state.loss.is_some();
        if is_ready(&self.state.borrow()) {
            return;
        }
        // What is to be waited for may not have been sent yet. Whoever waits here may stop at any time; what is being
        // sent then must be sent to its end.
        let session = self.session.clone();
        let _ = tokio::spawn(async move { session.flush().await }).await;
        // A session that is gone has no more errors; then nothing is to be waited for.
        let _ = self.state.wait_for(is_ready).await;
    }
}

fn session(state: &mut InstanceState, this: &Resource<Device>) -> wasmtime::Result<Arc<Session>> {
    Ok(state.table().get(this)?.session.clone())
}

impl wit::HostGpuDevice for InstanceState {
    async fn features(&mut self, this: Resource<Device>) -> wasmtime::Result<Resource<objects::Features>> {
        let features = self.table().get(&this)?.features;
        self.hand(objects::Features(features))
    }

    async fn limits(&mut self, this: Resource<Device>) -> wasmtime::Result<Resource<objects::Limits>> {
        let limits = self.table().get(&this)?.limits.clone();
        self.hand(objects::Limits(limits))
    }

    async fn adapter_info(&mut self, this: Resource<Device>) -> wasmtime::Result<Resource<objects::AdapterInfo>> {
        let facts = session(self, &this)?.owner.gpu.facts().clone();
        self.hand(objects::AdapterInfo(facts))
    }

    async fn queue(&mut self, this: Resource<Device>) -> wasmtime::Result<Resource<objects::Queue>> {
        let device = self.table().get(&this)?;
        let queue = objects::Queue { session: device.session.clone(), label: device.queue_label.clone() };
        self.hand(queue)
    }

    async fn destroy(&mut self, this: Resource<Device>) -> wasmtime::Result<()> {
        session(self, &this)?.send(Op::DestroyDevice).await;
        Ok(())
    }

    async fn create_buffer(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuBufferDescriptor,
    ) -> wasmtime::Result<Resource<Buffer>> {
        let session = session(self, &this)?;
        let wit::GpuBufferDescriptor { size, usage, mapped_at_creation, label: name } = descriptor;
        let mapped = mapped_at_creation.unwrap_or(false);
        let what = Create::Buffer { label: label(name.as_ref()), size, usage, mapped };
        let object = Object::create(&session, name.as_deref(), what).await;
        let mapped = mapped.then_some(MappedRange { offset: 0, size, write: true });
        self.hand(Buffer { object, size, usage, mapped })
    }

    async fn create_texture(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuTextureDescriptor,
    ) -> wasmtime::Result<Resource<Texture>> {
        let session = session(self, &this)?;
        let desc = roadstead_gpu_wire::op::TextureDesc {
            label: label(descriptor.label.as_ref()),
            size: extent(&descriptor.size),
            mip_level_count: descriptor.mip_level_count.unwrap_or(1),
            sample_count: descriptor.sample_count.unwrap_or(1),
            dimension: descriptor.dimension.map_or(wgt::TextureDimension::D2, texture_dimension),
            format: texture_format(descriptor.format),
            usage: descriptor.usage,
            view_formats: descriptor.view_formats.unwrap_or_default().into_iter().map(texture_format).collect(),
        };
        let object = Object::create(&session, descriptor.label.as_deref(), Create::Texture(desc.clone())).await;
        self.hand(Texture { object, desc })
    }

    async fn create_sampler(
        &mut self,
        this: Resource<Device>,
        descriptor: Option<wit::GpuSamplerDescriptor>,
    ) -> wasmtime::Result<Resource<Sampler>> {
        let session = session(self, &this)?;
        let name = descriptor.as_ref().and_then(|descriptor| descriptor.label.clone());
        let mut desc = wgt::SamplerDescriptor { label: label(name.as_ref()), ..Default::default() };
        if let Some(given) = descriptor {
            let address = |mode: Option<_>| mode.map_or(wgt::AddressMode::ClampToEdge, address_mode);
            desc.address_mode_u = address(given.address_mode_u);
            desc.address_mode_v = address(given.address_mode_v);
            desc.address_mode_w = address(given.address_mode_w);
            desc.mag_filter = given.mag_filter.map_or(wgt::FilterMode::Nearest, filter_mode);
            desc.min_filter = given.min_filter.map_or(wgt::FilterMode::Nearest, filter_mode);
            desc.mipmap_filter = given.mipmap_filter.map_or(wgt::MipmapFilterMode::Nearest, mipmap_filter_mode);
            desc.lod_min_clamp = given.lod_min_clamp.unwrap_or(0.0);
            desc.lod_max_clamp = given.lod_max_clamp.unwrap_or(32.0);
            desc.compare = given.compare.map(compare_function);
            desc.anisotropy_clamp = given.max_anisotropy.unwrap_or(1);
        }
        self.make(&session, name.as_ref(), Create::Sampler(desc), Sampler).await
    }

    async fn create_bind_group_layout(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuBindGroupLayoutDescriptor,
    ) -> wasmtime::Result<Resource<GroupLayout>> {
        let session = session(self, &this)?;
        let what = super::bindings_of::group_layout(&descriptor);
        self.make(&session, descriptor.label.as_ref(), what, GroupLayout).await
    }

    async fn create_pipeline_layout(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuPipelineLayoutDescriptor,
    ) -> wasmtime::Result<Resource<PipelineLayout>> {
        let session = session(self, &this)?;
        let mut groups = Vec::with_capacity(descriptor.bind_group_layouts.len());
        for layout in &descriptor.bind_group_layouts {
            groups.push(layout.as_ref().map(|layout| self.of(&session, layout)).transpose()?);
        }
        let what = Create::PipelineLayout { label: label(descriptor.label.as_ref()), groups };
        self.make(&session, descriptor.label.as_ref(), what, PipelineLayout).await
    }

    async fn create_bind_group(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuBindGroupDescriptor,
    ) -> wasmtime::Result<Resource<BindGroup>> {
        let session = session(self, &this)?;
        let what = super::bindings_of::group(self, &session, &descriptor)?;
        self.make(&session, descriptor.label.as_ref(), what, BindGroup).await
    }

    async fn create_shader_module(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuShaderModuleDescriptor,
    ) -> wasmtime::Result<Resource<ShaderModule>> {
        let session = session(self, &this)?;
        // Hints about layouts are no more than hints.
        let code = session.data(descriptor.code.as_bytes()).await;
        let what = Create::ShaderModule { label: label(descriptor.label.as_ref()), code };
        self.make(&session, descriptor.label.as_ref(), what, ShaderModule).await
    }

    async fn create_compute_pipeline(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuComputePipelineDescriptor,
    ) -> wasmtime::Result<Resource<ComputePipeline>> {
        let session = session(self, &this)?;
        let desc = super::pipelines::compute(self, &session, &descriptor)?;
        let what = Create::ComputePipeline { desc, answered: false };
        self.make(&session, descriptor.label.as_ref(), what, ComputePipeline).await
    }

    async fn create_render_pipeline(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuRenderPipelineDescriptor,
    ) -> wasmtime::Result<Resource<RenderPipeline>> {
        let session = session(self, &this)?;
        let desc = Box::new(super::pipelines::render(self, &session, &descriptor)?);
        let what = Create::RenderPipeline { desc, answered: false };
        self.make(&session, descriptor.label.as_ref(), what, RenderPipeline).await
    }

    async fn create_compute_pipeline_async(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuComputePipelineDescriptor,
    ) -> wasmtime::Result<Result<Resource<ComputePipeline>, wit::CreatePipelineError>> {
        let session = session(self, &this)?;
        let desc = super::pipelines::compute(self, &session, &descriptor)?;
        let what = Create::ComputePipeline { desc, answered: true };
        super::pipelines::awaited(self, &session, descriptor.label.as_ref(), what, ComputePipeline).await
    }

    async fn create_render_pipeline_async(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuRenderPipelineDescriptor,
    ) -> wasmtime::Result<Result<Resource<RenderPipeline>, wit::CreatePipelineError>> {
        let session = session(self, &this)?;
        let desc = Box::new(super::pipelines::render(self, &session, &descriptor)?);
        let what = Create::RenderPipeline { desc, answered: true };
        super::pipelines::awaited(self, &session, descriptor.label.as_ref(), what, RenderPipeline).await
    }

    async fn create_command_encoder(
        &mut self,
        this: Resource<Device>,
        descriptor: Option<wit::GpuCommandEncoderDescriptor>,
    ) -> wasmtime::Result<Resource<CommandEncoder>> {
        let session = session(self, &this)?;
        let name = descriptor.and_then(|descriptor| descriptor.label);
        let what = Create::CommandEncoder { label: label(name.as_ref()) };
        self.make(&session, name.as_ref(), what, CommandEncoder).await
    }

    async fn create_render_bundle_encoder(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuRenderBundleEncoderDescriptor,
    ) -> wasmtime::Result<Resource<BundleEncoder>> {
        let session = session(self, &this)?;
        let what = super::render::bundle_encoder(&descriptor);
        self.make(&session, descriptor.label.as_ref(), what, BundleEncoder).await
    }

    async fn create_query_set(
        &mut self,
        this: Resource<Device>,
        descriptor: wit::GpuQuerySetDescriptor,
    ) -> wasmtime::Result<Result<Resource<QuerySet>, wit::CreateQuerySetError>> {
        let device = self.table().get(&this)?;
        let (session, features) = (device.session.clone(), device.features);
        let kind = match descriptor.type_ {
            wit::GpuQueryType::Occlusion => QueryKind::Occlusion,
            wit::GpuQueryType::Timestamp => QueryKind::Timestamp,
        };
        if kind == QueryKind::Timestamp && !features.contains(wgt::Features::TIMESTAMP_QUERY) {
            let message = "the device was not asked for the feature timestamp-query".to_owned();
            return Ok(Err(wit::CreateQuerySetError { kind: wit::CreateQuerySetErrorKind::TypeError, message }));
        }
        let count = descriptor.count;
        let what = Create::QuerySet { label: label(descriptor.label.as_ref()), kind, count };
        let object = Object::create(&session, descriptor.label.as_deref(), what).await;
        Ok(Ok(self.hand(QuerySet { object, kind, count })?))
    }

    async fn label(&mut self, this: Resource<Device>) -> wasmtime::Result<String> {
        Ok(self.table().get(&this)?.label.clone())
    }

    async fn set_label(&mut self, this: Resource<Device>, label: String) -> wasmtime::Result<()> {
        cut(&label).clone_into(&mut self.table().get_mut(&this)?.label);
        Ok(())
    }

    async fn lost(&mut self, this: Resource<Device>) -> wasmtime::Result<Resource<objects::LostInfo>> {
        let session = session(self, &this)?;
        // What was commanded before may be what loses the device.
        let _ = self.ask(&session, Op::Sync).await;
        let lost = match session.wait_for_loss().await {
            Some(loss) => loss.lost,
            None => roadstead_gpu_wire::reply::Lost { destroyed: false, message: "the GPU is gone".to_owned() },
        };
        self.hand(objects::LostInfo(lost))
    }

    async fn push_error_scope(&mut self, this: Resource<Device>, filter: wit::GpuErrorFilter) -> wasmtime::Result<()> {
        let filter = match filter {
            wit::GpuErrorFilter::Validation => ErrorFilter::Validation,
            wit::GpuErrorFilter::OutOfMemory => ErrorFilter::OutOfMemory,
            wit::GpuErrorFilter::Internal => ErrorFilter::Internal,
        };
        session(self, &this)?.send(Op::PushErrorScope(filter)).await;
        Ok(())
    }

    async fn pop_error_scope(
        &mut self,
        this: Resource<Device>,
    ) -> wasmtime::Result<Result<Option<Resource<objects::ErrorObject>>, wit::PopErrorScopeError>> {
        let session = session(self, &this)?;
        match self.ask(&session, Op::PopErrorScope).await {
            Ok(Reply::Scope(Ok(Some(error)))) => Ok(Ok(Some(self.hand(objects::ErrorObject(error))?))),
            Ok(Reply::Scope(Err(_))) => Ok(Err(wit::PopErrorScopeError {
                kind: wit::PopErrorScopeErrorKind::OperationError,
                message: "no error scope was pushed".to_owned(),
            })),
            // A device that is lost has no errors.
            _ => Ok(Ok(None)),
        }
    }

    async fn onuncapturederror_subscribe(&mut self, this: Resource<Device>) -> wasmtime::Result<Resource<DynPollable>> {
        let session = session(self, &this)?;
        let _ = self.ask(&session, Op::Sync).await;
        let waiting = self.table().push(Uncaptured { state: session.state(), session })?;
        subscribe(self.table(), waiting)
    }

    async fn connect_graphics_context(
        &mut self,
        _: Resource<Device>,
        _: Resource<canvas::Context>,
    ) -> wasmtime::Result<()> {
        canvas::no_surfaces()
    }

    async fn drop(&mut self, this: Resource<Device>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}
