//! Buffers: making, mapping, and the bytes of mapped ranges. What wgpu answers with a panic is checked before it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use roadstead_gpu_wire::{
    Id, LANE_BYTES, Reply,
    op::BufferOp,
    reply::{GpuError, MapRefused},
    shared::Lane,
    wgt,
};

use super::{
    Session, SessionError,
    objects::{BufferObject, Entry, Mapped, Object},
};

/// All flags that WebGPU has for buffers.
const USAGES: u32 = 0x3ff;

/// How long one wait for the GPU lasts before the host is looked for.
const WAIT: Duration = Duration::from_millis(20);

impl Session {
    pub(super) fn create_buffer(&mut self, id: Id, label: Option<&str>, size: u64, usage: u32, mapped: bool) {
        let outcome = self.make_buffer(id, label, size, usage, mapped);
        if let Err(error) = outcome {
            self.raise(error);
            self.enter_invalid(id);
        }
    }

    fn make_buffer(
        &mut self,
        id: Id,
        label: Option<&str>,
        size: u64,
        usage: u32,
        mapped: bool,
    ) -> Result<(), GpuError> {
        let Some(open) = &self.device else { return Err(GpuError::validation("there is no device")) };
        if usage & !USAGES != 0 {
            return Err(GpuError::validation(format!("the buffer's usage has unknown bits: {:#x}", usage & !USAGES)));
        }
        if mapped && !size.is_multiple_of(wgt::COPY_BUFFER_ALIGNMENT) {
            let text = format!("a buffer that is mapped at creation has a multiple of 4 bytes, not {size}");
            return Err(GpuError::validation(text));
        }
        // What is too large for the device is told by the device.
        let bytes = if size > open.limits.max_buffer_size { 0 } else { size };
        let charge = self.account.object(bytes).map_err(GpuError::out_of_memory)?;
        let usage = wgt::BufferUsages::from_bits_truncate(usage);
        let buffer =
            open.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: mapped });
        let mapped = mapped.then_some(Mapped { offset: 0, size, write: true });
        let object = Object::Buffer(BufferObject { buffer, mapped });
        self.objects.insert(id, Entry { object, own: Some(charge.into()), kept: Vec::new() });
        Ok(())
    }

    pub(super) fn buffer(&mut self, id: Id, op: BufferOp) -> Result<(), SessionError> {
        match op {
            BufferOp::Map { write, offset, size } => {
                let mapped = self.map(id, write, offset, size);
                self.reply(Reply::Mapped(mapped))
            }
            BufferOp::Read { offset, size } => {
                let read = self.read_mapped(id, offset, size);
                self.reply(Reply::Bytes(read))
            }
            BufferOp::Write { offset, data } => {
                let bytes = self.bytes_of(data)?;
                self.write_mapped(id, offset, &bytes);
                Ok(())
            }
            BufferOp::Unmap => {
                if let Some(Object::Buffer(found)) = self.objects.get_mut(id)
                    && let Some(mapped) = found.mapped.take()
                    && mapped.size > 0
                {
                    found.buffer.unmap();
                }
                Ok(())
            }
        }
    }

    /// Destroys what can be destroyed; the memory is the workload's no longer.
    pub(super) fn destroy_object(&mut self, id: Id) {
        match self.objects.get_mut(id) {
            Some(Object::Buffer(found)) => {
                found.mapped = None;
                found.buffer.destroy();
            }
            Some(Object::Texture(texture)) => texture.destroy(),
            Some(object @ Object::QuerySet(_)) => *object = Object::Invalid,
            _ => return,
        }
        self.objects.free(id);
    }

    fn map(&mut self, id: Id, write: bool, offset: u64, size: u64) -> Result<(), MapRefused> {
        let refuse = |session: &Self, text: String| {
            session.raise(GpuError::validation(text.clone()));
            Err(MapRefused::Operation(text))
        };
        if self.lost {
            return Err(MapRefused::Abort("the device is lost".to_owned()));
        }
        let found = match self.objects.buffer(id) {
            Ok(found) => found,
            Err(text) => return refuse(self, text),
        };
        let (buffer, whole) = (found.buffer.clone(), found.buffer.size());
        if found.mapped.is_some() {
            return refuse(self, "the buffer is mapped already".to_owned());
        }
        if !offset.is_multiple_of(wgt::MAP_ALIGNMENT) || !size.is_multiple_of(wgt::COPY_BUFFER_ALIGNMENT) {
            return refuse(self, format!("offset {offset} is no multiple of 8, or size {size} none of 4"));
        }
        let Some(end) = offset.checked_add(size).filter(|end| *end <= whole) else {
            return refuse(self, format!("bytes {offset} to {offset}+{size} are not in a buffer of {whole}"));
        };
        let needed = if write { wgt::BufferUsages::MAP_WRITE } else { wgt::BufferUsages::MAP_READ };
        if !buffer.usage().contains(needed) {
            return refuse(self, format!("the buffer was made without {needed:?}"));
        }
        if size > 0 {
            self.wait_for_map(&buffer, write, offset..end)?;
        }
        if let Some(Object::Buffer(found)) = self.objects.get_mut(id) {
            found.mapped = Some(Mapped { offset, size, write });
        }
        Ok(())
    }

    fn wait_for_map(
        &mut self,
        buffer: &wgpu::Buffer,
        write: bool,
        range: std::ops::Range<u64>,
    ) -> Result<(), MapRefused> {
        let mode = if write { wgpu::MapMode::Write } else { wgpu::MapMode::Read };
        let outcome = Arc::new(Mutex::new(None));
        let told = outcome.clone();
        buffer.map_async(mode, range, move |result| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        loop {
            self.wait_a_little(WAIT);
            let told = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
            match told {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(MapRefused::Operation(error.to_string())),
                None if self.lost || self.is_abandoned() => {
                    return Err(MapRefused::Abort("the device is lost".to_owned()));
                }
                None => {}
            }
        }
    }

    /// Copies a mapped range to the host; `None` when it is not mapped.
    fn read_mapped(&self, id: Id, offset: u64, size: u64) -> Option<u32> {
        let found = self.objects.buffer(id).ok()?;
        let len = u32::try_from(size).ok().filter(|_| size <= LANE_BYTES as u64)?;
        let range = inside(found.mapped?, offset, size)?;
        if size > 0 {
            let view = found.buffer.get_mapped_range(range).ok()?;
            self.memory.write(Lane::Down, 0, &view).ok()?;
        }
        Some(len)
    }

    fn write_mapped(&self, id: Id, offset: u64, bytes: &[u8]) {
        let Ok(found) = self.objects.buffer(id) else { return };
        let range =
            found.mapped.filter(|mapped| mapped.write).and_then(|mapped| inside(mapped, offset, bytes.len() as u64));
        if let Some(range) = range.filter(|range| !range.is_empty())
            && let Ok(mut view) = found.buffer.get_mapped_range_mut(range)
        {
            view.copy_from_slice(bytes);
        }
    }
}

fn inside(mapped: Mapped, offset: u64, size: u64) -> Option<std::ops::Range<u64>> {
    let end = offset.checked_add(size)?;
    (offset >= mapped.offset && end <= mapped.offset + mapped.size).then_some(offset..end)
}
