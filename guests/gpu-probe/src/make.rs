//! Descriptors with what most scenarios leave out left out, and the flags that WebGPU defines by number. Must not call
//! anything.

use crate::webgpu::{
    GpuBindGroupEntry, GpuBindGroupLayoutEntry, GpuBindingResource, GpuBuffer, GpuBufferBinding,
    GpuBufferBindingLayout, GpuBufferBindingType, GpuBufferDescriptor, GpuColor, GpuColorTargetState, GpuExtent3D,
    GpuLoadOp, GpuOrigin3D, GpuProgrammableStage, GpuRenderPassColorAttachment, GpuRenderPassDescriptor, GpuSampler,
    GpuSamplerDescriptor, GpuShaderModule, GpuShaderModuleDescriptor, GpuStoreOp, GpuTexelCopyBufferInfo,
    GpuTexelCopyTextureInfo, GpuTexture, GpuTextureDescriptor, GpuTextureFormat, GpuTextureView,
    GpuTextureViewDescriptor,
};

/// Flags of `GPUBufferUsage`, `GPUMapMode`, `GPUTextureUsage`, `GPUShaderStage` and `GPUColorWrite`, as the specification
/// numbers them.
pub(crate) mod flags {
    pub(crate) const MAP_READ: u32 = 0x1;
    pub(crate) const MAP_WRITE: u32 = 0x2;
    pub(crate) const COPY_SRC: u32 = 0x4;
    pub(crate) const COPY_DST: u32 = 0x8;
    pub(crate) const INDEX: u32 = 0x10;
    pub(crate) const VERTEX: u32 = 0x20;
    pub(crate) const UNIFORM: u32 = 0x40;
    pub(crate) const STORAGE: u32 = 0x80;
    pub(crate) const INDIRECT: u32 = 0x100;
    pub(crate) const QUERY_RESOLVE: u32 = 0x200;

    pub(crate) const READ: u32 = 0x1;
    pub(crate) const WRITE: u32 = 0x2;

    pub(crate) const TEXTURE_COPY_SRC: u32 = 0x1;
    pub(crate) const TEXTURE_COPY_DST: u32 = 0x2;
    pub(crate) const TEXTURE_BINDING: u32 = 0x4;
    pub(crate) const STORAGE_BINDING: u32 = 0x8;
    pub(crate) const RENDER_ATTACHMENT: u32 = 0x10;

    pub(crate) const STAGE_VERTEX: u32 = 0x1;
    pub(crate) const STAGE_FRAGMENT: u32 = 0x2;
    pub(crate) const STAGE_COMPUTE: u32 = 0x4;

    pub(crate) const RED: u32 = 0x1;
    pub(crate) const GREEN: u32 = 0x2;
    pub(crate) const BLUE: u32 = 0x4;
    pub(crate) const ALPHA: u32 = 0x8;
    pub(crate) const ALL: u32 = 0xf;
}

pub(crate) fn buffer(size: u64, usage: u32) -> GpuBufferDescriptor {
    GpuBufferDescriptor { size, usage, mapped_at_creation: None, label: None }
}

pub(crate) fn shader(code: &str) -> GpuShaderModuleDescriptor<'static> {
    GpuShaderModuleDescriptor { code: code.to_owned(), compilation_hints: None, label: None }
}

pub(crate) fn programmable<'a>(module: &'a GpuShaderModule, entry_point: &str) -> GpuProgrammableStage<'a> {
    GpuProgrammableStage { module, entry_point: Some(entry_point.to_owned()), constants: None }
}

pub(crate) fn extent(width: u32, height: u32) -> GpuExtent3D {
    GpuExtent3D { width, height: Some(height), depth_or_array_layers: None }
}

pub(crate) fn origin(x: u32, y: u32) -> GpuOrigin3D {
    GpuOrigin3D { x: Some(x), y: Some(y), z: None }
}

pub(crate) fn texture(width: u32, height: u32, format: GpuTextureFormat, usage: u32) -> GpuTextureDescriptor {
    GpuTextureDescriptor {
        size: extent(width, height),
        mip_level_count: None,
        sample_count: None,
        dimension: None,
        format,
        usage,
        view_formats: None,
        label: None,
    }
}

pub(crate) fn view() -> GpuTextureViewDescriptor {
    GpuTextureViewDescriptor {
        format: None,
        dimension: None,
        usage: None,
        aspect: None,
        base_mip_level: None,
        mip_level_count: None,
        base_array_layer: None,
        array_layer_count: None,
        label: None,
    }
}

pub(crate) fn sampler() -> GpuSamplerDescriptor {
    GpuSamplerDescriptor {
        address_mode_u: None,
        address_mode_v: None,
        address_mode_w: None,
        mag_filter: None,
        min_filter: None,
        mipmap_filter: None,
        lod_min_clamp: None,
        lod_max_clamp: None,
        compare: None,
        max_anisotropy: None,
        label: None,
    }
}

/// A buffer in a layout.
pub(crate) fn slot(binding: u32, visibility: u32, kind: GpuBufferBindingType) -> GpuBindGroupLayoutEntry {
    let buffer = GpuBufferBindingLayout { type_: Some(kind), has_dynamic_offset: None, min_binding_size: None };
    GpuBindGroupLayoutEntry { buffer: Some(buffer), ..empty_slot(binding, visibility) }
}

pub(crate) fn empty_slot(binding: u32, visibility: u32) -> GpuBindGroupLayoutEntry {
    GpuBindGroupLayoutEntry { binding, visibility, buffer: None, sampler: None, texture: None, storage_texture: None }
}

pub(crate) fn bound(binding: u32, buffer: &GpuBuffer) -> GpuBindGroupEntry<'_> {
    bound_part(binding, buffer, None, None)
}

pub(crate) fn bound_part(
    binding: u32,
    buffer: &GpuBuffer,
    offset: Option<u64>,
    size: Option<u64>,
) -> GpuBindGroupEntry<'_> {
    let resource = GpuBindingResource::GpuBufferBinding(GpuBufferBinding { buffer, offset, size });
    GpuBindGroupEntry { binding, resource }
}

pub(crate) fn bound_view(binding: u32, view: &GpuTextureView) -> GpuBindGroupEntry<'_> {
    GpuBindGroupEntry { binding, resource: GpuBindingResource::GpuTextureView(view) }
}

pub(crate) fn bound_sampler(binding: u32, sampler: &GpuSampler) -> GpuBindGroupEntry<'_> {
    GpuBindGroupEntry { binding, resource: GpuBindingResource::GpuSampler(sampler) }
}

pub(crate) fn texels(texture: &GpuTexture) -> GpuTexelCopyTextureInfo<'_> {
    GpuTexelCopyTextureInfo { texture, mip_level: None, origin: None, aspect: None }
}

pub(crate) fn rows(buffer: &GpuBuffer, bytes_per_row: u32) -> GpuTexelCopyBufferInfo<'_> {
    GpuTexelCopyBufferInfo { buffer, offset: None, bytes_per_row: Some(bytes_per_row), rows_per_image: None }
}

pub(crate) fn target(format: GpuTextureFormat) -> GpuColorTargetState {
    GpuColorTargetState { format, blend: None, write_mask: None }
}

pub(crate) const BLACK: GpuColor = GpuColor { r: 0.0, g: 0.0, b: 0.0, a: 0.0 };

/// A colour that is drawn to, begun with `clear` or with what is there.
pub(crate) fn attachment(view: &GpuTextureView, clear: Option<GpuColor>) -> GpuRenderPassColorAttachment<'_> {
    GpuRenderPassColorAttachment {
        view,
        depth_slice: None,
        resolve_target: None,
        clear_value: clear,
        load_op: if clear.is_some() { GpuLoadOp::Clear } else { GpuLoadOp::Load },
        store_op: GpuStoreOp::Store,
    }
}

pub(crate) fn render_pass(attachment: GpuRenderPassColorAttachment<'_>) -> GpuRenderPassDescriptor<'_> {
    GpuRenderPassDescriptor {
        color_attachments: vec![Some(attachment)],
        depth_stencil_attachment: None,
        occlusion_query_set: None,
        timestamp_writes: None,
        max_draw_count: None,
        label: None,
    }
}
