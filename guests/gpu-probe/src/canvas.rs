//! A small picture and what draws on it: rectangles and triangles given in pixels, in one colour each. Must not know
//! scenarios.

use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    GpuBindGroup, GpuBindGroupDescriptor, GpuBuffer, GpuColorTargetState, GpuDepthStencilState, GpuFragmentState,
    GpuLayoutMode, GpuMultisampleState, GpuPrimitiveState, GpuRenderPassDescriptor, GpuRenderPassEncoder,
    GpuRenderPipeline, GpuRenderPipelineDescriptor, GpuTexture, GpuTextureFormat, GpuTextureView, GpuVertexAttribute,
    GpuVertexBufferLayout, GpuVertexFormat, GpuVertexState, GpuVertexStepMode,
};

/// Width and height, pixels.
pub(crate) const SIDE: u32 = 8;
pub(crate) const FORMAT: GpuTextureFormat = GpuTextureFormat::Rgba8unorm;
/// Bytes of one vertex: three floats.
pub(crate) const VERTEX_BYTES: u64 = 12;

pub(crate) const NOTHING: [u8; 4] = [0; 4];
pub(crate) const RED: [u8; 4] = [255, 0, 0, 255];
pub(crate) const GREEN: [u8; 4] = [0, 255, 0, 255];

const SHADER: &str = "
@group(0) @binding(0) var<uniform> color: vec4<f32>;
@vertex fn vertex(@location(0) place: vec3<f32>) -> @builtin(position) vec4<f32> { return vec4<f32>(place, 1.0); }
@fragment fn fragment() -> @location(0) vec4<f32> { return color; }";

/// The picture.
pub(crate) struct Canvas {
    pub(crate) stage: Stage,
    pub(crate) texture: GpuTexture,
    pub(crate) view: GpuTextureView,
}

/// How a pipeline differs from one that simply draws.
#[derive(Default)]
pub(crate) struct Drawn {
    pub(crate) target: Option<GpuColorTargetState>,
    pub(crate) depth_stencil: Option<GpuDepthStencilState>,
    pub(crate) multisample: Option<GpuMultisampleState>,
    pub(crate) primitive: Option<GpuPrimitiveState>,
}

impl Canvas {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Self::on(Stage::new()?))
    }

    pub(crate) fn on(stage: Stage) -> Self {
        let usage = flags::RENDER_ATTACHMENT | flags::TEXTURE_COPY_SRC | flags::TEXTURE_BINDING;
        let texture = call!(stage.device, create_texture, &make::texture(SIDE, SIDE, FORMAT, usage));
        let view = call!(texture, create_view, None);
        Self { stage, texture, view }
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is written where it is used")]
    pub(crate) fn pipeline(&self, drawn: Drawn) -> GpuRenderPipeline {
        let module = self.stage.shader(SHADER);
        let layout = GpuVertexBufferLayout {
            array_stride: VERTEX_BYTES,
            step_mode: Some(GpuVertexStepMode::Vertex),
            attributes: vec![GpuVertexAttribute { format: GpuVertexFormat::Float32x3, offset: 0, shader_location: 0 }],
        };
        let descriptor = GpuRenderPipelineDescriptor {
            vertex: GpuVertexState {
                buffers: Some(vec![Some(layout)]),
                module: &module,
                entry_point: Some("vertex".to_owned()),
                constants: None,
            },
            primitive: drawn.primitive,
            depth_stencil: drawn.depth_stencil,
            multisample: drawn.multisample,
            fragment: Some(GpuFragmentState {
                targets: vec![Some(drawn.target.unwrap_or_else(|| make::target(FORMAT)))],
                module: &module,
                entry_point: Some("fragment".to_owned()),
                constants: None,
            }),
            layout: GpuLayoutMode::Auto,
            label: None,
        };
        call!(self.stage.device, create_render_pipeline, descriptor)
    }

    /// The group that gives `pipeline` a colour.
    pub(crate) fn color(&self, pipeline: &GpuRenderPipeline, color: [f32; 4]) -> Result<GpuBindGroup, String> {
        let uniform = self.stage.buffer_of(bytemuck::cast_slice(&color), flags::UNIFORM)?;
        let layout = call!(pipeline, get_bind_group_layout, 0);
        let entries = vec![make::bound(0, &uniform)];
        let descriptor = GpuBindGroupDescriptor { layout: &layout, entries, label: None };
        Ok(call!(self.stage.device, create_bind_group, &descriptor))
    }

    /// Vertices at these places: pixels from the upper left corner, and a depth.
    pub(crate) fn vertices(&self, places: &[[f32; 3]]) -> Result<GpuBuffer, String> {
        let half = SIDE as f32 / 2.0;
        let clip: Vec<f32> = places.iter().flat_map(|[x, y, z]| [x / half - 1.0, 1.0 - y / half, *z]).collect();
        self.stage.buffer_of(bytemuck::cast_slice(&clip), flags::VERTEX)
    }

    /// Draws in one pass that begins with an empty picture, and tells the picture.
    pub(crate) fn drawn(
        &self,
        draw: impl FnOnce(&GpuRenderPassEncoder) -> Result<(), String>,
    ) -> Result<Vec<[u8; 4]>, String> {
        self.drawn_in(&make::render_pass(make::attachment(&self.view, Some(make::BLACK))), draw)
    }

    /// The same in a pass of another kind.
    pub(crate) fn drawn_in(
        &self,
        descriptor: &GpuRenderPassDescriptor<'_>,
        draw: impl FnOnce(&GpuRenderPassEncoder) -> Result<(), String>,
    ) -> Result<Vec<[u8; 4]>, String> {
        self.stage.valid("drawing", || -> Result<(), String> {
            let encoder = self.stage.encoder();
            let pass = call!(encoder, begin_render_pass, descriptor);
            draw(&pass)?;
            call!(pass, end);
            self.stage.submit(&encoder);
            Ok(())
        })??;
        self.stage.texels(&self.texture)
    }
}

/// Sets pipeline, colour and vertices, and draws `count` of them.
pub(crate) fn draw(
    pass: &GpuRenderPassEncoder,
    pipeline: &GpuRenderPipeline,
    color: &GpuBindGroup,
    vertices: &GpuBuffer,
    count: u32,
) -> Result<(), String> {
    call!(pass, set_pipeline, pipeline);
    call!(pass, set_bind_group, 0, Some(color), None, None, None).map_err(|error| error.message)?;
    call!(pass, set_vertex_buffer, 0, Some(vertices), None, None);
    call!(pass, draw, count, None, None, None);
    Ok(())
}

/// Two triangles that cover a rectangle.
pub(crate) fn rectangle(left: f32, top: f32, right: f32, bottom: f32, depth: f32) -> [[f32; 3]; 6] {
    let [upper_left, upper_right] = [[left, top, depth], [right, top, depth]];
    let [lower_left, lower_right] = [[left, bottom, depth], [right, bottom, depth]];
    [upper_left, lower_left, upper_right, upper_right, lower_left, lower_right]
}

/// The whole picture.
pub(crate) fn all() -> [[f32; 3]; 6] {
    rectangle(0.0, 0.0, SIDE as f32, SIDE as f32, 0.5)
}

/// A picture with `color` where it holds and nothing elsewhere.
pub(crate) fn picture(color: [u8; 4], holds: impl Fn(u32, u32) -> bool) -> Vec<[u8; 4]> {
    let places = (0..SIDE).flat_map(|y| (0..SIDE).map(move |x| (x, y)));
    places.map(|(x, y)| if holds(x, y) { color } else { NOTHING }).collect()
}

/// Fails at the first pixel that differs.
pub(crate) fn same(what: &str, found: &[[u8; 4]], wanted: &[[u8; 4]]) -> Result<(), String> {
    if found.len() != wanted.len() {
        return Err(format!("{what}: {} pixels instead of {}", found.len(), wanted.len()));
    }
    let differs = (0..).zip(found.iter().zip(wanted)).find(|(_, (found, wanted))| found != wanted);
    match differs {
        None => Ok(()),
        Some((place, (found, wanted))) => {
            let (x, y) = (place % SIDE, place / SIDE);
            Err(format!("{what}: pixel {x},{y} is {found:?} instead of {wanted:?}"))
        }
    }
}
