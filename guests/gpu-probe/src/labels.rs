//! Labels of all that has one, debug groups and markers. Must not care what the objects are for.

use serde_json::{Value, json};

use crate::canvas::{Canvas, Drawn, FORMAT};
use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    GpuBindGroupDescriptor, GpuBindGroupLayoutDescriptor, GpuBufferBindingType, GpuBufferDescriptor,
    GpuCommandBufferDescriptor, GpuCommandEncoderDescriptor, GpuComputePassDescriptor, GpuComputePipelineDescriptor,
    GpuLayoutMode, GpuPipelineLayoutDescriptor, GpuQuerySetDescriptor, GpuQueryType, GpuRenderBundleDescriptor,
    GpuRenderBundleEncoderDescriptor, GpuRenderPassDescriptor, GpuSamplerDescriptor, GpuShaderModuleDescriptor,
    GpuTextureDescriptor, GpuTextureViewDescriptor,
};
use crate::{Saw, Scenario, expect};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("labels.objects", objects),
    ("labels.commands", commands),
    ("labels.groups", groups),
    ("labels.groups-refused", groups_refused),
];

/// The label that an object was made with, then none, then another.
macro_rules! relabelled {
    ($object:expr, $made_with:expr) => {{
        let object = &$object;
        expect(concat!(stringify!($object), " as made"), call!(object, label), $made_with)?;
        for label in ["", "another \u{1f600}"] {
            call!(object, set_label, label);
            expect(concat!(stringify!($object), " afterwards"), call!(object, label), label)?;
        }
    }};
}

fn some(label: &str) -> Option<String> {
    Some(label.to_owned())
}

fn objects(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let device = &stage.device;
    relabelled!(stage.device, "");
    relabelled!(stage.queue, "");
    let descriptor = GpuBufferDescriptor { label: some("buffer"), ..make::buffer(16, flags::STORAGE) };
    let buffer = call!(device, create_buffer, &descriptor);
    relabelled!(buffer, "buffer");
    let descriptor =
        GpuTextureDescriptor { label: some("texture"), ..make::texture(4, 4, FORMAT, flags::TEXTURE_BINDING) };
    let texture = call!(device, create_texture, &descriptor);
    relabelled!(texture, "texture");
    let view = GpuTextureViewDescriptor { label: some("view"), ..make::view() };
    let view = call!(texture, create_view, Some(&view));
    relabelled!(view, "view");
    let sampler = GpuSamplerDescriptor { label: some("sampler"), ..make::sampler() };
    let sampler = call!(device, create_sampler, Some(&sampler));
    relabelled!(sampler, "sampler");
    let entries = vec![make::slot(0, flags::STAGE_COMPUTE, GpuBufferBindingType::Storage)];
    let layout = GpuBindGroupLayoutDescriptor { entries, label: some("layout") };
    let layout = call!(device, create_bind_group_layout, &layout);
    relabelled!(layout, "layout");
    let entries = vec![make::bound(0, &buffer)];
    let group = GpuBindGroupDescriptor { layout: &layout, entries, label: some("group") };
    let group = call!(device, create_bind_group, &group);
    relabelled!(group, "group");
    let descriptor = GpuPipelineLayoutDescriptor { bind_group_layouts: vec![Some(&layout)], label: some("layouts") };
    let layouts = call!(device, create_pipeline_layout, &descriptor);
    relabelled!(layouts, "layouts");
    let descriptor =
        GpuShaderModuleDescriptor { label: some("module"), ..make::shader("@compute @workgroup_size(1) fn main() {}") };
    let module = call!(device, create_shader_module, &descriptor);
    relabelled!(module, "module");
    let descriptor = GpuComputePipelineDescriptor {
        compute: make::programmable(&module, "main"),
        layout: GpuLayoutMode::Specific(&layouts),
        label: some("pipeline"),
    };
    let pipeline = call!(device, create_compute_pipeline, descriptor);
    relabelled!(pipeline, "pipeline");
    let descriptor = GpuQuerySetDescriptor { type_: GpuQueryType::Occlusion, count: 1, label: some("queries") };
    let queries = call!(device, create_query_set, &descriptor).map_err(|error| error.message)?;
    relabelled!(queries, "queries");
    let canvas = Canvas::on(stage);
    let pipeline = canvas.pipeline(Drawn::default());
    relabelled!(pipeline, "");
    Ok(Value::Null)
}

fn commands(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let device = &canvas.stage.device;
    let descriptor = GpuCommandEncoderDescriptor { label: some("encoder") };
    let encoder = call!(device, create_command_encoder, Some(&descriptor));
    relabelled!(encoder, "encoder");
    let descriptor = GpuComputePassDescriptor { timestamp_writes: None, label: some("compute") };
    let compute = call!(encoder, begin_compute_pass, Some(&descriptor));
    relabelled!(compute, "compute");
    call!(compute, end);
    let descriptor = GpuRenderPassDescriptor {
        label: some("render"),
        ..make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)))
    };
    let render = call!(encoder, begin_render_pass, &descriptor);
    relabelled!(render, "render");
    call!(render, end);
    let descriptor = GpuCommandBufferDescriptor { label: some("commands") };
    let commands = call!(encoder, finish, Some(&descriptor));
    relabelled!(commands, "commands");
    let descriptor = GpuRenderBundleEncoderDescriptor {
        depth_read_only: None,
        stencil_read_only: None,
        color_formats: vec![Some(FORMAT)],
        depth_stencil_format: None,
        sample_count: Some(1),
        label: some("bundle encoder"),
    };
    let bundles = call!(device, create_render_bundle_encoder, &descriptor);
    relabelled!(bundles, "bundle encoder");
    let descriptor = GpuRenderBundleDescriptor { label: some("bundle") };
    let bundle = call!(bundles, finish, Some(&descriptor));
    relabelled!(bundle, "bundle");
    Ok(Value::Null)
}

fn groups(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    canvas.stage.valid("groups and markers", || {
        let encoder = canvas.stage.encoder();
        call!(encoder, push_debug_group, "all");
        call!(encoder, insert_debug_marker, "here");
        let compute = call!(encoder, begin_compute_pass, None);
        call!(compute, push_debug_group, "compute");
        call!(compute, push_debug_group, "");
        call!(compute, insert_debug_marker, "there \u{1f600}");
        call!(compute, pop_debug_group);
        call!(compute, pop_debug_group);
        call!(compute, end);
        let attachment = make::attachment(&canvas.view, Some(make::BLACK));
        let render = call!(encoder, begin_render_pass, &make::render_pass(attachment));
        call!(render, push_debug_group, "render");
        call!(render, insert_debug_marker, "and there");
        call!(render, pop_debug_group);
        call!(render, end);
        call!(encoder, pop_debug_group);
        canvas.stage.submit(&encoder);
    })?;
    Ok(Value::Null)
}

fn groups_refused(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let encoder = |what: &str, work: &dyn Fn(&crate::webgpu::GpuCommandEncoder)| {
        stage.invalid(what, || {
            let encoder = stage.encoder();
            work(&encoder);
            stage.submit(&encoder);
        })
    };
    Ok(json!({
        "pop": encoder("a pop too many", &|encoder| call!(encoder, pop_debug_group))?,
        "push": encoder("a push too many", &|encoder| call!(encoder, push_debug_group, "open"))?,
        "pop_in_pass": encoder("a pop too many in a pass", &|encoder| {
            call!(encoder, push_debug_group, "outside");
            let pass = call!(encoder, begin_compute_pass, None);
            call!(pass, pop_debug_group);
            call!(pass, end);
        })?,
        "push_in_pass": encoder("a push too many in a pass", &|encoder| {
            let attachment = make::attachment(&canvas.view, Some(make::BLACK));
            let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
            call!(pass, push_debug_group, "inside");
            call!(pass, end);
        })?,
    }))
}
