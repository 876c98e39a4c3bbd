//! What adapters and devices have: limits, features, and what an adapter says of itself.

use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{Gpu, wit};
use crate::webgpu::{convert::has_feature, objects};

/// A function for each limit.
macro_rules! limits {
    ($($name:ident: $type:ty = $field:ident;)*) => {
        impl wit::HostGpuSupportedLimits for InstanceState {
            $(
                async fn $name(&mut self, this: Resource<objects::Limits>) -> wasmtime::Result<$type> {
                    Ok(self.table().get(&this)?.0.$field)
                }
            )*
            async fn drop(&mut self, this: Resource<objects::Limits>) -> wasmtime::Result<()> {
                self.give_up(this)
            }
        }
    };
}

limits! {
    max_texture_dimension1_d: u32 = max_texture_dimension_1d;
    max_texture_dimension2_d: u32 = max_texture_dimension_2d;
    max_texture_dimension3_d: u32 = max_texture_dimension_3d;
    max_texture_array_layers: u32 = max_texture_array_layers;
    max_bind_groups: u32 = max_bind_groups;
    max_bind_groups_plus_vertex_buffers: u32 = max_bind_groups_plus_vertex_buffers;
    max_bindings_per_bind_group: u32 = max_bindings_per_bind_group;
    max_dynamic_uniform_buffers_per_pipeline_layout: u32 = max_dynamic_uniform_buffers_per_pipeline_layout;
    max_dynamic_storage_buffers_per_pipeline_layout: u32 = max_dynamic_storage_buffers_per_pipeline_layout;
    max_sampled_textures_per_shader_stage: u32 = max_sampled_textures_per_shader_stage;
    max_samplers_per_shader_stage: u32 = max_samplers_per_shader_stage;
    max_storage_buffers_per_shader_stage: u32 = max_storage_buffers_per_shader_stage;
    max_storage_textures_per_shader_stage: u32 = max_storage_textures_per_shader_stage;
    max_uniform_buffers_per_shader_stage: u32 = max_uniform_buffers_per_shader_stage;
    max_uniform_buffer_binding_size: u64 = max_uniform_buffer_binding_size;
    max_storage_buffer_binding_size: u64 = max_storage_buffer_binding_size;
    min_uniform_buffer_offset_alignment: u32 = min_uniform_buffer_offset_alignment;
    min_storage_buffer_offset_alignment: u32 = min_storage_buffer_offset_alignment;
    max_vertex_buffers: u32 = max_vertex_buffers;
    max_buffer_size: u64 = max_buffer_size;
    max_vertex_attributes: u32 = max_vertex_attributes;
    max_vertex_buffer_array_stride: u32 = max_vertex_buffer_array_stride;
    max_inter_stage_shader_variables: u32 = max_inter_stage_shader_variables;
    max_color_attachments: u32 = max_color_attachments;
    max_color_attachment_bytes_per_sample: u32 = max_color_attachment_bytes_per_sample;
    max_compute_workgroup_storage_size: u32 = max_compute_workgroup_storage_size;
    max_compute_invocations_per_workgroup: u32 = max_compute_invocations_per_workgroup;
    max_compute_workgroup_size_x: u32 = max_compute_workgroup_size_x;
    max_compute_workgroup_size_y: u32 = max_compute_workgroup_size_y;
    max_compute_workgroup_size_z: u32 = max_compute_workgroup_size_z;
    max_compute_workgroups_per_dimension: u32 = max_compute_workgroups_per_dimension;
}

impl wit::HostGpuSupportedFeatures for InstanceState {
    async fn has(&mut self, this: Resource<objects::Features>, value: String) -> wasmtime::Result<bool> {
        Ok(has_feature(self.table().get(&this)?.0, &value))
    }

    async fn drop(&mut self, this: Resource<objects::Features>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostWgslLanguageFeatures for InstanceState {
    async fn has(&mut self, this: Resource<objects::LanguageFeatures>, value: String) -> wasmtime::Result<bool> {
        Ok(self.table().get(&this)?.0.wgsl_features.contains(&value))
    }

    async fn drop(&mut self, this: Resource<objects::LanguageFeatures>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}

impl wit::HostGpuAdapterInfo for InstanceState {
    async fn vendor(&mut self, this: Resource<objects::AdapterInfo>) -> wasmtime::Result<String> {
        // WebGPU wants a name; Vulkan has numbers, of which these are well known.
        let name = match self.table().get(&this)?.0.info.vendor {
            0x1002 => "amd",
            0x106b => "apple",
            0x10de => "nvidia",
            0x10005 => "mesa",
            0x13b5 => "arm",
            0x5143 => "qualcomm",
            0x8086 => "intel",
            _ => "",
        };
        Ok(name.to_owned())
    }

    async fn architecture(&mut self, _: Resource<objects::AdapterInfo>) -> wasmtime::Result<String> {
        // An adapter need not say, and Vulkan does not.
        Ok(String::new())
    }

    async fn device(&mut self, this: Resource<objects::AdapterInfo>) -> wasmtime::Result<String> {
        Ok(format!("{:#06x}", self.table().get(&this)?.0.info.device))
    }

    async fn description(&mut self, this: Resource<objects::AdapterInfo>) -> wasmtime::Result<String> {
        Ok(self.table().get(&this)?.0.info.name.clone())
    }

    async fn subgroup_min_size(&mut self, this: Resource<objects::AdapterInfo>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.0.info.subgroup_min_size)
    }

    async fn subgroup_max_size(&mut self, this: Resource<objects::AdapterInfo>) -> wasmtime::Result<u32> {
        Ok(self.table().get(&this)?.0.info.subgroup_max_size)
    }

    async fn drop(&mut self, this: Resource<objects::AdapterInfo>) -> wasmtime::Result<()> {
        self.give_up(this)
    }
}
