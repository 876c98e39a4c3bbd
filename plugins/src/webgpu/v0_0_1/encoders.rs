//! Command encoders and compute passes.

use std::sync::Arc;

use roadstead_gpu_wire::{
    Op,
    op::{ComputeOp, Create, EncoderOp, TimestampWrites},
};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{
    CommandBuffer, CommandEncoder, ComputePass, ComputePipeline, Gpu, RenderPass,
    commands::{binds_groups, debug_marks},
    copies, label,
    labels::labelled,
    states::extent,
    wit,
};
use crate::webgpu::{
    objects::{Buffer, QuerySet},
    session::Session,
};

async fn encode(state: &mut InstanceState, this: &Resource<CommandEncoder>, op: EncoderOp) -> wasmtime::Result<()> {
    let (session, id) = state.named(this)?;
    session.send(Op::Encoder { id, op }).await;
    Ok(())
}

async fn compute(state: &mut InstanceState, this: &Resource<ComputePass>, op: ComputeOp) -> wasmtime::Result<()> {
    let (session, id) = state.named(this)?;
    session.send(Op::ComputePass { id, op }).await;
    Ok(())
}

/// Where a pass writes its times.
pub(super) fn timestamps(
    state: &mut InstanceState,
    session: &Arc<Session>,
    query_set: &Resource<QuerySet>,
    begin: Option<u32>,
    end: Option<u32>,
) -> wasmtime::Result<TimestampWrites> {
    Ok(TimestampWrites { query_set: state.of(session, query_set)?, begin, end })
}

impl wit::HostGpuCommandEncoder for InstanceState {
    labelled!(CommandEncoder);

    async fn begin_render_pass(
        &mut self,
        this: Resource<CommandEncoder>,
        descriptor: wit::GpuRenderPassDescriptor,
    ) -> wasmtime::Result<Resource<RenderPass>> {
        let (session, encoder) = self.named(&this)?;
        let desc = Box::new(super::render::pass(self, &session, &descriptor)?);
        let what = Create::RenderPass { encoder, desc };
        self.make(&session, descriptor.label.as_ref(), what, RenderPass).await
    }

    async fn begin_compute_pass(
        &mut self,
        this: Resource<CommandEncoder>,
        descriptor: Option<wit::GpuComputePassDescriptor>,
    ) -> wasmtime::Result<Resource<ComputePass>> {
        let (session, encoder) = self.named(&this)?;
        let (writes, name) = match descriptor {
            Some(wit::GpuComputePassDescriptor { timestamp_writes, label }) => (timestamp_writes, label),
            None => (None, None),
        };
        let timestamps = match writes {
            Some(wit::GpuComputePassTimestampWrites {
                query_set,
                beginning_of_pass_write_index,
                end_of_pass_write_index,
            }) => {
                let (begin, end) = (beginning_of_pass_write_index, end_of_pass_write_index);
                Some(timestamps(self, &session, &query_set, begin, end)?)
            }
            None => None,
        };
        let what = Create::ComputePass { encoder, label: label(name.as_ref()), timestamps };
        self.make(&session, name.as_ref(), what, ComputePass).await
    }

    async fn copy_buffer_to_buffer(
        &mut self,
        this: Resource<CommandEncoder>,
        source: Resource<Buffer>,
        source_offset: u64,
        destination: Resource<Buffer>,
        destination_offset: u64,
        size: u64,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let (from, to) = (self.of(&session, &source)?, self.of(&session, &destination)?);
        let (from_offset, to_offset) = (source_offset, destination_offset);
        encode(self, &this, EncoderOp::CopyBufferToBuffer { from, from_offset, to, to_offset, size }).await
    }

    async fn copy_buffer_to_texture(
        &mut self,
        this: Resource<CommandEncoder>,
        source: wit::GpuTexelCopyBufferInfo,
        destination: wit::GpuTexelCopyTextureInfo,
        copy_size: wit::GpuExtent3D,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let from = copies::buffer(self, &session, &source)?;
        let to = copies::texture(self, &session, &destination)?;
        encode(self, &this, EncoderOp::CopyBufferToTexture { from, to, size: extent(&copy_size) }).await
    }

    async fn copy_texture_to_buffer(
        &mut self,
        this: Resource<CommandEncoder>,
        source: wit::GpuTexelCopyTextureInfo,
        destination: wit::GpuTexelCopyBufferInfo,
        copy_size: wit::GpuExtent3D,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let from = copies::texture(self, &session, &source)?;
        let to = copies::buffer(self, &session, &destination)?;
        encode(self, &this, EncoderOp::CopyTextureToBuffer { from, to, size: extent(&copy_size) }).await
    }

    async fn copy_texture_to_texture(
        &mut self,
        this: Resource<CommandEncoder>,
        source: wit::GpuTexelCopyTextureInfo,
        destination: wit::GpuTexelCopyTextureInfo,
        copy_size: wit::GpuExtent3D,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let from = copies::texture(self, &session, &source)?;
        let to = copies::texture(self, &session, &destination)?;
        encode(self, &this, EncoderOp::CopyTextureToTexture { from, to, size: extent(&copy_size) }).await
    }

    async fn clear_buffer(
        &mut self,
        this: Resource<CommandEncoder>,
        buffer: Resource<Buffer>,
        offset: Option<u64>,
        size: Option<u64>,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let buffer = self.of(&session, &buffer)?;
        encode(self, &this, EncoderOp::ClearBuffer { buffer, offset: offset.unwrap_or(0), size }).await
    }

    async fn resolve_query_set(
        &mut self,
        this: Resource<CommandEncoder>,
        query_set: Resource<QuerySet>,
        first_query: u32,
        query_count: u32,
        destination: Resource<Buffer>,
        destination_offset: u64,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let (set, to) = (self.of(&session, &query_set)?, self.of(&session, &destination)?);
        let (first, count, offset) = (first_query, query_count, destination_offset);
        encode(self, &this, EncoderOp::ResolveQuerySet { set, first, count, to, offset }).await
    }

    async fn finish(
        &mut self,
        this: Resource<CommandEncoder>,
        descriptor: Option<wit::GpuCommandBufferDescriptor>,
    ) -> wasmtime::Result<Resource<CommandBuffer>> {
        let (session, encoder) = self.named(&this)?;
        let name = descriptor.and_then(|descriptor| descriptor.label);
        let what = Create::CommandBuffer { encoder, label: label(name.as_ref()) };
        self.make(&session, name.as_ref(), what, CommandBuffer).await
    }

    debug_marks!(CommandEncoder, encode, EncoderOp);
}

impl wit::HostGpuComputePassEncoder for InstanceState {
    labelled!(ComputePass);

    async fn set_pipeline(
        &mut self,
        this: Resource<ComputePass>,
        pipeline: Resource<ComputePipeline>,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let pipeline = self.of(&session, &pipeline)?;
        compute(self, &this, ComputeOp::SetPipeline(pipeline)).await
    }

    async fn dispatch_workgroups(
        &mut self,
        this: Resource<ComputePass>,
        x: u32,
        y: Option<u32>,
        z: Option<u32>,
    ) -> wasmtime::Result<()> {
        compute(self, &this, ComputeOp::Dispatch { x, y: y.unwrap_or(1), z: z.unwrap_or(1) }).await
    }

    async fn dispatch_workgroups_indirect(
        &mut self,
        this: Resource<ComputePass>,
        indirect_buffer: Resource<Buffer>,
        indirect_offset: u64,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let buffer = self.of(&session, &indirect_buffer)?;
        compute(self, &this, ComputeOp::DispatchIndirect { buffer, offset: indirect_offset }).await
    }

    async fn end(&mut self, this: Resource<ComputePass>) -> wasmtime::Result<()> {
        compute(self, &this, ComputeOp::End).await
    }

    debug_marks!(ComputePass, compute, ComputeOp);

    binds_groups!(ComputePass, compute, ComputeOp);
}
