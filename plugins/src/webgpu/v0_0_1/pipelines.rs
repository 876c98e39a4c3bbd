//! Shaders and pipelines.

use std::sync::Arc;

use roadstead_gpu_wire::{
    Op, Reply,
    op::{ComputePipelineDesc, Create, RenderPipelineDesc, StageDesc, VertexBufferDesc},
    reply::{CompilationMessage, ErrorKind, GpuError},
    wgt,
};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{
    ComputePipeline, Gpu, GroupLayout, Holds, NOTHING, RenderPipeline, ShaderModule,
    formats::vertex_format,
    generated, label,
    labels::labelled,
    states::{color_target, depth_stencil, multisample, primitive, step_mode},
    wit,
};
use crate::webgpu::{
    objects::{self, Object},
    session::Session,
};

/// All flags that WebGPU has for the channels of a colour.
const COLORS: u32 = 0xf;

/// The layout of a pipeline; none when it follows from the shaders.
fn layout(
    state: &mut InstanceState,
    session: &Arc<Session>,
    mode: &wit::GpuLayoutMode,
) -> wasmtime::Result<Option<u32>> {
    match mode {
        wit::GpuLayoutMode::Specific(layout) => Ok(Some(state.of(session, layout)?)),
        wit::GpuLayoutMode::Auto => Ok(None),
    }
}

/// A stage. The record of constants that the guest made for it is given up with the call.
fn stage(
    state: &mut InstanceState,
    session: &Arc<Session>,
    module: &Resource<ShaderModule>,
    entry_point: Option<&String>,
    constants: Option<&Resource<generated::Constants>>,
) -> wasmtime::Result<StageDesc> {
    let constants = match constants {
        Some(record) => {
            state.table().delete(Resource::<generated::Constants>::new_own(record.rep()))?.entries().to_vec()
        }
        None => Vec::new(),
    };
    Ok(StageDesc { module: state.of(session, module)?, entry_point: entry_point.cloned(), constants })
}

/// What a compute pipeline is made with.
pub(super) fn compute(
    state: &mut InstanceState,
    session: &Arc<Session>,
    descriptor: &wit::GpuComputePipelineDescriptor,
) -> wasmtime::Result<ComputePipelineDesc> {
    let wit::GpuProgrammableStage { module, entry_point, constants } = &descriptor.compute;
    let stage = stage(state, session, module, entry_point.as_ref(), constants.as_ref())?;
    let layout = layout(state, session, &descriptor.layout)?;
    Ok(ComputePipelineDesc { label: label(descriptor.label.as_ref()), layout, stage })
}

/// What a render pipeline is made with.
pub(super) fn render(
    state: &mut InstanceState,
    session: &Arc<Session>,
    descriptor: &wit::GpuRenderPipelineDescriptor,
) -> wasmtime::Result<RenderPipelineDesc> {
    let wit::GpuVertexState { buffers, module, entry_point, constants } = &descriptor.vertex;
    let vertex = stage(state, session, module, entry_point.as_ref(), constants.as_ref())?;
    let fragment = match &descriptor.fragment {
        Some(wit::GpuFragmentState { targets, module, entry_point, constants }) => {
            let mut stage = stage(state, session, module, entry_point.as_ref(), constants.as_ref())?;
            let masks = targets.iter().flatten().filter_map(|target| target.write_mask);
            if let Some(unknown) = masks.map(|mask| mask & !COLORS).find(|unknown| *unknown != 0) {
                let text = format!("a colour's write mask has unknown bits: {unknown:#x}");
                session.add_later(&Op::Raise(GpuError::validation(text)));
                stage.module = NOTHING;
            }
            Some((stage, targets.iter().map(|target| target.as_ref().map(color_target)).collect()))
        }
        None => None,
    };
    let buffers = buffers.iter().flatten().map(|buffer| buffer.as_ref().map(vertex_buffer)).collect();
    Ok(RenderPipelineDesc {
        label: label(descriptor.label.as_ref()),
        layout: layout(state, session, &descriptor.layout)?,
        vertex,
        buffers,
        primitive: primitive(descriptor.primitive.as_ref()),
        depth_stencil: descriptor.depth_stencil.as_ref().map(depth_stencil),
        multisample: multisample(descriptor.multisample.as_ref()),
        fragment,
    })
}

fn vertex_buffer(layout: &wit::GpuVertexBufferLayout) -> VertexBufferDesc {
    let attribute = |attribute: &wit::GpuVertexAttribute| wgt::VertexAttribute {
        format: vertex_format(attribute.format),
        offset: attribute.offset,
        shader_location: attribute.shader_location,
    };
    VertexBufferDesc {
        array_stride: layout.array_stride,
        step_mode: layout.step_mode.map_or(wgt::VertexStepMode::Vertex, step_mode),
        attributes: layout.attributes.iter().map(attribute).collect(),
    }
}

/// Makes a pipeline and waits until it is there, or why it is not.
pub(super) async fn awaited<T: Holds>(
    state: &mut InstanceState,
    session: &Arc<Session>,
    label: Option<&String>,
    what: Create,
    wrap: fn(Object) -> T,
) -> wasmtime::Result<Result<Resource<T>, wit::CreatePipelineError>> {
    let id = session.new_id();
    let object = Object::numbered(session, id, label.map(String::as_str));
    let answer = state.ask(session, Op::Create { id, what: Box::new(what) }).await;
    let refused = |reason, message| wit::CreatePipelineError {
        kind: wit::CreatePipelineErrorKind::GpuPipelineError(reason),
        message,
    };
    match answer {
        Ok(Reply::Pipeline(Ok(()))) => Ok(Ok(state.hand(wrap(object))?)),
        Ok(Reply::Pipeline(Err(error))) => {
            let reason = match error.kind {
                ErrorKind::Validation => wit::GpuPipelineErrorReason::Validation,
                ErrorKind::OutOfMemory | ErrorKind::Internal => wit::GpuPipelineErrorReason::Internal,
            };
            Ok(Err(refused(reason, error.message)))
        }
        _ => Ok(Err(refused(wit::GpuPipelineErrorReason::Internal, "the device is lost".to_owned()))),
    }
}

async fn group_layout<T: Holds>(
    state: &mut InstanceState,
    pipeline: &Resource<T>,
    index: u32,
) -> wasmtime::Result<Resource<GroupLayout>> {
    let (session, pipeline) = state.named(pipeline)?;
    state.make(&session, None, Create::GroupLayoutOf { pipeline, index }, GroupLayout).await
}

impl wit::HostGpuComputePipeline for InstanceState {
    labelled!(ComputePipeline);

    async fn get_bind_group_layout(
        &mut self,
        this: Resource<ComputePipeline>,
        index: u32,
    ) -> wasmtime::Result<Resource<GroupLayout>> {
        group_layout(self, &this, index).await
    }
}

impl wit::HostGpuRenderPipeline for InstanceState {
    labelled!(RenderPipeline);

    async fn get_bind_group_layout(
        &mut self,
        this: Resource<RenderPipeline>,
        index: u32,
    ) -> wasmtime::Result<Resource<GroupLayout>> {
        group_layout(self, &this, index).await
    }
}

impl wit::HostGpuShaderModule for InstanceState {
    labelled!(ShaderModule);

    async fn get_compilation_info(
        &mut self,
        this: Resource<ShaderModule>,
    ) -> wasmtime::Result<Resource<objects::CompilationInfo>> {
        let (session, module) = self.named(&this)?;
        let messages: Vec<CompilationMessage> = match self.ask(&session, Op::CompilationInfo { module }).await {
            Ok(Reply::Compilation(messages)) => messages,
            _ => Vec::new(),
        };
        self.hand(objects::CompilationInfo(messages))
    }
}
