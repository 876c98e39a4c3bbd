//! Bind groups: dynamic offsets in all the ways that they are given, parts of buffers, and what does not fit its layout.
//! Must not know what else a shader can do.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    GpuBindGroup, GpuBindGroupDescriptor, GpuBindGroupLayout, GpuBindGroupLayoutDescriptor, GpuBindGroupLayoutEntry,
    GpuBuffer, GpuBufferBindingLayout, GpuBufferBindingType, GpuComputePipeline, GpuComputePipelineDescriptor,
    GpuLayoutMode, GpuPipelineLayoutDescriptor, SetBindGroupErrorKind,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("binding.dynamic-offsets", dynamic_offsets),
    ("binding.part-of-a-buffer", part_of_a_buffer),
    ("binding.range-errors", range_errors),
    ("binding.misfits", misfits),
    ("binding.auto-layouts-are-exclusive", auto_layouts_are_exclusive),
];

/// Offsets of buffers in a bind group are multiples of this by default.
const ALIGNMENT: u32 = 256;

/// A pipeline that writes the words it sees under two dynamic bindings.
struct TwoDynamic {
    stage: Stage,
    pipeline: GpuComputePipeline,
    group: GpuBindGroup,
    told: GpuBuffer,
}

fn two_dynamic() -> Result<TwoDynamic, String> {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<uniform> one: u32;
@group(0) @binding(1) var<storage, read> other: u32;
@group(0) @binding(2) var<storage, read_write> told: array<u32, 2>;
@compute @workgroup_size(1) fn main() { told = array<u32, 2>(one, other); }";
    let dynamic = |binding, kind| GpuBindGroupLayoutEntry {
        buffer: Some(GpuBufferBindingLayout {
            type_: Some(kind),
            has_dynamic_offset: Some(true),
            min_binding_size: Some(4),
        }),
        ..make::empty_slot(binding, flags::STAGE_COMPUTE)
    };
    let entries = vec![
        dynamic(0, GpuBufferBindingType::Uniform),
        dynamic(1, GpuBufferBindingType::ReadOnlyStorage),
        make::slot(2, flags::STAGE_COMPUTE, GpuBufferBindingType::Storage),
    ];
    // Eight places, each with its number in its first word.
    let places: Vec<u32> = (0..8 * ALIGNMENT / 4).map(|word| word / (ALIGNMENT / 4)).collect();
    let words = stage.words(&places, flags::UNIFORM | flags::STORAGE)?;
    let told = stage.buffer(8, flags::STORAGE | flags::COPY_SRC);
    let (pipeline, group) = stage.valid("dynamic bindings", || {
        let layout = GpuBindGroupLayoutDescriptor { entries, label: None };
        let layout = call!(stage.device, create_bind_group_layout, &layout);
        let entries = vec![
            make::bound_part(0, &words, None, Some(4)),
            make::bound_part(1, &words, None, Some(4)),
            make::bound(2, &told),
        ];
        let descriptor = GpuBindGroupDescriptor { layout: &layout, entries, label: None };
        let group = call!(stage.device, create_bind_group, &descriptor);
        (pipeline(&stage, code, &layout), group)
    })?;
    Ok(TwoDynamic { stage, pipeline, group, told })
}

fn pipeline(stage: &Stage, code: &str, layout: &GpuBindGroupLayout) -> GpuComputePipeline {
    let descriptor = GpuPipelineLayoutDescriptor { bind_group_layouts: vec![Some(layout)], label: None };
    let layout = call!(stage.device, create_pipeline_layout, &descriptor);
    let module = stage.shader(code);
    let compute = make::programmable(&module, "main");
    let descriptor = GpuComputePipelineDescriptor { compute, layout: GpuLayoutMode::Specific(&layout), label: None };
    call!(stage.device, create_compute_pipeline, descriptor)
}

/// What was given as offsets: the list, where in it they begin, how many they are.
type Offsets<'a> = (Option<&'a [u32]>, Option<u64>, Option<u32>);

impl TwoDynamic {
    fn told(&self, (data, start, length): Offsets<'_>) -> Result<Vec<u32>, String> {
        let encoder = self.stage.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, &self.pipeline);
        call!(pass, set_bind_group, 0, Some(&self.group), data, start, length).map_err(|error| error.message)?;
        call!(pass, dispatch_workgroups, 1, None, None);
        call!(pass, end);
        self.stage.submit(&encoder);
        self.stage.read_words(&self.told)
    }
}

fn dynamic_offsets(_: &Value) -> Saw {
    let two = two_dynamic()?;
    let at = |places: &[u32]| -> Vec<u32> { places.iter().map(|place| place * ALIGNMENT).collect() };
    let valid = |offsets: Offsets<'_>| two.stage.valid("the dispatch", || two.told(offsets))?;
    expect("the whole list", valid((Some(&at(&[3, 5])), None, None))?, vec![3, 5])?;
    expect("a start", valid((Some(&at(&[7, 1, 2])), Some(1), Some(2)))?, vec![1, 2])?;
    expect("the middle", valid((Some(&at(&[7, 7, 6, 0, 7])), Some(2), Some(2)))?, vec![6, 0])?;
    let invalid = |offsets: Offsets<'_>| two.stage.invalid("wrong offsets", || two.told(offsets));
    Ok(json!({
        "none": invalid((None, None, None))?,
        "too_few": invalid((Some(&at(&[1])), None, None))?,
        "too_many": invalid((Some(&at(&[1, 1, 1])), None, None))?,
        "unaligned": invalid((Some(&[4, 0]), None, None))?,
        "past_the_end": invalid((Some(&at(&[0, 8])), None, None))?,
    }))
}

fn range_errors(_: &Value) -> Saw {
    let two = two_dynamic()?;
    let encoder = two.stage.encoder();
    let pass = call!(encoder, begin_compute_pass, None);
    for (start, length) in [(1, 2), (3, 0), (0, 3), (u64::MAX, 1), (1, u32::MAX), (u64::MAX, u32::MAX)] {
        let set = call!(pass, set_bind_group, 0, Some(&two.group), Some(&[0, 0]), Some(start), Some(length));
        let Err(error) = set else { return Err(format!("{length} of two offsets from {start} on were taken")) };
        must(matches!(error.kind, SetBindGroupErrorKind::RangeError), "it is a RangeError")?;
        must(!error.message.is_empty(), "the error says something")?;
    }
    call!(pass, end);
    Ok(Value::Null)
}

fn part_of_a_buffer(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@compute @workgroup_size(1) fn main() { words[0] = arrayLength(&words); }";
    let words = stage.words(&vec![0; 256], flags::STORAGE | flags::COPY_SRC)?;
    let pipeline = stage.compute(code);
    for (offset, size) in [(None, None), (Some(256), Some(8)), (Some(512), None), (Some(768), Some(256))] {
        let group = stage.group(&pipeline, vec![make::bound_part(0, &words, offset, size)]);
        stage.valid("the dispatch", || stage.dispatch(&pipeline, &group, 1))??;
    }
    let told = stage.read_words(&words)?;
    let firsts: Vec<u32> = told.chunks(64).filter_map(|part| part.first().copied()).collect();
    expect("lengths", firsts, vec![256, 2, 128, 64])?;
    Ok(Value::Null)
}

fn misfits(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let layout = |entries| {
        let descriptor = GpuBindGroupLayoutDescriptor { entries, label: None };
        call!(stage.device, create_bind_group_layout, &descriptor)
    };
    let storage = |place| make::slot(place, flags::STAGE_COMPUTE, GpuBufferBindingType::Storage);
    let one = layout(vec![storage(0)]);
    let buffer = stage.buffer(1024, flags::STORAGE);
    let uniform = stage.buffer(1024, flags::UNIFORM);
    let group = |entries| {
        let descriptor = GpuBindGroupDescriptor { layout: &one, entries, label: None };
        call!(stage.device, create_bind_group, &descriptor)
    };
    let part = |offset, size| vec![make::bound_part(0, &buffer, Some(offset), Some(size))];
    let sampler = call!(stage.device, create_sampler, None);
    Ok(json!({
        "same_place_twice": stage.invalid("twice", || layout(vec![storage(0), storage(0)]))?,
        "nothing_in_it": stage.invalid("nothing", || layout(vec![make::empty_slot(0, flags::STAGE_COMPUTE)]))?,
        "far_place": stage.invalid("far", || layout(vec![storage(1000)]))?,
        "unknown_stage": stage.invalid("stage", || layout(vec![make::slot(0, 0x80, GpuBufferBindingType::Uniform)]))?,
        "writable_for_vertices": stage.invalid("vertices", || {
            layout(vec![make::slot(0, flags::STAGE_VERTEX, GpuBufferBindingType::Storage)])
        })?,
        "missing": stage.invalid("missing", || group(Vec::new()))?,
        "other_place": stage.invalid("place", || group(vec![make::bound(1, &buffer)]))?,
        "other_usage": stage.invalid("usage", || group(vec![make::bound(0, &uniform)]))?,
        "other_kind": stage.invalid("kind", || group(vec![make::bound_sampler(0, &sampler)]))?,
        "unaligned": stage.invalid("unaligned", || group(part(4, 4)))?,
        "past_the_end": stage.invalid("past", || group(part(1024, 4)))?,
        "too_long": stage.invalid("long", || group(part(768, 260)))?,
        "overflow": stage.invalid("overflow", || group(part(u64::MAX - 255, 512)))?,
        "no_size": stage.invalid("no size", || group(part(0, 0)))?,
        "odd_size": stage.invalid("odd size", || group(part(0, 7)))?,
    }))
}

/// A layout that follows from a pipeline serves no other pipeline, however alike.
fn auto_layouts_are_exclusive(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let code = "
@group(0) @binding(0) var<storage, read_write> word: u32;
@compute @workgroup_size(1) fn main() { word = 1u; }";
    let (one, other) = (stage.compute(code), stage.compute(code));
    let word = stage.buffer(4, flags::STORAGE);
    let group = stage.group(&one, vec![make::bound(0, &word)]);
    stage.valid("its own", || stage.dispatch(&one, &group, 1))??;
    let refused = stage.invalid("another's", || stage.dispatch(&other, &group, 1))?;
    let no_such_group = stage.invalid("a group past the limit", || call!(one, get_bind_group_layout, 4))?;
    Ok(json!({ "refused": refused, "no_such_group": no_such_group }))
}
