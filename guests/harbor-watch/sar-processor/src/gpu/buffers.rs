//! The buffers of the shader, and what crosses between them and the component. They are made for the largest tile so far
//! and serve all that are no larger. Must not know pipelines.

use harbor_watch_sar::Tile;

use super::{CANDIDATE_BYTES, FOUND_HEADER_BYTES, LABEL};
use crate::wasi::webgpu::webgpu::{
    GpuBindGroup, GpuBindGroupDescriptor, GpuBindGroupEntry, GpuBindGroupLayout, GpuBindGroupLayoutDescriptor,
    GpuBindGroupLayoutEntry, GpuBindingResource, GpuBuffer, GpuBufferBinding, GpuBufferBindingLayout,
    GpuBufferBindingType, GpuBufferDescriptor, GpuBufferUsage, GpuCommandEncoder, GpuDevice, GpuMapMode, GpuQueue,
    GpuShaderStage,
};

/// The words of the shader's `Tile`.
const PARAMETER_WORDS: usize = 12;
/// Three words for each cell: the shader's `Column`.
const COLUMN_BYTES: u64 = 12;
const WORD_BYTES: u64 = 4;
/// Most bytes in one call of the host: a scene may be larger than what a host takes at once.
const WRITE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the shader's bindings are, by their numbers.
const BINDINGS: [GpuBufferBindingType; 4] = [
    GpuBufferBindingType::Uniform,
    GpuBufferBindingType::ReadOnlyStorage,
    GpuBufferBindingType::Storage,
    GpuBufferBindingType::Storage,
];

/// The layout of the shader's one bind group.
pub(super) fn layout(device: &GpuDevice) -> GpuBindGroupLayout {
    let entry = |(binding, kind): (u32, &GpuBufferBindingType)| GpuBindGroupLayoutEntry {
        binding,
        visibility: GpuShaderStage::compute(),
        buffer: Some(GpuBufferBindingLayout { type_: Some(*kind), has_dynamic_offset: None, min_binding_size: None }),
        sampler: None,
        texture: None,
        storage_texture: None,
    };
    let entries = (0..).zip(&BINDINGS).map(entry).collect();
    device.create_bind_group_layout(&GpuBindGroupLayoutDescriptor { entries, label: Some(LABEL.to_owned()) })
}

/// Bytes of what grows with the tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    units: u64,
    columns: u64,
    found: u64,
}

impl Sizes {
    fn of(tile: &Tile<'_>) -> Self {
        Self {
            units: tile.units.len() as u64 * WORD_BYTES,
            columns: u64::from(tile.width_px) * u64::from(tile.rows) * COLUMN_BYTES,
            found: found_bytes(tile.candidates_max),
        }
    }

    fn holds(&self, other: &Self) -> bool {
        self.units >= other.units && self.columns >= other.columns && self.found >= other.found
    }
}

/// Bytes of the shader's `Found` with so many candidates.
fn found_bytes(candidates: u32) -> u64 {
    FOUND_HEADER_BYTES as u64 + u64::from(candidates) * CANDIDATE_BYTES as u64
}

/// The buffers and the group that binds them.
#[derive(Debug)]
pub(super) struct Buffers {
    parameters: GpuBuffer,
    units: GpuBuffer,
    found: GpuBuffer,
    /// What is mapped: a copy of `found`.
    told: GpuBuffer,
    group: GpuBindGroup,
    sizes: Sizes,
}

impl Buffers {
    /// Makes them for `tile`.
    pub(super) fn new(device: &GpuDevice, layout: &GpuBindGroupLayout, tile: &Tile<'_>) -> Self {
        let sizes = Sizes::of(tile);
        let buffer = |label: &str, size: u64, usage: u32| {
            let label = Some(format!("{LABEL} {label}"));
            device.create_buffer(&GpuBufferDescriptor { size, usage, mapped_at_creation: None, label })
        };
        let (storage, to) = (GpuBufferUsage::storage(), GpuBufferUsage::copy_dst());
        let parameters = buffer("parameters", PARAMETER_WORDS as u64 * WORD_BYTES, GpuBufferUsage::uniform() | to);
        let units = buffer("units", sizes.units, storage | to);
        let columns = buffer("columns", sizes.columns, storage);
        let found = buffer("found", sizes.found, storage | to | GpuBufferUsage::copy_src());
        let told = buffer("told", sizes.found, GpuBufferUsage::map_read() | to);
        let entry = |(binding, buffer)| GpuBindGroupEntry {
            binding,
            resource: GpuBindingResource::GpuBufferBinding(GpuBufferBinding { buffer, offset: None, size: None }),
        };
        let entries = (0..).zip([&parameters, &units, &columns, &found]).map(entry).collect();
        let group = device.create_bind_group(&GpuBindGroupDescriptor { layout, entries, label: None });
        Self { parameters, units, found, told, group, sizes }
    }

    /// Whether `tile` has room.
    pub(super) fn fit(&self, tile: &Tile<'_>) -> bool {
        self.sizes.holds(&Sizes::of(tile))
    }

    pub(super) fn group(&self) -> &GpuBindGroup {
        &self.group
    }

    /// Puts the tile where the shader reads it, and the count of candidates back to nothing.
    pub(super) fn write(&self, queue: &GpuQueue, tile: &Tile<'_>) -> Result<(), String> {
        let half = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
        let given = tile.units.len() / (tile.width_px as usize).max(1);
        let words: [u32; PARAMETER_WORDS] = [
            tile.width_px,
            tile.rows,
            tile.rows_above,
            half(given),
            half(tile.guard.columns),
            half(tile.guard.rows),
            half(tile.training.columns),
            half(tile.training.rows),
            tile.threshold.to_bits(),
            tile.training_px_min,
            tile.candidates_max,
            0,
        ];
        write(queue, &self.parameters, bytemuck::bytes_of(&words))?;
        write(queue, &self.units, bytemuck::cast_slice(tile.units))?;
        write(queue, &self.found, &[0; FOUND_HEADER_BYTES])
    }

    /// Copies what the shader finds to where it can be read.
    pub(super) fn copy_found(&self, encoder: &GpuCommandEncoder, candidates: u32) {
        encoder.copy_buffer_to_buffer(&self.found, 0, &self.told, 0, found_bytes(candidates));
    }

    /// Waits until the copy is there, and maps it.
    pub(super) fn map(&self) -> Result<Mapped<'_>, String> {
        let failed = |error: crate::wasi::webgpu::webgpu::MapAsyncError| format!("no result: {}", error.message);
        self.told.map_async(GpuMapMode::read(), None, None).map_err(failed)?;
        Ok(Mapped(&self.told))
    }
}

/// A buffer while it is mapped.
pub(super) struct Mapped<'a>(&'a GpuBuffer);

impl Mapped<'_> {
    /// Some bytes of it.
    pub(super) fn bytes(&self, offset: usize, length: usize) -> Result<Vec<u8>, String> {
        let range = self.0.get_mapped_range_get_with_copy(Some(offset as u64), Some(length as u64));
        range.map_err(|error| format!("no result: {}", error.message))
    }
}

impl Drop for Mapped<'_> {
    fn drop(&mut self) {
        // A buffer whose device is lost is unmapped already.
        self.0.unmap().ok();
    }
}

fn write(queue: &GpuQueue, buffer: &GpuBuffer, bytes: &[u8]) -> Result<(), String> {
    for (offset, part) in (0..).step_by(WRITE_BYTES_MAX).zip(bytes.chunks(WRITE_BYTES_MAX)) {
        let written = queue.write_buffer_with_copy(buffer, offset, part, None, None);
        written.map_err(|error| format!("writing to the device: {}", error.message))?;
    }
    Ok(())
}
