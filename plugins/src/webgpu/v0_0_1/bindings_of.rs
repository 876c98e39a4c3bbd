//! Bind groups and their layouts.

use std::sync::Arc;

use roadstead_gpu_wire::{
    op::{Binding, Create},
    reply::GpuError,
    wgt,
};
use roadstead_runtime::InstanceState;

use super::{
    Gpu,
    formats::texture_format,
    label,
    states::{storage_access, view_dimension},
    wit,
};
use crate::webgpu::session::Session;

/// All flags that WebGPU has for the stages of a pipeline.
const STAGES: u32 = 0x7;

/// What a layout is made with.
pub(super) fn group_layout(descriptor: &wit::GpuBindGroupLayoutDescriptor) -> Create {
    let entries: Result<Vec<_>, _> = descriptor.entries.iter().map(layout_entry).collect();
    match entries {
        Ok(entries) => Create::BindGroupLayout { label: label(descriptor.label.as_ref()), entries },
        Err(error) => Create::Invalid(GpuError::validation(error)),
    }
}

fn layout_entry(entry: &wit::GpuBindGroupLayoutEntry) -> Result<wgt::BindGroupLayoutEntry, String> {
    let binding = entry.binding;
    let unknown = entry.visibility & !STAGES;
    if unknown != 0 {
        return Err(format!("binding {binding} is visible to unknown stages: {unknown:#x}"));
    }
    let kinds = [
        entry.buffer.as_ref().map(buffer),
        entry.sampler.as_ref().map(|sampler| Ok(wgt::BindingType::Sampler(self::sampler(sampler)))),
        entry.texture.as_ref().map(|texture| Ok(self::texture(texture))),
        entry.storage_texture.as_ref().map(|texture| {
            Ok(wgt::BindingType::StorageTexture {
                access: texture.access.map_or(wgt::StorageTextureAccess::WriteOnly, storage_access),
                format: texture_format(texture.format),
                view_dimension: texture.view_dimension.map_or(wgt::TextureViewDimension::D2, view_dimension),
            })
        }),
    ];
    let mut given = kinds.into_iter().flatten();
    let (Some(ty), None) = (given.next(), given.next()) else {
        return Err(format!("binding {binding} is not exactly one of a buffer, a sampler and a texture"));
    };
    let visibility = wgt::ShaderStages::from_bits_truncate(entry.visibility);
    Ok(wgt::BindGroupLayoutEntry { binding, visibility, ty: ty?, count: None })
}

fn buffer(layout: &wit::GpuBufferBindingLayout) -> Result<wgt::BindingType, String> {
    let ty = match layout.type_.unwrap_or(wit::GpuBufferBindingType::Uniform) {
        wit::GpuBufferBindingType::Uniform => wgt::BufferBindingType::Uniform,
        wit::GpuBufferBindingType::Storage => wgt::BufferBindingType::Storage { read_only: false },
        wit::GpuBufferBindingType::ReadOnlyStorage => wgt::BufferBindingType::Storage { read_only: true },
    };
    Ok(wgt::BindingType::Buffer {
        ty,
        has_dynamic_offset: layout.has_dynamic_offset.unwrap_or(false),
        min_binding_size: wgt::BufferSize::new(layout.min_binding_size.unwrap_or(0)),
    })
}

fn sampler(layout: &wit::GpuSamplerBindingLayout) -> wgt::SamplerBindingType {
    match layout.type_.unwrap_or(wit::GpuSamplerBindingType::Filtering) {
        wit::GpuSamplerBindingType::Filtering => wgt::SamplerBindingType::Filtering,
        wit::GpuSamplerBindingType::NonFiltering => wgt::SamplerBindingType::NonFiltering,
        wit::GpuSamplerBindingType::Comparison => wgt::SamplerBindingType::Comparison,
    }
}

fn texture(layout: &wit::GpuTextureBindingLayout) -> wgt::BindingType {
    let sample_type = match layout.sample_type.unwrap_or(wit::GpuTextureSampleType::Float) {
        wit::GpuTextureSampleType::Float => wgt::TextureSampleType::Float { filterable: true },
        wit::GpuTextureSampleType::UnfilterableFloat => wgt::TextureSampleType::Float { filterable: false },
        wit::GpuTextureSampleType::Depth => wgt::TextureSampleType::Depth,
        wit::GpuTextureSampleType::Sint => wgt::TextureSampleType::Sint,
        wit::GpuTextureSampleType::Uint => wgt::TextureSampleType::Uint,
    };
    wgt::BindingType::Texture {
        sample_type,
        view_dimension: layout.view_dimension.map_or(wgt::TextureViewDimension::D2, view_dimension),
        multisampled: layout.multisampled.unwrap_or(false),
    }
}

/// What a bind group is made with.
pub(super) fn group(
    state: &mut InstanceState,
    session: &Arc<Session>,
    descriptor: &wit::GpuBindGroupDescriptor,
) -> wasmtime::Result<Create> {
    let layout = state.of(session, &descriptor.layout)?;
    let mut entries = Vec::with_capacity(descriptor.entries.len());
    for entry in &descriptor.entries {
        let what = match &entry.resource {
            wit::GpuBindingResource::GpuBufferBinding(binding) => Binding::Buffer {
                buffer: state.of(session, &binding.buffer)?,
                offset: binding.offset.unwrap_or(0),
                size: binding.size,
            },
            wit::GpuBindingResource::GpuSampler(sampler) => Binding::Sampler(state.of(session, sampler)?),
            wit::GpuBindingResource::GpuTextureView(view) => Binding::TextureView(state.of(session, view)?),
        };
        entries.push((entry.binding, what));
    }
    Ok(Create::BindGroup { label: label(descriptor.label.as_ref()), layout, entries })
}
