//! Textures, and how many bytes they take.

use roadstead_gpu_wire::{Id, op::TextureDesc, reply::GpuError, wgt};

use super::{
    Session,
    objects::{Entry, Object},
};

/// All flags that WebGPU has for textures in the interface's version.
const USAGES: u32 = 0x1f;

/// Bytes of a texel whose format has no size for copies, such as depth in 24 bits.
const OPAQUE_TEXEL_BYTES: u32 = 8;

impl Session {
    pub(super) fn create_texture(&mut self, id: Id, desc: &TextureDesc) {
        if let Err(error) = self.make_texture(id, desc) {
            self.raise(error);
            self.enter_invalid(id);
        }
    }

    fn make_texture(&mut self, id: Id, desc: &TextureDesc) -> Result<(), GpuError> {
        let Some(open) = &self.device else { return Err(GpuError::validation("there is no device")) };
        if desc.usage & !USAGES != 0 {
            let unknown = desc.usage & !USAGES;
            return Err(GpuError::validation(format!("the texture's usage has unknown bits: {unknown:#x}")));
        }
        // What is too large for the device is told by the device.
        let bytes = if fits(desc, &open.limits) { bytes_of(desc) } else { 0 };
        let charge = self.account.object(bytes).map_err(GpuError::out_of_memory)?;
        let texture = open.device.create_texture(&wgpu::TextureDescriptor {
            label: desc.label.as_deref(),
            size: desc.size,
            mip_level_count: desc.mip_level_count,
            sample_count: desc.sample_count,
            dimension: desc.dimension,
            format: desc.format,
            usage: wgt::TextureUsages::from_bits_truncate(desc.usage),
            view_formats: &desc.view_formats,
        });
        let entry = Entry { object: Object::Texture(texture), own: Some(charge.into()), kept: Vec::new() };
        self.objects.insert(id, entry);
        Ok(())
    }
}

fn fits(desc: &TextureDesc, limits: &wgt::Limits) -> bool {
    let (extent, depth) = match desc.dimension {
        wgt::TextureDimension::D1 => (limits.max_texture_dimension_1d, limits.max_texture_array_layers),
        wgt::TextureDimension::D2 => (limits.max_texture_dimension_2d, limits.max_texture_array_layers),
        wgt::TextureDimension::D3 => (limits.max_texture_dimension_3d, limits.max_texture_dimension_3d),
    };
    let size = desc.size;
    size.width <= extent && size.height <= extent && size.depth_or_array_layers <= depth && desc.mip_level_count <= 32
}

/// Bytes of all levels, layers and samples.
fn bytes_of(desc: &TextureDesc) -> u64 {
    let (block_width, block_height) = desc.format.block_dimensions();
    let block_bytes = u64::from(desc.format.block_copy_size(None).unwrap_or(OPAQUE_TEXEL_BYTES));
    let level = |level: u32| {
        let size = desc.size.mip_level_size(level, desc.dimension);
        let blocks = u64::from(size.width.div_ceil(block_width)) * u64::from(size.height.div_ceil(block_height));
        blocks.saturating_mul(u64::from(size.depth_or_array_layers)).saturating_mul(block_bytes)
    };
    let levels = (0..desc.mip_level_count).map(level).fold(0, u64::saturating_add);
    levels.saturating_mul(u64::from(desc.sample_count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_levels_layers_and_samples_count() {
        let mut desc = TextureDesc {
            label: None,
            size: wgt::Extent3d { width: 4, height: 4, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgt::TextureDimension::D2,
            format: wgt::TextureFormat::Rgba8Unorm,
            usage: 0,
            view_formats: Vec::new(),
        };
        assert_eq!(bytes_of(&desc), 64);
        desc.mip_level_count = 3;
        assert_eq!(bytes_of(&desc), 64 + 16 + 4);
        desc.size.depth_or_array_layers = 2;
        assert_eq!(bytes_of(&desc), 2 * 84);
        desc.sample_count = 4;
        assert_eq!(bytes_of(&desc), 8 * 84);
        desc.format = wgt::TextureFormat::Bc1RgbaUnorm;
        (desc.mip_level_count, desc.sample_count, desc.size.depth_or_array_layers) = (1, 1, 1);
        assert_eq!(bytes_of(&desc), 8);
    }
}
