//! Shaders and pipelines: what makes the driver compile. It happens in turns, on a large stack, and what is known to
//! bring compilers down is refused before they see it.

use std::{panic::resume_unwind, thread};

use roadstead_gpu_wire::{
    Id,
    op::{ComputePipelineDesc, RenderPipelineDesc, StageDesc},
    reply::{CompilationMessage, GpuError, Severity},
};
use wgpu::naga::ShaderStage;

use super::{
    Session,
    create::Made,
    objects::{Object, ShaderObject},
};
use crate::{
    adapters::ready,
    shader::{self, Bounds},
    turns::{Work, Worker},
};

/// Native stack on which shaders are read and compiled. Only what is touched of it is ever there.
const COMPILE_STACK_BYTES: usize = 512 << 20;

/// Runs what may need much stack on a thread that has it.
fn on_large_stack<T: Send>(worker: &Worker, work: impl FnOnce() -> T + Send) -> Result<T, GpuError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("gpu-compile".to_owned()).stack_size(COMPILE_STACK_BYTES);
        let running = builder.spawn_scoped(scope, || {
            worker.is_here();
            work()
        });
        let running = running.map_err(|error| GpuError::internal(format!("no thread to compile on: {error}")))?;
        running.join().or_else(|panic| resume_unwind(panic))
    })
}

/// A stage with its shader.
struct Stage<'a> {
    module: wgpu::ShaderModule,
    entry_point: Option<&'a str>,
    constants: Vec<(&'a str, f64)>,
}

impl Stage<'_> {
    fn options(&self) -> wgpu::PipelineCompilationOptions<'_> {
        wgpu::PipelineCompilationOptions { constants: &self.constants, ..Default::default() }
    }
}

impl Session {
    fn shader_bounds(&self) -> Bounds {
        let limits = self.limits();
        let of_device = self.device.as_ref().map(|open| open.limits.clone()).unwrap_or_default();
        let workgroup_size_max = [
            of_device.max_compute_workgroup_size_x,
            of_device.max_compute_workgroup_size_y,
            of_device.max_compute_workgroup_size_z,
        ];
        Bounds {
            workgroup_bytes_max: u64::from(of_device.max_compute_workgroup_storage_size),
            private_bytes_max: limits.private_bytes_max,
            size_max: limits.shader_size_max,
            workgroup_max: (workgroup_size_max, of_device.max_compute_invocations_per_workgroup),
        }
    }

    pub(super) fn shader_module(&mut self, label: Option<&str>, code: Vec<u8>) -> Result<Made, GpuError> {
        let max = self.limits().shader_bytes_max;
        if code.len() as u64 > max {
            let text = format!("a shader of {} bytes is longer than {max} (gpu_shader_bytes_max)", code.len());
            return Err(GpuError::validation(text));
        }
        let code = String::from_utf8(code).map_err(|_| GpuError::validation("the shader is not UTF-8"))?;
        let bounds = self.shader_bounds();
        let turn = self.turn(Work::Compile)?;
        let Some(open) = &self.device else { return Err(GpuError::validation("there is no device")) };
        let device = open.device.clone();
        let made = on_large_stack(&turn.thread, || {
            let checked = shader::check(&code, bounds)?;
            let source = wgpu::ShaderSource::Wgsl(code.as_str().into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
            let info = ready(module.get_compilation_info());
            Ok::<_, GpuError>((module, info, checked))
        })?;
        let (module, info, overridable) = made?;
        let messages = info.map(|info| info.messages).unwrap_or_default();
        let messages = messages.into_iter().map(|message| in_utf16(&code, message)).collect();
        Ok(Made::of(Object::Shader(ShaderObject { module, messages, overridable })))
    }

    pub(super) fn compilation_info(&self, module: Id) -> Vec<CompilationMessage> {
        match self.objects.shader(module) {
            Ok(found) => found.messages.clone(),
            Err(text) => {
                vec![CompilationMessage {
                    severity: Severity::Error,
                    message: text,
                    line: 0,
                    column: 0,
                    offset: 0,
                    length: 0,
                }]
            }
        }
    }

    /// Finds a stage's shader, and checks it with the constants that it gets now.
    fn stage<'a>(&self, desc: &'a StageDesc, stage: ShaderStage) -> Result<Stage<'a>, GpuError> {
        let found = self.objects.shader(desc.module).map_err(GpuError::validation)?;
        // The compiler passes over constants that it does not know.
        let is_unknown = |name: &str| !found.overridable.as_ref().is_some_and(|shader| shader.has(name));
        if let Some((unknown, _)) = desc.constants.iter().find(|(name, _)| is_unknown(name)) {
            return Err(GpuError::validation(format!("the shader has no constant {unknown:?}")));
        }
        if let Some(overridable) = found.overridable.clone() {
            let bounds = self.shader_bounds();
            let entry_point = desc.entry_point.clone();
            on_large_stack(&Worker::default(), move || {
                overridable.check(stage, entry_point.as_deref(), &desc.constants, bounds)
            })??;
        }
        let constants = desc.constants.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        Ok(Stage { module: found.module.clone(), entry_point: desc.entry_point.as_deref(), constants })
    }

    /// Makes a pipeline, whose errors are the outcome.
    fn compile<T: Send>(&mut self, work: impl FnOnce(&wgpu::Device) -> T + Send) -> Result<T, GpuError> {
        let turn = self.turn(Work::Compile)?;
        let Some(open) = &self.device else { return Err(GpuError::validation("there is no device")) };
        let device = open.device.clone();
        let (made, error) = open.errors.capture(|| on_large_stack(&turn.thread, || work(&device)));
        match error {
            Some(error) => Err(error),
            None => made,
        }
    }

    pub(super) fn compute_pipeline(&mut self, desc: &ComputePipelineDesc) -> Result<Made, GpuError> {
        let stage = self.stage(&desc.stage, ShaderStage::Compute)?;
        let layout = desc.layout.map(|layout| self.objects.pipeline_layout(layout).cloned()).transpose();
        let layout = layout.map_err(GpuError::validation)?;
        let pipeline = self.compile(|device| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: desc.label.as_deref(),
                layout: layout.as_ref(),
                module: &stage.module,
                entry_point: stage.entry_point,
                compilation_options: stage.options(),
                cache: None,
            })
        })?;
        Ok(Made::of(Object::ComputePipeline(pipeline)))
    }

    pub(super) fn render_pipeline(&mut self, desc: &RenderPipelineDesc) -> Result<Made, GpuError> {
        let vertex = self.stage(&desc.vertex, ShaderStage::Vertex)?;
        let fragment = desc.fragment.as_ref();
        let fragment = fragment
            .map(|(stage, targets)| Ok::<_, GpuError>((self.stage(stage, ShaderStage::Fragment)?, targets)))
            .transpose()?;
        let layout = desc.layout.map(|layout| self.objects.pipeline_layout(layout).cloned()).transpose();
        let layout = layout.map_err(GpuError::validation)?;
        let pipeline = self.compile(|device| {
            let buffers: Vec<_> = desc.buffers.iter().map(|buffer| buffer.as_ref().map(vertex_buffer)).collect();
            device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
                label: desc.label.as_deref(),
                layout: layout.as_ref(),
                vertex: wgpu::VertexState {
                    module: &vertex.module,
                    entry_point: vertex.entry_point,
                    compilation_options: vertex.options(),
                    buffers: &buffers,
                },
                primitive: desc.primitive,
                depth_stencil: desc.depth_stencil.clone(),
                multisample: desc.multisample,
                fragment: fragment.as_ref().map(|(stage, targets)| wgpu::FragmentState {
                    module: &stage.module,
                    entry_point: stage.entry_point,
                    compilation_options: stage.options(),
                    targets,
                }),
                multiview_mask: None,
                cache: None,
            })
        })?;
        Ok(Made::of(Object::RenderPipeline(pipeline)))
    }

    pub(super) fn group_layout_of(&self, pipeline: Id, index: u32) -> Result<Made, GpuError> {
        let max = self.device.as_ref().map_or(0, |open| open.limits.max_bind_groups);
        if index >= max {
            return Err(GpuError::validation(format!("there are {max} bind groups; {index} is none of them")));
        }
        let layout = match self.objects.get(pipeline) {
            Some(Object::ComputePipeline(found)) => found.get_bind_group_layout(index),
            Some(Object::RenderPipeline(found)) => found.get_bind_group_layout(index),
            _ => return Err(GpuError::validation("the pipeline is not valid")),
        };
        Ok(Made::of(Object::GroupLayout(layout)))
    }
}

fn vertex_buffer(desc: &roadstead_gpu_wire::op::VertexBufferDesc) -> wgpu::VertexBufferLayout<'_> {
    wgpu::VertexBufferLayout {
        array_stride: desc.array_stride,
        step_mode: desc.step_mode,
        attributes: &desc.attributes,
    }
}

/// A message with places as WebGPU counts them.
fn in_utf16(code: &str, message: wgpu::CompilationMessage) -> CompilationMessage {
    let units = |bytes: &str| bytes.encode_utf16().count() as u64;
    let part = |from: usize, to: usize| code.get(from..to).map(units).unwrap_or_default();
    let severity = match message.message_type {
        wgpu::CompilationMessageType::Error => Severity::Error,
        wgpu::CompilationMessageType::Warning => Severity::Warning,
        wgpu::CompilationMessageType::Info => Severity::Info,
    };
    let mut told = CompilationMessage { severity, message: message.message, line: 0, column: 0, offset: 0, length: 0 };
    if let Some(at) = message.location {
        let (begin, end) = (at.offset as usize, at.offset as usize + at.length as usize);
        let line_begin = code.get(..begin).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        told.line = u64::from(at.line_number);
        told.column = part(line_begin, begin) + 1;
        told.offset = part(0, begin);
        told.length = part(begin, end);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_in_utf16() {
        let code = "// \u{1F6F0} \u{e9}\nlet x = \u{1F6F0};";
        let begin = code.rfind('\u{1F6F0}').map(|at| at as u32).unwrap_or_default();
        let location = wgpu::SourceLocation { line_number: 2, line_position: 9, offset: begin, length: 4 };
        let message = wgpu::CompilationMessage {
            message: "no".to_owned(),
            message_type: wgpu::CompilationMessageType::Error,
            location: Some(location),
        };
        let told = in_utf16(code, message);
        assert_eq!((told.line, told.column, told.offset, told.length), (2, 9, 16, 2));
    }
}
