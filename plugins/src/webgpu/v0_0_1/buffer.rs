//! Buffers.

use roadstead_gpu_wire::{
    LANE_BYTES, Op, Reply,
    op::BufferOp,
    reply::{GpuError, MapRefused},
};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{Gpu, labels::labelled, wit};
use crate::webgpu::objects::{Buffer, MappedRange, RangeError};

type MapError = wit::MapAsyncError;
type MappedError = wit::GetMappedRangeError;

fn map_error(kind: wit::MapAsyncErrorKind, message: impl Into<String>) -> MapError {
    MapError { kind, message: message.into() }
}

fn range_error(error: RangeError) -> MappedError {
    match error {
        RangeError::Operation(message) => MappedError { kind: wit::GetMappedRangeErrorKind::OperationError, message },
        RangeError::Range(message) => MappedError { kind: wit::GetMappedRangeErrorKind::RangeError, message },
    }
}

impl wit::HostGpuBuffer for InstanceState {
    labelled!(Buffer);

    async fn size(&mut self, this: Resource<Buffer>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&this)?.size)
    }

    async fn usage(&mut self, this: Resource<Buffer>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.usage)
    }

    async fn map_state(&mut self, this: Resource<Buffer>) -> wasmtime::Result<wit::GpuBufferMapState> {
        // A call that maps returns when it has; nothing is ever pending.
        let mapped = self.table().get(&this)?.mapped.is_some();
        Ok(if mapped { wit::GpuBufferMapState::Mapped } else { wit::GpuBufferMapState::Unmapped })
    }

    async fn map_async(
        &mut self,
        this: Resource<Buffer>,
        mode: u32,
        offset: Option<u64>,
        size: Option<u64>,
    ) -> wasmtime::Result<Result<(), MapError>> {
        let (session, id) = self.named(&this)?;
        let whole = self.table().get(&this)?.size;
        let write = match mode {
            0x1 => false,
            0x2 => true,
            _ => {
                let text = format!("mode {mode:#x} is neither READ nor WRITE");
                session.send(Op::Raise(GpuError::validation(text.clone()))).await;
                return Ok(Err(map_error(wit::MapAsyncErrorKind::OperationError, text)));
            }
        };
        let offset = offset.unwrap_or(0);
        let size = size.unwrap_or(whole.saturating_sub(offset));
        let outcome = match self.ask(&session, Op::Buffer { id, op: BufferOp::Map { write, offset, size } }).await {
            Ok(Reply::Mapped(Ok(()))) => {
                self.table().get_mut(&this)?.mapped = Some(MappedRange { offset, size, write });
                Ok(())
            }
            Ok(Reply::Mapped(Err(MapRefused::Operation(text)))) => {
                Err(map_error(wit::MapAsyncErrorKind::OperationError, text))
            }
            Ok(Reply::Mapped(Err(MapRefused::Abort(text)))) => Err(map_error(wit::MapAsyncErrorKind::AbortError, text)),
            _ => {
                let message = session.loss().map_or_else(|| "the GPU is gone".to_owned(), |loss| loss.lost.message);
                Err(map_error(wit::MapAsyncErrorKind::AbortError, message))
            }
        };
        Ok(outcome)
    }

    async fn get_mapped_range_get_with_copy(
        &mut self,
        this: Resource<Buffer>,
        offset: Option<u64>,
        size: Option<u64>,
    ) -> wasmtime::Result<Result<Vec<u8>, MappedError>> {
        let (session, id) = self.named(&this)?;
        let (offset, size) = match self.table().get(&this)?.range(offset, size) {
            Ok(range) => range,
            Err(error) => return Ok(Err(range_error(error))),
        };
        // The guest's own memory is bounded; so is what it may have copied at once.
        let max = session.owner.gpu.limits().hostcall_bytes_max;
        if size > max {
            let text = format!("{size} bytes are more than {max} at once (hostcall_bytes_max); copy it in parts");
            return Ok(Err(range_error(RangeError::Range(text))));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let end = offset + size;
        let mut at = offset;
        while at < end {
            let part = (end - at).min(LANE_BYTES as u64);
            let op = Op::Buffer { id, op: BufferOp::Read { offset: at, size: part } };
            let read = match self.ask(&session, op).await {
                Ok(Reply::Bytes(Some(len))) if u64::from(len) == part => session.take_bytes(len, &mut bytes).is_ok(),
                _ => false,
            };
            if !read {
                let text = "the buffer has no bytes: it is not valid, or the device is lost".to_owned();
                return Ok(Err(range_error(RangeError::Operation(text))));
            }
            at += part;
        }
        Ok(Ok(bytes))
    }

    async fn get_mapped_range_set_with_copy(
        &mut self,
        this: Resource<Buffer>,
        data: Vec<u8>,
        offset: Option<u64>,
        size: Option<u64>,
    ) -> wasmtime::Result<Result<(), MappedError>> {
        let (session, id) = self.named(&this)?;
        let buffer = self.table().get(&this)?;
        let (offset, size) = match buffer.range(offset, size) {
            Ok(range) => range,
            Err(error) => return Ok(Err(range_error(error))),
        };
        if buffer.mapped.is_none_or(|mapped| !mapped.write) {
            let text = "the buffer is mapped for reading only".to_owned();
            return Ok(Err(range_error(RangeError::Operation(text))));
        }
        if data.len() as u64 > size {
            let text = format!("{} bytes do not fit into a range of {size}", data.len());
            return Ok(Err(range_error(RangeError::Range(text))));
        }
        let mut at = offset;
        for part in data.chunks(LANE_BYTES) {
            let sent = session.data(part).await;
            session.send(Op::Buffer { id, op: BufferOp::Write { offset: at, data: sent } }).await;
            at += part.len() as u64;
        }
        Ok(Ok(()))
    }

    async fn unmap(&mut self, this: Resource<Buffer>) -> wasmtime::Result<Result<(), wit::UnmapError>> {
        let (session, id) = self.named(&this)?;
        // To unmap what is not mapped is allowed, and does nothing.
        if self.table().get_mut(&this)?.mapped.take().is_some() {
            session.send(Op::Buffer { id, op: BufferOp::Unmap }).await;
        }
        Ok(Ok(()))
    }

    async fn destroy(&mut self, this: Resource<Buffer>) -> wasmtime::Result<()> {
        let (session, id) = self.named(&this)?;
        self.table().get_mut(&this)?.mapped = None;
        session.send(Op::Destroy { id }).await;
        Ok(())
    }
}
