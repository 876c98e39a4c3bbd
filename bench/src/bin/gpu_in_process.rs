//! `gpu-in-process SIDE ROUNDS [ADAPTER]`: the detector of Harbor Watch on a square of SIDE pixels, by wgpu in this process,
//! without a host and without another process: what `cargo xtask bench gpu` measures the GPU process against. It prints a
//! name and a value on each line. It knows no code of ours but what both sides share of the work.

#[path = "../../../guests/gpu-probe/src/detector/work.rs"]
mod work;

use std::{
    env,
    pin::pin,
    process::ExitCode,
    sync::mpsc,
    task,
    time::{Duration, Instant},
};

use wgpu::{BufferBindingType, BufferUsages, DeviceType, ErrorFilter, PollType};
use work::{CANDIDATE_BYTES, FOUND_HEADER_BYTES, Found, ROUNDS_MAX, SIDE_PX, Times, WARM_UP_ROUNDS, Work};

type AnyError = Box<dyn std::error::Error>;

/// What the shader's bindings are, by their numbers.
const BINDINGS: [BufferBindingType; 4] = [
    BufferBindingType::Uniform,
    BufferBindingType::Storage { read_only: true },
    BufferBindingType::Storage { read_only: false },
    BufferBindingType::Storage { read_only: false },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), AnyError> {
    let (side, rounds, wanted) = match arguments {
        [side, rounds] => (side, rounds, None),
        [side, rounds, wanted] => (side, rounds, Some(wanted.as_str())),
        _ => return Err("usage: gpu-in-process SIDE ROUNDS [ADAPTER]".into()),
    };
    let side = side.parse().ok().filter(|side| SIDE_PX.contains(side));
    let side = side.ok_or_else(|| format!("SIDE is {} to {}", SIDE_PX.start(), SIDE_PX.end()))?;
    let rounds = rounds.parse().ok().filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
    let rounds = rounds.ok_or_else(|| format!("ROUNDS is 1 to {ROUNDS_MAX}"))?;
    let work = Work::new(side);
    let adapter = adapter(wanted)?;
    let warm = Warm::new(&adapter, &work)?;
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
        if again != *found.get_or_insert(again) {
            return Err(format!("the rounds found different things: {found:?}, then {again:?}").into());
        }
    }
    let found = found.ok_or("there was no round")?;
    let Times { least_us, median_us, p90_us } = Times::of(times);
    println!("adapter {}", adapter.get_info().name);
    println!("candidates {}\nsum {}", found.count, found.sum);
    println!("least_us {least_us}\nmedian_us {median_us}\np90_us {p90_us}");
    Ok(())
}

/// The adapter that a host would take: the one that is asked for by its place or a part of its name, or the first, GPUs
/// before programs.
fn adapter(wanted: Option<&str>) -> Result<wgpu::Adapter, AnyError> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN;
    // As in the GPU process: what is compared is the way there.
    descriptor.flags = wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL
        | wgpu::InstanceFlags::AUTOMATIC_TIMESTAMP_NORMALIZATION
        | wgpu::InstanceFlags::ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = ready(instance.enumerate_adapters(wgpu::Backends::VULKAN))?;
    let is_wanted = |(index, adapter): &(usize, wgpu::Adapter)| match wanted.map(|wanted| (wanted, wanted.parse())) {
        None => true,
        Some((_, Ok(place))) => *index == place,
        Some((name, Err(_))) => adapter.get_info().name.to_lowercase().contains(&name.to_lowercase()),
    };
    let matching = adapters.into_iter().enumerate().filter(is_wanted).map(|(_, adapter)| adapter);
    let chosen = matching.min_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    chosen.ok_or_else(|| "there is no such adapter".into())
}

/// What stays from one round to the next.
struct Warm {
    device: wgpu::Device,
    queue: wgpu::Queue,
    sum_columns: wgpu::ComputePipeline,
    test_cells: wgpu::ComputePipeline,
    parameters: wgpu::Buffer,
    units: wgpu::Buffer,
    found: wgpu::Buffer,
    told: wgpu::Buffer,
    group: wgpu::BindGroup,
    /// What is written to `units`.
    seen: Vec<u8>,
}

impl Warm {
    fn new(adapter: &wgpu::Adapter, work: &Work) -> Result<Self, AnyError> {
        let (device, queue) = ready(adapter.request_device(&wgpu::DeviceDescriptor {
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        }))??;
        let ((sum_columns, test_cells), layout) = checked(&device, || {
            let layout = layout(&device);
            (pipelines(&device, &layout), layout)
        })?;
        let (parameters, units, found, told, group) = checked(&device, || {
            let buffer = |size, usage| {
                device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
            };
            let (storage, to) = (BufferUsages::STORAGE, BufferUsages::COPY_DST);
            let parameters = buffer(work.parameters_bytes(), BufferUsages::UNIFORM | to);
            let units = buffer(work.units_bytes(), storage | to);
            let columns = buffer(work.columns_bytes(), storage);
            let found = buffer(work.found_bytes(), storage | to | BufferUsages::COPY_SRC);
            let told = buffer(work.found_bytes(), BufferUsages::MAP_READ | to);
            let bound = (0..).zip([&parameters, &units, &columns, &found]);
            let entries: Vec<wgpu::BindGroupEntry<'_>> = bound
                .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
                .collect();
            let descriptor = wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries };
            let group = device.create_bind_group(&descriptor);
            (parameters, units, found, told, group)
        })?;
        let seen = bytes_of(&work.units);
        Ok(Self { device, queue, sum_columns, test_cells, parameters, units, found, told, group, seen })
    }

    /// One round: how many candidates there are, and they.
    fn find(&self, work: &Work) -> Result<(u32, Vec<u8>), AnyError> {
        checked(&self.device, || self.run(work))?;
        self.read(work)
    }

    fn run(&self, work: &Work) {
        self.queue.write_buffer(&self.parameters, 0, &bytes_of(&work.parameters()));
        self.queue.write_buffer(&self.units, 0, &self.seen);
        self.queue.write_buffer(&self.found, 0, &[0; FOUND_HEADER_BYTES]);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        self.pass(&mut encoder, &self.sum_columns, work.column_groups());
        self.pass(&mut encoder, &self.test_cells, work.cell_groups());
        encoder.copy_buffer_to_buffer(&self.found, 0, &self.told, 0, work.found_bytes());
        self.queue.submit([encoder.finish()]);
    }

    fn pass(&self, encoder: &mut wgpu::CommandEncoder, pipeline: &wgpu::ComputePipeline, groups: (u32, u32)) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(groups.0, groups.1, 1);
    }

    fn read(&self, work: &Work) -> Result<(u32, Vec<u8>), AnyError> {
        let (tell, told) = mpsc::channel();
        self.told.map_async(wgpu::MapMode::Read, .., move |mapped| drop(tell.send(mapped)));
        self.device.poll(PollType::wait_indefinitely())?;
        told.try_recv()??;
        let bytes = |offset: usize, length: usize| {
            let view = self.told.get_mapped_range(offset as u64..(offset + length) as u64);
            view.map(|view| view.to_vec())
        };
        let header = bytes(0, FOUND_HEADER_BYTES)?;
        let count = work::count(&header).ok_or("the device gave back too few bytes")?;
        let listed = count.min(work.candidates_max) as usize;
        let candidates = if listed == 0 { Vec::new() } else { bytes(FOUND_HEADER_BYTES, listed * CANDIDATE_BYTES)? };
        self.told.unmap();
        Ok((count, candidates))
    }
}

fn layout(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    let slot = |(binding, kind): (u32, BufferBindingType)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty: kind, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..).zip(BINDINGS).map(slot).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}

fn pipelines(device: &wgpu::Device, group: &wgpu::BindGroupLayout) -> (wgpu::ComputePipeline, wgpu::ComputePipeline) {
    let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(group)],
        immediate_size: 0,
    });
    let source = wgpu::ShaderSource::Wgsl(work::SHADER.into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = |entry_point: &str| {
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: Some(&layout),
            module: &module,
            entry_point: Some(entry_point),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        })
    };
    (pipeline("sum_columns"), pipeline("test_cells"))
}

/// Does `work`; what the device has against it is the error.
fn checked<T>(device: &wgpu::Device, work: impl FnOnce() -> T) -> Result<T, AnyError> {
    let filters = [ErrorFilter::Validation, ErrorFilter::OutOfMemory, ErrorFilter::Internal];
    let mut scopes: Vec<wgpu::ErrorScopeGuard> = filters.map(|filter| device.push_error_scope(filter)).into();
    let value = work();
    while let Some(scope) = scopes.pop() {
        if let Some(error) = ready(scope.pop())? {
            return Err(error.into());
        }
    }
    Ok(value)
}

/// The words as the shader reads them.
fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The value of a future that has nothing to wait for, as all of wgpu's are outside of browsers.
fn ready<T>(future: impl Future<Output = T>) -> Result<T, AnyError> {
    match pin!(future).poll(&mut task::Context::from_waker(task::Waker::noop())) {
        task::Poll::Ready(value) => Ok(value),
        task::Poll::Pending => Err("wgpu has to wait for something".into()),
    }
}
