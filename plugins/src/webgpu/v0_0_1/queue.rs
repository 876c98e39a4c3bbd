//! Queues.

use std::sync::Arc;

use roadstead_gpu_wire::{LANE_BYTES, Op, op::QueueOp};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{CommandBuffer, Gpu, copies, states::extent, wit};
use crate::webgpu::{
    objects::{Buffer, Queue, cut},
    session::Session,
};

fn session(state: &mut InstanceState, this: &Resource<Queue>) -> wasmtime::Result<Arc<Session>> {
    Ok(state.table().get(this)?.session.clone())
}

/// The bytes of a list that a call means; the reason when they are not all in it, or cannot be copied to a buffer.
fn part(data: &[u8], offset: Option<u64>, size: Option<u64>) -> Result<&[u8], wit::WriteBufferError> {
    let refuse = |message: String| wit::WriteBufferError { kind: wit::WriteBufferErrorKind::OperationError, message };
    let from = usize::try_from(offset.unwrap_or(0)).unwrap_or(usize::MAX);
    let count = match size {
        Some(size) => usize::try_from(size).unwrap_or(usize::MAX),
        None => data.len().saturating_sub(from),
    };
    let part = from.checked_add(count).and_then(|to| data.get(from..to));
    let part = part.ok_or_else(|| refuse(format!("{count} bytes from {from} are not in a list of {}", data.len())))?;
    if part.len() % 4 != 0 {
        return Err(refuse(format!("{} bytes are no multiple of 4", part.len())));
    }
    Ok(part)
}

impl wit::HostGpuQueue for InstanceState {
    async fn submit(
        &mut self,
        this: Resource<Queue>,
        command_buffers: Vec<Resource<CommandBuffer>>,
    ) -> wasmtime::Result<()> {
        let session = session(self, &this)?;
        let buffers: wasmtime::Result<Vec<u32>> =
            command_buffers.iter().map(|buffer| self.of(&session, buffer)).collect();
        session.send(Op::Queue(QueueOp::Submit(buffers?))).await;
        Ok(())
    }

    async fn on_submitted_work_done(&mut self, this: Resource<Queue>) -> wasmtime::Result<()> {
        let session = session(self, &this)?;
        // A device that is lost has nothing more to do.
        let _ = self.ask(&session, Op::Queue(QueueOp::WorkDone)).await;
        Ok(())
    }

    async fn write_buffer_with_copy(
        &mut self,
        this: Resource<Queue>,
        buffer: Resource<Buffer>,
        buffer_offset: u64,
        data: Vec<u8>,
        data_offset: Option<u64>,
        size: Option<u64>,
    ) -> wasmtime::Result<Result<(), wit::WriteBufferError>> {
        let session = session(self, &this)?;
        let whole = self.table().get(&buffer)?.size;
        let buffer = self.of(&session, &buffer)?;
        let bytes = match part(&data, data_offset, size) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        // In parts where all of them fit; what does not is refused as a whole.
        let fits = buffer_offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= whole);
        let part_bytes = if fits && buffer_offset.is_multiple_of(4) { LANE_BYTES } else { bytes.len().max(1) };
        let mut offset = buffer_offset;
        for part in bytes.chunks(part_bytes) {
            let data = session.data(part).await;
            session.send(Op::Queue(QueueOp::WriteBuffer { buffer, offset, data })).await;
            offset = offset.saturating_add(part.len() as u64);
        }
        Ok(Ok(()))
    }

    async fn write_texture_with_copy(
        &mut self,
        this: Resource<Queue>,
        destination: wit::GpuTexelCopyTextureInfo,
        data: Vec<u8>,
        data_layout: wit::GpuTexelCopyBufferLayout,
        size: wit::GpuExtent3D,
    ) -> wasmtime::Result<()> {
        let session = session(self, &this)?;
        let to = copies::texture(self, &session, &destination)?;
        let layout = copies::layout(data_layout.offset, data_layout.bytes_per_row, data_layout.rows_per_image);
        let data = session.data(&data).await;
        session.send(Op::Queue(QueueOp::WriteTexture { to, data, layout, size: extent(&size) })).await;
        Ok(())
    }

    async fn label(&mut self, this: Resource<Queue>) -> wasmtime::Result<String> {
        Ok(self.table().get(&this)?.label.clone())
    }

    async fn set_label(&mut self, this: Resource<Queue>, label: String) -> wasmtime::Result<()> {
        cut(&label).clone_into(&mut self.table().get_mut(&this)?.label);
        Ok(())
    }

    async fn drop(&mut self, this: Resource<Queue>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_list_is_in_it() {
        let data = [1_u8, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(part(&data, None, None).ok(), Some(&data[..]));
        assert_eq!(part(&data, Some(4), None).ok(), Some(&data[4..]));
        assert_eq!(part(&data, Some(2), Some(4)).ok(), Some(&data[2..6]));
        assert!(part(&data, Some(2), None).is_err(), "6 is no multiple of 4");
        assert!(part(&data, Some(8), Some(4)).is_err());
        assert!(part(&data, Some(u64::MAX), Some(u64::MAX)).is_err());
    }
}
