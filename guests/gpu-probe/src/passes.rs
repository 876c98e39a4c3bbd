//! What a render pass can be told beside its draws: viewport, scissors, blending, depth, stencil, samples, what it begins
//! with. Must not know queries or bundles.

use serde_json::{Value, json};

use crate::canvas::{Canvas, Drawn, FORMAT, GREEN, RED, SIDE, all, draw, picture, rectangle, same};
use crate::drawing::{GREEN_F, RED_F};
use crate::make::{self, flags};
use crate::webgpu::{
    GpuBlendComponent, GpuBlendFactor, GpuBlendOperation, GpuBlendState, GpuColor, GpuColorTargetState,
    GpuCompareFunction, GpuDepthStencilState, GpuLoadOp, GpuMultisampleState, GpuRenderPassColorAttachment,
    GpuRenderPassDepthStencilAttachment, GpuRenderPassDescriptor, GpuStencilFaceState, GpuStencilOperation, GpuStoreOp,
    GpuTextureDescriptor, GpuTextureFormat, GpuTextureView,
};
use crate::{Saw, Scenario, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("passes.viewport-and-scissors", viewport_and_scissors),
    ("passes.blending", blending),
    ("passes.write-mask", write_mask),
    ("passes.load-and-store", load_and_store),
    ("passes.depth", depth),
    ("passes.stencil", stencil),
    ("passes.multisample", multisample),
    ("passes.refused", refused),
];

fn viewport_and_scissors(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let (red, all) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(&all())?);
    let seen = canvas.drawn(|pass| {
        call!(pass, set_scissor_rect, 2, 3, 4, 2);
        draw(pass, &pipeline, &red, &all, 6)
    })?;
    same("scissors", &seen, &picture(RED, |x, y| (2..6).contains(&x) && (3..5).contains(&y)))?;
    let seen = canvas.drawn(|pass| {
        call!(pass, set_viewport, 4.0, 0.0, 4.0, 6.0, 0.0, 1.0);
        draw(pass, &pipeline, &red, &all, 6)
    })?;
    same("a viewport", &seen, &picture(RED, |x, y| x >= 4 && y < 6))?;
    let seen = canvas.drawn(|pass| {
        call!(pass, set_scissor_rect, 8, 8, 0, 0);
        draw(pass, &pipeline, &red, &all, 6)
    })?;
    same("nothing left", &seen, &picture(RED, |_, _| false))?;
    Ok(Value::Null)
}

fn component(operation: GpuBlendOperation, src: GpuBlendFactor, dst: GpuBlendFactor) -> GpuBlendComponent {
    GpuBlendComponent { operation: Some(operation), src_factor: Some(src), dst_factor: Some(dst) }
}

fn blending_with(blend: GpuBlendComponent) -> Drawn {
    let blend = Some(GpuBlendState { color: blend, alpha: blend });
    Drawn { target: Some(GpuColorTargetState { blend, ..make::target(FORMAT) }), ..Drawn::default() }
}

fn blending(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let vertices = canvas.vertices(&all())?;
    let constant = canvas.pipeline(blending_with(component(
        GpuBlendOperation::Add,
        GpuBlendFactor::Constant,
        GpuBlendFactor::Zero,
    )));
    let white = canvas.color(&constant, [1.0; 4])?;
    let seen = canvas.drawn(|pass| {
        call!(pass, set_blend_constant, GpuColor { r: 0.2, g: 0.4, b: 0.6, a: 0.8 });
        draw(pass, &constant, &white, &vertices, 6)
    })?;
    same("the constant", &seen, &picture([51, 102, 153, 204], |_, _| true))?;
    // Without a constant it is zero.
    let seen = canvas.drawn(|pass| draw(pass, &constant, &white, &vertices, 6))?;
    same("no constant", &seen, &picture([0; 4], |_, _| true))?;
    let sum =
        canvas.pipeline(blending_with(component(GpuBlendOperation::Add, GpuBlendFactor::One, GpuBlendFactor::One)));
    let part = canvas.color(&sum, [0.2, 0.4, 0.0, 0.6])?;
    let seen = canvas.drawn(|pass| {
        draw(pass, &sum, &part, &vertices, 6)?;
        draw(pass, &sum, &part, &vertices, 6)
    })?;
    same("a sum", &seen, &picture([102, 204, 0, 255], |_, _| true))?;
    let least = component(GpuBlendOperation::Min, GpuBlendFactor::One, GpuBlendFactor::One);
    let least = canvas.pipeline(blending_with(least));
    let color = canvas.color(&least, [0.2, 1.0, 0.4, 1.0])?;
    let attachment = make::attachment(&canvas.view, Some(GpuColor { r: 1.0, g: 0.2, b: 0.6, a: 0.4 }));
    let seen = canvas.drawn_in(&make::render_pass(attachment), |pass| draw(pass, &least, &color, &vertices, 6))?;
    same("the lesser", &seen, &picture([51, 51, 102, 102], |_, _| true))?;
    Ok(Value::Null)
}

fn write_mask(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let vertices = canvas.vertices(&all())?;
    for (mask, wanted) in [
        (flags::RED | flags::ALPHA, [255, 0, 0, 255]),
        (flags::GREEN, [0, 255, 0, 0]),
        (flags::BLUE, [0, 0, 255, 0]),
        (flags::ALL, [255; 4]),
        (0, [0; 4]),
    ] {
        let target = GpuColorTargetState { write_mask: Some(mask), ..make::target(FORMAT) };
        let pipeline = canvas.pipeline(Drawn { target: Some(target), ..Drawn::default() });
        let white = canvas.color(&pipeline, [1.0; 4])?;
        let seen = canvas.drawn(|pass| draw(pass, &pipeline, &white, &vertices, 6))?;
        same(&format!("mask {mask}"), &seen, &picture(wanted, |_, _| true))?;
    }
    Ok(Value::Null)
}

fn load_and_store(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let red = canvas.color(&pipeline, RED_F)?;
    let (left, top) = (rectangle(0.0, 0.0, 4.0, 8.0, 0.0), rectangle(0.0, 0.0, 8.0, 4.0, 0.0));
    let (left, top) = (canvas.vertices(&left)?, canvas.vertices(&top)?);
    canvas.drawn(|pass| draw(pass, &pipeline, &red, &left, 6))?;
    let descriptor = GpuRenderPassDescriptor {
        max_draw_count: Some(1),
        label: Some("what is there stays".to_owned()),
        ..make::render_pass(make::attachment(&canvas.view, None))
    };
    let seen = canvas.drawn_in(&descriptor, |pass| draw(pass, &pipeline, &red, &top, 6))?;
    same("both", &seen, &picture(RED, |x, y| x < 4 || y < 4))?;
    let clear = GpuColor { r: 0.2, g: 1.0, b: 0.0, a: 0.6 };
    let descriptor = make::render_pass(make::attachment(&canvas.view, Some(clear)));
    let seen = canvas.drawn_in(&descriptor, |_| Ok(()))?;
    same("a clear alone", &seen, &picture([51, 255, 0, 153], |_, _| true))?;
    // What is not stored is zero when it is looked at.
    let attachment =
        GpuRenderPassColorAttachment { store_op: GpuStoreOp::Discard, ..make::attachment(&canvas.view, Some(clear)) };
    let seen = canvas.drawn_in(&make::render_pass(attachment), |_| Ok(()))?;
    same("discarded", &seen, &picture([0; 4], |_, _| true))?;
    Ok(Value::Null)
}

fn depth_view(canvas: &Canvas, format: GpuTextureFormat) -> GpuTextureView {
    let descriptor = make::texture(SIDE, SIDE, format, flags::RENDER_ATTACHMENT);
    call!(call!(canvas.stage.device, create_texture, &descriptor), create_view, None)
}

fn depth_state(format: GpuTextureFormat, compare: GpuCompareFunction) -> GpuDepthStencilState {
    GpuDepthStencilState {
        format,
        depth_write_enabled: Some(true),
        depth_compare: Some(compare),
        stencil_front: None,
        stencil_back: None,
        stencil_read_mask: None,
        stencil_write_mask: None,
        depth_bias: Some(0),
        depth_bias_slope_scale: Some(0.0),
        depth_bias_clamp: Some(0.0),
    }
}

fn depth_attachment(view: &GpuTextureView, clear: f32) -> GpuRenderPassDepthStencilAttachment<'_> {
    GpuRenderPassDepthStencilAttachment {
        view,
        depth_clear_value: Some(clear),
        depth_load_op: Some(GpuLoadOp::Clear),
        depth_store_op: Some(GpuStoreOp::Store),
        depth_read_only: None,
        stencil_clear_value: None,
        stencil_load_op: None,
        stencil_store_op: None,
        stencil_read_only: None,
    }
}

fn depth(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    for format in [GpuTextureFormat::Depth32float, GpuTextureFormat::Depth24plus, GpuTextureFormat::Depth16unorm] {
        let view = depth_view(&canvas, format);
        let state = depth_state(format, GpuCompareFunction::Less);
        let pipeline = canvas.pipeline(Drawn { depth_stencil: Some(state), ..Drawn::default() });
        let (red, green) = (canvas.color(&pipeline, RED_F)?, canvas.color(&pipeline, GREEN_F)?);
        let near = canvas.vertices(&rectangle(0.0, 0.0, 4.0, 8.0, 0.25))?;
        let far = canvas.vertices(&all())?;
        let mut descriptor = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
        descriptor.depth_stencil_attachment = Some(depth_attachment(&view, 1.0));
        let seen = canvas.drawn_in(&descriptor, |pass| {
            draw(pass, &pipeline, &red, &near, 6)?;
            draw(pass, &pipeline, &green, &far, 6)
        })?;
        let wanted: Vec<_> = (0..64).map(|place| if place % 8 < 4 { RED } else { GREEN }).collect();
        same(&format!("{format:?}"), &seen, &wanted)?;
        // Read only, what is there decides: the near half hides what lies behind it.
        descriptor.depth_stencil_attachment = Some(GpuRenderPassDepthStencilAttachment {
            depth_clear_value: None,
            depth_load_op: None,
            depth_store_op: None,
            depth_read_only: Some(true),
            ..depth_attachment(&view, 0.0)
        });
        let state = GpuDepthStencilState {
            depth_write_enabled: Some(false),
            ..depth_state(format, GpuCompareFunction::LessEqual)
        };
        let pipeline = canvas.pipeline(Drawn { depth_stencil: Some(state), ..Drawn::default() });
        let green = canvas.color(&pipeline, GREEN_F)?;
        let seen = canvas.drawn_in(&descriptor, |pass| draw(pass, &pipeline, &green, &far, 6))?;
        same(&format!("{format:?} to be read"), &seen, &picture(GREEN, |x, _| x >= 4))?;
    }
    Ok(Value::Null)
}

fn stencil(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    for format in [GpuTextureFormat::Stencil8, GpuTextureFormat::Depth24plusStencil8] {
        let has_depth = format == GpuTextureFormat::Depth24plusStencil8;
        let view = depth_view(&canvas, format);
        let face = |compare, pass_op| GpuStencilFaceState {
            compare: Some(compare),
            fail_op: Some(GpuStencilOperation::Keep),
            depth_fail_op: Some(GpuStencilOperation::Keep),
            pass_op: Some(pass_op),
        };
        let state = |compare, pass_op| GpuDepthStencilState {
            depth_write_enabled: has_depth.then_some(false),
            depth_compare: has_depth.then_some(GpuCompareFunction::Always),
            stencil_front: Some(face(compare, pass_op)),
            stencil_back: Some(face(compare, pass_op)),
            stencil_read_mask: Some(0xff),
            stencil_write_mask: Some(0xff),
            ..depth_state(format, GpuCompareFunction::Always)
        };
        let with = |state| canvas.pipeline(Drawn { depth_stencil: Some(state), ..Drawn::default() });
        let marking = with(state(GpuCompareFunction::Always, GpuStencilOperation::Replace));
        let asking = with(state(GpuCompareFunction::Equal, GpuStencilOperation::IncrementClamp));
        let marked = canvas.color(&marking, GREEN_F)?;
        let (red, green) = (canvas.color(&asking, RED_F)?, canvas.color(&asking, GREEN_F)?);
        let (left, all) = (canvas.vertices(&rectangle(0.0, 0.0, 4.0, 8.0, 0.0))?, canvas.vertices(&all())?);
        let mut descriptor = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
        let plain = depth_attachment(&view, 1.0);
        descriptor.depth_stencil_attachment = Some(GpuRenderPassDepthStencilAttachment {
            depth_load_op: has_depth.then_some(GpuLoadOp::Clear),
            depth_store_op: has_depth.then_some(GpuStoreOp::Discard),
            depth_clear_value: has_depth.then_some(1.0),
            stencil_clear_value: Some(5),
            stencil_load_op: Some(GpuLoadOp::Clear),
            stencil_store_op: Some(GpuStoreOp::Store),
            ..plain
        });
        let seen = canvas.drawn_in(&descriptor, |pass| {
            call!(pass, set_stencil_reference, 7);
            draw(pass, &marking, &marked, &left, 6)?;
            draw(pass, &asking, &red, &all, 6)?;
            // The left half is 8 now, so that nothing is drawn; the right half is still 5.
            draw(pass, &asking, &green, &all, 6)
        })?;
        same(&format!("{format:?}"), &seen, &picture(RED, |x, _| x < 4))?;
    }
    Ok(Value::Null)
}

fn multisample(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let descriptor =
        GpuTextureDescriptor { sample_count: Some(4), ..make::texture(SIDE, SIDE, FORMAT, flags::RENDER_ATTACHMENT) };
    let samples = call!(canvas.stage.device, create_texture, &descriptor);
    let view = call!(samples, create_view, None);
    let state = |mask| GpuMultisampleState { count: Some(4), mask: Some(mask), alpha_to_coverage_enabled: Some(false) };
    let seen = |mask: u32, right: f32| -> Result<Vec<[u8; 4]>, String> {
        let pipeline = canvas.pipeline(Drawn { multisample: Some(state(mask)), ..Drawn::default() });
        let white = canvas.color(&pipeline, [1.0; 4])?;
        let vertices = canvas.vertices(&rectangle(0.0, 0.0, right, 8.0, 0.0))?;
        let attachment = GpuRenderPassColorAttachment {
            resolve_target: Some(&canvas.view),
            store_op: GpuStoreOp::Discard,
            ..make::attachment(&view, Some(make::BLACK))
        };
        canvas.drawn_in(&make::render_pass(attachment), |pass| draw(pass, &pipeline, &white, &vertices, 6))
    };
    same("whole pixels", &seen(!0, 4.0)?, &picture([255; 4], |x, _| x < 4))?;
    // Half a pixel is two samples of four, and so is a mask of two.
    let about_half = |pixel: &[u8; 4]| pixel.iter().all(|channel| (126..=129).contains(channel));
    let edge = seen(!0, 4.5)?;
    must(edge.iter().skip(4).step_by(8).all(about_half), "an edge through the middle of pixels is half covered")?;
    let masked = seen(0b0101, 8.0)?;
    must(masked.iter().all(about_half), "a mask of half the samples is half the colour")?;
    Ok(json!({ "edge": edge.get(4), "masked": masked.first() }))
}

fn refused(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let depth = depth_view(&canvas, GpuTextureFormat::Depth32float);
    let small = make::texture(4, 4, FORMAT, flags::RENDER_ATTACHMENT);
    let small = call!(call!(stage.device, create_texture, &small), create_view, None);
    let plain = canvas.pipeline(Drawn::default());
    let state = depth_state(GpuTextureFormat::Depth32float, GpuCompareFunction::Less);
    let with_depth = canvas.pipeline(Drawn { depth_stencil: Some(state), ..Drawn::default() });
    let pass =
        |what: &str, descriptor: &GpuRenderPassDescriptor<'_>, draw: &dyn Fn(&crate::webgpu::GpuRenderPassEncoder)| {
            stage.invalid(what, || {
                let encoder = stage.encoder();
                let pass = call!(encoder, begin_render_pass, descriptor);
                draw(&pass);
                call!(pass, end);
                stage.submit(&encoder);
            })
        };
    let usual = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
    let mut two_sizes = make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)));
    two_sizes.color_attachments.push(Some(make::attachment(&small, Some(make::BLACK))));
    let nothing =
        GpuRenderPassDescriptor { color_attachments: Vec::new(), ..make::render_pass(make::attachment(&small, None)) };
    let usual_with = |attachment| GpuRenderPassDescriptor {
        depth_stencil_attachment: Some(attachment),
        ..make::render_pass(make::attachment(&canvas.view, Some(make::BLACK)))
    };
    let no_value = GpuRenderPassDepthStencilAttachment { depth_clear_value: None, ..depth_attachment(&depth, 1.0) };
    Ok(json!({
        "viewport": pass("viewport", &usual, &|pass| call!(pass, set_viewport, 0.0, 0.0, -1.0, 8.0, 0.0, 1.0))?,
        "viewport_depth": pass("depth", &usual, &|pass| call!(pass, set_viewport, 0.0, 0.0, 8.0, 8.0, 0.5, 2.0))?,
        "viewport_no_number": pass("nan", &usual, &|pass| {
            call!(pass, set_viewport, f32::NAN, 0.0, 8.0, 8.0, 0.0, 1.0);
        })?,
        "scissors": pass("scissors", &usual, &|pass| call!(pass, set_scissor_rect, 4, 4, 8, 1))?,
        "scissors_overflow": pass("overflow", &usual, &|pass| {
            call!(pass, set_scissor_rect, u32::MAX, 1, u32::MAX, 1);
        })?,
        "other_depth": pass("a pipeline with depth", &usual, &|pass| call!(pass, set_pipeline, &with_depth))?,
        "no_depth": pass("a pipeline without", &usual_with(depth_attachment(&depth, 1.0)), &|pass| {
            call!(pass, set_pipeline, &plain);
        })?,
        "depth_too_great": pass("a depth of 2", &usual_with(depth_attachment(&depth, 2.0)), &|_| {})?,
        "no_depth_value": pass("no value", &usual_with(no_value), &|_| {})?,
        "two_sizes": pass("two sizes", &two_sizes, &|_| {})?,
        "nothing_to_draw_to": pass("nothing", &nothing, &|_| {})?,
        "depth_as_color": pass("depth as a colour", &make::render_pass(make::attachment(&depth, None)), &|_| {})?,
    }))
}
