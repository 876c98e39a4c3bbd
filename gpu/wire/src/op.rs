//! Commands of a session, which is one device. What they mean is WebGPU's; what the number of an object stands for is
//! known to both sides.

use serde::{Deserialize, Serialize};
use wgpu_types as wgt;

use crate::{Id, Label, reply::GpuError};

/// One command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Op {
    /// Makes the device; the first command of a session. Answered.
    OpenDevice {
        label: Label,
        features: wgt::Features,
        limits: Box<wgt::Limits>,
    },
    /// Destroys the device; what is made on it afterwards is invalid.
    DestroyDevice,
    /// Makes an object.
    Create {
        id: Id,
        what: Box<Create>,
    },
    /// The guest holds the object no longer.
    Drop {
        id: Id,
    },
    /// Destroys a buffer, texture or query set.
    Destroy {
        id: Id,
    },
    Buffer {
        id: Id,
        op: BufferOp,
    },
    Encoder {
        id: Id,
        op: EncoderOp,
    },
    ComputePass {
        id: Id,
        op: ComputeOp,
    },
    RenderPass {
        id: Id,
        op: RenderOp,
    },
    Bundle {
        id: Id,
        op: DrawOp,
    },
    Queue(QueueOp),
    PushErrorScope(ErrorFilter),
    /// Answered.
    PopErrorScope,
    /// An error that the host found before the device could.
    Raise(GpuError),
    /// Data for the next command that takes [`Data::Staged`]: parts come in order.
    Stage(Data),
    /// What the compiler said about a shader. Answered.
    CompilationInfo {
        module: Id,
    },
    /// Nothing; answered when all before it is done.
    Sync,
}

/// Bytes of a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Data {
    Inline(Vec<u8>),
    /// A range of the shared memory's lane towards the GPU.
    Shared {
        offset: u32,
        len: u32,
    },
    /// All parts that were staged.
    Staged,
}

/// What an error scope takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorFilter {
    Validation,
    OutOfMemory,
    Internal,
}

/// What is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Create {
    /// An object that the host found invalid, with its error.
    Invalid(GpuError),
    Buffer {
        label: Label,
        size: u64,
        usage: u32,
        mapped: bool,
    },
    Texture(TextureDesc),
    TextureView {
        texture: Id,
        desc: wgt::TextureViewDescriptor<Label>,
    },
    Sampler(wgt::SamplerDescriptor<Label>),
    BindGroupLayout {
        label: Label,
        entries: Vec<wgt::BindGroupLayoutEntry>,
    },
    PipelineLayout {
        label: Label,
        groups: Vec<Option<Id>>,
    },
    BindGroup {
        label: Label,
        layout: Id,
        entries: Vec<(u32, Binding)>,
    },
    ShaderModule {
        label: Label,
        code: Data,
    },
    /// Answered when `answered`.
    ComputePipeline {
        desc: ComputePipelineDesc,
        answered: bool,
    },
    /// Answered when `answered`.
    RenderPipeline {
        desc: Box<RenderPipelineDesc>,
        answered: bool,
    },
    /// The layout of a group of a pipeline.
    GroupLayoutOf {
        pipeline: Id,
        index: u32,
    },
    CommandEncoder {
        label: Label,
    },
    ComputePass {
        encoder: Id,
        label: Label,
        timestamps: Option<TimestampWrites>,
    },
    RenderPass {
        encoder: Id,
        desc: Box<RenderPassDesc>,
    },
    /// What an encoder has written down.
    CommandBuffer {
        encoder: Id,
        label: Label,
    },
    BundleEncoder(BundleEncoderDesc),
    /// What a bundle encoder has written down.
    RenderBundle {
        encoder: Id,
        label: Label,
    },
    QuerySet {
        label: Label,
        kind: QueryKind,
        count: u32,
    },
}

/// A texture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TextureDesc {
    pub label: Label,
    pub size: wgt::Extent3d,
    pub mip_level_count: u32,
    pub sample_count: u32,
    pub dimension: wgt::TextureDimension,
    pub format: wgt::TextureFormat,
    /// WebGPU's flags; unknown ones are an error.
    pub usage: u32,
    pub view_formats: Vec<wgt::TextureFormat>,
}

/// What a binding is bound to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Binding {
    Buffer { buffer: Id, offset: u64, size: Option<u64> },
    Sampler(Id),
    TextureView(Id),
}

/// A shader of a pipeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageDesc {
    pub module: Id,
    pub entry_point: Option<String>,
    pub constants: Vec<(String, f64)>,
}

/// A compute pipeline; without a layout it follows from the shader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ComputePipelineDesc {
    pub label: Label,
    pub layout: Option<Id>,
    pub stage: StageDesc,
}

/// Vertices in a buffer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VertexBufferDesc {
    pub array_stride: u64,
    pub step_mode: wgt::VertexStepMode,
    pub attributes: Vec<wgt::VertexAttribute>,
}

/// A render pipeline; without a layout it follows from the shaders.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenderPipelineDesc {
    pub label: Label,
    pub layout: Option<Id>,
    pub vertex: StageDesc,
    pub buffers: Vec<Option<VertexBufferDesc>>,
    pub primitive: wgt::PrimitiveState,
    pub depth_stencil: Option<wgt::DepthStencilState>,
    pub multisample: wgt::MultisampleState,
    pub fragment: Option<(StageDesc, Vec<Option<wgt::ColorTargetState>>)>,
}

/// Where a pass writes its times.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TimestampWrites {
    pub query_set: Id,
    pub begin: Option<u32>,
    pub end: Option<u32>,
}

/// A render pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenderPassDesc {
    pub label: Label,
    pub colors: Vec<Option<ColorAttachment>>,
    pub depth_stencil: Option<DepthStencilAttachment>,
    pub occlusion_query_set: Option<Id>,
    pub timestamps: Option<TimestampWrites>,
}

/// A colour that a pass draws to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ColorAttachment {
    pub view: Id,
    pub depth_slice: Option<u32>,
    pub resolve_target: Option<Id>,
    pub ops: wgt::Operations<wgt::Color>,
}

/// Depth and stencil of a pass; an aspect without operations is read only or absent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DepthStencilAttachment {
    pub view: Id,
    pub depth: Option<wgt::Operations<f32>>,
    pub stencil: Option<wgt::Operations<u32>>,
}

/// A bundle encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BundleEncoderDesc {
    pub label: Label,
    pub colors: Vec<Option<wgt::TextureFormat>>,
    pub depth_stencil: Option<wgt::RenderBundleDepthStencil>,
    pub sample_count: u32,
}

/// What a query set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueryKind {
    Occlusion,
    Timestamp,
}

/// Commands of a buffer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BufferOp {
    /// Answered when it is mapped or cannot be.
    Map {
        write: bool,
        offset: u64,
        size: u64,
    },
    /// Answered with bytes in the shared memory's lane towards the host; no more than a lane holds.
    Read {
        offset: u64,
        size: u64,
    },
    /// Writes into the mapped range.
    Write {
        offset: u64,
        data: Data,
    },
    Unmap,
}

/// A buffer as one end of a copy.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CopyBuffer {
    pub buffer: Id,
    pub layout: wgt::TexelCopyBufferLayout,
}

/// A texture as one end of a copy.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CopyTexture {
    pub texture: Id,
    pub mip_level: u32,
    pub origin: wgt::Origin3d,
    pub aspect: wgt::TextureAspect,
}

/// Commands of a command encoder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum EncoderOp {
    CopyBufferToBuffer { from: Id, from_offset: u64, to: Id, to_offset: u64, size: u64 },
    CopyBufferToTexture { from: CopyBuffer, to: CopyTexture, size: wgt::Extent3d },
    CopyTextureToBuffer { from: CopyTexture, to: CopyBuffer, size: wgt::Extent3d },
    CopyTextureToTexture { from: CopyTexture, to: CopyTexture, size: wgt::Extent3d },
    ClearBuffer { buffer: Id, offset: u64, size: Option<u64> },
    ResolveQuerySet { set: Id, first: u32, count: u32, to: Id, offset: u64 },
    Debug(DebugOp),
}

/// Marks for debuggers; they must be well nested.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum DebugOp {
    Push(String),
    Pop,
    Mark(String),
}

/// Commands of a compute pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ComputeOp {
    SetPipeline(Id),
    SetBindGroup { index: u32, group: Option<Id>, offsets: Vec<u32> },
    Dispatch { x: u32, y: u32, z: u32 },
    DispatchIndirect { buffer: Id, offset: u64 },
    Debug(DebugOp),
    End,
}

/// Commands that a render pass and a render bundle have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum DrawOp {
    SetPipeline(Id),
    SetBindGroup { index: u32, group: Option<Id>, offsets: Vec<u32> },
    SetIndexBuffer { buffer: Id, format: wgt::IndexFormat, offset: u64, size: Option<u64> },
    SetVertexBuffer { slot: u32, buffer: Option<Id>, offset: u64, size: Option<u64> },
    Draw { vertices: u32, instances: u32, first_vertex: u32, first_instance: u32 },
    DrawIndexed { indices: u32, instances: u32, first_index: u32, base_vertex: i32, first_instance: u32 },
    DrawIndirect { buffer: Id, offset: u64 },
    DrawIndexedIndirect { buffer: Id, offset: u64 },
    Debug(DebugOp),
}

/// Commands of a render pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum RenderOp {
    Draw(DrawOp),
    Viewport { x: f32, y: f32, width: f32, height: f32, min_depth: f32, max_depth: f32 },
    Scissor { x: u32, y: u32, width: u32, height: u32 },
    BlendConstant(wgt::Color),
    StencilReference(u32),
    BeginOcclusionQuery(u32),
    EndOcclusionQuery,
    ExecuteBundles(Vec<Id>),
    End,
}

/// Commands of the device's queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum QueueOp {
    Submit(Vec<Id>),
    /// Answered when all that was submitted has run.
    WorkDone,
    WriteBuffer {
        buffer: Id,
        offset: u64,
        data: Data,
    },
    WriteTexture {
        to: CopyTexture,
        data: Data,
        layout: wgt::TexelCopyBufferLayout,
        size: wgt::Extent3d,
    },
}
