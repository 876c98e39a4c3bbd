//! Objects used in the wrong order, twice, too late, on the wrong device, or in great numbers.

use serde_json::{Value, json};

use super::{errors_of, number, told};
use crate::canvas::{self, Canvas, Drawn};
use crate::drawing::RED_F;
use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{GpuBindGroupDescriptor, GpuErrorFilter, GpuQuerySetDescriptor, GpuQueryType, GpuTextureFormat};
use crate::{Saw, Scenario, expect, must};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("abuse.submit-twice", submit_twice),
    ("abuse.end-twice", end_twice),
    ("abuse.use-after-end", use_after_end),
    ("abuse.finish-twice", finish_twice),
    ("abuse.pass-left-open", pass_left_open),
    ("abuse.bundle-finish-twice", bundle_finish_twice),
    ("abuse.destroy-in-odd-orders", destroy_in_odd_orders),
    ("abuse.another-device", another_device),
    ("abuse.many-objects", many_objects),
    ("abuse.many-scopes", many_scopes),
    ("abuse.scopes-without-end", scopes_without_end),
    ("abuse.many-devices", many_devices),
];

fn submit_twice(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let encoder = stage.encoder();
    let commands = call!(encoder, finish, None);
    let first = told(&stage, || call!(stage.queue, submit, &[&commands]))?;
    let second = told(&stage, || call!(stage.queue, submit, &[&commands]))?;
    let encoder = stage.encoder();
    let commands = call!(encoder, finish, None);
    let in_one = told(&stage, || call!(stage.queue, submit, &[&commands, &commands]))?;
    Ok(json!({ "first": first, "second": second, "in_one": in_one }))
}

fn end_twice(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let compute = told(stage, || {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, end);
        call!(pass, end);
        stage.submit(&encoder);
    })?;
    let render = told(stage, || {
        let encoder = stage.encoder();
        let attachment = make::attachment(&canvas.view, Some(make::BLACK));
        let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
        call!(pass, end);
        call!(pass, end);
        stage.submit(&encoder);
    })?;
    Ok(json!({ "compute": compute, "render": render }))
}

fn use_after_end(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let compute = told(stage, || {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, end);
        call!(pass, dispatch_workgroups, 1, None, None);
        call!(pass, push_debug_group, "late");
        call!(pass, pop_debug_group);
        call!(pass, insert_debug_marker, "late");
        call!(pass, set_label, "late");
        stage.submit(&encoder);
    })?;
    let pipeline = canvas.pipeline(Drawn::default());
    let (red, vertices) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(&canvas::all())?);
    let render = told(stage, || {
        let encoder = stage.encoder();
        let attachment = make::attachment(&canvas.view, Some(make::BLACK));
        let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
        call!(pass, end);
        canvas::draw(&pass, &pipeline, &red, &vertices, 6).ok();
        call!(pass, set_viewport, 0.0, 0.0, 8.0, 8.0, 0.0, 1.0);
        call!(pass, set_scissor_rect, 0, 0, 1, 1);
        call!(pass, set_stencil_reference, 1);
        call!(pass, begin_occlusion_query, 0);
        call!(pass, end_occlusion_query);
        call!(pass, execute_bundles, &[]);
        stage.submit(&encoder);
    })?;
    let encoder = told(stage, || {
        let encoder = stage.encoder();
        let commands = call!(encoder, finish, None);
        let buffer = stage.buffer(16, flags::COPY_DST);
        call!(encoder, clear_buffer, &buffer, None, None);
        call!(encoder, begin_compute_pass, None);
        call!(encoder, insert_debug_marker, "late");
        call!(stage.queue, submit, &[&commands]);
    })?;
    Ok(json!({ "compute": compute, "render": render, "encoder": encoder }))
}

fn finish_twice(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let encoder = stage.encoder();
    let (first, once) = errors_of(&stage, || call!(encoder, finish, None))?;
    let (second, twice) = errors_of(&stage, || call!(encoder, finish, None))?;
    let submitted = told(&stage, || call!(stage.queue, submit, &[&first]))?;
    let refused = told(&stage, || call!(stage.queue, submit, &[&second]))?;
    Ok(json!({ "once": once, "twice": twice, "submitted": submitted, "refused": refused }))
}

fn pass_left_open(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let finished = told(&stage, || {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        let commands = call!(encoder, finish, None);
        call!(stage.queue, submit, &[&commands]);
        drop(pass);
    })?;
    let two_passes = told(&stage, || {
        let encoder = stage.encoder();
        let one = call!(encoder, begin_compute_pass, None);
        let other = call!(encoder, begin_compute_pass, None);
        call!(other, end);
        call!(one, end);
        stage.submit(&encoder);
    })?;
    let dropped = told(&stage, || {
        let encoder = stage.encoder();
        drop(call!(encoder, begin_compute_pass, None));
        stage.submit(&encoder);
    })?;
    let encoder_first = told(&stage, || {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        drop(encoder);
        call!(pass, dispatch_workgroups, 1, None, None);
        call!(pass, end);
    })?;
    Ok(json!({
        "finished": finished, "two_passes": two_passes, "dropped": dropped, "encoder_first": encoder_first
    }))
}

fn bundle_finish_twice(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let descriptor = crate::webgpu::GpuRenderBundleEncoderDescriptor {
        depth_read_only: None,
        stencil_read_only: None,
        color_formats: vec![Some(GpuTextureFormat::Rgba8unorm); 9],
        depth_stencil_format: None,
        sample_count: Some(77),
        label: None,
    };
    let absurd = told(&stage, || {
        let encoder = call!(stage.device, create_render_bundle_encoder, &descriptor);
        call!(encoder, finish, None)
    })?;
    let descriptor = crate::webgpu::GpuRenderBundleEncoderDescriptor {
        color_formats: vec![Some(GpuTextureFormat::Rgba8unorm)],
        sample_count: None,
        ..descriptor
    };
    let twice = told(&stage, || {
        let encoder = call!(stage.device, create_render_bundle_encoder, &descriptor);
        call!(encoder, finish, None);
        call!(encoder, draw, 3, None, None, None);
        call!(encoder, finish, None);
    })?;
    Ok(json!({ "absurd": absurd, "twice": twice }))
}

fn destroy_in_odd_orders(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let code = "
@group(0) @binding(0) var<storage, read_write> word: u32;
@compute @workgroup_size(1) fn main() { word = 1u; }";
    let mut seen = Vec::new();
    for order in 0..6 {
        let pipeline = stage.compute(code);
        let buffer = stage.buffer(256, flags::STORAGE | flags::COPY_SRC);
        let group = stage.group(&pipeline, vec![make::bound(0, &buffer)]);
        let errors = told(stage, || {
            let encoder = stage.encoder();
            let pass = call!(encoder, begin_compute_pass, None);
            call!(pass, set_pipeline, &pipeline);
            call!(pass, set_bind_group, 0, Some(&group), None, None, None).ok();
            match order {
                0 => call!(buffer, destroy),
                1 => drop(pipeline),
                2 => drop(group),
                _ => {}
            }
            call!(pass, dispatch_workgroups, 1, None, None);
            if order == 3 {
                drop(encoder);
                call!(pass, end);
                return;
            }
            call!(pass, end);
            let commands = call!(encoder, finish, None);
            if order == 4 {
                call!(buffer, destroy);
                drop(buffer);
            }
            call!(stage.queue, submit, &[&commands]);
            if order == 5 {
                drop(commands);
                drop(encoder);
                drop(pass);
            }
        })?;
        seen.push(errors);
    }
    let Canvas { stage, texture, view } = canvas;
    let Stage { device, queue } = stage;
    call!(texture, destroy);
    drop(device);
    call!(queue, on_submitted_work_done);
    call!(queue, submit, &[]);
    drop(queue);
    call!(view, set_label, "its device is gone");
    expect("the label", call!(view, label), "its device is gone")?;
    drop((texture, view));
    Ok(json!({ "seen": seen }))
}

fn another_device(_: &Value) -> Saw {
    let (one, other) = (Canvas::new()?, Stage::new()?);
    let code = "
@group(0) @binding(0) var<storage, read_write> word: u32;
@compute @workgroup_size(1) fn main() { word = 1u; }";
    let pipeline = one.stage.compute(code);
    let foreign_buffer = other.buffer(256, flags::STORAGE | flags::COPY_SRC | flags::COPY_DST);
    let own_buffer = one.stage.buffer(256, flags::STORAGE | flags::COPY_SRC | flags::COPY_DST);
    let own_module = one.stage.shader(code);
    let sampler = call!(other.device, create_sampler, None);
    let layout = call!(pipeline, get_bind_group_layout, 0);
    let bind_group = told(&one.stage, || one.stage.group(&pipeline, vec![make::bound(0, &foreign_buffer)]))?;
    let layout_of_another = told(&other, || {
        let entries = vec![make::bound(0, &foreign_buffer)];
        call!(other.device, create_bind_group, &GpuBindGroupDescriptor { layout: &layout, entries, label: None })
    })?;
    let module = told(&other, || other.compute_stage(make::programmable(&own_module, "main")))?;
    let kind = told(&one.stage, || one.stage.group(&pipeline, vec![make::bound_sampler(0, &sampler)]))?;
    let copy = told(&one.stage, || {
        let encoder = one.stage.encoder();
        call!(encoder, copy_buffer_to_buffer, &own_buffer, 0, &foreign_buffer, 0, 16);
        one.stage.submit(&encoder);
    })?;
    let written = told(&one.stage, || {
        call!(one.stage.queue, write_buffer_with_copy, &foreign_buffer, 0, &[9; 16], None, None).ok()
    })?;
    let submitted = told(&one.stage, || {
        let encoder = other.encoder();
        let commands = call!(encoder, finish, None);
        call!(one.stage.queue, submit, &[&commands]);
    })?;
    let drawn_to = told(&other, || {
        let encoder = other.encoder();
        let attachment = make::attachment(&one.view, Some(make::BLACK));
        let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
        call!(pass, end);
        other.submit(&encoder);
    })?;
    let words = other.read(&foreign_buffer)?;
    must(words.iter().all(|byte| *byte == 0), "nothing reached the other device's buffer")?;
    Ok(json!({
        "bind_group": bind_group, "layout_of_another": layout_of_another, "module": module, "kind": kind,
        "copy": copy, "written": written, "submitted": submitted, "drawn_to": drawn_to
    }))
}

/// Objects of several kinds, all kept, until the host refuses one or `count` are there.
fn many_objects(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let count = number(asked, "count", 100_000);
    let (mut buffers, mut samplers, mut sets, mut encoders, mut views) = (vec![], vec![], vec![], vec![], vec![]);
    let texture = make::texture(4, 4, GpuTextureFormat::Rgba8unorm, flags::TEXTURE_BINDING);
    let texture = call!(stage.device, create_texture, &texture);
    let queries = GpuQuerySetDescriptor { type_: GpuQueryType::Occlusion, count: 1, label: None };
    let mut made = 0;
    let mut refused = None;
    while made < count && refused.is_none() {
        let (_, errors) = errors_of(&stage, || {
            for _ in 0..200 {
                buffers.push(stage.buffer(16, flags::STORAGE));
                samplers.push(call!(stage.device, create_sampler, None));
                sets.push(call!(stage.device, create_query_set, &queries).ok());
                encoders.push(stage.encoder());
                views.push(call!(texture, create_view, None));
            }
        })?;
        made += 1000;
        refused = errors.as_object().filter(|errors| !errors.is_empty()).map(|_| errors.clone());
    }
    Ok(json!({ "made": made, "refused": refused }))
}

fn many_scopes(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let count = number(asked, "count", 10_000);
    for _ in 0..count {
        call!(stage.device, push_error_scope, GpuErrorFilter::Validation);
    }
    stage.buffer(4, 0);
    let (mut popped, mut errors) = (0, 0);
    for _ in 0..count {
        match call!(stage.device, pop_error_scope) {
            Ok(error) => {
                popped += 1;
                errors += u32::from(error.is_some());
            }
            Err(_) => break,
        }
    }
    Ok(json!({ "popped": popped, "errors": errors }))
}

/// Scopes that are never popped, until the host has enough of them.
fn scopes_without_end(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    for _ in 0..number(asked, "count", 300_000) {
        call!(stage.device, push_error_scope, GpuErrorFilter::Validation);
    }
    Ok(json!({ "popped": call!(stage.device, pop_error_scope).is_ok() }))
}

/// Devices that are all kept.
fn many_devices(asked: &Value) -> Saw {
    let mut stages = Vec::new();
    for _ in 0..number(asked, "count", 1_000) {
        match Stage::new() {
            Ok(stage) => stages.push(stage),
            Err(reason) => return Ok(json!({ "made": stages.len(), "refused": reason })),
        }
    }
    Ok(json!({ "made": stages.len(), "refused": null }))
}
