//! What the compiler says of a shader, and where. Must not run shaders.

use serde_json::{Value, json};

use crate::stage::Stage;
use crate::webgpu::{
    GpuCompilationMessageType, GpuErrorFilter, GpuLayoutMode, GpuShaderModule, GpuShaderModuleCompilationHint,
    GpuShaderModuleDescriptor,
};
use crate::{Saw, Scenario, expect, make, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("compilation.nothing-to-say", nothing_to_say),
    ("compilation.an-error-and-its-place", an_error_and_its_place),
    ("compilation.utf-16", utf16),
    ("compilation.several-errors", several_errors),
    ("compilation.hints", hints),
];

/// A message as it was told.
#[derive(Debug)]
struct Told {
    message: String,
    line: u64,
    position: u64,
    offset: u64,
    length: u64,
}

/// The errors among the messages.
fn errors(module: &GpuShaderModule) -> Vec<Told> {
    let info = call!(module, get_compilation_info);
    let messages = call!(info, messages);
    let errors = messages.iter().filter(|message| matches!(call!(message, type_), GpuCompilationMessageType::Error));
    errors
        .map(|message| Told {
            message: call!(message, message),
            line: call!(message, line_num),
            position: call!(message, line_pos),
            offset: call!(message, offset),
            length: call!(message, length),
        })
        .collect()
}

fn nothing_to_say(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let module = stage.valid("a good shader", || stage.shader("@compute @workgroup_size(1) fn main() {}"))?;
    expect("errors", errors(&module).len(), 0)?;
    let module = stage.valid("an empty shader", || stage.shader(""))?;
    expect("errors", errors(&module).len(), 0)?;
    Ok(Value::Null)
}

/// The one error of `code`, whose place must be that of `part`.
fn error_at(stage: &Stage, code: &str, part: &str) -> Result<Told, String> {
    let (module, error) = stage.error_of(GpuErrorFilter::Validation, || stage.shader(code))?;
    must(error.is_some(), "a bad shader is a validation error")?;
    let told = errors(&module).into_iter().next().ok_or("the compiler says nothing")?;
    let units = |text: &str| text.encode_utf16().count() as u64;
    let start = code.find(part).ok_or("the part is not in the code")?;
    let (before, line_start) = (code.get(..start).unwrap_or_default(), code.get(..start).and_then(|it| it.rfind('\n')));
    let line = before.matches('\n').count() as u64 + 1;
    let position = units(before.get(line_start.map_or(0, |place| place + 1)..).unwrap_or_default()) + 1;
    expect("line", told.line, line)?;
    expect("position in the line", told.position, position)?;
    expect("offset", told.offset, units(before))?;
    expect("length", told.length, units(part))?;
    must(!told.message.is_empty(), "the message says something")?;
    Ok(told)
}

fn an_error_and_its_place(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "// the first line\nfn one() -> u32 {\n    return 1u;\n}\nfn two() -> u32 {\n    return nonsense;\n}\n";
    let told = error_at(&stage, code, "nonsense")?;
    must(told.message.contains("nonsense"), "the message names it")?;
    Ok(json!({ "message": told.message }))
}

/// Offsets and lengths count UTF-16 code units, as JavaScript's strings do, whatever the host counts in.
fn utf16(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "// \u{e9}\u{20ac}\u{1f600}\nfn one() -> u32 { /* \u{e9}\u{20ac}\u{1f600} */ return unheard_of; }\n";
    error_at(&stage, code, "unheard_of")?;
    // Names may have letters of any script.
    let code = "fn one() -> u32 { return \u{3b4}\u{3ad}\u{3bb}\u{3c4}\u{3b1}; }\n";
    let told = error_at(&stage, code, "\u{3b4}\u{3ad}\u{3bb}\u{3c4}\u{3b1}")?;
    Ok(json!({ "message": told.message }))
}

fn several_errors(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let mut told = Vec::new();
    for code in [
        "fn",
        "@compute fn main() {}",
        "@compute @workgroup_size(1) fn main() { let x: i32 = 1.5; }",
        "@compute @workgroup_size(1) fn main() { loop {} }",
        "struct A { a: A }",
        "@group(0) @binding(0) var<uniform> a: array<u32, 3>;",
        "var<private> a: array<u32, 0>;",
        "@fragment fn main() -> @location(0) vec4<f32> { return textureSample(a, b, vec2<f32>()); }",
        "enable no_such_extension;",
        "\u{0}",
        "@compute @workgroup_size(1) fn main() { main(); }",
        "const a = 1 / 0;",
        "@compute @workgroup_size(1000000, 1000000, 1000000) fn main() {}",
    ] {
        let (module, error) = stage.error_of(GpuErrorFilter::Validation, || stage.shader(code))?;
        let errors = errors(&module);
        // Some are found when a pipeline is made; what the device refuses, the compiler has something to say about.
        must(error.is_some() != errors.is_empty(), &format!("both say the same of {code:?}"))?;
        for told in &errors {
            let length = code.encode_utf16().count() as u64;
            must(told.offset + told.length <= length, &format!("{told:?} lies within {code:?}"))?;
        }
        told.push(json!([code, errors.first().map(|told| told.message.clone())]));
    }
    Ok(Value::Array(told))
}

fn hints(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let hint =
        |entry_point: &str, layout| GpuShaderModuleCompilationHint { entry_point: entry_point.to_owned(), layout };
    let descriptor = GpuShaderModuleDescriptor {
        compilation_hints: Some(vec![hint("main", Some(GpuLayoutMode::Auto)), hint("main", None)]),
        label: Some("with hints".to_owned()),
        ..make::shader("@compute @workgroup_size(1) fn main() {}")
    };
    let module = stage.valid("hints", || call!(stage.device, create_shader_module, &descriptor))?;
    expect("the label", call!(module, label), "with hints")?;
    stage.valid("the pipeline", || stage.compute_stage(make::programmable(&module, "main")))?;
    Ok(Value::Null)
}
