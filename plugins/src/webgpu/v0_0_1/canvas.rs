//! Canvases and frames: this host shows nothing, so there are none. What would need one traps and says so; all else of
//! the interface works.
#![expect(unreachable_pub, reason = "the generated bindings name these types publicly")]

use roadstead_runtime::InstanceState;
use wasmtime::{component::Resource, format_err};

use super::{Gpu, graphics_context, wit};
use crate::webgpu::objects;

/// `gpu-canvas-context`, of which nobody has one.
pub struct CanvasContext;

/// `context`, which leads to no surface.
pub struct Context;

/// `abstract-buffer`, of which nobody has one.
pub struct Frame;

/// What a call that needs a surface traps with.
pub(super) fn no_surfaces<T>() -> wasmtime::Result<T> {
    Err(format_err!("this host has no surfaces; draw to a texture and copy it to a buffer"))
}

impl wit::HostGpuCanvasContext for InstanceState {
    async fn configure(&mut self, _: Resource<CanvasContext>, _: wit::GpuCanvasConfiguration) -> wasmtime::Result<()> {
        no_surfaces()
    }

    async fn unconfigure(&mut self, _: Resource<CanvasContext>) -> wasmtime::Result<()> {
        no_surfaces()
    }

    async fn get_configuration(
        &mut self,
        _: Resource<CanvasContext>,
    ) -> wasmtime::Result<Option<wit::GpuCanvasConfigurationOwned>> {
        no_surfaces()
    }

    async fn get_current_texture(
        &mut self,
        _: Resource<CanvasContext>,
    ) -> wasmtime::Result<Resource<objects::Texture>> {
        no_surfaces()
    }

    async fn drop(&mut self, this: Resource<CanvasContext>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl graphics_context::Host for InstanceState {}

impl graphics_context::HostContext for InstanceState {
    async fn new(&mut self) -> wasmtime::Result<Resource<Context>> {
        self.hand(Context)
    }

    async fn get_current_buffer(&mut self, _: Resource<Context>) -> wasmtime::Result<Resource<Frame>> {
        no_surfaces()
    }

    async fn present(&mut self, _: Resource<Context>) -> wasmtime::Result<()> {
        no_surfaces()
    }

    async fn drop(&mut self, this: Resource<Context>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl graphics_context::HostAbstractBuffer for InstanceState {
    async fn drop(&mut self, this: Resource<Frame>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}
