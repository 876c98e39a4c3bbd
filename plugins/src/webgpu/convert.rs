//! WebGPU's names for features and limits, which are strings in every version of the interface.

use roadstead_gpu_wire::wgt;

/// The feature that every adapter has that can do what WebGPU asks for.
const CORE: &str = "core-features-and-limits";

/// WebGPU's features by their names.
const FEATURES: [(&str, wgt::Features); 17] = [
    ("depth-clip-control", wgt::Features::DEPTH_CLIP_CONTROL),
    ("depth32float-stencil8", wgt::Features::DEPTH32FLOAT_STENCIL8),
    ("texture-compression-bc", wgt::Features::TEXTURE_COMPRESSION_BC),
    ("texture-compression-bc-sliced-3d", wgt::Features::TEXTURE_COMPRESSION_BC_SLICED_3D),
    ("texture-compression-etc2", wgt::Features::TEXTURE_COMPRESSION_ETC2),
    ("texture-compression-astc", wgt::Features::TEXTURE_COMPRESSION_ASTC),
    ("texture-compression-astc-sliced-3d", wgt::Features::TEXTURE_COMPRESSION_ASTC_SLICED_3D),
    ("timestamp-query", wgt::Features::TIMESTAMP_QUERY),
    ("indirect-first-instance", wgt::Features::INDIRECT_FIRST_INSTANCE),
    ("shader-f16", wgt::Features::SHADER_F16),
    ("rg11b10ufloat-renderable", wgt::Features::RG11B10UFLOAT_RENDERABLE),
    ("bgra8unorm-storage", wgt::Features::BGRA8UNORM_STORAGE),
    ("float32-filterable", wgt::Features::FLOAT32_FILTERABLE),
    ("float32-blendable", wgt::Features::FLOAT32_BLENDABLE),
    ("clip-distances", wgt::Features::CLIP_DISTANCES),
    ("dual-source-blending", wgt::Features::DUAL_SOURCE_BLENDING),
    ("subgroups", wgt::Features::SUBGROUP),
];

/// Whether a set of features has the one of this name.
pub(super) fn has_feature(features: wgt::Features, name: &str) -> bool {
    name == CORE || FEATURES.iter().any(|(known, feature)| *known == name && features.contains(*feature))
}

/// Where the limit of this name is; `None` when WebGPU has none of it.
pub(super) enum LimitPlace<'a> {
    Narrow(&'a mut u32),
    Wide(&'a mut u64),
    /// A limit that is better the smaller it is, and a power of two.
    Alignment(&'a mut u32),
}

/// Finds a limit by its WebGPU name.
pub(super) fn limit<'a>(limits: &'a mut wgt::Limits, name: &str) -> Option<LimitPlace<'a>> {
    use LimitPlace::{Alignment, Narrow, Wide};
    Some(match name {
        "maxTextureDimension1D" => Narrow(&mut limits.max_texture_dimension_1d),
        "maxTextureDimension2D" => Narrow(&mut limits.max_texture_dimension_2d),
        "maxTextureDimension3D" => Narrow(&mut limits.max_texture_dimension_3d),
        "maxTextureArrayLayers" => Narrow(&mut limits.max_texture_array_layers),
        "maxBindGroups" => Narrow(&mut limits.max_bind_groups),
        "maxBindGroupsPlusVertexBuffers" => Narrow(&mut limits.max_bind_groups_plus_vertex_buffers),
        "maxBindingsPerBindGroup" => Narrow(&mut limits.max_bindings_per_bind_group),
        "maxDynamicUniformBuffersPerPipelineLayout" => {
            Narrow(&mut limits.max_dynamic_uniform_buffers_per_pipeline_layout)
        }
        "maxDynamicStorageBuffersPerPipelineLayout" => {
            Narrow(&mut limits.max_dynamic_storage_buffers_per_pipeline_layout)
        }
        "maxSampledTexturesPerShaderStage" => Narrow(&mut limits.max_sampled_textures_per_shader_stage),
        "maxSamplersPerShaderStage" => Narrow(&mut limits.max_samplers_per_shader_stage),
        "maxStorageBuffersPerShaderStage" => Narrow(&mut limits.max_storage_buffers_per_shader_stage),
        "maxStorageTexturesPerShaderStage" => Narrow(&mut limits.max_storage_textures_per_shader_stage),
        "maxUniformBuffersPerShaderStage" => Narrow(&mut limits.max_uniform_buffers_per_shader_stage),
        "maxUniformBufferBindingSize" => Wide(&mut limits.max_uniform_buffer_binding_size),
        "maxStorageBufferBindingSize" => Wide(&mut limits.max_storage_buffer_binding_size),
        "minUniformBufferOffsetAlignment" => Alignment(&mut limits.min_uniform_buffer_offset_alignment),
        "minStorageBufferOffsetAlignment" => Alignment(&mut limits.min_storage_buffer_offset_alignment),
        "maxVertexBuffers" => Narrow(&mut limits.max_vertex_buffers),
        "maxBufferSize" => Wide(&mut limits.max_buffer_size),
        "maxVertexAttributes" => Narrow(&mut limits.max_vertex_attributes),
        "maxVertexBufferArrayStride" => Narrow(&mut limits.max_vertex_buffer_array_stride),
        "maxInterStageShaderVariables" => Narrow(&mut limits.max_inter_stage_shader_variables),
        "maxColorAttachments" => Narrow(&mut limits.max_color_attachments),
        "maxColorAttachmentBytesPerSample" => Narrow(&mut limits.max_color_attachment_bytes_per_sample),
        "maxComputeWorkgroupStorageSize" => Narrow(&mut limits.max_compute_workgroup_storage_size),
        "maxComputeInvocationsPerWorkgroup" => Narrow(&mut limits.max_compute_invocations_per_workgroup),
        "maxComputeWorkgroupSizeX" => Narrow(&mut limits.max_compute_workgroup_size_x),
        "maxComputeWorkgroupSizeY" => Narrow(&mut limits.max_compute_workgroup_size_y),
        "maxComputeWorkgroupSizeZ" => Narrow(&mut limits.max_compute_workgroup_size_z),
        "maxComputeWorkgroupsPerDimension" => Narrow(&mut limits.max_compute_workgroups_per_dimension),
        _ => return None,
    })
}

/// The limits of a device that asks for `wanted`, on an adapter with `most`: the defaults of WebGPU, better where that
/// was asked for.
///
/// # Errors
/// When WebGPU has no limit of a name, or the adapter has not so much.
pub(super) fn device_limits(most: &wgt::Limits, wanted: &[(String, Option<u64>)]) -> Result<wgt::Limits, String> {
    let mut most = most.clone();
    let mut limits = wgt::Limits::default();
    for (name, value) in wanted {
        let Some(value) = *value else { continue };
        let unknown = || format!("WebGPU has no limit called {name:?}");
        let available = match limit(&mut most, name).ok_or_else(unknown)? {
            LimitPlace::Narrow(most) => u64::from(*most),
            LimitPlace::Wide(most) => *most,
            LimitPlace::Alignment(least) => {
                if !value.is_power_of_two() || value < u64::from(*least) {
                    return Err(format!("{name} is a power of two and at least {least} on this adapter, not {value}"));
                }
                u64::MAX
            }
        };
        if value > available {
            return Err(format!("the adapter has {available} of {name}, not {value}"));
        }
        match limit(&mut limits, name).ok_or_else(unknown)? {
            LimitPlace::Narrow(place) => *place = (*place).max(u32::try_from(value).unwrap_or(u32::MAX)),
            LimitPlace::Wide(place) => *place = (*place).max(value),
            LimitPlace::Alignment(place) => *place = (*place).min(u32::try_from(value).unwrap_or(u32::MAX)),
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, value: Option<u64>) -> Result<wgt::Limits, String> {
        let most = wgt::Limits { max_buffer_size: 1 << 30, ..wgt::Limits::default() };
        device_limits(&most, &[(name.to_owned(), value)])
    }

    #[test]
    fn better_limits_are_to_be_had_as_far_as_the_adapter_has_them() {
        assert_eq!(asked("maxBufferSize", Some(1 << 29)).map(|limits| limits.max_buffer_size), Ok(1 << 29));
        assert_eq!(asked("maxBufferSize", Some(1)).map(|limits| limits.max_buffer_size), Ok(1 << 28), "the default");
        assert_eq!(asked("maxBufferSize", None), Ok(wgt::Limits::default()));
        assert!(asked("maxBufferSize", Some(1 << 31)).is_err_and(|text| text.contains("has 1073741824")));
        assert!(asked("maxBuferSize", Some(1)).is_err_and(|text| text.contains("no limit called")));
        assert!(asked("minStorageBufferOffsetAlignment", Some(255)).is_err());
        assert!(asked("minStorageBufferOffsetAlignment", Some(512)).is_ok());
    }

    #[test]
    fn features_have_their_names() {
        let features = wgt::Features::TIMESTAMP_QUERY;
        assert!(has_feature(features, "timestamp-query") && has_feature(features, CORE));
        assert!(!has_feature(features, "shader-f16") && !has_feature(features, "no-such"));
    }
}
