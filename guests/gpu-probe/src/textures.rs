//! Textures, their views, and samplers, as compute shaders see them. Must not draw.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    GpuAddressMode, GpuCompareFunction, GpuComputePipeline, GpuExtent3D, GpuFilterMode, GpuMipmapFilterMode,
    GpuSamplerDescriptor, GpuTexelCopyBufferLayout, GpuTexture, GpuTextureAspect, GpuTextureDescriptor,
    GpuTextureDimension, GpuTextureFormat, GpuTextureView, GpuTextureViewDescriptor, GpuTextureViewDimension,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("textures.what-they-are", what_they_are),
    ("textures.sampling", sampling),
    ("textures.comparison-sampler", comparison_sampler),
    ("textures.storage", storage),
    ("textures.views", views),
    ("textures.refused", refused),
    ("textures.samplers-refused", samplers_refused),
    ("textures.destroyed", destroyed),
];

const USED: u32 = flags::TEXTURE_BINDING | flags::TEXTURE_COPY_DST | flags::TEXTURE_COPY_SRC;

fn what_they_are(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let descriptor = GpuTextureDescriptor {
        size: GpuExtent3D { width: 16, height: Some(8), depth_or_array_layers: Some(6) },
        mip_level_count: Some(4),
        sample_count: Some(1),
        dimension: Some(GpuTextureDimension::D2),
        view_formats: Some(vec![GpuTextureFormat::Rgba8unormSrgb]),
        ..make::texture(0, 0, GpuTextureFormat::Rgba8unorm, USED)
    };
    let texture = stage.valid("a texture", || call!(stage.device, create_texture, &descriptor))?;
    let size = (call!(texture, width), call!(texture, height), call!(texture, depth_or_array_layers));
    expect("the size", size, (16, 8, 6))?;
    expect("levels and samples", (call!(texture, mip_level_count), call!(texture, sample_count)), (4, 1))?;
    must(call!(texture, dimension) == GpuTextureDimension::D2, "it has two dimensions")?;
    must(call!(texture, format) == GpuTextureFormat::Rgba8unorm, "it has its format")?;
    expect("the usage", call!(texture, usage), USED)?;
    let descriptor = GpuTextureDescriptor {
        size: GpuExtent3D { width: 4, height: Some(4), depth_or_array_layers: Some(4) },
        dimension: Some(GpuTextureDimension::D3),
        ..make::texture(0, 0, GpuTextureFormat::R32float, USED)
    };
    let solid = stage.valid("three dimensions", || call!(stage.device, create_texture, &descriptor))?;
    must(call!(solid, dimension) == GpuTextureDimension::D3, "it has three dimensions")?;
    let size = GpuExtent3D { width: 9, height: None, depth_or_array_layers: None };
    let line = GpuTextureDescriptor {
        size,
        dimension: Some(GpuTextureDimension::D1),
        ..make::texture(0, 0, GpuTextureFormat::R8unorm, USED)
    };
    let line = stage.valid("one dimension", || call!(stage.device, create_texture, &line))?;
    expect("its size", (call!(line, width), call!(line, height), call!(line, depth_or_array_layers)), (9, 1, 1))?;
    Ok(Value::Null)
}

const SAMPLE: &str = "
@group(0) @binding(0) var image: texture_2d<f32>;
@group(0) @binding(1) var its_sampler: sampler;
@group(0) @binding(2) var<storage, read> places: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read_write> told: array<u32>;
@compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    told[id.x] = pack4x8unorm(textureSampleLevel(image, its_sampler, places[id.x], 0.0));
}";

/// A texture of two by two texels: black, red, green and white.
fn four_texels(stage: &Stage) -> GpuTexture {
    let texture = call!(stage.device, create_texture, &make::texture(2, 2, GpuTextureFormat::Rgba8unorm, USED));
    let texels = [0, 0, 0, 255, 255, 0, 0, 255, 0, 255, 0, 255, 255, 255, 255, 255];
    let layout = GpuTexelCopyBufferLayout { offset: None, bytes_per_row: Some(8), rows_per_image: Some(2) };
    let size = make::extent(2, 2);
    call!(stage.queue, write_texture_with_copy, &make::texels(&texture), &texels, layout, size);
    texture
}

fn sampled(
    stage: &Stage,
    pipeline: &GpuComputePipeline,
    view: &GpuTextureView,
    sampler: &GpuSamplerDescriptor,
    places: &[f32],
) -> Result<Vec<u32>, String> {
    stage.valid("sampling", || {
        let sampler = call!(stage.device, create_sampler, Some(sampler));
        let input = stage.buffer_of(bytemuck::cast_slice(places), flags::STORAGE)?;
        let count = places.len() / 2;
        let told = stage.buffer(count as u64 * 4, flags::STORAGE | flags::COPY_SRC);
        let entries = vec![
            make::bound_view(0, view),
            make::bound_sampler(1, &sampler),
            make::bound(2, &input),
            make::bound(3, &told),
        ];
        let group = stage.group(pipeline, entries);
        stage.dispatch(pipeline, &group, u32::try_from(count).unwrap_or(0))?;
        stage.read_words(&told)
    })?
}

fn sampling(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let texture = four_texels(&stage);
    let view = call!(texture, create_view, None);
    let pipeline = stage.compute(SAMPLE);
    let [black, red, green, white] =
        [[0, 0, 0, 255], [255, 0, 0, 255], [0, 255, 0, 255], [255; 4]].map(u32::from_le_bytes);
    let corners = [0.25, 0.25, 0.75, 0.25, 0.25, 0.75, 0.75, 0.75];
    let nearest = sampled(&stage, &pipeline, &view, &make::sampler(), &corners)?;
    expect("texels", nearest, vec![black, red, green, white])?;
    // Beyond the edges: by default the edge goes on.
    let beyond = [-1.75, 0.25, 1.25, 0.25];
    let clamped = sampled(&stage, &pipeline, &view, &make::sampler(), &beyond)?;
    expect("the edge", clamped, vec![black, red])?;
    let repeat = Some(GpuAddressMode::Repeat);
    let repeated = GpuSamplerDescriptor {
        address_mode_u: repeat,
        address_mode_v: repeat,
        address_mode_w: repeat,
        ..make::sampler()
    };
    expect("repeated", sampled(&stage, &pipeline, &view, &repeated, &beyond)?, vec![black, black])?;
    let mirror = GpuSamplerDescriptor { address_mode_u: Some(GpuAddressMode::MirrorRepeat), ..make::sampler() };
    expect("mirrored", sampled(&stage, &pipeline, &view, &mirror, &beyond)?, vec![black, red])?;
    let linear = GpuSamplerDescriptor {
        mag_filter: Some(GpuFilterMode::Linear),
        min_filter: Some(GpuFilterMode::Linear),
        mipmap_filter: Some(GpuMipmapFilterMode::Linear),
        lod_min_clamp: Some(0.0),
        lod_max_clamp: Some(4.0),
        max_anisotropy: Some(4),
        ..make::sampler()
    };
    let middle = sampled(&stage, &pipeline, &view, &linear, &[0.5, 0.5])?;
    let bytes = middle.first().copied().unwrap_or_default().to_le_bytes();
    must((126..=129).contains(&bytes[0]) && (126..=129).contains(&bytes[1]), "the middle is half red, half green")?;
    Ok(json!({ "middle": bytes }))
}

fn comparison_sampler(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let usage = flags::TEXTURE_BINDING | flags::RENDER_ATTACHMENT;
    let descriptor = make::texture(4, 4, GpuTextureFormat::Depth32float, usage);
    let depth = call!(stage.device, create_texture, &descriptor);
    let code = "
@group(0) @binding(0) var image: texture_depth_2d;
@group(0) @binding(1) var its_sampler: sampler_comparison;
@group(0) @binding(2) var<storage, read_write> told: array<f32, 2>;
@compute @workgroup_size(1) fn main() {
    let middle = vec2<f32>(0.5, 0.5);
    told[0] = textureSampleCompareLevel(image, its_sampler, middle, 0.25);
    told[1] = textureSampleCompareLevel(image, its_sampler, middle, -0.25);
}";
    let told = stage.buffer(8, flags::STORAGE | flags::COPY_SRC);
    stage.valid("comparing", || -> Result<(), String> {
        let descriptor = GpuSamplerDescriptor { compare: Some(GpuCompareFunction::Greater), ..make::sampler() };
        let sampler = call!(stage.device, create_sampler, Some(&descriptor));
        let aspect = GpuTextureViewDescriptor { aspect: Some(GpuTextureAspect::DepthOnly), ..make::view() };
        let view = call!(depth, create_view, Some(&aspect));
        let pipeline = stage.compute(code);
        let entries = vec![make::bound_view(0, &view), make::bound_sampler(1, &sampler), make::bound(2, &told)];
        let group = stage.group(&pipeline, entries);
        stage.dispatch(&pipeline, &group, 1)
    })??;
    // A texture that nobody wrote is zero: 0.25 is greater.
    expect("comparisons", stage.read_words(&told)?, vec![1.0_f32.to_bits(), 0])?;
    Ok(Value::Null)
}

fn storage(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let usage = flags::STORAGE_BINDING | flags::TEXTURE_COPY_SRC;
    let texture = call!(stage.device, create_texture, &make::texture(8, 8, GpuTextureFormat::Rgba8uint, usage));
    let code = "
@group(0) @binding(0) var image: texture_storage_2d<rgba8uint, write>;
@compute @workgroup_size(4, 4) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    textureStore(image, id.xy, vec4<u32>(id.x, id.y, id.x * id.y, 9u));
}";
    stage.valid("storing", || -> Result<(), String> {
        let pipeline = stage.compute(code);
        let view = call!(texture, create_view, None);
        let group = stage.group(&pipeline, vec![make::bound_view(0, &view)]);
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&group), None, None, None).map_err(|error| error.message)?;
        call!(pass, dispatch_workgroups, 2, Some(2), Some(1));
        call!(pass, end);
        stage.submit(&encoder);
        Ok(())
    })??;
    let wanted: Vec<[u8; 4]> = (0..8).flat_map(|y| (0..8).map(move |x| [x, y, x * y, 9])).collect();
    expect("texels", stage.texels(&texture)?, wanted)?;
    Ok(Value::Null)
}

fn views(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let descriptor = GpuTextureDescriptor {
        size: GpuExtent3D { width: 8, height: Some(8), depth_or_array_layers: Some(12) },
        mip_level_count: Some(3),
        view_formats: Some(vec![GpuTextureFormat::Rgba8unormSrgb]),
        ..make::texture(0, 0, GpuTextureFormat::Rgba8unorm, USED)
    };
    let texture = call!(stage.device, create_texture, &descriptor);
    let view = |change: fn(GpuTextureViewDescriptor) -> GpuTextureViewDescriptor| {
        call!(texture, create_view, Some(&change(make::view())))
    };
    stage.valid("views", || {
        view(|it| GpuTextureViewDescriptor { dimension: Some(GpuTextureViewDimension::D2Array), ..it });
        view(|it| GpuTextureViewDescriptor {
            dimension: Some(GpuTextureViewDimension::D2),
            base_array_layer: Some(11),
            array_layer_count: Some(1),
            base_mip_level: Some(2),
            mip_level_count: Some(1),
            ..it
        });
        view(|it| GpuTextureViewDescriptor { dimension: Some(GpuTextureViewDimension::CubeArray), ..it });
        view(|it| GpuTextureViewDescriptor {
            dimension: Some(GpuTextureViewDimension::Cube),
            base_array_layer: Some(6),
            ..it
        });
        view(|it| GpuTextureViewDescriptor {
            format: Some(GpuTextureFormat::Rgba8unormSrgb),
            usage: Some(flags::TEXTURE_BINDING),
            ..it
        });
    })?;
    let invalid =
        |change: fn(GpuTextureViewDescriptor) -> GpuTextureViewDescriptor| stage.invalid("a view", || view(change));
    Ok(json!({
        "no_such_layer": invalid(|it| GpuTextureViewDescriptor { base_array_layer: Some(12), ..it })?,
        "too_many_levels": invalid(|it| GpuTextureViewDescriptor { mip_level_count: Some(4), ..it })?,
        "no_levels": invalid(|it| GpuTextureViewDescriptor { mip_level_count: Some(0), ..it })?,
        "overflow": invalid(|it| GpuTextureViewDescriptor {
            base_array_layer: Some(u32::MAX),
            array_layer_count: Some(u32::MAX),
            ..it
        })?,
        "other_format": invalid(|it| GpuTextureViewDescriptor { format: Some(GpuTextureFormat::R32uint), ..it })?,
        "other_dimension": invalid(|it| GpuTextureViewDescriptor {
            dimension: Some(GpuTextureViewDimension::D3),
            ..it
        })?,
        "other_aspect": invalid(|it| GpuTextureViewDescriptor { aspect: Some(GpuTextureAspect::DepthOnly), ..it })?,
    }))
}

fn refused(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let plain = || make::texture(16, 16, GpuTextureFormat::Rgba8unorm, USED);
    let invalid = |descriptor| stage.invalid("a texture", || call!(stage.device, create_texture, &descriptor));
    Ok(json!({
        "no_width": invalid(make::texture(0, 16, GpuTextureFormat::Rgba8unorm, USED))?,
        "no_usage": invalid(make::texture(16, 16, GpuTextureFormat::Rgba8unorm, 0))?,
        "unknown_usage": invalid(make::texture(16, 16, GpuTextureFormat::Rgba8unorm, 0x4000))?,
        "too_wide": invalid(make::texture(8193, 16, GpuTextureFormat::Rgba8unorm, USED))?,
        "absurd": invalid(make::texture(u32::MAX, u32::MAX, GpuTextureFormat::Rgba8unorm, USED))?,
        "too_many_levels": invalid(GpuTextureDescriptor { mip_level_count: Some(6), ..plain() })?,
        "no_levels": invalid(GpuTextureDescriptor { mip_level_count: Some(0), ..plain() })?,
        "three_samples": invalid(GpuTextureDescriptor { sample_count: Some(3), ..plain() })?,
        "no_storage": invalid(make::texture(4, 4, GpuTextureFormat::Depth32float, flags::STORAGE_BINDING))?,
        "feature_missing": invalid(make::texture(4, 4, GpuTextureFormat::Bc1RgbaUnorm, USED))?,
        "view_format": invalid(GpuTextureDescriptor {
            view_formats: Some(vec![GpuTextureFormat::R8unorm]),
            ..plain()
        })?,
    }))
}

fn samplers_refused(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let invalid = |descriptor| stage.invalid("a sampler", || call!(stage.device, create_sampler, Some(&descriptor)));
    stage.valid("no descriptor", || call!(stage.device, create_sampler, None))?;
    Ok(json!({
        "levels": invalid(GpuSamplerDescriptor { lod_min_clamp: Some(2.0), lod_max_clamp: Some(1.0), ..make::sampler() })?,
        "negative": invalid(GpuSamplerDescriptor { lod_min_clamp: Some(-1.0), ..make::sampler() })?,
        "no_anisotropy": invalid(GpuSamplerDescriptor { max_anisotropy: Some(0), ..make::sampler() })?,
        "anisotropy_of_nearest": invalid(GpuSamplerDescriptor { max_anisotropy: Some(2), ..make::sampler() })?,
    }))
}

fn destroyed(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let texture = four_texels(&stage);
    call!(texture, destroy);
    call!(texture, destroy);
    expect("its width", call!(texture, width), 2)?;
    let refused = stage.invalid("copying what was destroyed", || {
        let (encoder, target) = (stage.encoder(), stage.buffer(1024, flags::COPY_DST));
        call!(encoder, copy_texture_to_buffer, &make::texels(&texture), &make::rows(&target, 256), make::extent(2, 2));
        stage.submit(&encoder);
    })?;
    Ok(json!({ "refused": refused }))
}
