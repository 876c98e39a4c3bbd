//! Pipelines: constants that are overridden, entry points, the calls that wait, and what is refused. Must not draw.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    CreatePipelineError, CreatePipelineErrorKind, GpuComputePipeline, GpuComputePipelineDescriptor, GpuLayoutMode,
    GpuPipelineErrorReason, GpuPrimitiveState, GpuProgrammableStage, GpuRenderPipelineDescriptor, GpuShaderModule,
    GpuTextureFormat, GpuVertexState, RecordGpuPipelineConstantValue,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("pipelines.record-of-constants", record),
    ("pipelines.constants", constants),
    ("pipelines.constants-refused", constants_refused),
    ("pipelines.entry-points", entry_points),
    ("pipelines.waiting", waiting),
    ("pipelines.render-waiting", render_waiting),
];

const CONSTANTS: &str = "
override width: u32 = 7u;
override scale: f32;
override flag: bool = false;
@id(42) override offset: i32 = -1;
override area = width * 2u;
@group(0) @binding(0) var<storage, read_write> told: array<u32, 5>;
@compute @workgroup_size(width) fn main(@builtin(local_invocation_index) index: u32) {
    if index == width - 1u {
        told = array<u32, 5>(width, bitcast<u32>(scale), select(0u, 1u, flag), bitcast<u32>(offset), area);
    }
}";

fn constants_of(pairs: &[(&str, f64)]) -> RecordGpuPipelineConstantValue {
    let record = call!(RecordGpuPipelineConstantValue => new);
    for (name, value) in pairs {
        call!(record, add, name, *value);
    }
    record
}

fn record(_: &Value) -> Saw {
    let record = call!(RecordGpuPipelineConstantValue => new);
    expect("an empty record", call!(record, entries), Vec::<(String, f64)>::new())?;
    call!(record, add, "one", 1.0);
    call!(record, add, "half", 0.5);
    call!(record, add, "one", 1.5);
    expect("a value", call!(record, get, "one"), Some(1.5))?;
    expect("no value", call!(record, get, "two"), None)?;
    must(call!(record, has, "half") && !call!(record, has, "two"), "it has what was added")?;
    let mut keys = call!(record, keys);
    keys.sort();
    expect("keys", keys, vec!["half", "one"])?;
    let mut values = call!(record, values);
    values.sort_by(f64::total_cmp);
    expect("values", values, vec![0.5, 1.5])?;
    let mut entries = call!(record, entries);
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    expect("entries", entries, vec![("half".to_owned(), 0.5), ("one".to_owned(), 1.5)])?;
    call!(record, remove, "one");
    call!(record, remove, "one");
    expect("what is left", call!(record, keys), vec!["half"])?;
    Ok(Value::Null)
}

fn with_constants(stage: &Stage, module: &GpuShaderModule, pairs: &[(&str, f64)]) -> GpuComputePipeline {
    let constants = Some(constants_of(pairs));
    stage.compute_stage(GpuProgrammableStage { constants, ..make::programmable(module, "main") })
}

fn constants(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let module = stage.shader(CONSTANTS);
    let told = |pairs: &[(&str, f64)]| -> Result<Vec<u32>, String> {
        stage.valid("constants", || {
            let pipeline = with_constants(&stage, &module, pairs);
            let words = stage.buffer(20, flags::STORAGE | flags::COPY_SRC);
            let group = stage.group(&pipeline, vec![make::bound(0, &words)]);
            stage.dispatch(&pipeline, &group, 1)?;
            stage.read_words(&words)
        })?
    };
    let minus = |number: i32| number.cast_unsigned();
    expect("defaults", told(&[("scale", 0.5)])?, vec![7, 0.5_f32.to_bits(), 0, minus(-1), 14])?;
    let all = told(&[("width", 64.0), ("scale", -2.25), ("flag", 1.0), ("42", -77.0)])?;
    expect("all", all, vec![64, (-2.25_f32).to_bits(), 1, minus(-77), 128])?;
    expect("one given", told(&[("scale", 1.0), ("area", 3.0)])?, vec![7, 1.0_f32.to_bits(), 0, minus(-1), 3])?;
    Ok(Value::Null)
}

fn constants_refused(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let module = stage.shader(CONSTANTS);
    let refused = |pairs: &[(&str, f64)]| {
        stage.invalid(&format!("constants {pairs:?}"), || with_constants(&stage, &module, pairs))
    };
    Ok(json!({
        "missing": refused(&[])?,
        "unknown": refused(&[("scale", 1.0), ("height", 1.0)])?,
        "by_name_instead_of_number": refused(&[("scale", 1.0), ("offset", 1.0)])?,
        "not_finite": refused(&[("scale", f64::INFINITY)])?,
        "no_number": refused(&[("scale", f64::NAN)])?,
        "out_of_range": refused(&[("scale", 1.0), ("width", -1.0)])?,
        "too_wide": refused(&[("scale", 1.0), ("width", 257.0)])?,
        "no_width": refused(&[("scale", 1.0), ("width", 0.0)])?,
    }))
}

fn entry_points(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let only = stage.shader("@compute @workgroup_size(1) fn only() {}");
    let two = stage.shader("@compute @workgroup_size(1) fn a() {}\n@compute @workgroup_size(1) fn b() {}");
    let with = |module, entry_point: Option<&str>| {
        let entry_point = entry_point.map(str::to_owned);
        stage.compute_stage(GpuProgrammableStage { module, entry_point, constants: None })
    };
    stage.valid("the only one", || with(&only, None))?;
    stage.valid("one by its name", || with(&two, Some("b")))?;
    let broken = stage.error_of(crate::webgpu::GpuErrorFilter::Validation, || stage.shader("fn"))?.0;
    Ok(json!({
        "which": stage.invalid("which", || with(&two, None))?,
        "unknown": stage.invalid("unknown", || with(&only, Some("other")))?,
        "empty": stage.invalid("empty", || with(&only, Some("")))?,
        "broken_module": stage.invalid("broken", || with(&broken, None))?,
    }))
}

/// The pipeline's error, which must be one of validation, with a text; nothing may reach the error scopes.
fn refusal<T>(made: Result<T, CreatePipelineError>) -> Result<String, String> {
    match made {
        Ok(_) => Err("the pipeline was made".to_owned()),
        Err(error) => {
            let CreatePipelineErrorKind::GpuPipelineError(reason) = error.kind;
            must(matches!(reason, GpuPipelineErrorReason::Validation), "it is a validation error")?;
            must(!error.message.is_empty(), "the error says something")?;
            Ok(error.message)
        }
    }
}

fn waiting(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let module = stage.shader(
        "
@group(0) @binding(0) var<storage, read_write> word: u32;
@compute @workgroup_size(1) fn main() { word = 0xc0ffeeu; }",
    );
    let make = |entry_point: &str| {
        let compute = make::programmable(&module, entry_point);
        let descriptor = GpuComputePipelineDescriptor { compute, layout: GpuLayoutMode::Auto, label: None };
        call!(stage.device, create_compute_pipeline_async, descriptor)
    };
    let pipeline = stage.valid("the pipeline", || make("main"))?.map_err(|error| error.message)?;
    let word = stage.buffer(4, flags::STORAGE | flags::COPY_SRC);
    let group = stage.group(&pipeline, vec![make::bound(0, &word)]);
    stage.valid("the dispatch", || stage.dispatch(&pipeline, &group, 1))??;
    expect("the word", stage.read_words(&word)?, vec![0x00c0_ffee])?;
    let refused = refusal(stage.valid("no error for the scopes", || make("other"))?)?;
    Ok(json!({ "refused": refused }))
}

fn render_waiting(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let module = stage.shader(
        "
@vertex fn vertex() -> @builtin(position) vec4<f32> { return vec4<f32>(0.0, 0.0, 0.0, 1.0); }
@fragment fn fragment() -> @location(0) vec4<f32> { return vec4<f32>(1.0); }",
    );
    let make = |vertex: &str, format| {
        let fragment = crate::webgpu::GpuFragmentState {
            targets: vec![Some(make::target(format))],
            module: &module,
            entry_point: Some("fragment".to_owned()),
            constants: None,
        };
        let descriptor = GpuRenderPipelineDescriptor {
            vertex: GpuVertexState {
                buffers: None,
                module: &module,
                entry_point: Some(vertex.to_owned()),
                constants: None,
            },
            primitive: Some(GpuPrimitiveState {
                topology: None,
                strip_index_format: None,
                front_face: None,
                cull_mode: None,
                unclipped_depth: None,
            }),
            depth_stencil: None,
            multisample: None,
            fragment: Some(fragment),
            layout: GpuLayoutMode::Auto,
            label: None,
        };
        call!(stage.device, create_render_pipeline_async, descriptor)
    };
    let format = GpuTextureFormat::Rgba8unorm;
    stage.valid("the pipeline", || make("vertex", format))?.map_err(|error| error.message)?;
    let no_such = refusal(stage.valid("no error for the scopes", || make("fragment", format))?)?;
    let other = GpuTextureFormat::Rgba8uint;
    let not_drawn_to = refusal(stage.valid("no error for the scopes", || make("vertex", other))?)?;
    Ok(json!({ "no_such": no_such, "wrong_format": not_drawn_to }))
}
