//! The objects of a session under their numbers. Each keeps the charge of what it keeps alive.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use roadstead_gpu_wire::{Id, op::BundleEncoderDesc, op::DrawOp, reply::CompilationMessage};

use crate::{accounts::Charge, shader::Overridable};

/// Commands that are written down in encoders and bundles of one session and wait for their submit.
pub(super) const COMMANDS_MAX: u64 = 1 << 20;

/// What the objects are that something uses: they keep their charges.
pub(super) type Kept = Vec<Arc<Charge>>;

/// An object. `Invalid` is one that could not be made, or is used up.
pub(super) enum Object {
    Invalid,
    Buffer(BufferObject),
    Texture(wgpu::Texture),
    TextureView(wgpu::TextureView),
    Sampler(wgpu::Sampler),
    GroupLayout(wgpu::BindGroupLayout),
    PipelineLayout(wgpu::PipelineLayout),
    BindGroup(wgpu::BindGroup),
    Shader(ShaderObject),
    ComputePipeline(wgpu::ComputePipeline),
    RenderPipeline(wgpu::RenderPipeline),
    QuerySet(wgpu::QuerySet),
    Encoder(Box<EncoderObject>),
    ComputePass(Box<PassObject<wgpu::ComputePass<'static>>>),
    RenderPass(Box<PassObject<wgpu::RenderPass<'static>>>),
    BundleEncoder(Box<BundleObject>),
    Bundle(wgpu::RenderBundle),
    CommandBuffer(CommandBufferObject),
}

/// A buffer, and the range of it that is mapped.
pub(super) struct BufferObject {
    pub(super) buffer: wgpu::Buffer,
    pub(super) mapped: Option<Mapped>,
}

/// A mapped range.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapped {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) write: bool,
}

/// A shader, what the compiler said about it, and what its pipelines are still to be checked for.
pub(super) struct ShaderObject {
    pub(super) module: wgpu::ShaderModule,
    pub(super) messages: Vec<CompilationMessage>,
    pub(super) overridable: Option<Arc<Overridable>>,
}

/// A command encoder.
pub(super) struct EncoderObject {
    pub(super) encoder: wgpu::CommandEncoder,
    /// Why nothing can come of it.
    pub(super) broken: Option<String>,
    pub(super) commands: Commands,
}

/// What an encoder has written down.
pub(super) struct CommandBufferObject {
    pub(super) buffer: wgpu::CommandBuffer,
    pub(super) _commands: Commands,
}

/// A pass that was begun, and the encoder that it writes to.
pub(super) struct PassObject<P> {
    pub(super) pass: P,
    pub(super) encoder: Id,
}

/// A bundle encoder. wgpu's is bound to its thread and its borrows, so commands are kept until its end.
pub(super) struct BundleObject {
    pub(super) desc: BundleEncoderDesc,
    pub(super) commands: Vec<DrawOp>,
    pub(super) counted: Commands,
    pub(super) debug_depth: u32,
    pub(super) broken: Option<String>,
}

/// Commands that are counted as long as this lives.
pub(super) struct Commands {
    all: Arc<AtomicU64>,
    count: u64,
}

impl Commands {
    /// One more; false when there are too many.
    pub(super) fn add(&mut self) -> bool {
        if self.all.fetch_add(1, Ordering::Relaxed) >= COMMANDS_MAX {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.count += 1;
        true
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.all.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// An object with its charges: its own first, then those of what it keeps alive.
pub(super) struct Entry {
    pub(super) object: Object,
    pub(super) own: Option<Arc<Charge>>,
    pub(super) kept: Kept,
}

/// All objects of a session.
#[derive(Default)]
pub(super) struct Objects {
    entries: HashMap<Id, Entry>,
    commands: Arc<AtomicU64>,
}

impl Objects {
    /// A count for the commands of a new encoder.
    pub(super) fn commands(&self) -> Commands {
        Commands { all: self.commands.clone(), count: 0 }
    }

    pub(super) fn insert(&mut self, id: Id, entry: Entry) {
        self.entries.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Entry> {
        self.entries.remove(&id)
    }

    pub(super) fn get(&self, id: Id) -> Option<&Object> {
        self.entries.get(&id).map(|entry| &entry.object)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Object> {
        self.entries.get_mut(&id).map(|entry| &mut entry.object)
    }

    pub(super) fn entry_mut(&mut self, id: Id) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// The charges of an object and of what it keeps alive.
    pub(super) fn kept_by(&self, id: Id) -> Kept {
        let Some(entry) = self.entries.get(&id) else { return Vec::new() };
        entry.own.iter().chain(&entry.kept).cloned().collect()
    }

    /// Has `user` keep what `used` keeps, each once.
    pub(super) fn keep(&mut self, user: Id, used: Id) {
        let more = self.kept_by(used);
        if let Some(entry) = self.entries.get_mut(&user) {
            for charge in more {
                if !entry.kept.iter().rev().any(|kept| Arc::ptr_eq(kept, &charge)) {
                    entry.kept.push(charge);
                }
            }
        }
    }

    /// The bytes of the object itself are given back.
    pub(super) fn free(&self, id: Id) {
        if let Some(charge) = self.entries.get(&id).and_then(|entry| entry.own.as_ref()) {
            charge.free_memory();
        }
    }

    /// The memory of all objects is given back.
    pub(super) fn free_memory(&self) {
        self.entries.values().filter_map(|entry| entry.own.as_ref()).for_each(|charge| charge.free_memory());
    }

    /// Forgets all objects: passes before encoders, so that no pass outlives what it writes to.
    pub(super) fn clear(&mut self) {
        self.entries.retain(|_, entry| !matches!(entry.object, Object::ComputePass(_) | Object::RenderPass(_)));
        self.entries.clear();
    }
}

/// How an object is found under a number, by its kind.
macro_rules! finders {
    ($($name:ident: $variant:ident($kind:ty), $word:literal;)*) => {
        impl Objects {
            $(
                pub(super) fn $name(&self, id: Id) -> Result<&$kind, String> {
                    match self.get(id) {
                        Some(Object::$variant(found)) => Ok(found),
                        _ => Err(concat!("the ", $word, " is not valid").to_owned()),
                    }
                }
            )*
        }
    };
}

finders! {
    buffer: Buffer(BufferObject), "buffer";
    texture: Texture(wgpu::Texture), "texture";
    view: TextureView(wgpu::TextureView), "texture view";
    sampler: Sampler(wgpu::Sampler), "sampler";
    group_layout: GroupLayout(wgpu::BindGroupLayout), "bind group layout";
    pipeline_layout: PipelineLayout(wgpu::PipelineLayout), "pipeline layout";
    bind_group: BindGroup(wgpu::BindGroup), "bind group";
    shader: Shader(ShaderObject), "shader module";
    compute_pipeline: ComputePipeline(wgpu::ComputePipeline), "compute pipeline";
    render_pipeline: RenderPipeline(wgpu::RenderPipeline), "render pipeline";
    query_set: QuerySet(wgpu::QuerySet), "query set";
    bundle: Bundle(wgpu::RenderBundle), "render bundle";
}
