//! The detector's device: WebGPU, through `wasi:webgpu`.
//!
//! It exists to run `cfar.wgsl` over one tile at a time. Device, pipelines and buffers stay in the instance from one call
//! to the next, since making them takes longer than using them; whatever fails gives them all up, so that the next call
//! begins with a new device. Must not know scenes or messages.

mod buffers;

use harbor_watch_sar::{Candidate, Found, Tile, TileDevice, TileLimits};

use crate::wasi::webgpu::webgpu::{
    self, GpuCommandEncoder, GpuComputePassDescriptor, GpuComputePipeline, GpuComputePipelineDescriptor, GpuDevice,
    GpuDeviceDescriptor, GpuErrorFilter, GpuLayoutMode, GpuPipelineLayoutDescriptor, GpuPowerPreference,
    GpuProgrammableStage, GpuQueue, GpuRequestAdapterOptions, GpuShaderModule, GpuShaderModuleDescriptor,
};
use buffers::Buffers;

/// What the log and the labels call it.
const LABEL: &str = "harbor-watch-cfar";
/// Cells that one invocation of the shader moves its windows over.
const STRIDE: u32 = 32;
/// Columns of a workgroup of `sum_columns`.
const COLUMNS_PER_GROUP: u32 = 64;
/// Stripes and rows of a workgroup of `test_cells`.
const SIDE_PER_GROUP: u32 = 8;
/// The shader's list of candidates begins after its count.
const FOUND_HEADER_BYTES: usize = 16;
const CANDIDATE_BYTES: usize = 16;

/// The device, made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct WebGpu(Option<Ready>);

/// A device that can run the shader.
#[derive(Debug)]
struct Ready {
    device: GpuDevice,
    queue: GpuQueue,
    sum_columns: GpuComputePipeline,
    test_cells: GpuComputePipeline,
    layout: webgpu::GpuBindGroupLayout,
    buffers: Option<Buffers>,
    list_bytes_max: u64,
}

impl TileDevice for WebGpu {
    fn backend(&self) -> &'static str {
        "WebGPU"
    }

    fn limits(&mut self) -> Result<TileLimits, String> {
        let ready = self.take()?;
        let list_bytes_max = ready.list_bytes_max;
        self.0 = Some(ready);
        Ok(TileLimits { list_bytes_max })
    }

    fn find(&mut self, tile: &Tile<'_>) -> Result<Found, String> {
        let mut ready = self.take()?;
        let found = ready.find(tile)?;
        self.0 = Some(ready);
        Ok(found)
    }
}

impl WebGpu {
    /// The device that is there, or a new one. It is not there afterwards unless it is put back.
    fn take(&mut self) -> Result<Ready, String> {
        self.0.take().map_or_else(Ready::new, Ok)
    }
}

impl Ready {
    fn new() -> Result<Self, String> {
        let options = GpuRequestAdapterOptions {
            feature_level: None,
            power_preference: Some(GpuPowerPreference::HighPerformance),
            force_fallback_adapter: None,
            xr_compatible: None,
        };
        let adapter = webgpu::get_gpu().request_adapter(Some(&options)).ok_or("the host has no GPU adapter")?;
        let descriptor = GpuDeviceDescriptor {
            required_features: None,
            required_limits: None,
            default_queue: None,
            label: Some(LABEL.to_owned()),
        };
        let device =
            adapter.request_device(Some(descriptor)).map_err(|error| format!("no device: {}", error.message))?;
        let ((sum_columns, test_cells), layout) = checked(&device, "making the pipelines", || {
            let layout = buffers::layout(&device);
            (pipelines(&device, &layout), layout)
        })?;
        let limits = device.limits();
        let list_bytes_max = limits.max_storage_buffer_binding_size().min(limits.max_buffer_size());
        let queue = device.queue();
        Ok(Self { device, queue, sum_columns, test_cells, layout, buffers: None, list_bytes_max })
    }

    fn find(&mut self, tile: &Tile<'_>) -> Result<Found, String> {
        let buffers = match self.buffers.take().filter(|buffers| buffers.fit(tile)) {
            Some(buffers) => buffers,
            None => checked(&self.device, "making the buffers", || Buffers::new(&self.device, &self.layout, tile))?,
        };
        checked(&self.device, "running the shader", || self.run(&buffers, tile))??;
        let found = read(&buffers, tile.candidates_max)?;
        self.buffers = Some(buffers);
        Ok(found)
    }

    /// Writes the tile, and submits both passes and the copy of what they find.
    fn run(&self, buffers: &Buffers, tile: &Tile<'_>) -> Result<(), String> {
        buffers.write(&self.queue, tile)?;
        let encoder = self.device.create_command_encoder(None);
        let columns = (tile.width_px.div_ceil(COLUMNS_PER_GROUP), tile.rows.div_ceil(STRIDE));
        self.pass(&encoder, &self.sum_columns, buffers, columns)?;
        let stripes = tile.width_px.div_ceil(STRIDE);
        let cells = (stripes.div_ceil(SIDE_PER_GROUP), tile.rows.div_ceil(SIDE_PER_GROUP));
        self.pass(&encoder, &self.test_cells, buffers, cells)?;
        buffers.copy_found(&encoder, tile.candidates_max);
        self.queue.submit(&[&encoder.finish(None)]);
        Ok(())
    }

    fn pass(
        &self,
        encoder: &GpuCommandEncoder,
        pipeline: &GpuComputePipeline,
        buffers: &Buffers,
        groups: (u32, u32),
    ) -> Result<(), String> {
        let descriptor = GpuComputePassDescriptor { timestamp_writes: None, label: None };
        let pass = encoder.begin_compute_pass(Some(&descriptor));
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, Some(buffers.group()), None, None, None).map_err(|error| error.message)?;
        pass.dispatch_workgroups(groups.0, Some(groups.1), None);
        pass.end();
        Ok(())
    }
}

/// Both pipelines over one layout, so that one bind group serves both.
fn pipelines(device: &GpuDevice, group: &webgpu::GpuBindGroupLayout) -> (GpuComputePipeline, GpuComputePipeline) {
    let descriptor =
        GpuPipelineLayoutDescriptor { bind_group_layouts: vec![Some(group)], label: Some(LABEL.to_owned()) };
    let layout = device.create_pipeline_layout(&descriptor);
    let code = include_str!("cfar.wgsl").to_owned();
    let module = device.create_shader_module(&GpuShaderModuleDescriptor {
        code,
        compilation_hints: None,
        label: Some(LABEL.to_owned()),
    });
    let pipeline = |module: &GpuShaderModule, entry_point: &str| {
        let compute = GpuProgrammableStage { module, entry_point: Some(entry_point.to_owned()), constants: None };
        let layout = GpuLayoutMode::Specific(&layout);
        let label = Some(entry_point.to_owned());
        device.create_compute_pipeline(GpuComputePipelineDescriptor { compute, layout, label })
    };
    (pipeline(&module, "sum_columns"), pipeline(&module, "test_cells"))
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
    match failure {
        None => Ok(value),
        Some(reason) => Err(format!("{what}: {reason}")),
    }
}

/// Waits for what the shader found and reads it.
fn read(buffers: &Buffers, candidates_max: u32) -> Result<Found, String> {
    let mapped = buffers.map()?;
    let header = mapped.bytes(0, FOUND_HEADER_BYTES)?;
    let count = word(&header, 0).ok_or("the device gave back too few bytes")?;
    let listed = count.min(candidates_max) as usize;
    // A range of no bytes may not be asked for.
    let bytes = if listed == 0 { Vec::new() } else { mapped.bytes(FOUND_HEADER_BYTES, listed * CANDIDATE_BYTES)? };
    let candidate = |bytes: &[u8]| {
        let units = u64::from(word(bytes, 1)?) | u64::from(word(bytes, 2)?) << 32;
        Some(Candidate { index: word(bytes, 0)?, units, count: word(bytes, 3)? })
    };
    let candidates = bytes.chunks_exact(CANDIDATE_BYTES).filter_map(candidate).collect();
    // With more than there was room for, the detector asks again.
    Ok(Found { count, candidates })
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let word = bytes.get(index * 4..index * 4 + 4)?;
    Some(u32::from_le_bytes(word.try_into().ok()?))
}
