//! Adapters and what they can do, and what a device may be asked for. Must not use a device.

use serde_json::{Map, Value, json};

use crate::stage::{self, Stage};
use crate::webgpu::{
    GpuAdapter, GpuDeviceDescriptor, GpuFeatureName, GpuPowerPreference, GpuQueueDescriptor, GpuRequestAdapterOptions,
    GpuSupportedLimits, RequestDeviceErrorKind,
};
use crate::{Saw, Scenario, calls, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("adapters.info", info),
    ("adapters.options", options),
    ("adapters.limits", limits),
    ("adapters.features", features),
    ("adapters.record-of-limits", record),
    ("adapters.limits-asked-for", limits_asked_for),
    ("adapters.features-asked-for", features_asked_for),
];

fn info(_: &Value) -> Saw {
    let adapter = stage::adapter()?;
    let info = call!(adapter, info);
    let of_adapter = json!({
        "vendor": call!(info, vendor),
        "architecture": call!(info, architecture),
        "device": call!(info, device),
        "description": call!(info, description),
        "subgroup_min_size": call!(info, subgroup_min_size),
        "subgroup_max_size": call!(info, subgroup_max_size),
        "fallback": call!(adapter, is_fallback_adapter),
    });
    let (least, greatest) = (call!(info, subgroup_min_size), call!(info, subgroup_max_size));
    must(least.is_power_of_two() && least <= greatest, "subgroup sizes are powers of two in order")?;
    let device = stage::device(&[], None).map_err(|error| error.message)?;
    expect("the device's vendor", call!(call!(device, adapter_info), vendor), call!(info, vendor))?;
    Ok(of_adapter)
}

fn options(_: &Value) -> Saw {
    let gpu = calls::get_gpu();
    let ask = |feature_level: Option<&str>, power, fallback, xr| {
        let options = GpuRequestAdapterOptions {
            feature_level: feature_level.map(str::to_owned),
            power_preference: power,
            force_fallback_adapter: fallback,
            xr_compatible: xr,
        };
        call!(gpu, request_adapter, Some(&options)).is_some()
    };
    must(ask(None, None, None, None), "no options are no adapter's loss")?;
    must(ask(Some("core"), Some(GpuPowerPreference::LowPower), Some(false), Some(false)), "core is there")?;
    must(ask(Some("compatibility"), Some(GpuPowerPreference::HighPerformance), None, None), "compatibility is there")?;
    // An unknown level is no adapter; one for headsets need not be there.
    must(!ask(Some("no-such-level"), None, None, None), "an unknown feature level is no adapter")?;
    let format = format!("{:?}", call!(gpu, get_preferred_canvas_format));
    must(format.contains("Bgra8unorm") || format.contains("Rgba8unorm"), "the canvas format is one of two")?;
    let language = call!(gpu, wgsl_language_features);
    must(!call!(language, has, "no_such_feature"), "an unknown language feature is not there")?;
    Ok(json!({
        "fallback": ask(None, None, Some(true), None),
        "xr": ask(None, None, None, Some(true)),
        "format": format,
        "pointer_composite_access": call!(language, has, "pointer_composite_access"),
    }))
}

/// Each limit with the default of the WebGPU specification, and whether a lower value is the better one.
fn each_limit(limits: &GpuSupportedLimits) -> [(&'static str, u64, u64, bool); 31] {
    macro_rules! limit {
        ($function:ident, $name:literal, $default:expr) => {
            ($name, u64::from(call!(limits, $function)), $default, false)
        };
        ($function:ident, $name:literal, $default:expr, alignment) => {
            ($name, u64::from(call!(limits, $function)), $default, true)
        };
    }
    [
        limit!(max_texture_dimension1_d, "maxTextureDimension1D", 8192),
        limit!(max_texture_dimension2_d, "maxTextureDimension2D", 8192),
        limit!(max_texture_dimension3_d, "maxTextureDimension3D", 2048),
        limit!(max_texture_array_layers, "maxTextureArrayLayers", 256),
        limit!(max_bind_groups, "maxBindGroups", 4),
        limit!(max_bind_groups_plus_vertex_buffers, "maxBindGroupsPlusVertexBuffers", 24),
        limit!(max_bindings_per_bind_group, "maxBindingsPerBindGroup", 1000),
        limit!(max_dynamic_uniform_buffers_per_pipeline_layout, "maxDynamicUniformBuffersPerPipelineLayout", 8),
        limit!(max_dynamic_storage_buffers_per_pipeline_layout, "maxDynamicStorageBuffersPerPipelineLayout", 4),
        limit!(max_sampled_textures_per_shader_stage, "maxSampledTexturesPerShaderStage", 16),
        limit!(max_samplers_per_shader_stage, "maxSamplersPerShaderStage", 16),
        limit!(max_storage_buffers_per_shader_stage, "maxStorageBuffersPerShaderStage", 8),
        limit!(max_storage_textures_per_shader_stage, "maxStorageTexturesPerShaderStage", 4),
        limit!(max_uniform_buffers_per_shader_stage, "maxUniformBuffersPerShaderStage", 12),
        limit!(max_uniform_buffer_binding_size, "maxUniformBufferBindingSize", 65536),
        limit!(max_storage_buffer_binding_size, "maxStorageBufferBindingSize", 134_217_728),
        limit!(min_uniform_buffer_offset_alignment, "minUniformBufferOffsetAlignment", 256, alignment),
        limit!(min_storage_buffer_offset_alignment, "minStorageBufferOffsetAlignment", 256, alignment),
        limit!(max_vertex_buffers, "maxVertexBuffers", 8),
        limit!(max_buffer_size, "maxBufferSize", 268_435_456),
        limit!(max_vertex_attributes, "maxVertexAttributes", 16),
        limit!(max_vertex_buffer_array_stride, "maxVertexBufferArrayStride", 2048),
        limit!(max_inter_stage_shader_variables, "maxInterStageShaderVariables", 16),
        limit!(max_color_attachments, "maxColorAttachments", 8),
        limit!(max_color_attachment_bytes_per_sample, "maxColorAttachmentBytesPerSample", 32),
        limit!(max_compute_workgroup_storage_size, "maxComputeWorkgroupStorageSize", 16384),
        limit!(max_compute_invocations_per_workgroup, "maxComputeInvocationsPerWorkgroup", 256),
        limit!(max_compute_workgroup_size_x, "maxComputeWorkgroupSizeX", 256),
        limit!(max_compute_workgroup_size_y, "maxComputeWorkgroupSizeY", 256),
        limit!(max_compute_workgroup_size_z, "maxComputeWorkgroupSizeZ", 64),
        limit!(max_compute_workgroups_per_dimension, "maxComputeWorkgroupsPerDimension", 65535),
    ]
}

fn limits(_: &Value) -> Saw {
    let of_adapter = each_limit(&call!(stage::adapter()?, limits));
    let device = stage::device(&[], None).map_err(|error| error.message)?;
    let of_device = each_limit(&call!(device, limits));
    let mut told = Map::new();
    for ((name, of_adapter, default, lower_is_better), (_, of_device, ..)) in of_adapter.into_iter().zip(of_device) {
        let enough = if lower_is_better { of_adapter <= default } else { of_adapter >= default };
        must(enough, &format!("the adapter's {name} of {of_adapter} is at least as good as {default}"))?;
        expect(&format!("{name} of a device that asked for nothing"), of_device, default)?;
        told.insert(name.to_owned(), of_adapter.into());
    }
    Ok(Value::Object(told))
}

fn features(_: &Value) -> Saw {
    let adapter = stage::adapter()?;
    let of_adapter = call!(adapter, features);
    let device = stage::device(&[], None).map_err(|error| error.message)?;
    let of_device = call!(device, features);
    let mut told = Map::new();
    for (_, name) in FEATURES {
        told.insert(name.to_owned(), call!(of_adapter, has, name).into());
        must(!call!(of_device, has, name), &format!("a device that asked for nothing has no {name}"))?;
    }
    for unknown in ["", "no-such-feature", "Timestamp-Query"] {
        must(!call!(of_adapter, has, unknown), &format!("{unknown:?} is no feature"))?;
    }
    Ok(Value::Object(told))
}

const FEATURES: [(GpuFeatureName, &str); 17] = [
    (GpuFeatureName::DepthClipControl, "depth-clip-control"),
    (GpuFeatureName::Depth32floatStencil8, "depth32float-stencil8"),
    (GpuFeatureName::TextureCompressionBc, "texture-compression-bc"),
    (GpuFeatureName::TextureCompressionBcSliced3d, "texture-compression-bc-sliced-3d"),
    (GpuFeatureName::TextureCompressionEtc2, "texture-compression-etc2"),
    (GpuFeatureName::TextureCompressionAstc, "texture-compression-astc"),
    (GpuFeatureName::TextureCompressionAstcSliced3d, "texture-compression-astc-sliced-3d"),
    (GpuFeatureName::TimestampQuery, "timestamp-query"),
    (GpuFeatureName::IndirectFirstInstance, "indirect-first-instance"),
    (GpuFeatureName::ShaderF16, "shader-f16"),
    (GpuFeatureName::Rg11b10ufloatRenderable, "rg11b10ufloat-renderable"),
    (GpuFeatureName::Bgra8unormStorage, "bgra8unorm-storage"),
    (GpuFeatureName::Float32Filterable, "float32-filterable"),
    (GpuFeatureName::Float32Blendable, "float32-blendable"),
    (GpuFeatureName::ClipDistances, "clip-distances"),
    (GpuFeatureName::DualSourceBlending, "dual-source-blending"),
    (GpuFeatureName::Subgroups, "subgroups"),
];

/// Each feature that the adapter has can be had, and one that it has not cannot.
fn features_asked_for(_: &Value) -> Saw {
    let of_adapter = call!(stage::adapter()?, features);
    let mut had = Vec::new();
    for (feature, name) in FEATURES {
        let there = call!(of_adapter, has, name);
        // The sliced kinds need the plain one.
        let wanted = match feature {
            GpuFeatureName::TextureCompressionBcSliced3d => vec![feature, GpuFeatureName::TextureCompressionBc],
            GpuFeatureName::TextureCompressionAstcSliced3d => vec![feature, GpuFeatureName::TextureCompressionAstc],
            _ => vec![feature],
        };
        match (stage::device(&wanted, None), there) {
            (Ok(device), true) => {
                must(call!(call!(device, features), has, name), &format!("a device that asked for {name} has it"))?;
                had.push(name);
            }
            (Err(error), false) => {
                let is_type_error = matches!(error.kind, RequestDeviceErrorKind::TypeError);
                must(is_type_error && !error.message.is_empty(), &format!("{name} is refused as a TypeError"))?;
            }
            (Ok(_), false) => return Err(format!("{name} was given though the adapter has it not")),
            (Err(error), true) => {
                return Err(format!("{name} was refused though the adapter has it: {}", error.message));
            }
        }
    }
    Ok(json!({ "had": had }))
}

fn record(_: &Value) -> Saw {
    let record = call!(RecordOptionGpuSize64 => new);
    expect("keys of an empty record", call!(record, keys), Vec::<String>::new())?;
    call!(record, add, "maxBindGroups", Some(4));
    call!(record, add, "maxBufferSize", None);
    expect("a value", call!(record, get, "maxBindGroups"), Some(Some(4)))?;
    expect("no value", call!(record, get, "maxBufferSize"), Some(None))?;
    expect("no key", call!(record, get, "maxVertexBuffers"), None)?;
    must(call!(record, has, "maxBufferSize") && !call!(record, has, "maxVertexBuffers"), "it has what was added")?;
    call!(record, add, "maxBindGroups", Some(3));
    let mut keys = call!(record, keys);
    keys.sort();
    expect("keys", keys, vec!["maxBindGroups", "maxBufferSize"])?;
    let mut entries = call!(record, entries);
    entries.sort();
    expect("entries", entries, vec![("maxBindGroups".to_owned(), Some(3)), ("maxBufferSize".to_owned(), None)])?;
    let mut values = call!(record, values);
    values.sort();
    expect("values", values, vec![None, Some(3)])?;
    call!(record, remove, "maxBindGroups");
    call!(record, remove, "never there");
    expect("what is left", call!(record, keys), vec!["maxBufferSize"])?;
    let device = stage::device(&[], Some(record)).map_err(|error| error.message)?;
    expect("a limit asked for with nothing", call!(call!(device, limits), max_buffer_size), 268_435_456)?;
    Ok(Value::Null)
}

fn limits_asked_for(_: &Value) -> Saw {
    let adapter = stage::adapter()?;
    let best = call!(call!(adapter, limits), max_buffer_size);
    let with = |key: &str, value| {
        let record = call!(RecordOptionGpuSize64 => new);
        call!(record, add, key, Some(value));
        stage::device(&[], Some(record))
    };
    let device = with("maxBufferSize", best).map_err(|error| error.message)?;
    expect("the best", call!(call!(device, limits), max_buffer_size), best)?;
    // Less than the default is the default; an alignment is better the lower it is.
    let device = with("maxBufferSize", 1).map_err(|error| error.message)?;
    expect("worse than the default", call!(call!(device, limits), max_buffer_size), 268_435_456)?;
    let mut refused = Map::new();
    for (key, value) in [
        ("maxBufferSize", best + 1),
        ("maxBindGroups", u64::from(u32::MAX) + 1),
        ("minUniformBufferOffsetAlignment", 3),
        ("noSuchLimit", 1),
        ("", 0),
    ] {
        match with(key, value) {
            Ok(_) => return Err(format!("{key} of {value} was not refused")),
            Err(error) => {
                let kind = matches!(error.kind, RequestDeviceErrorKind::OperationError);
                must(kind && !error.message.is_empty(), &format!("{key} of {value} is refused as an OperationError"))?;
                refused.insert(key.to_owned(), error.message.into());
            }
        }
    }
    labelled(&adapter)?;
    Ok(Value::Object(refused))
}

/// The labels of the device and of its queue; an adapter gives one device and is used up by that.
fn labelled(adapter: &GpuAdapter) -> Result<(), String> {
    let descriptor = || GpuDeviceDescriptor {
        required_features: None,
        required_limits: None,
        default_queue: Some(GpuQueueDescriptor { label: Some("the queue".to_owned()) }),
        label: Some("the device".to_owned()),
    };
    let device = call!(adapter, request_device, Some(descriptor())).map_err(|error| error.message)?;
    expect("the device's label", call!(device, label), "the device")?;
    expect("the queue's label", call!(call!(device, queue), label), "the queue")?;
    drop(Stage::new()?);
    Ok(())
}
