//! Command encoders and compute passes.

use std::sync::Arc;

use roadstead_gpu_wire::{
    Op,
    op::{ComputeOp, Create, DebugOp, EncoderOp, TimestampWrites},
};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{
    CommandBuffer, CommandEncoder, ComputePass, ComputePipeline, Gpu, RenderPass, copies, label, labels::labelled,
    states::extent, wit,
};
use crate::webgpu::{
    objects::{Buffer, QuerySet, cut},
    session::Session,
};

/// A mark for debuggers, of bounded length.
pub(super) fn mark(text: &str) -> String {
    cut(text).to_owned()
}

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

/// The dynamic offsets that a call means; the reason when they are not all in its list.
pub(super) fn dynamic_offsets(
    data: Option<Vec<u32>>,
    start: Option<u64>,
    length: Option<u32>,
) -> Result<Vec<u32>, wit::SetBindGroupError> {
    let data = data.unwrap_or_default();
    if start.is_none() && length.is_none() {
        return Ok(data);
    }
    let from = usize::try_from(start.unwrap_or(0)).unwrap_or(usize::MAX);
    let count = length.map_or(data.len().saturating_sub(from), |length| length as usize);
    let offsets = from.checked_add(count).and_then(|to| data.get(from..to)).map(<[u32]>::to_vec);
    offsets.ok_or_else(|| wit::SetBindGroupError {
        kind: wit::SetBindGroupErrorKind::RangeError,
        message: format!("{count} offsets from {from} are not in a list of {}", data.len()),
    })
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

    async fn push_debug_group(&mut self, this: Resource<CommandEncoder>, group: String) -> wasmtime::Result<()> {
        encode(self, &this, EncoderOp::Debug(DebugOp::Push(mark(&group)))).await
    }

    async fn pop_debug_group(&mut self, this: Resource<CommandEncoder>) -> wasmtime::Result<()> {
        encode(self, &this, EncoderOp::Debug(DebugOp::Pop)).await
    }

    async fn insert_debug_marker(&mut self, this: Resource<CommandEncoder>, marker: String) -> wasmtime::Result<()> {
        encode(self, &this, EncoderOp::Debug(DebugOp::Mark(mark(&marker)))).await
    }
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

    async fn push_debug_group(&mut self, this: Resource<ComputePass>, group: String) -> wasmtime::Result<()> {
        compute(self, &this, ComputeOp::Debug(DebugOp::Push(mark(&group)))).await
    }

    async fn pop_debug_group(&mut self, this: Resource<ComputePass>) -> wasmtime::Result<()> {
        compute(self, &this, ComputeOp::Debug(DebugOp::Pop)).await
    }

    async fn insert_debug_marker(&mut self, this: Resource<ComputePass>, marker: String) -> wasmtime::Result<()> {
        compute(self, &this, ComputeOp::Debug(DebugOp::Mark(mark(&marker)))).await
    }

    async fn set_bind_group(
        &mut self,
        this: Resource<ComputePass>,
        index: u32,
        bind_group: Option<Resource<super::BindGroup>>,
        data: Option<Vec<u32>>,
        start: Option<u64>,
        length: Option<u32>,
    ) -> wasmtime::Result<Result<(), wit::SetBindGroupError>> {
        let (session, _) = self.named(&this)?;
        let group = bind_group.map(|group| self.of(&session, &group)).transpose()?;
        match dynamic_offsets(data, start, length) {
            Ok(offsets) => compute(self, &this, ComputeOp::SetBindGroup { index, group, offsets }).await.map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dynamic_offsets_are_a_part_of_their_list() {
        let of = |start, length| dynamic_offsets(Some(vec![1, 2, 3]), start, length).ok();
        assert_eq!(of(None, None), Some(vec![1, 2, 3]));
        assert_eq!(of(Some(1), Some(1)), Some(vec![2]));
        assert_eq!(of(Some(1), None), Some(vec![2, 3]));
        assert_eq!(of(Some(3), Some(0)), Some(vec![]));
        assert_eq!(of(Some(2), Some(2)), None);
        assert_eq!(of(Some(u64::MAX), Some(u32::MAX)), None);
        assert_eq!(dynamic_offsets(None, None, None).ok(), Some(vec![]));
    }
}
