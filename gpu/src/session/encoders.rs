//! Command encoders and compute passes. An encoder that was given something invalid is broken: nothing comes of it, and
//! `finish` says why.

use roadstead_gpu_wire::{
    Id,
    op::{ComputeOp, CopyBuffer, CopyTexture, DebugOp, EncoderOp, TimestampWrites},
    reply::GpuError,
};

use super::{
    Session,
    create::Made,
    objects::{COMMANDS_MAX, CommandBufferObject, Object, PassObject},
};

/// The marks for debuggers, which encoders and passes have alike.
macro_rules! debug {
    ($to:expr, $op:expr) => {
        match $op {
            DebugOp::Push(label) => $to.push_debug_group(&label),
            DebugOp::Pop => $to.pop_debug_group(),
            DebugOp::Mark(label) => $to.insert_debug_marker(&label),
        }
    };
}
pub(super) use debug;

impl Session {
    /// Nothing can come of the encoder any more.
    pub(super) fn break_encoder(&mut self, encoder: Id, why: String) {
        match self.objects.get_mut(encoder) {
            Some(Object::Encoder(found)) => {
                found.broken.get_or_insert(why);
            }
            _ => self.raise(GpuError::validation(why)),
        }
    }

    /// Counts a command of an encoder; false when there are too many.
    pub(super) fn count_command(&mut self, encoder: Id) -> bool {
        let Some(Object::Encoder(found)) = self.objects.get_mut(encoder) else { return true };
        let room = found.commands.add();
        if !room {
            found.broken.get_or_insert(format!("more than {COMMANDS_MAX} commands wait for their submit"));
        }
        room
    }

    pub(super) fn encoder(&mut self, id: Id, op: EncoderOp) {
        if !matches!(self.objects.get(id), Some(Object::Encoder(_))) {
            return self.raise(GpuError::validation("the command encoder is finished or not valid"));
        }
        if self.count_command(id)
            && let Err(why) = self.encode(id, op)
        {
            self.break_encoder(id, why);
        }
    }

    fn encode(&mut self, id: Id, op: EncoderOp) -> Result<(), String> {
        match op {
            EncoderOp::CopyBufferToBuffer { from, from_offset, to, to_offset, size } => {
                let (source, target) = (self.used_buffer(id, from)?, self.used_buffer(id, to)?);
                let encoder = self.open_encoder(id)?;
                encoder.copy_buffer_to_buffer(&source, from_offset, &target, to_offset, Some(size));
            }
            EncoderOp::CopyBufferToTexture { from, to, size } => {
                let (source, target) = (self.used_buffer(id, from.buffer)?, self.used_texture(id, to.texture)?);
                self.open_encoder(id)?.copy_buffer_to_texture(texels(&from, &source), image(&to, &target), size);
            }
            EncoderOp::CopyTextureToBuffer { from, to, size } => {
                let (source, target) = (self.used_texture(id, from.texture)?, self.used_buffer(id, to.buffer)?);
                self.open_encoder(id)?.copy_texture_to_buffer(image(&from, &source), texels(&to, &target), size);
            }
            EncoderOp::CopyTextureToTexture { from, to, size } => {
                let (source, target) = (self.used_texture(id, from.texture)?, self.used_texture(id, to.texture)?);
                self.open_encoder(id)?.copy_texture_to_texture(image(&from, &source), image(&to, &target), size);
            }
            EncoderOp::ClearBuffer { buffer, offset, size } => {
                let buffer = self.used_buffer(id, buffer)?;
                self.open_encoder(id)?.clear_buffer(&buffer, offset, size);
            }
            EncoderOp::ResolveQuerySet { set, first, count, to, offset } => {
                let found = self.objects.query_set(set)?.clone();
                self.objects.keep(id, set);
                let target = self.used_buffer(id, to)?;
                let end = first.checked_add(count).ok_or("there are not so many queries")?;
                self.open_encoder(id)?.resolve_query_set(&found, first..end, &target, offset);
            }
            EncoderOp::Debug(op) => debug!(self.open_encoder(id)?, op),
        }
        Ok(())
    }

    fn open_encoder(&mut self, id: Id) -> Result<&mut wgpu::CommandEncoder, String> {
        match self.objects.get_mut(id) {
            Some(Object::Encoder(found)) => Ok(&mut found.encoder),
            _ => Err("the command encoder is finished or not valid".to_owned()),
        }
    }

    /// A buffer that an encoder uses, and keeps alive.
    pub(super) fn used_buffer(&mut self, encoder: Id, buffer: Id) -> Result<wgpu::Buffer, String> {
        let found = self.objects.buffer(buffer)?.buffer.clone();
        self.objects.keep(encoder, buffer);
        Ok(found)
    }

    fn used_texture(&mut self, encoder: Id, texture: Id) -> Result<wgpu::Texture, String> {
        let found = self.objects.texture(texture)?.clone();
        self.objects.keep(encoder, texture);
        Ok(found)
    }

    /// Takes what an encoder has written down; the encoder is used up.
    pub(super) fn finish_encoder(&mut self, id: Id) -> Result<Made, GpuError> {
        let invalid = || GpuError::validation("the command encoder is finished or not valid");
        let entry = self.objects.entry_mut(id).ok_or_else(invalid)?;
        let Object::Encoder(found) = std::mem::replace(&mut entry.object, Object::Invalid) else {
            return Err(invalid());
        };
        let kept = std::mem::take(&mut entry.kept);
        if let Some(why) = found.broken {
            return Err(GpuError::validation(why));
        }
        let buffer = CommandBufferObject { buffer: found.encoder.finish(), _commands: found.commands };
        Ok(Made { kept, ..Made::of(Object::CommandBuffer(buffer)) })
    }

    /// The query set that a pass writes its times to.
    pub(super) fn timestamps(
        &mut self,
        encoder: Id,
        writes: Option<TimestampWrites>,
    ) -> Result<Option<(wgpu::QuerySet, TimestampWrites)>, GpuError> {
        let Some(writes) = writes else { return Ok(None) };
        let set = self.objects.query_set(writes.query_set).map_err(GpuError::validation)?.clone();
        self.objects.keep(encoder, writes.query_set);
        Ok(Some((set, writes)))
    }

    pub(super) fn begin_compute(
        &mut self,
        encoder: Id,
        label: Option<&str>,
        timestamps: Option<TimestampWrites>,
    ) -> Result<Made, GpuError> {
        let timestamps = self.timestamps(encoder, timestamps)?;
        let open = self.open_encoder(encoder).map_err(GpuError::validation)?;
        let timestamp_writes = timestamps.as_ref().map(|(query_set, writes)| wgpu::ComputePassTimestampWrites {
            query_set,
            beginning_of_pass_write_index: writes.begin,
            end_of_pass_write_index: writes.end,
        });
        let desc = wgpu::ComputePassDescriptor { label, timestamp_writes };
        let pass = open.begin_compute_pass(&desc).forget_lifetime();
        Ok(Made::of(Object::ComputePass(Box::new(PassObject { pass, encoder }))))
    }

    pub(super) fn compute_pass(&mut self, id: Id, op: ComputeOp) {
        let Some(Object::ComputePass(found)) = self.objects.get(id) else {
            return self.raise(GpuError::validation("the compute pass has ended or is not valid"));
        };
        let encoder = found.encoder;
        if let ComputeOp::End = op {
            // Dropping the pass ends it.
            if let Some(object) = self.objects.get_mut(id) {
                *object = Object::Invalid;
            }
            return;
        }
        if self.count_command(encoder)
            && let Err(why) = self.compute(id, encoder, op)
        {
            self.break_encoder(encoder, why);
        }
    }

    fn compute(&mut self, id: Id, encoder: Id, op: ComputeOp) -> Result<(), String> {
        let dispatch_max = self.limits().dispatch_workgroups_max;
        match op {
            ComputeOp::SetPipeline(pipeline) => {
                let pipeline = self.objects.compute_pipeline(pipeline)?.clone();
                self.open_compute(id)?.set_pipeline(&pipeline);
            }
            ComputeOp::SetBindGroup { index, group, offsets } => {
                let found = group.map(|group| self.objects.bind_group(group).cloned()).transpose()?;
                if let Some(group) = group {
                    self.objects.keep(encoder, group);
                }
                self.open_compute(id)?.set_bind_group(index, found.as_ref(), &offsets);
            }
            ComputeOp::Dispatch { x, y, z } => {
                let workgroups = u128::from(x) * u128::from(y) * u128::from(z);
                if workgroups > u128::from(dispatch_max) {
                    return Err(format!(
                        "{x} x {y} x {z} workgroups are more than {dispatch_max} (gpu_dispatch_workgroups_max)"
                    ));
                }
                self.open_compute(id)?.dispatch_workgroups(x, y, z);
            }
            ComputeOp::DispatchIndirect { buffer, offset } => {
                let buffer = self.used_buffer(encoder, buffer)?;
                self.open_compute(id)?.dispatch_workgroups_indirect(&buffer, offset);
            }
            ComputeOp::Debug(op) => debug!(self.open_compute(id)?, op),
            ComputeOp::End => {}
        }
        Ok(())
    }

    fn open_compute(&mut self, id: Id) -> Result<&mut wgpu::ComputePass<'static>, String> {
        match self.objects.get_mut(id) {
            Some(Object::ComputePass(found)) => Ok(&mut found.pass),
            _ => Err("the compute pass has ended or is not valid".to_owned()),
        }
    }
}

fn texels<'a>(end: &CopyBuffer, buffer: &'a wgpu::Buffer) -> wgpu::TexelCopyBufferInfo<'a> {
    wgpu::TexelCopyBufferInfo { buffer, layout: end.layout }
}

/// A texture as one end of a copy, as wgpu has it.
pub(super) fn image<'a>(end: &CopyTexture, texture: &'a wgpu::Texture) -> wgpu::TexelCopyTextureInfo<'a> {
    wgpu::TexelCopyTextureInfo { texture, mip_level: end.mip_level, origin: end.origin, aspect: end.aspect }
}
