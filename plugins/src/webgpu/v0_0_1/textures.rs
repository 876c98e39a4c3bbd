//! Textures and their views.

use roadstead_gpu_wire::{Op, op::Create, reply::GpuError, wgt};
use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{
    Gpu, TextureView, canvas,
    formats::{format_name, texture_format},
    label,
    labels::labelled,
    states::{texture_aspect, view_dimension},
    wit,
};
use crate::webgpu::objects::Texture;

/// All flags that the interface has for textures.
const USAGES: u32 = 0x1f;

fn view(texture: u32, descriptor: Option<&wit::GpuTextureViewDescriptor>) -> Create {
    let mut desc = wgt::TextureViewDescriptor::<Option<String>>::default();
    if let Some(given) = descriptor {
        let usage = given.usage.unwrap_or(0);
        if usage & !USAGES != 0 {
            let text = format!("the view's usage has unknown bits: {:#x}", usage & !USAGES);
            return Create::Invalid(GpuError::validation(text));
        }
        desc = wgt::TextureViewDescriptor {
            label: label(given.label.as_ref()),
            format: given.format.map(texture_format),
            dimension: given.dimension.map(view_dimension),
            usage: given.usage.filter(|usage| *usage != 0).map(wgt::TextureUsages::from_bits_truncate),
            aspect: given.aspect.map_or(wgt::TextureAspect::All, texture_aspect),
            base_mip_level: given.base_mip_level.unwrap_or(0),
            mip_level_count: given.mip_level_count,
            base_array_layer: given.base_array_layer.unwrap_or(0),
            array_layer_count: given.array_layer_count,
        };
    }
    Create::TextureView { texture, desc }
}

impl wit::HostGpuTexture for InstanceState {
    labelled!(Texture);

    async fn create_view(
        &mut self,
        this: Resource<Texture>,
        descriptor: Option<wit::GpuTextureViewDescriptor>,
    ) -> wasmtime::Result<Resource<TextureView>> {
        let (session, id) = self.named(&this)?;
        let what = view(id, descriptor.as_ref());
        let name = descriptor.and_then(|descriptor| descriptor.label);
        self.make(&session, name.as_ref(), what, TextureView).await
    }

    async fn destroy(&mut self, this: Resource<Texture>) -> wasmtime::Result<()> {
        let (session, id) = self.named(&this)?;
        session.send(Op::Destroy { id }).await;
        Ok(())
    }

    async fn width(&mut self, this: Resource<Texture>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.desc.size.width)
    }

    async fn height(&mut self, this: Resource<Texture>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.desc.size.height)
    }

    async fn depth_or_array_layers(&mut self, this: Resource<Texture>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.desc.size.depth_or_array_layers)
    }

    async fn mip_level_count(&mut self, this: Resource<Texture>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.desc.mip_level_count)
    }

    async fn sample_count(&mut self, this: Resource<Texture>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.desc.sample_count)
    }

    async fn dimension(&mut self, this: Resource<Texture>) -> wasmtime::Result<wit::GpuTextureDimension> {
        Ok(match self.table().get(&this)?.desc.dimension {
            wgt::TextureDimension::D1 => wit::GpuTextureDimension::D1,
            wgt::TextureDimension::D2 => wit::GpuTextureDimension::D2,
            wgt::TextureDimension::D3 => wit::GpuTextureDimension::D3,
        })
    }

    async fn format(&mut self, this: Resource<Texture>) -> wasmtime::Result<wit::GpuTextureFormat> {
        Ok(format_name(self.table().get(&this)?.desc.format))
    }

    async fn usage(&mut self, this: Resource<Texture>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.desc.usage)
    }

    async fn from_graphics_buffer(&mut self, _: Resource<canvas::Frame>) -> wasmtime::Result<Resource<Texture>> {
        canvas::no_surfaces()
    }
}
