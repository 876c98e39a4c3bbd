//! Render passes, render bundles, and the commands that they have in common.

use std::sync::Arc;

use roadstead_gpu_wire::{
    Op,
    op::{BundleEncoderDesc, ColorAttachment, Create, DepthStencilAttachment, DrawOp, RenderOp, RenderPassDesc},
    wgt,
};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{
    BundleEncoder, Gpu, RenderBundle, RenderPass, RenderPipeline,
    commands::{binds_groups, debug_marks},
    encoders::timestamps,
    formats::texture_format,
    label,
    labels::labelled,
    states::{color, index_format},
    wit,
};
use crate::webgpu::{objects::Buffer, session::Session};

fn store(op: wit::GpuStoreOp) -> wgt::StoreOp {
    match op {
        wit::GpuStoreOp::Store => wgt::StoreOp::Store,
        wit::GpuStoreOp::Discard => wgt::StoreOp::Discard,
    }
}

fn operations<V>(load: wit::GpuLoadOp, clear: V, kept: wit::GpuStoreOp) -> wgt::Operations<V> {
    let load = match load {
        wit::GpuLoadOp::Load => wgt::LoadOp::Load,
        wit::GpuLoadOp::Clear => wgt::LoadOp::Clear(clear),
    };
    wgt::Operations { load, store: store(kept) }
}

/// What a pass begins with.
pub(super) fn pass(
    state: &mut InstanceState,
    session: &Arc<Session>,
    descriptor: &wit::GpuRenderPassDescriptor,
) -> wasmtime::Result<RenderPassDesc> {
    let mut colors = Vec::with_capacity(descriptor.color_attachments.len());
    for attachment in &descriptor.color_attachments {
        let Some(attachment) = attachment else {
            colors.push(None);
            continue;
        };
        let clear = attachment.clear_value.as_ref().map_or(wgt::Color::TRANSPARENT, color);
        colors.push(Some(ColorAttachment {
            view: state.of(session, &attachment.view)?,
            depth_slice: attachment.depth_slice,
            resolve_target: attachment.resolve_target.as_ref().map(|view| state.of(session, view)).transpose()?,
            ops: operations(attachment.load_op, clear, attachment.store_op),
        }));
    }
    let depth_stencil = match &descriptor.depth_stencil_attachment {
        Some(attachment) => Some(DepthStencilAttachment {
            view: state.of(session, &attachment.view)?,
            // A clear needs a value from 0 to 1: without one it is refused as any other that is not.
            depth: (attachment.depth_load_op.zip(attachment.depth_store_op))
                .map(|(load, store)| operations(load, attachment.depth_clear_value.unwrap_or(f32::NAN), store)),
            stencil: (attachment.stencil_load_op.zip(attachment.stencil_store_op))
                .map(|(load, store)| operations(load, attachment.stencil_clear_value.unwrap_or(0), store)),
        }),
        None => None,
    };
    let timestamps = match &descriptor.timestamp_writes {
        Some(writes) => {
            let (begin, end) = (writes.beginning_of_pass_write_index, writes.end_of_pass_write_index);
            Some(timestamps(state, session, &writes.query_set, begin, end)?)
        }
        None => None,
    };
    Ok(RenderPassDesc {
        label: label(descriptor.label.as_ref()),
        colors,
        depth_stencil,
        occlusion_query_set: (descriptor.occlusion_query_set.as_ref()).map(|set| state.of(session, set)).transpose()?,
        timestamps,
    })
}

/// What a bundle encoder is made with.
pub(super) fn bundle_encoder(descriptor: &wit::GpuRenderBundleEncoderDescriptor) -> Create {
    Create::BundleEncoder(BundleEncoderDesc {
        label: label(descriptor.label.as_ref()),
        colors: descriptor.color_formats.iter().map(|format| format.map(texture_format)).collect(),
        depth_stencil: descriptor.depth_stencil_format.map(|format| wgt::RenderBundleDepthStencil {
            format: texture_format(format),
            depth_read_only: descriptor.depth_read_only.unwrap_or(false),
            stencil_read_only: descriptor.stencil_read_only.unwrap_or(false),
        }),
        sample_count: descriptor.sample_count.unwrap_or(1),
    })
}

async fn pass_command(state: &mut InstanceState, this: &Resource<RenderPass>, op: RenderOp) -> wasmtime::Result<()> {
    let (session, id) = state.named(this)?;
    session.send(Op::RenderPass { id, op }).await;
    Ok(())
}

async fn in_pass(state: &mut InstanceState, this: &Resource<RenderPass>, op: DrawOp) -> wasmtime::Result<()> {
    pass_command(state, this, RenderOp::Draw(op)).await
}

async fn in_bundle(state: &mut InstanceState, this: &Resource<BundleEncoder>, op: DrawOp) -> wasmtime::Result<()> {
    let (session, id) = state.named(this)?;
    session.send(Op::Bundle { id, op }).await;
    Ok(())
}

/// The functions that passes and bundle encoders have in common.
macro_rules! draws {
    ($type:ty, $draw:ident) => {
        debug_marks!($type, $draw, DrawOp);
        binds_groups!($type, $draw, DrawOp);

        async fn set_pipeline(
            &mut self,
            this: Resource<$type>,
            pipeline: Resource<RenderPipeline>,
        ) -> wasmtime::Result<()> {
            let (session, _) = self.named(&this)?;
            let pipeline = self.of(&session, &pipeline)?;
            $draw(self, &this, DrawOp::SetPipeline(pipeline)).await
        }

        async fn set_index_buffer(
            &mut self,
            this: Resource<$type>,
            buffer: Resource<Buffer>,
            format: wit::GpuIndexFormat,
            offset: Option<u64>,
            size: Option<u64>,
        ) -> wasmtime::Result<()> {
            let (session, _) = self.named(&this)?;
            let buffer = self.of(&session, &buffer)?;
            let (format, offset) = (index_format(format), offset.unwrap_or(0));
            $draw(self, &this, DrawOp::SetIndexBuffer { buffer, format, offset, size }).await
        }

        async fn set_vertex_buffer(
            &mut self,
            this: Resource<$type>,
            slot: u32,
            buffer: Option<Resource<Buffer>>,
            offset: Option<u64>,
            size: Option<u64>,
        ) -> wasmtime::Result<()> {
            let (session, _) = self.named(&this)?;
            let buffer = buffer.map(|buffer| self.of(&session, &buffer)).transpose()?;
            $draw(self, &this, DrawOp::SetVertexBuffer { slot, buffer, offset: offset.unwrap_or(0), size }).await
        }

        async fn draw(
            &mut self,
            this: Resource<$type>,
            vertices: u32,
            instances: Option<u32>,
            first_vertex: Option<u32>,
            first_instance: Option<u32>,
        ) -> wasmtime::Result<()> {
            let (instances, first_vertex) = (instances.unwrap_or(1), first_vertex.unwrap_or(0));
            let first_instance = first_instance.unwrap_or(0);
            $draw(self, &this, DrawOp::Draw { vertices, instances, first_vertex, first_instance }).await
        }

        async fn draw_indexed(
            &mut self,
            this: Resource<$type>,
            indices: u32,
            instances: Option<u32>,
            first_index: Option<u32>,
            base_vertex: Option<i32>,
            first_instance: Option<u32>,
        ) -> wasmtime::Result<()> {
            let (instances, first_index) = (instances.unwrap_or(1), first_index.unwrap_or(0));
            let (base_vertex, first_instance) = (base_vertex.unwrap_or(0), first_instance.unwrap_or(0));
            let op = DrawOp::DrawIndexed { indices, instances, first_index, base_vertex, first_instance };
            $draw(self, &this, op).await
        }

        async fn draw_indirect(
            &mut self,
            this: Resource<$type>,
            buffer: Resource<Buffer>,
            offset: u64,
        ) -> wasmtime::Result<()> {
            let (session, _) = self.named(&this)?;
            let buffer = self.of(&session, &buffer)?;
            $draw(self, &this, DrawOp::DrawIndirect { buffer, offset }).await
        }

        async fn draw_indexed_indirect(
            &mut self,
            this: Resource<$type>,
            buffer: Resource<Buffer>,
            offset: u64,
        ) -> wasmtime::Result<()> {
            let (session, _) = self.named(&this)?;
            let buffer = self.of(&session, &buffer)?;
            $draw(self, &this, DrawOp::DrawIndexedIndirect { buffer, offset }).await
        }
    };
}

impl wit::HostGpuRenderPassEncoder for InstanceState {
    labelled!(RenderPass);
    draws!(RenderPass, in_pass);

    async fn set_viewport(
        &mut self,
        this: Resource<RenderPass>,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        min_depth: f32,
        max_depth: f32,
    ) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::Viewport { x, y, width, height, min_depth, max_depth }).await
    }

    async fn set_scissor_rect(
        &mut self,
        this: Resource<RenderPass>,
        x: u32,
        y: u32,
        width: u32,
        height: u32,
    ) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::Scissor { x, y, width, height }).await
    }

    async fn set_blend_constant(
        &mut self,
        this: Resource<RenderPass>,
        constant: wit::GpuColor,
    ) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::BlendConstant(color(&constant))).await
    }

    async fn set_stencil_reference(&mut self, this: Resource<RenderPass>, reference: u32) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::StencilReference(reference)).await
    }

    async fn begin_occlusion_query(&mut self, this: Resource<RenderPass>, query_index: u32) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::BeginOcclusionQuery(query_index)).await
    }

    async fn end_occlusion_query(&mut self, this: Resource<RenderPass>) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::EndOcclusionQuery).await
    }

    async fn execute_bundles(
        &mut self,
        this: Resource<RenderPass>,
        bundles: Vec<Resource<RenderBundle>>,
    ) -> wasmtime::Result<()> {
        let (session, _) = self.named(&this)?;
        let bundles: wasmtime::Result<Vec<u32>> = bundles.iter().map(|bundle| self.of(&session, bundle)).collect();
        pass_command(self, &this, RenderOp::ExecuteBundles(bundles?)).await
    }

    async fn end(&mut self, this: Resource<RenderPass>) -> wasmtime::Result<()> {
        pass_command(self, &this, RenderOp::End).await
    }
}

impl wit::HostGpuRenderBundleEncoder for InstanceState {
    labelled!(BundleEncoder);
    draws!(BundleEncoder, in_bundle);

    async fn finish(
        &mut self,
        this: Resource<BundleEncoder>,
        descriptor: Option<wit::GpuRenderBundleDescriptor>,
    ) -> wasmtime::Result<Resource<RenderBundle>> {
        let (session, encoder) = self.named(&this)?;
        let name = descriptor.and_then(|descriptor| descriptor.label);
        let what = Create::RenderBundle { encoder, label: label(name.as_ref()) };
        self.make(&session, name.as_ref(), what, RenderBundle).await
    }
}
