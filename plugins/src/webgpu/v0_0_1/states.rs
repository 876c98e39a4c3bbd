//! The small enumerations, and the states of pipelines that are made of them, with WebGPU's defaults.

use roadstead_gpu_wire::wgt;

use super::{formats::texture_format, wit};

/// What lies beyond the edge of a texture.
pub(super) fn address_mode(value: wit::GpuAddressMode) -> wgt::AddressMode {
    match value {
        wit::GpuAddressMode::ClampToEdge => wgt::AddressMode::ClampToEdge,
        wit::GpuAddressMode::Repeat => wgt::AddressMode::Repeat,
        wit::GpuAddressMode::MirrorRepeat => wgt::AddressMode::MirrorRepeat,
    }
}

/// What lies between two texels.
pub(super) fn filter_mode(value: wit::GpuFilterMode) -> wgt::FilterMode {
    match value {
        wit::GpuFilterMode::Nearest => wgt::FilterMode::Nearest,
        wit::GpuFilterMode::Linear => wgt::FilterMode::Linear,
    }
}

/// What lies between two mip levels.
pub(super) fn mipmap_filter_mode(value: wit::GpuMipmapFilterMode) -> wgt::MipmapFilterMode {
    match value {
        wit::GpuMipmapFilterMode::Nearest => wgt::MipmapFilterMode::Nearest,
        wit::GpuMipmapFilterMode::Linear => wgt::MipmapFilterMode::Linear,
    }
}

/// How two values are compared.
pub(super) fn compare_function(value: wit::GpuCompareFunction) -> wgt::CompareFunction {
    match value {
        wit::GpuCompareFunction::Never => wgt::CompareFunction::Never,
        wit::GpuCompareFunction::Less => wgt::CompareFunction::Less,
        wit::GpuCompareFunction::Equal => wgt::CompareFunction::Equal,
        wit::GpuCompareFunction::LessEqual => wgt::CompareFunction::LessEqual,
        wit::GpuCompareFunction::Greater => wgt::CompareFunction::Greater,
        wit::GpuCompareFunction::NotEqual => wgt::CompareFunction::NotEqual,
        wit::GpuCompareFunction::GreaterEqual => wgt::CompareFunction::GreaterEqual,
        wit::GpuCompareFunction::Always => wgt::CompareFunction::Always,
    }
}

/// How many dimensions a view has.
pub(super) fn view_dimension(value: wit::GpuTextureViewDimension) -> wgt::TextureViewDimension {
    match value {
        wit::GpuTextureViewDimension::D1 => wgt::TextureViewDimension::D1,
        wit::GpuTextureViewDimension::D2 => wgt::TextureViewDimension::D2,
        wit::GpuTextureViewDimension::D2Array => wgt::TextureViewDimension::D2Array,
        wit::GpuTextureViewDimension::Cube => wgt::TextureViewDimension::Cube,
        wit::GpuTextureViewDimension::CubeArray => wgt::TextureViewDimension::CubeArray,
        wit::GpuTextureViewDimension::D3 => wgt::TextureViewDimension::D3,
    }
}

/// How many dimensions a texture has.
pub(super) fn texture_dimension(value: wit::GpuTextureDimension) -> wgt::TextureDimension {
    match value {
        wit::GpuTextureDimension::D1 => wgt::TextureDimension::D1,
        wit::GpuTextureDimension::D2 => wgt::TextureDimension::D2,
        wit::GpuTextureDimension::D3 => wgt::TextureDimension::D3,
    }
}

/// Which aspect of a texture is meant.
pub(super) fn texture_aspect(value: wit::GpuTextureAspect) -> wgt::TextureAspect {
    match value {
        wit::GpuTextureAspect::All => wgt::TextureAspect::All,
        wit::GpuTextureAspect::StencilOnly => wgt::TextureAspect::StencilOnly,
        wit::GpuTextureAspect::DepthOnly => wgt::TextureAspect::DepthOnly,
    }
}

/// How a shader uses a storage texture.
pub(super) fn storage_access(value: wit::GpuStorageTextureAccess) -> wgt::StorageTextureAccess {
    match value {
        wit::GpuStorageTextureAccess::WriteOnly => wgt::StorageTextureAccess::WriteOnly,
        wit::GpuStorageTextureAccess::ReadOnly => wgt::StorageTextureAccess::ReadOnly,
        wit::GpuStorageTextureAccess::ReadWrite => wgt::StorageTextureAccess::ReadWrite,
    }
}

/// What vertices make.
pub(super) fn topology(value: wit::GpuPrimitiveTopology) -> wgt::PrimitiveTopology {
    match value {
        wit::GpuPrimitiveTopology::PointList => wgt::PrimitiveTopology::PointList,
        wit::GpuPrimitiveTopology::LineList => wgt::PrimitiveTopology::LineList,
        wit::GpuPrimitiveTopology::LineStrip => wgt::PrimitiveTopology::LineStrip,
        wit::GpuPrimitiveTopology::TriangleList => wgt::PrimitiveTopology::TriangleList,
        wit::GpuPrimitiveTopology::TriangleStrip => wgt::PrimitiveTopology::TriangleStrip,
    }
}

/// Which side of a triangle is its front.
pub(super) fn front_face(value: wit::GpuFrontFace) -> wgt::FrontFace {
    match value {
        wit::GpuFrontFace::Ccw => wgt::FrontFace::Ccw,
        wit::GpuFrontFace::Cw => wgt::FrontFace::Cw,
    }
}

/// The format of an index.
pub(super) fn index_format(value: wit::GpuIndexFormat) -> wgt::IndexFormat {
    match value {
        wit::GpuIndexFormat::Uint16 => wgt::IndexFormat::Uint16,
        wit::GpuIndexFormat::Uint32 => wgt::IndexFormat::Uint32,
    }
}

/// Whether a buffer advances by vertex or by instance.
pub(super) fn step_mode(value: wit::GpuVertexStepMode) -> wgt::VertexStepMode {
    match value {
        wit::GpuVertexStepMode::Vertex => wgt::VertexStepMode::Vertex,
        wit::GpuVertexStepMode::Instance => wgt::VertexStepMode::Instance,
    }
}

/// What becomes of a stencil value.
pub(super) fn stencil_operation(value: wit::GpuStencilOperation) -> wgt::StencilOperation {
    match value {
        wit::GpuStencilOperation::Keep => wgt::StencilOperation::Keep,
        wit::GpuStencilOperation::Zero => wgt::StencilOperation::Zero,
        wit::GpuStencilOperation::Replace => wgt::StencilOperation::Replace,
        wit::GpuStencilOperation::Invert => wgt::StencilOperation::Invert,
        wit::GpuStencilOperation::IncrementClamp => wgt::StencilOperation::IncrementClamp,
        wit::GpuStencilOperation::DecrementClamp => wgt::StencilOperation::DecrementClamp,
        wit::GpuStencilOperation::IncrementWrap => wgt::StencilOperation::IncrementWrap,
        wit::GpuStencilOperation::DecrementWrap => wgt::StencilOperation::DecrementWrap,
    }
}

/// What two parts of a colour are multiplied with.
pub(super) fn blend_factor(value: wit::GpuBlendFactor) -> wgt::BlendFactor {
    match value {
        wit::GpuBlendFactor::Zero => wgt::BlendFactor::Zero,
        wit::GpuBlendFactor::One => wgt::BlendFactor::One,
        wit::GpuBlendFactor::Src => wgt::BlendFactor::Src,
        wit::GpuBlendFactor::OneMinusSrc => wgt::BlendFactor::OneMinusSrc,
        wit::GpuBlendFactor::SrcAlpha => wgt::BlendFactor::SrcAlpha,
        wit::GpuBlendFactor::OneMinusSrcAlpha => wgt::BlendFactor::OneMinusSrcAlpha,
        wit::GpuBlendFactor::Dst => wgt::BlendFactor::Dst,
        wit::GpuBlendFactor::OneMinusDst => wgt::BlendFactor::OneMinusDst,
        wit::GpuBlendFactor::DstAlpha => wgt::BlendFactor::DstAlpha,
        wit::GpuBlendFactor::OneMinusDstAlpha => wgt::BlendFactor::OneMinusDstAlpha,
        wit::GpuBlendFactor::SrcAlphaSaturated => wgt::BlendFactor::SrcAlphaSaturated,
        wit::GpuBlendFactor::Constant => wgt::BlendFactor::Constant,
        wit::GpuBlendFactor::OneMinusConstant => wgt::BlendFactor::OneMinusConstant,
        wit::GpuBlendFactor::Src1 => wgt::BlendFactor::Src1,
        wit::GpuBlendFactor::OneMinusSrc1 => wgt::BlendFactor::OneMinusSrc1,
        wit::GpuBlendFactor::Src1Alpha => wgt::BlendFactor::Src1Alpha,
        wit::GpuBlendFactor::OneMinusSrc1Alpha => wgt::BlendFactor::OneMinusSrc1Alpha,
    }
}

/// How two parts of a colour are put together.
pub(super) fn blend_operation(value: wit::GpuBlendOperation) -> wgt::BlendOperation {
    match value {
        wit::GpuBlendOperation::Add => wgt::BlendOperation::Add,
        wit::GpuBlendOperation::Subtract => wgt::BlendOperation::Subtract,
        wit::GpuBlendOperation::ReverseSubtract => wgt::BlendOperation::ReverseSubtract,
        wit::GpuBlendOperation::Min => wgt::BlendOperation::Min,
        wit::GpuBlendOperation::Max => wgt::BlendOperation::Max,
    }
}

/// Which triangles are left out.
fn cull_mode(value: wit::GpuCullMode) -> Option<wgt::Face> {
    match value {
        wit::GpuCullMode::None => None,
        wit::GpuCullMode::Front => Some(wgt::Face::Front),
        wit::GpuCullMode::Back => Some(wgt::Face::Back),
    }
}

/// How vertices become primitives.
pub(super) fn primitive(state: Option<&wit::GpuPrimitiveState>) -> wgt::PrimitiveState {
    let Some(state) = state else { return wgt::PrimitiveState::default() };
    wgt::PrimitiveState {
        topology: state.topology.map_or(wgt::PrimitiveTopology::TriangleList, topology),
        strip_index_format: state.strip_index_format.map(index_format),
        front_face: state.front_face.map_or(wgt::FrontFace::Ccw, front_face),
        cull_mode: state.cull_mode.and_then(cull_mode),
        unclipped_depth: state.unclipped_depth.unwrap_or(false),
        polygon_mode: wgt::PolygonMode::Fill,
        conservative: false,
    }
}

fn stencil_face(state: Option<&wit::GpuStencilFaceState>) -> wgt::StencilFaceState {
    let Some(state) = state else { return wgt::StencilFaceState::default() };
    let operation = |operation: Option<_>| operation.map_or(wgt::StencilOperation::Keep, stencil_operation);
    wgt::StencilFaceState {
        compare: state.compare.map_or(wgt::CompareFunction::Always, compare_function),
        fail_op: operation(state.fail_op),
        depth_fail_op: operation(state.depth_fail_op),
        pass_op: operation(state.pass_op),
    }
}

/// How depth and stencil are tested.
pub(super) fn depth_stencil(state: &wit::GpuDepthStencilState) -> wgt::DepthStencilState {
    wgt::DepthStencilState {
        format: texture_format(state.format),
        depth_write_enabled: state.depth_write_enabled,
        depth_compare: state.depth_compare.map(compare_function),
        stencil: wgt::StencilState {
            front: stencil_face(state.stencil_front.as_ref()),
            back: stencil_face(state.stencil_back.as_ref()),
            read_mask: state.stencil_read_mask.unwrap_or(u32::MAX),
            write_mask: state.stencil_write_mask.unwrap_or(u32::MAX),
        },
        bias: wgt::DepthBiasState {
            constant: state.depth_bias.unwrap_or(0),
            slope_scale: state.depth_bias_slope_scale.unwrap_or(0.0),
            clamp: state.depth_bias_clamp.unwrap_or(0.0),
        },
    }
}

/// How pixels are sampled.
pub(super) fn multisample(state: Option<&wit::GpuMultisampleState>) -> wgt::MultisampleState {
    let Some(state) = state else { return wgt::MultisampleState::default() };
    wgt::MultisampleState {
        count: state.count.unwrap_or(1),
        mask: u64::from(state.mask.unwrap_or(u32::MAX)),
        alpha_to_coverage_enabled: state.alpha_to_coverage_enabled.unwrap_or(false),
    }
}

fn blend_component(component: &wit::GpuBlendComponent) -> wgt::BlendComponent {
    wgt::BlendComponent {
        operation: component.operation.map_or(wgt::BlendOperation::Add, blend_operation),
        src_factor: component.src_factor.map_or(wgt::BlendFactor::One, blend_factor),
        dst_factor: component.dst_factor.map_or(wgt::BlendFactor::Zero, blend_factor),
    }
}

/// How one colour is written.
pub(super) fn color_target(target: &wit::GpuColorTargetState) -> wgt::ColorTargetState {
    let blend = |blend: &wit::GpuBlendState| wgt::BlendState {
        color: blend_component(&blend.color),
        alpha: blend_component(&blend.alpha),
    };
    wgt::ColorTargetState {
        format: texture_format(target.format),
        blend: target.blend.as_ref().map(blend),
        write_mask: wgt::ColorWrites::from_bits_truncate(target.write_mask.unwrap_or(0xf)),
    }
}

/// A size with what was left out.
pub(super) fn extent(size: &wit::GpuExtent3D) -> wgt::Extent3d {
    wgt::Extent3d {
        width: size.width,
        height: size.height.unwrap_or(1),
        depth_or_array_layers: size.depth_or_array_layers.unwrap_or(1),
    }
}

/// A place with what was left out.
pub(super) fn origin(place: Option<&wit::GpuOrigin3D>) -> wgt::Origin3d {
    let part = |part: Option<u32>| part.unwrap_or(0);
    place.map_or(wgt::Origin3d::ZERO, |place| wgt::Origin3d { x: part(place.x), y: part(place.y), z: part(place.z) })
}

/// A colour.
pub(super) fn color(color: &wit::GpuColor) -> wgt::Color {
    wgt::Color { r: color.r, g: color.g, b: color.b, a: color.a }
}
