//! Work that keeps the GPU: too much of it, without end, or left behind.

use serde_json::{Value, json};

use super::{errors_of, number, short, told};
use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{GpuBindGroup, GpuComputePipeline, GpuDeviceLostReason};
use crate::{Saw, Scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("abuse.greatest-dispatch", greatest_dispatch),
    ("abuse.dispatch-past-the-limit", dispatch_past_the_limit),
    ("abuse.indirect-dispatch-past-the-limit", indirect_past_the_limit),
    ("abuse.endless-loop", endless_loop),
    ("abuse.long-dispatches", long_dispatches),
    ("abuse.dropped-in-flight", dropped_in_flight),
    ("abuse.destroyed-in-flight", destroyed_in_flight),
    ("abuse.trapped-in-flight", trapped_in_flight),
    ("abuse.out-of-bounds", out_of_bounds),
    ("abuse.many-submits", many_submits),
    ("abuse.waiting-for-loss", waiting_for_loss),
];

/// A shader that keeps each invocation busy for some turns.
const BUSY: &str = "
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var seed = id.x ^ (id.y << 8u) ^ (id.z << 16u) ^ words[1];
    for (var turn = 0u; turn < words[0]; turn++) { seed = seed * 1664525u + 1013904223u; }
    words[2u + seed % (arrayLength(&words) - 2u)] = seed;
}";

fn busy(stage: &Stage, turns: u32) -> Result<(GpuComputePipeline, GpuBindGroup, crate::webgpu::GpuBuffer), String> {
    let mut words = vec![0; 1024];
    if let Some(first) = words.first_mut() {
        *first = turns;
    }
    let words = stage.words(&words, flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.compute(BUSY);
    let group = stage.group(&pipeline, vec![make::bound(0, &words)]);
    Ok((pipeline, group, words))
}

fn submit(stage: &Stage, pipeline: &GpuComputePipeline, group: &GpuBindGroup, (x, y, z): (u32, u32, u32)) {
    let encoder = stage.encoder();
    let pass = call!(encoder, begin_compute_pass, None);
    call!(pass, set_pipeline, pipeline);
    call!(pass, set_bind_group, 0, Some(group), None, None, None).ok();
    call!(pass, dispatch_workgroups, x, Some(y), Some(z));
    call!(pass, end);
    stage.submit(&encoder);
}

/// What became of the work: a word that it wrote, or why there is none.
fn outcome(stage: &Stage, words: &crate::webgpu::GpuBuffer) -> Value {
    match stage.read_words(words) {
        Ok(words) => json!({ "finished": true, "words": words.len() }),
        Err(reason) => json!({ "finished": false, "reason": short(&reason) }),
    }
}

fn greatest_dispatch(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, words) = busy(&stage, 100)?;
    let (_, errors) = errors_of(&stage, || submit(&stage, &pipeline, &group, (65_535, 65_535, 64)))?;
    Ok(json!({ "errors": errors, "outcome": outcome(&stage, &words) }))
}

fn dispatch_past_the_limit(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, words) = busy(&stage, 1)?;
    let errors = told(&stage, || submit(&stage, &pipeline, &group, (65_536, 1, 1)))?;
    let absurd = told(&stage, || submit(&stage, &pipeline, &group, (u32::MAX, u32::MAX, u32::MAX)))?;
    Ok(json!({ "errors": errors, "absurd": absurd, "outcome": outcome(&stage, &words) }))
}

/// A dispatch whose size the host cannot see beforehand does nothing where it is past the limit.
fn indirect_past_the_limit(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> count: atomic<u32>;
@compute @workgroup_size(1) fn main() { atomicAdd(&count, 1u); }";
    let pipeline = stage.compute(code);
    let count = stage.buffer(4, flags::STORAGE | flags::COPY_SRC);
    let group = stage.group(&pipeline, vec![make::bound(0, &count)]);
    let arguments = stage.words(&[65_536, 1, 1, u32::MAX, u32::MAX, u32::MAX], flags::INDIRECT)?;
    let errors = told(&stage, || {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&group), None, None, None).ok();
        call!(pass, dispatch_workgroups_indirect, &arguments, 0);
        call!(pass, dispatch_workgroups_indirect, &arguments, 12);
        call!(pass, end);
        stage.submit(&encoder);
    })?;
    Ok(json!({ "errors": errors, "invocations": stage.read_words(&count)?.first() }))
}

fn endless_loop(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var turn = words[0];
    loop {
        turn = turn * 3u + 1u;
        for (var inner = 0u; inner < 60000u; inner++) { turn ^= inner * turn; }
        words[id.x % arrayLength(&words)] = turn;
        if words[0] == 0x12345678u && turn == 7u { break; }
    }
}";
    let words = stage.words(&[1; 256], flags::STORAGE | flags::COPY_SRC)?;
    let (pipeline, errors) = errors_of(&stage, || stage.compute(code))?;
    let group = stage.group(&pipeline, vec![make::bound(0, &words)]);
    let (_, submitted) = errors_of(&stage, || submit(&stage, &pipeline, &group, (1024, 1, 1)))?;
    Ok(json!({ "errors": errors, "submitted": submitted, "outcome": outcome(&stage, &words) }))
}

/// Dispatches that each end, one after the other: what a fair queue is there for.
fn long_dispatches(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, words) = busy(&stage, 3_000)?;
    for _ in 0..number(asked, "count", 50) {
        submit(&stage, &pipeline, &group, (256, 1, 1));
    }
    Ok(outcome(&stage, &words))
}

fn dropped_in_flight(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, words) = busy(&stage, 3_000)?;
    for _ in 0..4 {
        submit(&stage, &pipeline, &group, (1024, 1, 1));
    }
    drop(stage);
    drop((words, group, pipeline));
    let again = Stage::new()?;
    let words = again.words(&[5], flags::COPY_SRC)?;
    Ok(json!({ "again": again.read_words(&words)? }))
}

fn destroyed_in_flight(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, words) = busy(&stage, 3_000)?;
    for _ in 0..4 {
        submit(&stage, &pipeline, &group, (1024, 1, 1));
    }
    call!(words, destroy);
    call!(stage.device, destroy);
    call!(stage.queue, on_submitted_work_done);
    let lost = call!(stage.device, lost);
    Ok(json!({ "destroyed": matches!(call!(lost, reason), GpuDeviceLostReason::Destroyed) }))
}

#[allow(clippy::panic, reason = "panicking is the point")]
fn trapped_in_flight(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, _words) = busy(&stage, 3_000)?;
    submit(&stage, &pipeline, &group, (1024, 1, 1));
    panic!("asked to trap")
}

/// Shaders reach no memory but their own bindings, whatever index they use.
fn out_of_bounds(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<storage, read> other: array<u32, 4>;
@compute @workgroup_size(1) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let far = id.x * 65521u + 4u;
    let seen = other[far] | words[far];
    words[far] = 0xbad00badu;
    atomicless(seen);
}
fn atomicless(seen: u32) { if seen != 0u && seen != 0xbad00badu { words[1] = seen; } }";
    let words = stage.words(&[0; 4], flags::STORAGE | flags::COPY_SRC)?;
    let other = stage.words(&[0; 4], flags::STORAGE | flags::COPY_SRC)?;
    let neighbour = stage.words(&[0x5ec2_e7ed; 4096], flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.compute(code);
    let group = stage.group(&pipeline, vec![make::bound(0, &words), make::bound(1, &other)]);
    let errors = told(&stage, || submit(&stage, &pipeline, &group, (65_535, 1, 1)))?;
    let intact = stage.read_words(&neighbour)?.iter().all(|word| *word == 0x5ec2_e7ed);
    Ok(json!({ "errors": errors, "seen": stage.read_words(&words)?.get(1), "intact": intact }))
}

fn many_submits(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let (pipeline, group, words) = busy(&stage, 1)?;
    for _ in 0..number(asked, "count", 20_000) {
        submit(&stage, &pipeline, &group, (1, 1, 1));
    }
    Ok(outcome(&stage, &words))
}

/// Waits for the loss of a device that nobody destroys, as long as it may.
fn waiting_for_loss(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let lost = call!(stage.device, lost);
    Ok(json!({ "message": call!(lost, message) }))
}
