//! The detector of Harbor Watch as a measurement: the same calls as `gpu.rs` of its worker makes on a device that is warm,
//! again and again, timed by the clock of the component. Must not know what is compared with it.

mod work;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::{self, Stage};
use crate::webgpu::{
    GpuBindGroup, GpuBindGroupDescriptor, GpuBindGroupLayout, GpuBindGroupLayoutDescriptor, GpuBuffer,
    GpuBufferBindingType, GpuCommandEncoder, GpuComputePassDescriptor, GpuComputePipeline,
    GpuComputePipelineDescriptor, GpuDevice, GpuErrorFilter, GpuLayoutMode, GpuPipelineLayoutDescriptor,
};
use crate::{Saw, expect};
use work::{CANDIDATE_BYTES, FOUND_HEADER_BYTES, Found, ROUNDS_MAX, SIDE_PX, Times, WARM_UP_ROUNDS, Work};

/// What the shader's bindings are, by their numbers.
const BINDINGS: [GpuBufferBindingType; 4] = [
    GpuBufferBindingType::Uniform,
    GpuBufferBindingType::ReadOnlyStorage,
    GpuBufferBindingType::Storage,
    GpuBufferBindingType::Storage,
];

/// What stays from one round to the next.
struct Warm {
    stage: Stage,
    sum_columns: GpuComputePipeline,
    test_cells: GpuComputePipeline,
    parameters: GpuBuffer,
    units: GpuBuffer,
    found: GpuBuffer,
    told: GpuBuffer,
    group: GpuBindGroup,
}

/// Runs the detector `rounds` times on a square of `side` pixels, after some times that do not count.
pub(crate) fn detector(asked: &Value) -> Saw {
    let number = |name: &str, default: u64| asked.get(name).and_then(Value::as_u64).unwrap_or(default);
    let side = u32::try_from(number("side", 512)).ok().filter(|side| SIDE_PX.contains(side));
    let side = side.ok_or_else(|| format!("side is {} to {}", SIDE_PX.start(), SIDE_PX.end()))?;
    let rounds = usize::try_from(number("rounds", 20)).ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
    let rounds = rounds.ok_or_else(|| format!("rounds is 1 to {ROUNDS_MAX}"))?;
    let work = Work::new(side);
    let warm = Warm::new(&work)?;
    let mut found = None;
    let mut times: Vec<Duration> = Vec::with_capacity(rounds);
    for round in 0..WARM_UP_ROUNDS + rounds {
        let began = Instant::now();
        let (count, candidates) = warm.find(&work)?;
        let took = began.elapsed();
        if round >= WARM_UP_ROUNDS {
            times.push(took);
        }
        let again = Found::of(count, &candidates);
        expect("what a round found", again, *found.get_or_insert(again))?;
    }
    let Some(found) = found else { return Err("there was no round".to_owned()) };
    let times = Times::of(times);
    Ok(json!({
        "adapter": stage::adapter()?.info().description(),
        "candidates": found.count,
        "sum": found.sum,
        "least_us": times.least_us,
        "median_us": times.median_us,
        "p90_us": times.p90_us,
    }))
}

impl Warm {
    fn new(work: &Work) -> Result<Self, String> {
        let stage = Stage::new()?;
        let device = &stage.device;
        let ((sum_columns, test_cells), layout) = checked(device, "making the pipelines", || {
            let layout = layout(device);
            (pipelines(device, &layout), layout)
        })?;
        let (parameters, units, found, told, group) = checked(device, "making the buffers", || {
            let buffer = |size, usage| stage.buffer(size, usage);
            let (storage, to) = (flags::STORAGE, flags::COPY_DST);
            let parameters = buffer(work.parameters_bytes(), flags::UNIFORM | to);
            let units = buffer(work.units_bytes(), storage | to);
            let columns = buffer(work.columns_bytes(), storage);
            let found = buffer(work.found_bytes(), storage | to | flags::COPY_SRC);
            let told = buffer(work.found_bytes(), flags::MAP_READ | to);
            let bound = (0..).zip([&parameters, &units, &columns, &found]);
            let entries = bound.map(|(binding, buffer)| make::bound(binding, buffer)).collect();
            let group = device.create_bind_group(&GpuBindGroupDescriptor { layout: &layout, entries, label: None });
            (parameters, units, found, told, group)
        })?;
        Ok(Self { stage, sum_columns, test_cells, parameters, units, found, told, group })
    }

    /// One round: how many candidates there are, and they.
    fn find(&self, work: &Work) -> Result<(u32, Vec<u8>), String> {
        checked(&self.stage.device, "running the shader", || self.run(work))??;
        self.read(work)
    }

    fn run(&self, work: &Work) -> Result<(), String> {
        self.write(&self.parameters, bytemuck::bytes_of(&work.parameters()))?;
        self.write(&self.units, bytemuck::cast_slice(&work.units))?;
        self.write(&self.found, &[0; FOUND_HEADER_BYTES])?;
        let encoder = self.stage.device.create_command_encoder(None);
        self.pass(&encoder, &self.sum_columns, work.column_groups())?;
        self.pass(&encoder, &self.test_cells, work.cell_groups())?;
        encoder.copy_buffer_to_buffer(&self.found, 0, &self.told, 0, work.found_bytes());
        self.stage.queue.submit(&[&encoder.finish(None)]);
        Ok(())
    }

    fn write(&self, buffer: &GpuBuffer, bytes: &[u8]) -> Result<(), String> {
        let written = self.stage.queue.write_buffer_with_copy(buffer, 0, bytes, None, None);
        written.map_err(|error| format!("writing to the device: {}", error.message))
    }

    fn pass(
        &self,
        encoder: &GpuCommandEncoder,
        pipeline: &GpuComputePipeline,
        groups: (u32, u32),
    ) -> Result<(), String> {
        let descriptor = GpuComputePassDescriptor { timestamp_writes: None, label: None };
        let pass = encoder.begin_compute_pass(Some(&descriptor));
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, Some(&self.group), None, None, None).map_err(|error| error.message)?;
        pass.dispatch_workgroups(groups.0, Some(groups.1), None);
        pass.end();
        Ok(())
    }

    fn read(&self, work: &Work) -> Result<(u32, Vec<u8>), String> {
        self.told.map_async(flags::READ, None, None).map_err(|error| error.message)?;
        let bytes = |offset: usize, length: usize| {
            let range = self.told.get_mapped_range_get_with_copy(Some(offset as u64), Some(length as u64));
            range.map_err(|error| error.message)
        };
        let header = bytes(0, FOUND_HEADER_BYTES)?;
        let count = work::count(&header).ok_or("the device gave back too few bytes")?;
        let listed = count.min(work.candidates_max) as usize;
        let candidates = if listed == 0 { Vec::new() } else { bytes(FOUND_HEADER_BYTES, listed * CANDIDATE_BYTES)? };
        self.told.unmap().map_err(|error| error.message)?;
        Ok((count, candidates))
    }
}

fn layout(device: &GpuDevice) -> GpuBindGroupLayout {
    let slots = (0..).zip(BINDINGS);
    let entries = slots.map(|(binding, kind)| make::slot(binding, flags::STAGE_COMPUTE, kind)).collect();
    device.create_bind_group_layout(&GpuBindGroupLayoutDescriptor { entries, label: None })
}

fn pipelines(device: &GpuDevice, group: &GpuBindGroupLayout) -> (GpuComputePipeline, GpuComputePipeline) {
    let descriptor = GpuPipelineLayoutDescriptor { bind_group_layouts: vec![Some(group)], label: None };
    let layout = device.create_pipeline_layout(&descriptor);
    let module = device.create_shader_module(&make::shader(work::SHADER));
    let pipeline = |entry_point: &str| {
        let compute = make::programmable(&module, entry_point);
        let layout = GpuLayoutMode::Specific(&layout);
        device.create_compute_pipeline(GpuComputePipelineDescriptor { compute, layout, label: None })
    };
    (pipeline("sum_columns"), pipeline("test_cells"))
}

/// Does `work`; what the device has against it is the error.
fn checked<T>(device: &GpuDevice, what: &str, work: impl FnOnce() -> T) -> Result<T, String> {
    const FILTERS: [GpuErrorFilter; 3] =
        [GpuErrorFilter::Validation, GpuErrorFilter::OutOfMemory, GpuErrorFilter::Internal];
    for filter in FILTERS {
        device.push_error_scope(filter);
    }
    let value = work();
    let mut failure = None;
    for _ in FILTERS {
        match device.pop_error_scope() {
            Ok(None) => {}
            Ok(Some(error)) => failure = failure.or_else(|| Some(error.message())),
            Err(error) => failure = failure.or(Some(error.message)),
        }
    }
    failure.map_or(Ok(value), |reason| Err(format!("{what}: {reason}")))
}
