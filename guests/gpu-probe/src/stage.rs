//! A device with what most scenarios do on one. Must not know scenarios.

use crate::calls;
use crate::make::{self, flags};
use crate::webgpu::{
    GpuAdapter, GpuBindGroup, GpuBindGroupDescriptor, GpuBindGroupEntry, GpuBuffer, GpuBufferDescriptor,
    GpuCommandEncoder, GpuComputePipeline, GpuComputePipelineDescriptor, GpuDevice, GpuDeviceDescriptor,
    GpuErrorFilter, GpuErrorKind, GpuFeatureName, GpuLayoutMode, GpuProgrammableStage, GpuQueue, GpuShaderModule,
    GpuTexture, RecordOptionGpuSize64,
};

/// Copies between buffers and textures want rows of a multiple of this.
pub(crate) const ROW_BYTES: u32 = 256;

/// A device and its queue.
pub(crate) struct Stage {
    pub(crate) device: GpuDevice,
    pub(crate) queue: GpuQueue,
}

/// The adapter that the host offers.
pub(crate) fn adapter() -> Result<GpuAdapter, String> {
    call!(calls::get_gpu(), request_adapter, None).ok_or_else(|| "the host has no adapter".to_owned())
}

/// A device with some features and limits.
pub(crate) fn device(
    features: &[GpuFeatureName],
    limits: Option<RecordOptionGpuSize64>,
) -> Result<GpuDevice, crate::webgpu::RequestDeviceError> {
    let adapter = adapter().map_err(|message| crate::webgpu::RequestDeviceError {
        kind: crate::webgpu::RequestDeviceErrorKind::OperationError,
        message,
    })?;
    let descriptor = GpuDeviceDescriptor {
        required_features: Some(features.to_vec()),
        required_limits: limits,
        default_queue: None,
        label: None,
    };
    call!(adapter, request_device, Some(descriptor))
}

impl Stage {
    pub(crate) fn new() -> Result<Self, String> {
        Self::with(&[])
    }

    pub(crate) fn with(features: &[GpuFeatureName]) -> Result<Self, String> {
        let device = device(features, None).map_err(|error| format!("no device: {}", error.message))?;
        let queue = call!(device, queue);
        Ok(Self { device, queue })
    }

    pub(crate) fn buffer(&self, size: u64, usage: u32) -> GpuBuffer {
        call!(self.device, create_buffer, &make::buffer(size, usage))
    }

    /// A buffer that holds `bytes`, written while it is mapped at its creation.
    pub(crate) fn buffer_of(&self, bytes: &[u8], usage: u32) -> Result<GpuBuffer, String> {
        let descriptor =
            GpuBufferDescriptor { mapped_at_creation: Some(true), ..make::buffer(bytes.len() as u64, usage) };
        let buffer = call!(self.device, create_buffer, &descriptor);
        call!(buffer, get_mapped_range_set_with_copy, bytes, None, None).map_err(|error| error.message)?;
        call!(buffer, unmap).map_err(|error| error.message)?;
        Ok(buffer)
    }

    pub(crate) fn words(&self, words: &[u32], usage: u32) -> Result<GpuBuffer, String> {
        self.buffer_of(bytemuck::cast_slice(words), usage)
    }

    pub(crate) fn encoder(&self) -> GpuCommandEncoder {
        call!(self.device, create_command_encoder, None)
    }

    pub(crate) fn submit(&self, encoder: &GpuCommandEncoder) {
        let commands = call!(encoder, finish, None);
        call!(self.queue, submit, &[&commands]);
    }

    /// All bytes of a buffer that may be copied from.
    pub(crate) fn read(&self, buffer: &GpuBuffer) -> Result<Vec<u8>, String> {
        let size = call!(buffer, size);
        let told = self.buffer(size, flags::MAP_READ | flags::COPY_DST);
        let encoder = self.encoder();
        call!(encoder, copy_buffer_to_buffer, buffer, 0, &told, 0, size);
        self.submit(&encoder);
        mapped(&told)
    }

    pub(crate) fn read_words(&self, buffer: &GpuBuffer) -> Result<Vec<u32>, String> {
        Ok(to_words(&self.read(buffer)?))
    }

    /// The texels of a texture of four bytes a texel, at most 64 in a row, row by row.
    pub(crate) fn texels(&self, texture: &GpuTexture) -> Result<Vec<[u8; 4]>, String> {
        let (width, height) = (call!(texture, width), call!(texture, height));
        let told = self.buffer(u64::from(ROW_BYTES * height), flags::MAP_READ | flags::COPY_DST);
        let encoder = self.encoder();
        let destination = make::rows(&told, ROW_BYTES);
        call!(encoder, copy_texture_to_buffer, &make::texels(texture), &destination, make::extent(width, height));
        self.submit(&encoder);
        let bytes = mapped(&told)?;
        let rows = bytes.chunks_exact(ROW_BYTES as usize).flat_map(|row| row.chunks_exact(4).take(width as usize));
        Ok(rows.filter_map(|texel| texel.try_into().ok()).collect())
    }

    pub(crate) fn shader(&self, code: &str) -> GpuShaderModule {
        call!(self.device, create_shader_module, &make::shader(code))
    }

    /// A pipeline of the entry point `main` whose layout follows from the shader.
    pub(crate) fn compute(&self, code: &str) -> GpuComputePipeline {
        let module = self.shader(code);
        self.compute_stage(make::programmable(&module, "main"))
    }

    pub(crate) fn compute_stage(&self, compute: GpuProgrammableStage<'_>) -> GpuComputePipeline {
        let descriptor = GpuComputePipelineDescriptor { compute, layout: GpuLayoutMode::Auto, label: None };
        call!(self.device, create_compute_pipeline, descriptor)
    }

    /// A bind group for group 0 of `pipeline`.
    pub(crate) fn group(&self, pipeline: &GpuComputePipeline, entries: Vec<GpuBindGroupEntry<'_>>) -> GpuBindGroup {
        let layout = call!(pipeline, get_bind_group_layout, 0);
        call!(self.device, create_bind_group, &GpuBindGroupDescriptor { layout: &layout, entries, label: None })
    }

    /// Runs `pipeline` with `group` over some workgroups.
    pub(crate) fn dispatch(
        &self,
        pipeline: &GpuComputePipeline,
        group: &GpuBindGroup,
        groups: u32,
    ) -> Result<(), String> {
        let encoder = self.encoder();
        let pass = call!(encoder, begin_compute_pass, None);
        call!(pass, set_pipeline, pipeline);
        call!(pass, set_bind_group, 0, Some(group), None, None, None).map_err(|error| error.message)?;
        call!(pass, dispatch_workgroups, groups, None, None);
        call!(pass, end);
        self.submit(&encoder);
        Ok(())
    }

    /// The error that `work` made for a scope with `filter`, as its kind and text.
    pub(crate) fn error_of<T>(
        &self,
        filter: GpuErrorFilter,
        work: impl FnOnce() -> T,
    ) -> Result<(T, Option<(GpuErrorKind, String)>), String> {
        call!(self.device, push_error_scope, filter);
        let value = work();
        let error = call!(self.device, pop_error_scope).map_err(|error| error.message)?;
        Ok((value, error.map(|error| (call!(error, kind), call!(error, message)))))
    }

    /// Does `work`, which must be valid.
    pub(crate) fn valid<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T, String> {
        match self.error_of(GpuErrorFilter::Validation, work)? {
            (value, None) => Ok(value),
            (_, Some((_, message))) => Err(format!("{what}: {message}")),
        }
    }

    /// Does `work`, which must be a validation error; its text.
    pub(crate) fn invalid<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<String, String> {
        match self.error_of(GpuErrorFilter::Validation, work)?.1 {
            Some((GpuErrorKind::ValidationError, message)) if !message.is_empty() => Ok(message),
            Some((kind, message)) => Err(format!("{what}: {kind:?} {message:?} instead of a validation error")),
            None => Err(format!("{what}: no validation error")),
        }
    }
}

/// Maps a buffer to read it, and unmaps it.
pub(crate) fn mapped(buffer: &GpuBuffer) -> Result<Vec<u8>, String> {
    call!(buffer, map_async, flags::READ, None, None).map_err(|error| format!("map-async: {}", error.message))?;
    let bytes = call!(buffer, get_mapped_range_get_with_copy, None, None).map_err(|error| error.message)?;
    call!(buffer, unmap).map_err(|error| error.message)?;
    Ok(bytes)
}

pub(crate) fn to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).filter_map(|word| word.try_into().ok()).map(u32::from_le_bytes).collect()
}
