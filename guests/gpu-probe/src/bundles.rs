//! Render bundles: what can be recorded into them, and that they draw as the same commands in a pass do. Must not know
//! queries.

use serde_json::{Value, json};

use crate::canvas::{self, Canvas, Drawn, FORMAT, RED, SIDE, picture, rectangle, same};
use crate::drawing::RED_F;
use crate::make::{self, flags};
use crate::webgpu::{
    GpuBindGroup, GpuBuffer, GpuIndexFormat, GpuRenderBundle, GpuRenderBundleDescriptor, GpuRenderBundleEncoder,
    GpuRenderBundleEncoderDescriptor, GpuRenderPipeline, GpuTextureFormat,
};
use crate::{Saw, Scenario, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("bundles.all-commands", all_commands),
    ("bundles.state-does-not-leak", state_does_not_leak),
    ("bundles.refused", refused),
];

fn descriptor() -> GpuRenderBundleEncoderDescriptor {
    GpuRenderBundleEncoderDescriptor {
        depth_read_only: None,
        stencil_read_only: None,
        color_formats: vec![Some(FORMAT)],
        depth_stencil_format: None,
        sample_count: None,
        label: None,
    }
}

struct Parts {
    canvas: Canvas,
    pipeline: GpuRenderPipeline,
    red: GpuBindGroup,
    /// Rectangles: each quarter of the picture, from left to right.
    quarters: GpuBuffer,
    indices: GpuBuffer,
    arguments: GpuBuffer,
}

fn parts() -> Result<Parts, String> {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let red = canvas.color(&pipeline, RED_F)?;
    let places: Vec<_> =
        (0..4).flat_map(|part| rectangle(part as f32 * 2.0, 0.0, part as f32 * 2.0 + 2.0, 8.0, 0.0)).collect();
    let quarters = canvas.vertices(&places)?;
    let indices = canvas.stage.words(&(0..24).collect::<Vec<u32>>(), flags::INDEX)?;
    // The third quarter by vertices, the fourth by indices.
    let arguments = canvas.stage.words(&[6, 1, 12, 0, 6, 1, 0, 18, 0], flags::INDIRECT)?;
    Ok(Parts { canvas, pipeline, red, quarters, indices, arguments })
}

impl Parts {
    fn encoder(&self) -> GpuRenderBundleEncoder {
        call!(self.canvas.stage.device, create_render_bundle_encoder, &descriptor())
    }

    fn prepared(&self) -> Result<GpuRenderBundleEncoder, String> {
        let encoder = self.encoder();
        call!(encoder, set_pipeline, &self.pipeline);
        call!(encoder, set_bind_group, 0, Some(&self.red), None, None, None).map_err(|error| error.message)?;
        call!(encoder, set_vertex_buffer, 0, Some(&self.quarters), None, None);
        call!(encoder, set_index_buffer, &self.indices, GpuIndexFormat::Uint32, Some(0), None);
        Ok(encoder)
    }

    fn drawn(&self, bundles: &[&GpuRenderBundle]) -> Result<Vec<[u8; 4]>, String> {
        self.canvas.drawn(|pass| {
            call!(pass, execute_bundles, bundles);
            Ok(())
        })
    }
}

fn all_commands(_: &Value) -> Saw {
    let parts = parts()?;
    let bundles = parts.canvas.stage.valid("the bundles", || -> Result<_, String> {
        let one = parts.prepared()?;
        call!(one, push_debug_group, "the first");
        call!(one, insert_debug_marker, "a mark");
        call!(one, draw, 6, None, None, None);
        call!(one, pop_debug_group);
        let two = parts.prepared()?;
        call!(two, draw_indexed, 6, None, Some(6), None, None);
        let three = parts.prepared()?;
        call!(three, draw_indirect, &parts.arguments, 0);
        let four = parts.prepared()?;
        call!(four, draw_indexed_indirect, &parts.arguments, 16);
        let label = GpuRenderBundleDescriptor { label: Some("a bundle".to_owned()) };
        Ok([&one, &two, &three, &four].map(|encoder| call!(encoder, finish, Some(&label))))
    })??;
    let [one, two, three, four] = &bundles;
    same("the first", &parts.drawn(&[one])?, &picture(RED, |x, _| x < 2))?;
    same("the second", &parts.drawn(&[two])?, &picture(RED, |x, _| x / 2 == 1))?;
    same("the third", &parts.drawn(&[three])?, &picture(RED, |x, _| x / 2 == 2))?;
    same("the fourth", &parts.drawn(&[four])?, &picture(RED, |x, _| x / 2 == 3))?;
    same("twice in a list", &parts.drawn(&[one, three, one])?, &picture(RED, |x, _| matches!(x / 2, 0 | 2)))?;
    same("an empty list", &parts.drawn(&[])?, &picture(RED, |_, _| false))?;
    Ok(json!({ "label": call!(one, label) }))
}

/// A bundle leaves nothing of its state to what comes after, and takes nothing of what came before.
fn state_does_not_leak(_: &Value) -> Saw {
    let parts = parts()?;
    let encoder = parts.prepared()?;
    call!(encoder, draw, 6, None, None, None);
    let bundle = call!(encoder, finish, None);
    let after = parts.canvas.stage.invalid("a draw after a bundle", || {
        let encoder = parts.canvas.stage.encoder();
        let attachment = make::attachment(&parts.canvas.view, Some(make::BLACK));
        let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
        canvas::draw(&pass, &parts.pipeline, &parts.red, &parts.quarters, 6).ok();
        call!(pass, execute_bundles, &[&bundle]);
        call!(pass, draw, 6, None, None, None);
        call!(pass, end);
        parts.canvas.stage.submit(&encoder);
    })?;
    Ok(json!({ "after": after }))
}

fn refused(_: &Value) -> Saw {
    let parts = parts()?;
    let stage = &parts.canvas.stage;
    let finished = |what: &str, draw: &dyn Fn(&GpuRenderBundleEncoder)| {
        stage.invalid(what, || {
            let encoder = parts.encoder();
            draw(&encoder);
            call!(encoder, finish, None)
        })
    };
    let with = |what: &str, change: &dyn Fn(GpuRenderBundleEncoderDescriptor) -> GpuRenderBundleEncoderDescriptor| {
        let descriptor = change(descriptor());
        stage.invalid(what, || {
            let encoder = call!(stage.device, create_render_bundle_encoder, &descriptor);
            let bundle = call!(encoder, finish, None);
            let commands = stage.encoder();
            let attachment = make::attachment(&parts.canvas.view, Some(make::BLACK));
            let pass = call!(commands, begin_render_pass, &make::render_pass(attachment));
            call!(pass, execute_bundles, &[&bundle]);
            call!(pass, end);
            stage.submit(&commands);
        })
    };
    must(SIDE == 8, "the places are for a picture of 8 pixels")?;
    Ok(json!({
        "no_pipeline": finished("no pipeline", &|encoder| call!(encoder, draw, 3, None, None, None))?,
        "too_many_vertices": finished("too many", &|encoder| {
            call!(encoder, set_pipeline, &parts.pipeline);
            call!(encoder, set_bind_group, 0, Some(&parts.red), None, None, None).ok();
            call!(encoder, set_vertex_buffer, 0, Some(&parts.quarters), None, None);
            call!(encoder, draw, 25, None, None, None);
        })?,
        "unbalanced_groups": finished("unbalanced", &|encoder| call!(encoder, pop_debug_group))?,
        "open_group": finished("open", &|encoder| call!(encoder, push_debug_group, "never closed"))?,
        "other_format": with("another format", &|it| GpuRenderBundleEncoderDescriptor {
            color_formats: vec![Some(GpuTextureFormat::R32uint)],
            ..it
        })?,
        "other_depth": with("with depth", &|it| GpuRenderBundleEncoderDescriptor {
            depth_stencil_format: Some(GpuTextureFormat::Depth32float),
            depth_read_only: Some(true),
            stencil_read_only: Some(true),
            ..it
        })?,
        "other_samples": with("more samples", &|it| GpuRenderBundleEncoderDescriptor {
            sample_count: Some(4),
            ..it
        })?,
        "no_formats": with("no formats", &|it| GpuRenderBundleEncoderDescriptor { color_formats: Vec::new(), ..it })?,
    }))
}
