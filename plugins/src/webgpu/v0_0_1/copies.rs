//! The ends of copies.

use std::sync::Arc;

use roadstead_gpu_wire::{
    op::{CopyBuffer, CopyTexture},
    wgt,
};
use roadstead_runtime::InstanceState;

use super::{
    Gpu,
    states::{origin, texture_aspect},
    wit,
};
use crate::webgpu::session::Session;

/// How texels lie in bytes.
pub(super) fn layout(
    offset: Option<u64>,
    bytes_per_row: Option<u32>,
    rows_per_image: Option<u32>,
) -> wgt::TexelCopyBufferLayout {
    wgt::TexelCopyBufferLayout { offset: offset.unwrap_or(0), bytes_per_row, rows_per_image }
}

/// A buffer as one end of a copy.
pub(super) fn buffer(
    state: &mut InstanceState,
    session: &Arc<Session>,
    end: &wit::GpuTexelCopyBufferInfo,
) -> wasmtime::Result<CopyBuffer> {
    let layout = layout(end.offset, end.bytes_per_row, end.rows_per_image);
    Ok(CopyBuffer { buffer: state.of(session, &end.buffer)?, layout })
}

/// A texture as one end of a copy.
pub(super) fn texture(
    state: &mut InstanceState,
    session: &Arc<Session>,
    end: &wit::GpuTexelCopyTextureInfo,
) -> wasmtime::Result<CopyTexture> {
    Ok(CopyTexture {
        texture: state.of(session, &end.texture)?,
        mip_level: end.mip_level.unwrap_or(0),
        origin: origin(end.origin.as_ref()),
        aspect: end.aspect.map_or(wgt::TextureAspect::All, texture_aspect),
    })
}
