//! Making objects. One that cannot be made is invalid, and the error says why.

use roadstead_gpu_wire::{Id, Reply, op::Binding, op::Create, op::QueryKind, reply::GpuError, wgt};

use super::{
    Session, SessionError,
    objects::{BundleObject, EncoderObject, Entry, Kept, Object},
};

/// What making an object gives.
pub(super) struct Made {
    pub(super) object: Object,
    /// Bytes that it takes on the GPU.
    pub(super) bytes: u64,
    /// Objects that it keeps alive.
    pub(super) uses: Vec<Id>,
    /// Charges of further ones.
    pub(super) kept: Kept,
}

impl Made {
    pub(super) fn of(object: Object) -> Self {
        Self::using(object, Vec::new())
    }

    pub(super) fn using(object: Object, uses: Vec<Id>) -> Self {
        Self { object, bytes: 0, uses, kept: Vec::new() }
    }
}

impl Session {
    pub(super) fn create(&mut self, id: Id, what: Create) -> Result<(), SessionError> {
        match what {
            Create::ComputePipeline { desc, answered } => {
                let made = self.compute_pipeline(&desc);
                self.keep_pipeline(id, made, answered)
            }
            Create::RenderPipeline { desc, answered } => {
                let made = self.render_pipeline(&desc);
                self.keep_pipeline(id, made, answered)
            }
            Create::ShaderModule { label, code } => {
                let code = self.bytes_of(code)?;
                let made = self.shader_module(label.as_deref(), code);
                self.enter(id, made);
                Ok(())
            }
            Create::Buffer { label, size, usage, mapped } => {
                self.create_buffer(id, label.as_deref(), size, usage, mapped);
                Ok(())
            }
            Create::Texture(desc) => {
                self.create_texture(id, &desc);
                Ok(())
            }
            other => {
                let made = self.make(other);
                self.enter(id, made);
                Ok(())
            }
        }
    }

    /// Enters a pipeline. One that is asked for with an answer raises no error of its own: the answer tells it.
    fn keep_pipeline(&mut self, id: Id, made: Result<Made, GpuError>, answered: bool) -> Result<(), SessionError> {
        if !answered {
            self.enter(id, made);
            return Ok(());
        }
        let outcome = match made {
            Ok(made) => self.enter_valid(id, made),
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.enter_invalid(id);
        }
        self.reply(Reply::Pipeline(outcome))
    }

    /// Enters an object, or an invalid one with its error.
    pub(super) fn enter(&mut self, id: Id, made: Result<Made, GpuError>) {
        if let Err(error) = made.and_then(|made| self.enter_valid(id, made)) {
            self.raise(error);
            self.enter_invalid(id);
        }
    }

    fn enter_valid(&mut self, id: Id, made: Made) -> Result<(), GpuError> {
        let charge = self.account.object(made.bytes).map_err(GpuError::out_of_memory)?;
        let mut kept = made.kept;
        kept.extend(made.uses.iter().flat_map(|used| self.objects.kept_by(*used)));
        self.objects.insert(id, Entry { object: made.object, own: Some(charge.into()), kept });
        Ok(())
    }

    /// An invalid object; it counts as one, since it takes a place. Beyond the limit even that is not to be had, and
    /// the number stands for nothing, which is as invalid.
    pub(super) fn enter_invalid(&mut self, id: Id) {
        if let Ok(charge) = self.account.object(0) {
            self.objects.insert(id, Entry { object: Object::Invalid, own: Some(charge.into()), kept: Vec::new() });
        }
    }

    fn make(&mut self, what: Create) -> Result<Made, GpuError> {
        let Some(device) = self.device.as_ref().map(|open| open.device.clone()) else {
            return Err(GpuError::validation("there is no device"));
        };
        let invalid = GpuError::validation;
        let objects = &self.objects;
        match what {
            Create::Invalid(error) => Err(error),
            Create::TextureView { texture, desc } => {
                let found = objects.texture(texture).map_err(invalid)?;
                let view = found.create_view(&desc.map_label(|label| label.as_deref()));
                Ok(Made::using(Object::TextureView(view), vec![texture]))
            }
            Create::Sampler(desc) => {
                Ok(Made::of(Object::Sampler(device.create_sampler(&desc.map_label(|label| label.as_deref())))))
            }
            Create::BindGroupLayout { label, entries } => {
                let desc = wgpu::BindGroupLayoutDescriptor { label: label.as_deref(), entries: &entries };
                Ok(Made::of(Object::GroupLayout(device.create_bind_group_layout(&desc))))
            }
            Create::PipelineLayout { label, groups } => {
                let found: Result<Vec<_>, _> =
                    groups.iter().map(|group| group.map(|id| objects.group_layout(id)).transpose()).collect();
                let found = found.map_err(invalid)?;
                let desc = wgpu::PipelineLayoutDescriptor {
                    label: label.as_deref(),
                    bind_group_layouts: &found,
                    immediate_size: 0,
                };
                Ok(Made::of(Object::PipelineLayout(device.create_pipeline_layout(&desc))))
            }
            Create::BindGroup { label, layout, entries } => self.make_bind_group(label.as_deref(), layout, &entries),
            Create::GroupLayoutOf { pipeline, index } => self.group_layout_of(pipeline, index),
            Create::CommandEncoder { label } => {
                let encoder =
                    device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: label.as_deref() });
                let encoder = EncoderObject { encoder, broken: None, commands: objects.commands() };
                Ok(Made::of(Object::Encoder(Box::new(encoder))))
            }
            Create::BundleEncoder(desc) => {
                let counted = objects.commands();
                let bundle = BundleObject { desc, commands: Vec::new(), counted, debug_depth: 0, broken: None };
                Ok(Made::of(Object::BundleEncoder(Box::new(bundle))))
            }
            Create::QuerySet { label, kind, count } => {
                let ty = match kind {
                    QueryKind::Occlusion => wgt::QueryType::Occlusion,
                    QueryKind::Timestamp => wgt::QueryType::Timestamp,
                };
                let desc = wgpu::QuerySetDescriptor { label: label.as_deref(), ty, count };
                let set = device.create_query_set(&desc);
                Ok(Made { bytes: u64::from(count) * 8, ..Made::of(Object::QuerySet(set)) })
            }
            Create::ComputePass { encoder, label, timestamps } => {
                self.begin_compute(encoder, label.as_deref(), timestamps)
            }
            Create::RenderPass { encoder, desc } => self.begin_render(encoder, &desc),
            Create::CommandBuffer { encoder, label: _ } => self.finish_encoder(encoder),
            Create::RenderBundle { encoder, label } => self.finish_bundle(encoder, label.as_deref()),
            Create::Buffer { .. }
            | Create::Texture(_)
            | Create::ShaderModule { .. }
            | Create::ComputePipeline { .. }
            | Create::RenderPipeline { .. } => Err(GpuError::internal("it is made elsewhere")),
        }
    }

    fn make_bind_group(&self, label: Option<&str>, layout: Id, entries: &[(u32, Binding)]) -> Result<Made, GpuError> {
        let Some(open) = &self.device else { return Err(GpuError::validation("there is no device")) };
        let invalid = GpuError::validation;
        let mut bound = Vec::with_capacity(entries.len());
        let mut uses = Vec::with_capacity(entries.len());
        for (binding, what) in entries {
            let resource = match what {
                Binding::Buffer { buffer, offset, size } => {
                    uses.push(*buffer);
                    let buffer = &self.objects.buffer(*buffer).map_err(invalid)?.buffer;
                    let size = match size {
                        Some(size) => Some(
                            wgt::BufferSize::new(*size)
                                .ok_or_else(|| invalid(format!("binding {binding} binds no bytes")))?,
                        ),
                        None => None,
                    };
                    wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: *offset, size })
                }
                Binding::Sampler(sampler) => {
                    wgpu::BindingResource::Sampler(self.objects.sampler(*sampler).map_err(invalid)?)
                }
                Binding::TextureView(view) => {
                    uses.push(*view);
                    wgpu::BindingResource::TextureView(self.objects.view(*view).map_err(invalid)?)
                }
            };
            bound.push(wgpu::BindGroupEntry { binding: *binding, resource });
        }
        let layout = self.objects.group_layout(layout).map_err(invalid)?;
        let group = open.device.create_bind_group(&wgpu::BindGroupDescriptor { label, layout, entries: &bound });
        Ok(Made::using(Object::BindGroup(group), uses))
    }
}
