//! The binding of `wasi:webgpu@0.0.1`: turns what a guest calls into commands of its device's session. One file for each
//! part of the interface; what they share is here.
//!
//! Calls never fail because the GPU does: a device that is lost takes commands and does nothing, as WebGPU says. A call
//! traps only for what no guest does by accident: a canvas where there is none, more handles than an instance may have.
#![expect(unreachable_pub, reason = "the generated bindings name these types publicly")]

mod adapter;
mod bindings_of;
mod buffer;
mod canvas;
mod commands;
mod copies;
mod device;
mod encoders;
mod errors;
mod flags;
mod formats;
mod labels;
mod limits;
mod pipelines;
mod queue;
mod records;
mod render;
mod states;
mod textures;

use std::sync::Arc;

use roadstead_config::InterfaceName;
use roadstead_gpu_wire::{Op, Reply, op::Create, reply::GpuError};
use roadstead_runtime::InstanceState;
use wasmtime::component::{HasSelf, Linker, Resource};

use super::{
    objects::{Object, cut_label},
    session::{Gone, Session},
};

use generated::wasi::{
    graphics_context::graphics_context,
    webgpu::webgpu::{self as wit},
};

mod generated {
    use super::super::objects::{self, Record};
    pub type RequiredLimits = Record<Option<u64>>;
    pub type Constants = Record<f64>;

    wasmtime::component::bindgen!({
        path: "../wit/wasi-webgpu",
        inline: "package roadstead:host; world gpu { import wasi:webgpu/webgpu@0.0.1; }",
        world: "roadstead:host/gpu",
        imports: { default: async | trappable },
        with: {
            "wasi:io/poll": wasmtime_wasi_io::bindings::wasi::io::poll,
            "wasi:graphics-context/graphics-context.context": super::canvas::Context,
            "wasi:graphics-context/graphics-context.abstract-buffer": super::canvas::Frame,
            "wasi:webgpu/webgpu.gpu": objects::Gateway,
            "wasi:webgpu/webgpu.gpu-adapter": objects::Adapter,
            "wasi:webgpu/webgpu.gpu-adapter-info": objects::AdapterInfo,
            "wasi:webgpu/webgpu.gpu-bind-group": super::BindGroup,
            "wasi:webgpu/webgpu.gpu-bind-group-layout": super::GroupLayout,
            "wasi:webgpu/webgpu.gpu-buffer": objects::Buffer,
            "wasi:webgpu/webgpu.gpu-buffer-usage": super::flags::BufferUsage,
            "wasi:webgpu/webgpu.gpu-canvas-context": super::canvas::CanvasContext,
            "wasi:webgpu/webgpu.gpu-color-write": super::flags::ColorWrite,
            "wasi:webgpu/webgpu.gpu-command-buffer": super::CommandBuffer,
            "wasi:webgpu/webgpu.gpu-command-encoder": super::CommandEncoder,
            "wasi:webgpu/webgpu.gpu-compilation-info": objects::CompilationInfo,
            "wasi:webgpu/webgpu.gpu-compilation-message": super::errors::Message,
            "wasi:webgpu/webgpu.gpu-compute-pass-encoder": super::ComputePass,
            "wasi:webgpu/webgpu.gpu-compute-pipeline": super::ComputePipeline,
            "wasi:webgpu/webgpu.gpu-device": objects::Device,
            "wasi:webgpu/webgpu.gpu-device-lost-info": objects::LostInfo,
            "wasi:webgpu/webgpu.gpu-error": objects::ErrorObject,
            "wasi:webgpu/webgpu.gpu-map-mode": super::flags::MapMode,
            "wasi:webgpu/webgpu.gpu-pipeline-layout": super::PipelineLayout,
            "wasi:webgpu/webgpu.gpu-query-set": objects::QuerySet,
            "wasi:webgpu/webgpu.gpu-queue": objects::Queue,
            "wasi:webgpu/webgpu.gpu-render-bundle": super::RenderBundle,
            "wasi:webgpu/webgpu.gpu-render-bundle-encoder": super::BundleEncoder,
            "wasi:webgpu/webgpu.gpu-render-pass-encoder": super::RenderPass,
            "wasi:webgpu/webgpu.gpu-render-pipeline": super::RenderPipeline,
            "wasi:webgpu/webgpu.gpu-sampler": super::Sampler,
            "wasi:webgpu/webgpu.gpu-shader-module": super::ShaderModule,
            "wasi:webgpu/webgpu.gpu-shader-stage": super::flags::ShaderStage,
            "wasi:webgpu/webgpu.gpu-supported-features": objects::Features,
            "wasi:webgpu/webgpu.gpu-supported-limits": objects::Limits,
            "wasi:webgpu/webgpu.gpu-texture": objects::Texture,
            "wasi:webgpu/webgpu.gpu-texture-usage": super::flags::TextureUsage,
            "wasi:webgpu/webgpu.gpu-texture-view": super::TextureView,
            "wasi:webgpu/webgpu.gpu-uncaptured-error-event": super::errors::UncapturedEvent,
            "wasi:webgpu/webgpu.record-gpu-pipeline-constant-value": Constants,
            "wasi:webgpu/webgpu.record-option-gpu-size64": RequiredLimits,
            "wasi:webgpu/webgpu.wgsl-language-features": objects::LanguageFeatures,
        },
    });
}

/// Objects of which the host knows no more than their numbers, each a type of its own.
macro_rules! plain_objects {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub struct $name(Object);

            impl Holds for $name {
                fn object(&self) -> &Object {
                    &self.0
                }
                fn object_mut(&mut self) -> &mut Object {
                    &mut self.0
                }
            }
        )*
    };
}

/// What holds an object of a session.
trait Holds: Send + 'static {
    fn object(&self) -> &Object;
    fn object_mut(&mut self) -> &mut Object;
}

plain_objects! {
    /// `gpu-bind-group`
    BindGroup;
    /// `gpu-bind-group-layout`
    GroupLayout;
    /// `gpu-command-buffer`
    CommandBuffer;
    /// `gpu-command-encoder`
    CommandEncoder;
    /// `gpu-compute-pass-encoder`
    ComputePass;
    /// `gpu-compute-pipeline`
    ComputePipeline;
    /// `gpu-pipeline-layout`
    PipelineLayout;
    /// `gpu-render-bundle`
    RenderBundle;
    /// `gpu-render-bundle-encoder`
    BundleEncoder;
    /// `gpu-render-pass-encoder`
    RenderPass;
    /// `gpu-render-pipeline`
    RenderPipeline;
    /// `gpu-sampler`
    Sampler;
    /// `gpu-shader-module`
    ShaderModule;
    /// `gpu-texture-view`
    TextureView;
}

impl Holds for super::objects::Buffer {
    fn object(&self) -> &Object {
        &self.object
    }
    fn object_mut(&mut self) -> &mut Object {
        &mut self.object
    }
}

impl Holds for super::objects::Texture {
    fn object(&self) -> &Object {
        &self.object
    }
    fn object_mut(&mut self) -> &mut Object {
        &mut self.object
    }
}

impl Holds for super::objects::QuerySet {
    fn object(&self) -> &Object {
        &self.object
    }
    fn object_mut(&mut self) -> &mut Object {
        &mut self.object
    }
}

/// Puts the interfaces into a linker.
pub(super) fn link(interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    for interface in interfaces {
        match &*interface.interface {
            "webgpu" => wit::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
            _ => graphics_context::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?,
        }
    }
    Ok(())
}

/// What the functions of the interface do over and over.
trait Gpu {
    /// The session and the number of an object.
    fn named<T: Holds>(&mut self, handle: &Resource<T>) -> wasmtime::Result<(Arc<Session>, u32)>;

    /// The number of an object that is used together with others of `session`. One of another device is an error of
    /// validation, and stands for nothing.
    fn of<T: Holds>(&mut self, session: &Arc<Session>, handle: &Resource<T>) -> wasmtime::Result<u32>;

    /// A handle to something.
    fn hand<T: Send + 'static>(&mut self, value: T) -> wasmtime::Result<Resource<T>>;

    /// Gives up a handle.
    fn give_up<T: 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<()>;

    /// Asks the GPU something. When it is gone by no fault of the workload's, the call is worth another try.
    fn ask(&mut self, session: &Arc<Session>, op: Op) -> impl Future<Output = Result<Reply, Gone>> + Send;

    /// Makes an object and a handle to it.
    fn make<T: Holds>(
        &mut self,
        session: &Arc<Session>,
        label: Option<&String>,
        what: Create,
        wrap: fn(Object) -> T,
    ) -> impl Future<Output = wasmtime::Result<Resource<T>>> + Send;
}

/// The number that no object has: what it stands for is never valid.
const NOTHING: u32 = 0;

impl Gpu for InstanceState {
    fn named<T: Holds>(&mut self, handle: &Resource<T>) -> wasmtime::Result<(Arc<Session>, u32)> {
        let object = self.table().get(handle)?.object();
        Ok((object.session.clone(), object.id))
    }

    fn of<T: Holds>(&mut self, session: &Arc<Session>, handle: &Resource<T>) -> wasmtime::Result<u32> {
        let object = self.table().get(handle)?.object();
        if Arc::ptr_eq(&object.session, session) {
            return Ok(object.id);
        }
        session.add_later(&Op::Raise(GpuError::validation("an object of another device is used")));
        Ok(NOTHING)
    }

    fn hand<T: Send + 'static>(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        Ok(self.table().push(value)?)
    }

    fn give_up<T: 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }

    async fn ask(&mut self, session: &Arc<Session>, op: Op) -> Result<Reply, Gone> {
        let answer = session.ask(op).await;
        if answer.is_err() {
            note_loss(self, session);
        }
        answer
    }

    async fn make<T: Holds>(
        &mut self,
        session: &Arc<Session>,
        label: Option<&String>,
        what: Create,
        wrap: fn(Object) -> T,
    ) -> wasmtime::Result<Resource<T>> {
        let object = Object::create(session, label.map(String::as_str), what).await;
        self.hand(wrap(object))
    }
}

/// The call has met a GPU that is gone: its instance is worth nothing any more, and where it was no fault of the
/// workload's, the call is worth another try.
fn note_loss(state: &mut InstanceState, session: &Session) {
    let by_others = session.loss().is_none_or(|loss| loss.by_others);
    if by_others {
        session.owner.series.lost();
    }
    state.backend().lose(by_others);
}

/// A label as it goes to the GPU.
fn label(label: Option<&String>) -> Option<String> {
    cut_label(label)
}
