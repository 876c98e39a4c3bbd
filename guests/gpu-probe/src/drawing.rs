//! Draws of all kinds: which pixels a triangle covers, vertices and indices from buffers, arguments from buffers. No vertex
//! lies so that the edge of a triangle meets the middle of a pixel: what is covered is exact on every device.

use serde_json::{Value, json};

use crate::canvas::{self, Canvas, Drawn, GREEN, RED, picture, same};
use crate::make::{self, flags};
use crate::webgpu::{
    GpuBindGroupDescriptor, GpuCullMode, GpuFragmentState, GpuFrontFace, GpuIndexFormat, GpuLayoutMode,
    GpuPrimitiveState, GpuPrimitiveTopology, GpuRenderPipelineDescriptor, GpuVertexAttribute, GpuVertexBufferLayout,
    GpuVertexFormat, GpuVertexState, GpuVertexStepMode,
};
use crate::{Saw, Scenario, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("drawing.triangle", triangle),
    ("drawing.topologies", topologies),
    ("drawing.culling", culling),
    ("drawing.indexed", indexed),
    ("drawing.instances", instances),
    ("drawing.indirect", indirect),
    ("drawing.textured", textured),
    ("drawing.refused", refused),
];

/// Colours as shaders know them.
pub(crate) const RED_F: [f32; 4] = [1.0, 0.0, 0.0, 1.0];
pub(crate) const GREEN_F: [f32; 4] = [0.0, 1.0, 0.0, 1.0];

/// The lower left half: its long edge passes between the middles of pixels.
fn half() -> [[f32; 3]; 3] {
    [[0.0, 8.0, 0.0], [7.5, 8.0, 0.0], [0.0, 0.5, 0.0]]
}

fn in_half(x: u32, y: u32) -> bool {
    y > x
}

fn triangle(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let (red, half) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(&half())?);
    let seen = canvas.drawn(|pass| canvas::draw(pass, &pipeline, &red, &half, 3))?;
    same("the triangle", &seen, &picture(RED, in_half))?;
    let covered = seen.iter().filter(|pixel| **pixel == RED).count();
    // Colours are rounded to the nearest of 255 steps.
    let grey = canvas.color(&pipeline, [0.2, 0.4, 0.6, 0.8])?;
    let seen = canvas.drawn(|pass| canvas::draw(pass, &pipeline, &grey, &half, 3))?;
    same("another colour", &seen, &picture([51, 102, 153, 204], in_half))?;
    Ok(json!({ "covered": covered }))
}

fn primitive(topology: GpuPrimitiveTopology, strip: Option<GpuIndexFormat>) -> Drawn {
    let primitive = GpuPrimitiveState {
        topology: Some(topology),
        strip_index_format: strip,
        front_face: None,
        cull_mode: None,
        unclipped_depth: Some(false),
    };
    Drawn { primitive: Some(primitive), ..Drawn::default() }
}

fn topologies(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let seen = |drawn: Drawn, places: &[[f32; 3]]| -> Result<Vec<[u8; 4]>, String> {
        let pipeline = canvas.pipeline(drawn);
        let (red, vertices) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(places)?);
        let count = u32::try_from(places.len()).unwrap_or(0);
        canvas.drawn(|pass| canvas::draw(pass, &pipeline, &red, &vertices, count))
    };
    let points = seen(primitive(GpuPrimitiveTopology::PointList, None), &[[2.5, 3.5, 0.0], [7.5, 0.5, 0.0]])?;
    same("points", &points, &picture(RED, |x, y| matches!((x, y), (2, 3) | (7, 0))))?;
    let corners = [[1.0, 1.0, 0.0], [1.0, 7.0, 0.0], [5.0, 1.0, 0.0], [5.0, 7.0, 0.0]];
    let strip = seen(primitive(GpuPrimitiveTopology::TriangleStrip, None), &corners)?;
    same("a strip", &strip, &picture(RED, |x, y| (1..5).contains(&x) && (1..7).contains(&y)))?;
    // Which pixels a line touches is left to devices; that it touches its row is not.
    let line = seen(primitive(GpuPrimitiveTopology::LineList, None), &[[0.0, 4.5, 0.0], [8.0, 4.5, 0.0]])?;
    let row = line.chunks(8).nth(4).unwrap_or_default().iter().filter(|pixel| **pixel == RED).count();
    must(row >= 7, "a line covers its row")?;
    let lines =
        seen(primitive(GpuPrimitiveTopology::LineStrip, None), &[[0.5, 2.5, 0.0], [6.5, 2.5, 0.0], [6.5, 6.5, 0.0]])?;
    must(lines.contains(&RED), "a strip of lines is seen")?;
    Ok(Value::Null)
}

fn culling(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    // In pixels, whose y points down, this triangle turns counter-clockwise as seen.
    for (front_face, cull_mode, is_seen) in [
        (GpuFrontFace::Ccw, GpuCullMode::None, true),
        (GpuFrontFace::Ccw, GpuCullMode::Back, true),
        (GpuFrontFace::Ccw, GpuCullMode::Front, false),
        (GpuFrontFace::Cw, GpuCullMode::Back, false),
        (GpuFrontFace::Cw, GpuCullMode::Front, true),
    ] {
        let primitive = GpuPrimitiveState {
            topology: None,
            strip_index_format: None,
            front_face: Some(front_face),
            cull_mode: Some(cull_mode),
            unclipped_depth: None,
        };
        let pipeline = canvas.pipeline(Drawn { primitive: Some(primitive), ..Drawn::default() });
        let (red, vertices) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(&half())?);
        let seen = canvas.drawn(|pass| canvas::draw(pass, &pipeline, &red, &vertices, 3))?;
        let wanted = picture(RED, |x, y| is_seen && in_half(x, y));
        same(&format!("{front_face:?} {cull_mode:?}"), &seen, &wanted)?;
    }
    Ok(Value::Null)
}

fn indexed(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let red = canvas.color(&pipeline, RED_F)?;
    // One vertex that is in nobody's way, then the corners of the left half and of the right one.
    let places = [[0.0, 0.0], [0.0, 8.0], [4.0, 0.0], [4.0, 8.0], [8.0, 0.0], [8.0, 8.0]];
    let mut vertices = vec![[99.0, 99.0, 0.0]];
    vertices.extend(places.map(|[x, y]| [x, y, 0.0]));
    let vertices = canvas.vertices(&vertices)?;
    let short: [u16; 8] = [77, 77, 0, 1, 2, 2, 1, 3];
    let short = canvas.stage.buffer_of(bytemuck::cast_slice(&short), flags::INDEX)?;
    let long = canvas.stage.words(&[77, 2, 3, 4, 4, 3, 5], flags::INDEX)?;
    let seen = canvas.drawn(|pass| {
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&red), None, None, None).map_err(|error| error.message)?;
        call!(pass, set_vertex_buffer, 0, Some(&vertices), Some(canvas::VERTEX_BYTES), None);
        call!(pass, set_index_buffer, &short, GpuIndexFormat::Uint16, Some(4), Some(12));
        call!(pass, draw_indexed, 6, None, None, None, None);
        Ok(())
    })?;
    same("short indices", &seen, &picture(RED, |x, _| x < 4))?;
    let seen = canvas.drawn(|pass| {
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&red), None, None, None).map_err(|error| error.message)?;
        call!(pass, set_vertex_buffer, 0, Some(&vertices), None, None);
        call!(pass, set_index_buffer, &long, GpuIndexFormat::Uint32, None, None);
        call!(pass, draw_indexed, 6, Some(1), Some(1), Some(1), Some(0));
        Ok(())
    })?;
    same("long indices from a base", &seen, &picture(RED, |x, _| x >= 4))?;
    Ok(Value::Null)
}

const INSTANCED: &str = "
struct Seen { @builtin(position) place: vec4<f32>, @location(0) @interpolate(flat) color: vec4<f32> }
@vertex fn vertex(@location(0) place: vec3<f32>, @location(3) shift: vec2<f32>, @location(1) color: vec4<f32>) -> Seen {
    return Seen(vec4<f32>(place.xy + shift, place.z, 1.0), color);
}
@fragment fn fragment(seen: Seen) -> @location(0) vec4<f32> { return seen.color; }";

/// Two buffers, one of which advances by instance.
fn instances(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let attribute = |format, offset, shader_location| GpuVertexAttribute { format, offset, shader_location };
    let module = stage.shader(INSTANCED);
    let buffers = vec![
        Some(GpuVertexBufferLayout {
            array_stride: canvas::VERTEX_BYTES,
            step_mode: None,
            attributes: vec![attribute(GpuVertexFormat::Float32x3, 0, 0)],
        }),
        None,
        Some(GpuVertexBufferLayout {
            array_stride: 12,
            step_mode: Some(GpuVertexStepMode::Instance),
            attributes: vec![attribute(GpuVertexFormat::Float32x2, 0, 3), attribute(GpuVertexFormat::Unorm8x4, 8, 1)],
        }),
    ];
    let pipeline = stage.valid("the pipeline", || {
        let entry = |name: &str| Some(name.to_owned());
        let targets = vec![Some(make::target(canvas::FORMAT))];
        call!(
            stage.device,
            create_render_pipeline,
            GpuRenderPipelineDescriptor {
                vertex: GpuVertexState {
                    buffers: Some(buffers),
                    module: &module,
                    entry_point: entry("vertex"),
                    constants: None,
                },
                primitive: None,
                depth_stencil: None,
                multisample: None,
                fragment: Some(GpuFragmentState {
                    targets,
                    module: &module,
                    entry_point: entry("fragment"),
                    constants: None,
                }),
                layout: GpuLayoutMode::Auto,
                label: None,
            }
        )
    })?;
    let pixel = canvas.vertices(&canvas::rectangle(0.0, 0.0, 1.0, 1.0, 0.0))?;
    let shift = |x: f32, y: f32| [(x / 4.0).to_bits(), (-y / 4.0).to_bits()];
    let mut each: Vec<u32> = Vec::new();
    for (x, y, color) in [(0.0, 0.0, RED), (3.0, 2.0, RED), (5.0, 6.0, GREEN), (7.0, 7.0, GREEN)] {
        each.extend(shift(x, y));
        each.push(u32::from_le_bytes(color));
    }
    let each = stage.words(&each, flags::VERTEX)?;
    let seen = canvas.drawn(|pass| {
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_vertex_buffer, 0, Some(&pixel), None, None);
        call!(pass, set_vertex_buffer, 1, None, None, None);
        call!(pass, set_vertex_buffer, 2, Some(&each), None, None);
        call!(pass, draw, 6, Some(2), Some(0), Some(1));
        Ok(())
    })?;
    let wanted: Vec<_> = picture(RED, |x, y| (x, y) == (3, 2))
        .into_iter()
        .zip(picture(GREEN, |x, y| (x, y) == (5, 6)))
        .map(|(red, green)| if green == GREEN { green } else { red })
        .collect();
    same("two instances", &seen, &wanted)?;
    Ok(Value::Null)
}

fn indirect(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let red = canvas.color(&pipeline, RED_F)?;
    let mut places = canvas::rectangle(0.0, 0.0, 4.0, 8.0, 0.0).to_vec();
    places.extend(canvas::rectangle(4.0, 0.0, 8.0, 8.0, 0.0));
    let vertices = canvas.vertices(&places)?;
    let indices = canvas.stage.words(&[0, 1, 2, 3, 4, 5], flags::INDEX)?;
    // Vertices, instances, first vertex, first instance; then indices, instances, first index, base vertex, instance.
    let arguments = canvas.stage.words(&[6, 1, 6, 0, 99, 6, 1, 0, 0, 0], flags::INDIRECT)?;
    let begin = |pass: &crate::webgpu::GpuRenderPassEncoder| -> Result<(), String> {
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&red), None, None, None).map_err(|error| error.message)?;
        call!(pass, set_vertex_buffer, 0, Some(&vertices), None, None);
        call!(pass, set_index_buffer, &indices, GpuIndexFormat::Uint32, None, None);
        Ok(())
    };
    let seen = canvas.drawn(|pass| {
        begin(pass)?;
        call!(pass, draw_indirect, &arguments, 0);
        Ok(())
    })?;
    same("vertices", &seen, &picture(RED, |x, _| x >= 4))?;
    let seen = canvas.drawn(|pass| {
        begin(pass)?;
        call!(pass, draw_indexed_indirect, &arguments, 20);
        Ok(())
    })?;
    same("indices", &seen, &picture(RED, |x, _| x < 4))?;
    Ok(Value::Null)
}

/// A picture drawn from another picture.
fn textured(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let stage = &canvas.stage;
    let module = stage.shader(
        "
@group(0) @binding(0) var image: texture_2d<f32>;
@group(0) @binding(1) var its_sampler: sampler;
@vertex fn vertex(@builtin(vertex_index) index: u32) -> @builtin(position) vec4<f32> {
    return vec4<f32>(f32(index & 1u) * 4.0 - 1.0, f32(index >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}
@fragment fn fragment(@builtin(position) place: vec4<f32>) -> @location(0) vec4<f32> {
    return textureSample(image, its_sampler, place.yx / 8.0);
}",
    );
    let pipeline = stage.valid("the pipeline", || {
        let entry = |name: &str| Some(name.to_owned());
        let targets = vec![Some(make::target(canvas::FORMAT))];
        call!(
            stage.device,
            create_render_pipeline,
            GpuRenderPipelineDescriptor {
                vertex: GpuVertexState {
                    buffers: None,
                    module: &module,
                    entry_point: entry("vertex"),
                    constants: None
                },
                primitive: None,
                depth_stencil: None,
                multisample: None,
                fragment: Some(GpuFragmentState {
                    targets,
                    module: &module,
                    entry_point: entry("fragment"),
                    constants: None,
                }),
                layout: GpuLayoutMode::Auto,
                label: None,
            }
        )
    })?;
    let plain = canvas.pipeline(Drawn::default());
    let (red, half) = (canvas.color(&plain, RED_F)?, canvas.vertices(&half())?);
    canvas.drawn(|pass| canvas::draw(pass, &plain, &red, &half, 3))?;
    let usage = flags::RENDER_ATTACHMENT | flags::TEXTURE_COPY_SRC;
    let target = call!(stage.device, create_texture, &make::texture(8, 8, canvas::FORMAT, usage));
    let view = call!(target, create_view, None);
    stage.valid("drawing", || -> Result<(), String> {
        let sampler = call!(stage.device, create_sampler, None);
        let layout = call!(pipeline, get_bind_group_layout, 0);
        let entries = vec![make::bound_view(0, &canvas.view), make::bound_sampler(1, &sampler)];
        let descriptor = GpuBindGroupDescriptor { layout: &layout, entries, label: None };
        let group = call!(stage.device, create_bind_group, &descriptor);
        let encoder = stage.encoder();
        let attachment = make::attachment(&view, Some(make::BLACK));
        let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&group), None, None, None).map_err(|error| error.message)?;
        call!(pass, draw, 3, None, None, None);
        call!(pass, end);
        stage.submit(&encoder);
        Ok(())
    })??;
    same("the turned picture", &stage.texels(&target)?, &picture(RED, |x, y| in_half(y, x)))?;
    Ok(Value::Null)
}

fn refused(_: &Value) -> Saw {
    let canvas = Canvas::new()?;
    let pipeline = canvas.pipeline(Drawn::default());
    let (red, half) = (canvas.color(&pipeline, RED_F)?, canvas.vertices(&half())?);
    let pass = |what: &str, draw: &dyn Fn(&crate::webgpu::GpuRenderPassEncoder)| {
        canvas.stage.invalid(what, || {
            let encoder = canvas.stage.encoder();
            let attachment = make::attachment(&canvas.view, Some(make::BLACK));
            let pass = call!(encoder, begin_render_pass, &make::render_pass(attachment));
            draw(&pass);
            call!(pass, end);
            canvas.stage.submit(&encoder);
        })
    };
    Ok(json!({
        "no_pipeline": pass("no pipeline", &|pass| call!(pass, draw, 3, None, None, None))?,
        "no_group": pass("no group", &|pass| {
            call!(pass, set_pipeline, &pipeline);
            call!(pass, set_vertex_buffer, 0, Some(&half), None, None);
            call!(pass, draw, 3, None, None, None);
        })?,
        "no_vertices": pass("no vertices", &|pass| {
            call!(pass, set_pipeline, &pipeline);
            call!(pass, set_bind_group, 0, Some(&red), None, None, None).ok();
            call!(pass, draw, 3, None, None, None);
        })?,
        "too_few_vertices": pass("too few", &|pass| {
            canvas::draw(pass, &pipeline, &red, &half, 4).ok();
        })?,
        "no_indices": pass("no indices", &|pass| {
            canvas::draw(pass, &pipeline, &red, &half, 3).ok();
            call!(pass, draw_indexed, 3, None, None, None, None);
        })?,
        "vertices_are_no_indices": pass("no indices", &|pass| {
            call!(pass, set_index_buffer, &half, GpuIndexFormat::Uint16, None, None);
        })?,
        "far_slot": pass("a slot past the limit", &|pass| {
            call!(pass, set_vertex_buffer, 8, Some(&half), None, None);
        })?,
        "part_past_the_end": pass("a part past the end", &|pass| {
            call!(pass, set_vertex_buffer, 0, Some(&half), Some(36), Some(4));
        })?,
    }))
}
