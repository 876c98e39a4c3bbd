//! Scenarios for tests that count: one call of useful work, small or as large as asked for, on a device that stays or on
//! one of its own. Must not misbehave.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::detector::detector;
use crate::make::{self, flags};
use crate::stage::Stage;
use crate::{Saw, Scenario, expect};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("lifetimes.once", once), ("lifetimes.warm", warm), ("lifetimes.hold", hold), ("lifetimes.detector", detector)];

const DOUBLE: &str = "
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&words) { words[id.x] = words[id.x] * 2u; }
}";

fn number(asked: &Value, name: &str, default: u64) -> u64 {
    asked.get(name).and_then(Value::as_u64).unwrap_or(default)
}

fn double(stage: &Stage, length: u32) -> Saw {
    let words = stage.words(&(0..length).collect::<Vec<u32>>(), flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.compute(DOUBLE);
    let group = stage.group(&pipeline, vec![make::bound(0, &words)]);
    stage.valid("the dispatch", || stage.dispatch(&pipeline, &group, length.div_ceil(64)))??;
    let told = stage.read_words(&words)?;
    expect("the words", told.iter().zip(0..).all(|(word, index): (&u32, u32)| *word == index * 2), true)?;
    Ok(json!({ "words": told.len() }))
}

/// On a device of its own that is dropped with all it made, and not destroyed.
fn once(asked: &Value) -> Saw {
    let length = u32::try_from(number(asked, "words", 1024)).unwrap_or(u32::MAX);
    double(&Stage::new()?, length)
}

/// On the device that the instance keeps.
fn warm(asked: &Value) -> Saw {
    thread_local! {
        static KEPT: RefCell<Option<Stage>> = const { RefCell::new(None) };
    }
    let length = u32::try_from(number(asked, "words", 1024)).unwrap_or(u32::MAX);
    let stage = KEPT.with(RefCell::take).map_or_else(Stage::new, Ok)?;
    let saw = double(&stage, length)?;
    KEPT.with(|kept| kept.replace(Some(stage)));
    Ok(saw)
}

/// Keeps a device with a buffer of `bytes` and whatever was kept before.
fn hold(asked: &Value) -> Saw {
    thread_local! {
        static HELD: RefCell<Vec<(Stage, crate::webgpu::GpuBuffer)>> = const { RefCell::new(Vec::new()) };
    }
    let stage = Stage::new()?;
    let buffer = stage.valid("the buffer", || stage.buffer(number(asked, "bytes", 1024), flags::STORAGE))?;
    let held = HELD.with(|held| {
        held.borrow_mut().push((stage, buffer));
        held.borrow().len()
    });
    Ok(json!({ "held": held }))
}
