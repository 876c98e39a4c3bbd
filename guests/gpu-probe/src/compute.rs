//! Compute: shaders over buffers, with results that WebGPU defines bit for bit. Must not draw.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    GpuBindGroupDescriptor, GpuBindGroupLayoutDescriptor, GpuBufferBindingType, GpuComputePipelineDescriptor,
    GpuLayoutMode, GpuPipelineLayoutDescriptor,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("compute.vector-add", vector_add),
    ("compute.floats", floats),
    ("compute.reduction", reduction),
    ("compute.indirect", indirect),
    ("compute.three-dimensions", three_dimensions),
    ("compute.explicit-layout", explicit_layout),
    ("compute.several-submits", several_submits),
    ("compute.uninitialized-memory", uninitialized_memory),
];

const VECTOR_ADD: &str = "
@group(0) @binding(0) var<storage, read> one: array<u32>;
@group(0) @binding(1) var<storage, read> other: array<u32>;
@group(0) @binding(2) var<storage, read_write> sum: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < arrayLength(&sum) { sum[id.x] = one[id.x] + other[id.x]; }
}";

fn vector_add(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let length = 10_000_u32;
    let one: Vec<u32> = (0..length).map(|index| index.wrapping_mul(2_654_435_761)).collect();
    let other: Vec<u32> = (0..length).map(|index| u32::MAX - index * 7).collect();
    let sum = stage.valid("vector-add", || -> Result<_, String> {
        let pipeline = stage.compute(VECTOR_ADD);
        let (one, other) = (stage.words(&one, flags::STORAGE)?, stage.words(&other, flags::STORAGE)?);
        let sum = stage.buffer(u64::from(length) * 4, flags::STORAGE | flags::COPY_SRC);
        let entries = vec![make::bound(0, &one), make::bound(1, &other), make::bound(2, &sum)];
        let group = stage.group(&pipeline, entries);
        stage.dispatch(&pipeline, &group, length.div_ceil(64))?;
        call!(stage.queue, on_submitted_work_done);
        stage.read_words(&sum)
    })??;
    let wanted: Vec<u32> = one.iter().zip(&other).map(|(one, other)| one.wrapping_add(*other)).collect();
    must(sum == wanted, "each sum is right")?;
    Ok(json!({ "words": sum.len() }))
}

/// What IEEE 754 and WebGPU define exactly: sums and products of floats without rounding, conversions, bit patterns.
fn floats(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(1) fn main() {
    let x = f32(words[0]);
    words[0] = bitcast<u32>(x * 0.5 + 1.0);
    words[1] = u32(f32(words[1]) * 0.25);
    words[2] = bitcast<u32>(select(-2.0, 3.0, words[2] == 7u));
    words[3] = countOneBits(words[3]) + (firstLeadingBit(words[3]) << 8u);
    words[4] = u32(dot(vec3<u32>(words[4]), vec3<u32>(1u, 2u, 3u)));
    words[5] = pack4x8unorm(vec4<f32>(0.0, 1.0, 0.2, 0.4));
}";
    let words = stage.words(&[9, 41, 7, 0x00f0_0f00, 5, 0], flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.compute(code);
    let group = stage.group(&pipeline, vec![make::bound(0, &words)]);
    stage.valid("floats", || stage.dispatch(&pipeline, &group, 1))??;
    let wanted = [5.5_f32.to_bits(), 10, 3.0_f32.to_bits(), 8 + (23 << 8), 30, u32::from_le_bytes([0, 255, 51, 102])];
    expect("words", stage.read_words(&words)?, wanted.to_vec())?;
    Ok(Value::Null)
}

/// A sum over workgroup memory with barriers and one atomic for each group.
fn reduction(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> total: atomic<u32>;
var<workgroup> part: array<u32, 128>;
@compute @workgroup_size(128)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    part[local] = select(0u, input[min(id.x, arrayLength(&input) - 1u)], id.x < arrayLength(&input));
    for (var step = 64u; step > 0u; step >>= 1u) {
        workgroupBarrier();
        if local < step { part[local] += part[local + step]; }
    }
    if local == 0u { atomicAdd(&total, part[0]); }
}";
    let numbers: Vec<u32> = (0..50_001).collect();
    let input = stage.words(&numbers, flags::STORAGE)?;
    let total = stage.words(&[0], flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.valid("the pipeline", || stage.compute(code))?;
    let group = stage.group(&pipeline, vec![make::bound(0, &input), make::bound(1, &total)]);
    stage.valid("the dispatch", || stage.dispatch(&pipeline, &group, 50_001_u32.div_ceil(128)))??;
    expect("the sum", stage.read_words(&total)?, vec![50_000 * 50_001 / 2])?;
    Ok(Value::Null)
}

const COUNT_GROUPS: &str = "
@group(0) @binding(0) var<storage, read_write> seen: array<atomic<u32>, 4>;
@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {
    atomicAdd(&seen[0], 1u);
    atomicMax(&seen[1], id.x + 1u);
    atomicMax(&seen[2], id.y + 1u);
    atomicMax(&seen[3], id.z + 1u);
}";

fn indirect(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let counts = stage.words(&[99, 99, 3, 4, 5], flags::INDIRECT)?;
    let seen = stage.buffer(16, flags::STORAGE | flags::COPY_SRC);
    let pipeline = stage.compute(COUNT_GROUPS);
    let group = stage.group(&pipeline, vec![make::bound(0, &seen)]);
    let dispatch = |offset: u64| -> Result<(), String> {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&group), None, None, None).map_err(|error| error.message)?;
        call!(pass, dispatch_workgroups_indirect, &counts, offset);
        call!(pass, end);
        stage.submit(&encoder);
        Ok(())
    };
    stage.valid("the dispatch", || dispatch(8))??;
    expect("groups", stage.read_words(&seen)?, vec![60, 3, 4, 5])?;
    let unaligned = stage.invalid("an unaligned offset", || dispatch(6))?;
    let beyond = stage.invalid("an offset past the end", || dispatch(12))?;
    Ok(json!({ "unaligned": unaligned, "beyond": beyond }))
}

fn three_dimensions(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let seen = stage.buffer(16, flags::STORAGE | flags::COPY_SRC);
    let pipeline = stage.compute(COUNT_GROUPS);
    let group = stage.group(&pipeline, vec![make::bound(0, &seen)]);
    let encoder = stage.encoder();
    let pass = call!(encoder, begin_compute_pass, None);
    call!(pass, set_pipeline, &pipeline);
    call!(pass, set_bind_group, 0, Some(&group), None, None, None).map_err(|error| error.message)?;
    call!(pass, dispatch_workgroups, 2, Some(3), Some(4));
    call!(pass, dispatch_workgroups, 7, None, None);
    call!(pass, dispatch_workgroups, 0, Some(9), Some(9));
    call!(pass, end);
    stage.valid("the dispatches", || stage.submit(&encoder))?;
    expect("groups", stage.read_words(&seen)?, vec![31, 7, 3, 4])?;
    Ok(Value::Null)
}

fn explicit_layout(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let kinds =
        [GpuBufferBindingType::ReadOnlyStorage, GpuBufferBindingType::ReadOnlyStorage, GpuBufferBindingType::Storage];
    let entries: Vec<_> = (0..).zip(kinds).map(|(place, kind)| make::slot(place, flags::STAGE_COMPUTE, kind)).collect();
    let layout = GpuBindGroupLayoutDescriptor { entries, label: None };
    let sum = stage.valid("an explicit layout", || -> Result<_, String> {
        let group_layout = call!(stage.device, create_bind_group_layout, &layout);
        let empty = GpuBindGroupLayoutDescriptor { entries: Vec::new(), label: None };
        let empty = call!(stage.device, create_bind_group_layout, &empty);
        let bind_group_layouts = vec![Some(&group_layout), None, Some(&empty)];
        let descriptor = GpuPipelineLayoutDescriptor { bind_group_layouts, label: None };
        let pipeline_layout = call!(stage.device, create_pipeline_layout, &descriptor);
        let module = stage.shader(VECTOR_ADD);
        let descriptor = GpuComputePipelineDescriptor {
            compute: make::programmable(&module, "main"),
            layout: GpuLayoutMode::Specific(&pipeline_layout),
            label: None,
        };
        let pipeline = call!(stage.device, create_compute_pipeline, descriptor);
        let (one, other) = (stage.words(&[1, 2, 3], flags::STORAGE)?, stage.words(&[10, 20, 30], flags::STORAGE)?);
        let sum = stage.buffer(12, flags::STORAGE | flags::COPY_SRC);
        let entries = vec![make::bound(0, &one), make::bound(1, &other), make::bound(2, &sum)];
        let descriptor = GpuBindGroupDescriptor { layout: &group_layout, entries, label: None };
        let group = call!(stage.device, create_bind_group, &descriptor);
        let empty = GpuBindGroupDescriptor { layout: &empty, entries: Vec::new(), label: None };
        let empty = call!(stage.device, create_bind_group, &empty);
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, &pipeline);
        for (index, group) in [(0, Some(&group)), (1, Some(&empty)), (1, None), (2, Some(&empty))] {
            call!(pass, set_bind_group, index, group, None, None, None).map_err(|error| error.message)?;
        }
        call!(pass, dispatch_workgroups, 1, None, None);
        call!(pass, end);
        stage.submit(&encoder);
        stage.read_words(&sum)
    })??;
    expect("sums", sum, vec![11, 22, 33])?;
    Ok(Value::Null)
}

/// What a submit writes, the next one sees: in one list of command buffers, and in several.
fn several_submits(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> number: u32;
@compute @workgroup_size(1) fn main() { number = number * 3u + 1u; }";
    let number = stage.words(&[1], flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.compute(code);
    let group = stage.group(&pipeline, vec![make::bound(0, &number)]);
    let recorded = || -> Result<_, String> {
        let encoder = stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, &pipeline);
        call!(pass, set_bind_group, 0, Some(&group), None, None, None).map_err(|error| error.message)?;
        call!(pass, dispatch_workgroups, 1, None, None);
        call!(pass, end);
        Ok(call!(encoder, finish, None))
    };
    let (first, second, third) = (recorded()?, recorded()?, recorded()?);
    call!(stage.queue, submit, &[&first, &second]);
    call!(stage.queue, submit, &[]);
    call!(stage.queue, submit, &[&third]);
    // ((1 * 3 + 1) * 3 + 1) * 3 + 1
    expect("the number", stage.read_words(&number)?, vec![40])?;
    Ok(Value::Null)
}

/// Memory that nobody wrote reads as zeros: of a buffer, of workgroup memory and of private variables.
fn uninitialized_memory(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> told: array<u32>;
var<workgroup> shared_words: array<u32, 64>;
var<private> own: array<u32, 16>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) local: u32) {
    told[local] = told[local] | shared_words[63u - local] | own[local & 15u];
    workgroupBarrier();
    shared_words[local] = 0xdeadbeefu;
    own[local & 15u] = shared_words[local];
}";
    let pipeline = stage.valid("the pipeline", || stage.compute(code))?;
    for _ in 0..3 {
        let told = stage.buffer(256, flags::STORAGE | flags::COPY_SRC);
        let group = stage.group(&pipeline, vec![make::bound(0, &told)]);
        stage.dispatch(&pipeline, &group, 1)?;
        expect("words", stage.read_words(&told)?, vec![0; 64])?;
    }
    Ok(Value::Null)
}
