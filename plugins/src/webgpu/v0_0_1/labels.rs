//! Labels, which all objects have, and what becomes of handles that are given up.

use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{Gpu, Holds, wit};
use crate::webgpu::objects::{self, cut};

/// Reads the label of something.
pub(super) fn label_of<T: Holds>(state: &mut InstanceState, handle: &Resource<T>) -> wasmtime::Result<String> {
    Ok(state.table().get(handle)?.object().label.clone())
}

/// Gives something another label. Errors go on to name it by its first.
pub(super) fn set_label<T: Holds>(
    state: &mut InstanceState,
    handle: &Resource<T>,
    label: &str,
) -> wasmtime::Result<()> {
    cut(label).clone_into(&mut state.table().get_mut(handle)?.object_mut().label);
    Ok(())
}

/// The three functions that every object has, for the trait of its resource.
macro_rules! labelled {
    ($type:ty) => {
        async fn label(&mut self, this: Resource<$type>) -> wasmtime::Result<String> {
            $crate::webgpu::v0_0_1::labels::label_of(self, &this)
        }
        async fn set_label(&mut self, this: Resource<$type>, label: String) -> wasmtime::Result<()> {
            $crate::webgpu::v0_0_1::labels::set_label(self, &this, &label)
        }
        async fn drop(&mut self, this: Resource<$type>) -> wasmtime::Result<()> {
            self.give_up(this)
        }
    };
}
pub(super) use labelled;

/// Objects that have nothing but a label.
macro_rules! only_labelled {
    ($($host:ident: $type:ident;)*) => {
        $(
            impl wit::$host for InstanceState {
                labelled!(super::$type);
            }
        )*
    };
}

only_labelled! {
    HostGpuBindGroup: BindGroup;
    HostGpuBindGroupLayout: GroupLayout;
    HostGpuCommandBuffer: CommandBuffer;
    HostGpuPipelineLayout: PipelineLayout;
    HostGpuRenderBundle: RenderBundle;
    HostGpuSampler: Sampler;
    HostGpuTextureView: TextureView;
}

impl wit::HostGpuQuerySet for InstanceState {
    labelled!(objects::QuerySet);

    async fn destroy(&mut self, this: Resource<objects::QuerySet>) -> wasmtime::Result<()> {
        let (session, id) = self.named(&this)?;
        session.send(roadstead_gpu_wire::Op::Destroy { id }).await;
        Ok(())
    }

    async fn type_(&mut self, this: Resource<objects::QuerySet>) -> wasmtime::Result<wit::GpuQueryType> {
        use roadstead_gpu_wire::op::QueryKind;
        Ok(match self.table().get(&this)?.kind {
            QueryKind::Occlusion => wit::GpuQueryType::Occlusion,
            QueryKind::Timestamp => wit::GpuQueryType::Timestamp,
        })
    }

    async fn count(&mut self, this: Resource<objects::QuerySet>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.count)
    }
}
