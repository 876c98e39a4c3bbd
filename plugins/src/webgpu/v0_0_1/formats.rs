//! Formats of texels and vertices, and features, from the interface's names to those of the GPU's library and back.

use roadstead_gpu_wire::wgt;

use super::wit;

use wgt::{AstcBlock as B, AstcChannel as C, TextureFormat as F, VertexFormat as V};

/// Two enumerations, case by case, in both directions.
macro_rules! formats {
    ($($theirs:ident = $ours:pat => $make:expr;)*) => {
        /// The format of a texture.
        pub(super) fn texture_format(format: wit::GpuTextureFormat) -> wgt::TextureFormat {
            match format {
                $(wit::GpuTextureFormat::$theirs => $make,)*
            }
        }

        /// The same the other way; what the interface has no name for was never given to it.
        pub(super) fn format_name(format: wgt::TextureFormat) -> wit::GpuTextureFormat {
            match format {
                $($ours => wit::GpuTextureFormat::$theirs,)*
                _ => wit::GpuTextureFormat::Rgba8unorm,
            }
        }
    };
}

formats! {
    R8unorm = F::R8Unorm => F::R8Unorm;
    R8snorm = F::R8Snorm => F::R8Snorm;
    R8uint = F::R8Uint => F::R8Uint;
    R8sint = F::R8Sint => F::R8Sint;
    R16uint = F::R16Uint => F::R16Uint;
    R16sint = F::R16Sint => F::R16Sint;
    R16float = F::R16Float => F::R16Float;
    Rg8unorm = F::Rg8Unorm => F::Rg8Unorm;
    Rg8snorm = F::Rg8Snorm => F::Rg8Snorm;
    Rg8uint = F::Rg8Uint => F::Rg8Uint;
    Rg8sint = F::Rg8Sint => F::Rg8Sint;
    R32uint = F::R32Uint => F::R32Uint;
    R32sint = F::R32Sint => F::R32Sint;
    R32float = F::R32Float => F::R32Float;
    Rg16uint = F::Rg16Uint => F::Rg16Uint;
    Rg16sint = F::Rg16Sint => F::Rg16Sint;
    Rg16float = F::Rg16Float => F::Rg16Float;
    Rgba8unorm = F::Rgba8Unorm => F::Rgba8Unorm;
    Rgba8unormSrgb = F::Rgba8UnormSrgb => F::Rgba8UnormSrgb;
    Rgba8snorm = F::Rgba8Snorm => F::Rgba8Snorm;
    Rgba8uint = F::Rgba8Uint => F::Rgba8Uint;
    Rgba8sint = F::Rgba8Sint => F::Rgba8Sint;
    Bgra8unorm = F::Bgra8Unorm => F::Bgra8Unorm;
    Bgra8unormSrgb = F::Bgra8UnormSrgb => F::Bgra8UnormSrgb;
    Rgb9e5ufloat = F::Rgb9e5Ufloat => F::Rgb9e5Ufloat;
    Rgb10a2uint = F::Rgb10a2Uint => F::Rgb10a2Uint;
    Rgb10a2unorm = F::Rgb10a2Unorm => F::Rgb10a2Unorm;
    Rg11b10ufloat = F::Rg11b10Ufloat => F::Rg11b10Ufloat;
    Rg32uint = F::Rg32Uint => F::Rg32Uint;
    Rg32sint = F::Rg32Sint => F::Rg32Sint;
    Rg32float = F::Rg32Float => F::Rg32Float;
    Rgba16uint = F::Rgba16Uint => F::Rgba16Uint;
    Rgba16sint = F::Rgba16Sint => F::Rgba16Sint;
    Rgba16float = F::Rgba16Float => F::Rgba16Float;
    Rgba32uint = F::Rgba32Uint => F::Rgba32Uint;
    Rgba32sint = F::Rgba32Sint => F::Rgba32Sint;
    Rgba32float = F::Rgba32Float => F::Rgba32Float;
    Stencil8 = F::Stencil8 => F::Stencil8;
    Depth16unorm = F::Depth16Unorm => F::Depth16Unorm;
    Depth24plus = F::Depth24Plus => F::Depth24Plus;
    Depth24plusStencil8 = F::Depth24PlusStencil8 => F::Depth24PlusStencil8;
    Depth32float = F::Depth32Float => F::Depth32Float;
    Depth32floatStencil8 = F::Depth32FloatStencil8 => F::Depth32FloatStencil8;
    Bc1RgbaUnorm = F::Bc1RgbaUnorm => F::Bc1RgbaUnorm;
    Bc1RgbaUnormSrgb = F::Bc1RgbaUnormSrgb => F::Bc1RgbaUnormSrgb;
    Bc2RgbaUnorm = F::Bc2RgbaUnorm => F::Bc2RgbaUnorm;
    Bc2RgbaUnormSrgb = F::Bc2RgbaUnormSrgb => F::Bc2RgbaUnormSrgb;
    Bc3RgbaUnorm = F::Bc3RgbaUnorm => F::Bc3RgbaUnorm;
    Bc3RgbaUnormSrgb = F::Bc3RgbaUnormSrgb => F::Bc3RgbaUnormSrgb;
    Bc4RUnorm = F::Bc4RUnorm => F::Bc4RUnorm;
    Bc4RSnorm = F::Bc4RSnorm => F::Bc4RSnorm;
    Bc5RgUnorm = F::Bc5RgUnorm => F::Bc5RgUnorm;
    Bc5RgSnorm = F::Bc5RgSnorm => F::Bc5RgSnorm;
    Bc6hRgbUfloat = F::Bc6hRgbUfloat => F::Bc6hRgbUfloat;
    Bc6hRgbFloat = F::Bc6hRgbFloat => F::Bc6hRgbFloat;
    Bc7RgbaUnorm = F::Bc7RgbaUnorm => F::Bc7RgbaUnorm;
    Bc7RgbaUnormSrgb = F::Bc7RgbaUnormSrgb => F::Bc7RgbaUnormSrgb;
    Etc2Rgb8unorm = F::Etc2Rgb8Unorm => F::Etc2Rgb8Unorm;
    Etc2Rgb8unormSrgb = F::Etc2Rgb8UnormSrgb => F::Etc2Rgb8UnormSrgb;
    Etc2Rgb8a1unorm = F::Etc2Rgb8A1Unorm => F::Etc2Rgb8A1Unorm;
    Etc2Rgb8a1unormSrgb = F::Etc2Rgb8A1UnormSrgb => F::Etc2Rgb8A1UnormSrgb;
    Etc2Rgba8unorm = F::Etc2Rgba8Unorm => F::Etc2Rgba8Unorm;
    Etc2Rgba8unormSrgb = F::Etc2Rgba8UnormSrgb => F::Etc2Rgba8UnormSrgb;
    EacR11unorm = F::EacR11Unorm => F::EacR11Unorm;
    EacR11snorm = F::EacR11Snorm => F::EacR11Snorm;
    EacRg11unorm = F::EacRg11Unorm => F::EacRg11Unorm;
    EacRg11snorm = F::EacRg11Snorm => F::EacRg11Snorm;
    Astc4x4Unorm = F::Astc { block: B::B4x4, channel: C::Unorm } => F::Astc { block: B::B4x4, channel: C::Unorm };
    Astc4x4UnormSrgb = F::Astc { block: B::B4x4, channel: C::UnormSrgb } => F::Astc { block: B::B4x4, channel: C::UnormSrgb };
    Astc5x4Unorm = F::Astc { block: B::B5x4, channel: C::Unorm } => F::Astc { block: B::B5x4, channel: C::Unorm };
    Astc5x4UnormSrgb = F::Astc { block: B::B5x4, channel: C::UnormSrgb } => F::Astc { block: B::B5x4, channel: C::UnormSrgb };
    Astc5x5Unorm = F::Astc { block: B::B5x5, channel: C::Unorm } => F::Astc { block: B::B5x5, channel: C::Unorm };
    Astc5x5UnormSrgb = F::Astc { block: B::B5x5, channel: C::UnormSrgb } => F::Astc { block: B::B5x5, channel: C::UnormSrgb };
    Astc6x5Unorm = F::Astc { block: B::B6x5, channel: C::Unorm } => F::Astc { block: B::B6x5, channel: C::Unorm };
    Astc6x5UnormSrgb = F::Astc { block: B::B6x5, channel: C::UnormSrgb } => F::Astc { block: B::B6x5, channel: C::UnormSrgb };
    Astc6x6Unorm = F::Astc { block: B::B6x6, channel: C::Unorm } => F::Astc { block: B::B6x6, channel: C::Unorm };
    Astc6x6UnormSrgb = F::Astc { block: B::B6x6, channel: C::UnormSrgb } => F::Astc { block: B::B6x6, channel: C::UnormSrgb };
    Astc8x5Unorm = F::Astc { block: B::B8x5, channel: C::Unorm } => F::Astc { block: B::B8x5, channel: C::Unorm };
    Astc8x5UnormSrgb = F::Astc { block: B::B8x5, channel: C::UnormSrgb } => F::Astc { block: B::B8x5, channel: C::UnormSrgb };
    Astc8x6Unorm = F::Astc { block: B::B8x6, channel: C::Unorm } => F::Astc { block: B::B8x6, channel: C::Unorm };
    Astc8x6UnormSrgb = F::Astc { block: B::B8x6, channel: C::UnormSrgb } => F::Astc { block: B::B8x6, channel: C::UnormSrgb };
    Astc8x8Unorm = F::Astc { block: B::B8x8, channel: C::Unorm } => F::Astc { block: B::B8x8, channel: C::Unorm };
    Astc8x8UnormSrgb = F::Astc { block: B::B8x8, channel: C::UnormSrgb } => F::Astc { block: B::B8x8, channel: C::UnormSrgb };
    Astc10x5Unorm = F::Astc { block: B::B10x5, channel: C::Unorm } => F::Astc { block: B::B10x5, channel: C::Unorm };
    Astc10x5UnormSrgb = F::Astc { block: B::B10x5, channel: C::UnormSrgb } => F::Astc { block: B::B10x5, channel: C::UnormSrgb };
    Astc10x6Unorm = F::Astc { block: B::B10x6, channel: C::Unorm } => F::Astc { block: B::B10x6, channel: C::Unorm };
    Astc10x6UnormSrgb = F::Astc { block: B::B10x6, channel: C::UnormSrgb } => F::Astc { block: B::B10x6, channel: C::UnormSrgb };
    Astc10x8Unorm = F::Astc { block: B::B10x8, channel: C::Unorm } => F::Astc { block: B::B10x8, channel: C::Unorm };
    Astc10x8UnormSrgb = F::Astc { block: B::B10x8, channel: C::UnormSrgb } => F::Astc { block: B::B10x8, channel: C::UnormSrgb };
    Astc10x10Unorm = F::Astc { block: B::B10x10, channel: C::Unorm } => F::Astc { block: B::B10x10, channel: C::Unorm };
    Astc10x10UnormSrgb = F::Astc { block: B::B10x10, channel: C::UnormSrgb } => F::Astc { block: B::B10x10, channel: C::UnormSrgb };
    Astc12x10Unorm = F::Astc { block: B::B12x10, channel: C::Unorm } => F::Astc { block: B::B12x10, channel: C::Unorm };
    Astc12x10UnormSrgb = F::Astc { block: B::B12x10, channel: C::UnormSrgb } => F::Astc { block: B::B12x10, channel: C::UnormSrgb };
    Astc12x12Unorm = F::Astc { block: B::B12x12, channel: C::Unorm } => F::Astc { block: B::B12x12, channel: C::Unorm };
    Astc12x12UnormSrgb = F::Astc { block: B::B12x12, channel: C::UnormSrgb } => F::Astc { block: B::B12x12, channel: C::UnormSrgb };
}

/// The format of a vertex's attribute.
pub(super) fn vertex_format(format: wit::GpuVertexFormat) -> wgt::VertexFormat {
    match format {
        wit::GpuVertexFormat::Uint8 => V::Uint8,
        wit::GpuVertexFormat::Uint8x2 => V::Uint8x2,
        wit::GpuVertexFormat::Uint8x4 => V::Uint8x4,
        wit::GpuVertexFormat::Sint8 => V::Sint8,
        wit::GpuVertexFormat::Sint8x2 => V::Sint8x2,
        wit::GpuVertexFormat::Sint8x4 => V::Sint8x4,
        wit::GpuVertexFormat::Unorm8 => V::Unorm8,
        wit::GpuVertexFormat::Unorm8x2 => V::Unorm8x2,
        wit::GpuVertexFormat::Unorm8x4 => V::Unorm8x4,
        wit::GpuVertexFormat::Snorm8 => V::Snorm8,
        wit::GpuVertexFormat::Snorm8x2 => V::Snorm8x2,
        wit::GpuVertexFormat::Snorm8x4 => V::Snorm8x4,
        wit::GpuVertexFormat::Uint16 => V::Uint16,
        wit::GpuVertexFormat::Uint16x2 => V::Uint16x2,
        wit::GpuVertexFormat::Uint16x4 => V::Uint16x4,
        wit::GpuVertexFormat::Sint16 => V::Sint16,
        wit::GpuVertexFormat::Sint16x2 => V::Sint16x2,
        wit::GpuVertexFormat::Sint16x4 => V::Sint16x4,
        wit::GpuVertexFormat::Unorm16 => V::Unorm16,
        wit::GpuVertexFormat::Unorm16x2 => V::Unorm16x2,
        wit::GpuVertexFormat::Unorm16x4 => V::Unorm16x4,
        wit::GpuVertexFormat::Snorm16 => V::Snorm16,
        wit::GpuVertexFormat::Snorm16x2 => V::Snorm16x2,
        wit::GpuVertexFormat::Snorm16x4 => V::Snorm16x4,
        wit::GpuVertexFormat::Float16 => V::Float16,
        wit::GpuVertexFormat::Float16x2 => V::Float16x2,
        wit::GpuVertexFormat::Float16x4 => V::Float16x4,
        wit::GpuVertexFormat::Float32 => V::Float32,
        wit::GpuVertexFormat::Float32x2 => V::Float32x2,
        wit::GpuVertexFormat::Float32x3 => V::Float32x3,
        wit::GpuVertexFormat::Float32x4 => V::Float32x4,
        wit::GpuVertexFormat::Uint32 => V::Uint32,
        wit::GpuVertexFormat::Uint32x2 => V::Uint32x2,
        wit::GpuVertexFormat::Uint32x3 => V::Uint32x3,
        wit::GpuVertexFormat::Uint32x4 => V::Uint32x4,
        wit::GpuVertexFormat::Sint32 => V::Sint32,
        wit::GpuVertexFormat::Sint32x2 => V::Sint32x2,
        wit::GpuVertexFormat::Sint32x3 => V::Sint32x3,
        wit::GpuVertexFormat::Sint32x4 => V::Sint32x4,
        wit::GpuVertexFormat::Unorm1010102 => V::Unorm10_10_10_2,
        wit::GpuVertexFormat::Unorm8x4Bgra => V::Unorm8x4Bgra,
    }
}

/// A feature that a device is asked for.
pub(super) fn feature(name: wit::GpuFeatureName) -> wgt::Features {
    match name {
        wit::GpuFeatureName::DepthClipControl => wgt::Features::DEPTH_CLIP_CONTROL,
        wit::GpuFeatureName::Depth32floatStencil8 => wgt::Features::DEPTH32FLOAT_STENCIL8,
        wit::GpuFeatureName::TextureCompressionBc => wgt::Features::TEXTURE_COMPRESSION_BC,
        wit::GpuFeatureName::TextureCompressionBcSliced3d => wgt::Features::TEXTURE_COMPRESSION_BC_SLICED_3D,
        wit::GpuFeatureName::TextureCompressionEtc2 => wgt::Features::TEXTURE_COMPRESSION_ETC2,
        wit::GpuFeatureName::TextureCompressionAstc => wgt::Features::TEXTURE_COMPRESSION_ASTC,
        wit::GpuFeatureName::TextureCompressionAstcSliced3d => wgt::Features::TEXTURE_COMPRESSION_ASTC_SLICED_3D,
        wit::GpuFeatureName::TimestampQuery => wgt::Features::TIMESTAMP_QUERY,
        wit::GpuFeatureName::IndirectFirstInstance => wgt::Features::INDIRECT_FIRST_INSTANCE,
        wit::GpuFeatureName::ShaderF16 => wgt::Features::SHADER_F16,
        wit::GpuFeatureName::Rg11b10ufloatRenderable => wgt::Features::RG11B10UFLOAT_RENDERABLE,
        wit::GpuFeatureName::Bgra8unormStorage => wgt::Features::BGRA8UNORM_STORAGE,
        wit::GpuFeatureName::Float32Filterable => wgt::Features::FLOAT32_FILTERABLE,
        wit::GpuFeatureName::Float32Blendable => wgt::Features::FLOAT32_BLENDABLE,
        wit::GpuFeatureName::ClipDistances => wgt::Features::CLIP_DISTANCES,
        wit::GpuFeatureName::DualSourceBlending => wgt::Features::DUAL_SOURCE_BLENDING,
        wit::GpuFeatureName::Subgroups => wgt::Features::SUBGROUP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_go_there_and_back() {
        for format in [
            wit::GpuTextureFormat::R8unorm,
            wit::GpuTextureFormat::Depth24plusStencil8,
            wit::GpuTextureFormat::Etc2Rgb8a1unormSrgb,
            wit::GpuTextureFormat::Astc10x8UnormSrgb,
        ] {
            assert_eq!(format_name(texture_format(format)), format);
        }
    }
}
