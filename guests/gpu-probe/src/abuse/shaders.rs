//! Shaders that are made to break what compiles them. But for the one that is too long, they stay within the length that a
//! host takes by default.

use serde_json::{Value, json};

use super::{errors_of, number};
use crate::make::{self, flags};
use crate::stage::Stage;
use crate::{Saw, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("abuse.workgroup-memory", workgroup_memory),
    ("abuse.private-memory", private_memory),
    ("abuse.function-memory", function_memory),
    ("abuse.chained-operators", chained_operators),
    ("abuse.nested-parentheses", nested_parentheses),
    ("abuse.nested-blocks", nested_blocks),
    ("abuse.nested-types", nested_types),
    ("abuse.inlining", inlining),
    ("abuse.large-source", large_source),
    ("abuse.many-functions", many_functions),
    ("abuse.constant-expressions", constant_expressions),
    ("abuse.large-switch", large_switch),
    ("abuse.unrolling", unrolling),
];

/// Tries to compile, and where that succeeds to run.
fn compiled(code: &str) -> Saw {
    let stage = Stage::new()?;
    let (module, source) = errors_of(&stage, || stage.shader(code))?;
    let (pipeline, pipeline_errors) = errors_of(&stage, || stage.compute_stage(make::programmable(&module, "main")))?;
    let mut run = Value::Null;
    let is_empty = |errors: &Value| errors.as_object().is_some_and(serde_json::Map::is_empty);
    if is_empty(&source) && is_empty(&pipeline_errors) {
        let word = stage.buffer(256, flags::STORAGE | flags::COPY_SRC);
        run = errors_of(&stage, || {
            let group = stage.group(&pipeline, vec![make::bound(0, &word)]);
            stage.dispatch(&pipeline, &group, 1).and_then(|()| stage.read_words(&word)).map(|words| words.len())
        })
        .map(|(words, errors)| json!([words.ok(), errors]))?;
    }
    Ok(json!({ "bytes": code.len(), "source": source, "pipeline": pipeline_errors, "run": run }))
}

/// A shader that writes an expression to its one word.
fn writing(before: &str, expression: &str) -> String {
    format!(
        "@group(0) @binding(0) var<storage, read_write> word: u32;\n{before}\n\
         @compute @workgroup_size(1) fn main() {{ word = {expression}; }}"
    )
}

fn workgroup_memory(asked: &Value) -> Saw {
    let words = number(asked, "words", 64 * 1024 * 1024);
    let before = format!("var<workgroup> large: array<u32, {words}>;");
    compiled(&writing(&before, &format!("large[word % {words}u]")))
}

fn private_memory(asked: &Value) -> Saw {
    let words = number(asked, "words", 64 * 1024 * 1024);
    let before = format!("var<private> large: array<u32, {words}>;");
    compiled(&writing(&before, &format!("large[word % {words}u] + 1u")))
}

fn function_memory(asked: &Value) -> Saw {
    let words = number(asked, "words", 64 * 1024 * 1024);
    let before =
        format!("fn f() -> u32 {{ var large: array<u32, {words}>; large[word] = 3u; return large[word + 1u]; }}");
    compiled(&writing(&before, "f()"))
}

fn chained_operators(asked: &Value) -> Saw {
    let terms = usize::try_from(number(asked, "terms", 4_000)).unwrap_or(usize::MAX);
    compiled(&writing("", &vec!["word"; terms].join(" + ")))
}

fn nested_parentheses(asked: &Value) -> Saw {
    let depth = usize::try_from(number(asked, "depth", 100_000)).unwrap_or(usize::MAX);
    compiled(&writing("", &format!("{}word{}", "(".repeat(depth), ")".repeat(depth))))
}

fn nested_blocks(asked: &Value) -> Saw {
    let depth = usize::try_from(number(asked, "depth", 15_000)).unwrap_or(usize::MAX);
    let body = format!("{}word = 1u;{}", "if word == 0u { ".repeat(depth), "}".repeat(depth));
    compiled(&writing(&format!("fn f() -> u32 {{ {body} return 1u; }}"), "f()"))
}

fn nested_types(asked: &Value) -> Saw {
    let depth = usize::try_from(number(asked, "depth", 25_000)).unwrap_or(usize::MAX);
    let declared = format!("var<private> deep: {}u32{};", "array<".repeat(depth), ", 1>".repeat(depth));
    compiled(&writing(&declared, "1u"))
}

/// Each function calls the one before it twice: as many calls as grains on the chessboard when all are inlined.
fn inlining(asked: &Value) -> Saw {
    let depth = number(asked, "depth", 28);
    let mut before = "fn f0(x: u32) -> u32 { return x * 1664525u + word; }\n".to_owned();
    for level in 1..=depth {
        let below = level - 1;
        before += &format!("fn f{level}(x: u32) -> u32 {{ return f{below}(f{below}(x) ^ {level}u); }}\n");
    }
    compiled(&writing(&before, &format!("f{depth}(word)")))
}

fn large_source(asked: &Value) -> Saw {
    let bytes = usize::try_from(number(asked, "bytes", 2 * 1024 * 1024)).unwrap_or(usize::MAX);
    let mut before = String::with_capacity(bytes + 64);
    let mut number = 0;
    while before.len() < bytes {
        before += &format!("fn unused_{number}(x: u32) -> u32 {{ return x * {number}u; }}\n");
        number += 1;
    }
    compiled(&writing(&before, "1u"))
}

/// Functions that are all called, one after the other.
fn many_functions(asked: &Value) -> Saw {
    let count = number(asked, "count", 3_500);
    let mut before = String::new();
    let mut calls = String::new();
    for index in 0..count {
        before += &format!("fn g{index}(x: u32) -> u32 {{ return x * {index}u + 1u; }}\n");
        calls += &format!("x = g{index}(x); ");
    }
    before += &format!("fn all(start: u32) -> u32 {{ var x = start; {calls} return x; }}");
    compiled(&writing(&before, "all(word)"))
}

fn constant_expressions(asked: &Value) -> Saw {
    let count = number(asked, "count", 3_000);
    let mut before = "const c0 = 1u;\n".to_owned();
    for index in 1..=count {
        before += &format!("const c{index} = c{} * 3u % 65521u;\n", index - 1);
    }
    before += "const wide = array<array<vec4<u32>, 256>, 256>();\n";
    compiled(&writing(&before, &format!("c{count} + wide[word % 256u][word % 255u].x")))
}

fn large_switch(asked: &Value) -> Saw {
    let count = number(asked, "count", 8_000);
    let cases: String = (0..count).map(|index| format!("case {index}u: {{ return {}u; }}\n", index * 7)).collect();
    let before = format!("fn f(x: u32) -> u32 {{ switch x {{ {cases} default: {{ return 0u; }} }} }}");
    compiled(&writing(&before, "f(word)"))
}

/// Loops with known ends, in one another: a compiler that unrolls them all never ends.
fn unrolling(_: &Value) -> Saw {
    let loops: String =
        (0..12).map(|depth| format!("for (var i{depth} = 0u; i{depth} < 16u; i{depth}++) {{ ")).collect();
    let body = format!("{loops} x = x * 3u + i11; {}", "}".repeat(12));
    compiled(&writing(&format!("fn f() -> u32 {{ var x = 1u; if word == 77u {{ {body} }} return x; }}"), "f()"))
}
