//! Errors, losses, and what the compiler said.
#![expect(unreachable_pub, reason = "the generated bindings name these types publicly")]

use roadstead_gpu_wire::reply::{CompilationMessage, ErrorKind, Severity};
use roadstead_runtime::InstanceState;
use wasmtime::{component::Resource, format_err};

use super::{Gpu, wit};
use crate::webgpu::objects;

/// `gpu-compilation-message`
pub struct Message(CompilationMessage);

/// `gpu-uncaptured-error-event`, of which this version of the interface gives nobody one.
pub struct UncapturedEvent;

impl wit::HostGpuError for InstanceState {
    async fn message(&mut self, this: Resource<objects::ErrorObject>) -> wasmtime::Result<String> {
        Ok(self.table().get(&this)?.0.message.clone())
    }

    async fn kind(&mut self, this: Resource<objects::ErrorObject>) -> wasmtime::Result<wit::GpuErrorKind> {
        Ok(match self.table().get(&this)?.0.kind {
            ErrorKind::Validation => wit::GpuErrorKind::ValidationError,
            ErrorKind::OutOfMemory => wit::GpuErrorKind::OutOfMemoryError,
            ErrorKind::Internal => wit::GpuErrorKind::InternalError,
        })
    }

    async fn drop(&mut self, this: Resource<objects::ErrorObject>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostGpuUncapturedErrorEvent for InstanceState {
    async fn error(&mut self, _: Resource<UncapturedEvent>) -> wasmtime::Result<Resource<objects::ErrorObject>> {
        Err(format_err!("there are no such events"))
    }

    async fn drop(&mut self, this: Resource<UncapturedEvent>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostGpuDeviceLostInfo for InstanceState {
    async fn reason(&mut self, this: Resource<objects::LostInfo>) -> wasmtime::Result<wit::GpuDeviceLostReason> {
        let destroyed = self.table().get(&this)?.0.destroyed;
        Ok(if destroyed { wit::GpuDeviceLostReason::Destroyed } else { wit::GpuDeviceLostReason::Unknown })
    }

    async fn message(&mut self, this: Resource<objects::LostInfo>) -> wasmtime::Result<String> {
        Ok(self.table().get(&this)?.0.message.clone())
    }

    async fn drop(&mut self, this: Resource<objects::LostInfo>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostGpuCompilationInfo for InstanceState {
    async fn messages(&mut self, this: Resource<objects::CompilationInfo>) -> wasmtime::Result<Vec<Resource<Message>>> {
        let messages = self.table().get(&this)?.0.clone();
        messages.into_iter().map(|message| self.hand(Message(message))).collect()
    }

    async fn drop(&mut self, this: Resource<objects::CompilationInfo>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostGpuCompilationMessage for InstanceState {
    async fn message(&mut self, this: Resource<Message>) -> wasmtime::Result<String> {
        Ok(self.table().get(&this)?.0.message.clone())
    }

    async fn type_(&mut self, this: Resource<Message>) -> wasmtime::Result<wit::GpuCompilationMessageType> {
        Ok(match self.table().get(&this)?.0.severity {
            Severity::Error => wit::GpuCompilationMessageType::Error,
            Severity::Warning => wit::GpuCompilationMessageType::Warning,
            Severity::Info => wit::GpuCompilationMessageType::Info,
        })
    }

    async fn line_num(&mut self, this: Resource<Message>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&this)?.0.line)
    }

    async fn line_pos(&mut self, this: Resource<Message>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&this)?.0.column)
    }

    async fn offset(&mut self, this: Resource<Message>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&this)?.0.offset)
    }

    async fn length(&mut self, this: Resource<Message>) -> wasmtime::Result<u64> {
        Ok(self.table().get(&this)?.0.length)
    }

    async fn drop(&mut self, this: Resource<Message>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}
