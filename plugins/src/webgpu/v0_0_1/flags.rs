//! The constants of WebGPU's flags, which are functions here. Nobody has a handle to what they belong to.
#![expect(unreachable_pub, reason = "the generated bindings name these types publicly")]

use roadstead_runtime::InstanceState;
use wasmtime::component::Resource;

use super::{Gpu, wit};

/// Constants of one set of flags.
macro_rules! flags {
    ($($(#[$doc:meta])* $type:ident, $host:ident { $($name:ident = $value:expr;)* })*) => {
        $(
            $(#[$doc])*
            pub struct $type;

            impl wit::$host for InstanceState {
                $(
                    async fn $name(&mut self) -> wasmtime::Result<u32> {
                        Ok($value)
                    }
                )*
                async fn drop(&mut self, this: Resource<$type>) -> wasmtime::Result<()> {
                    self.give_up(this)
                }
            }
        )*
    };
}

flags! {
    /// `gpu-buffer-usage`
    BufferUsage, HostGpuBufferUsage {
        map_read = 0x1;
        map_write = 0x2;
        copy_src = 0x4;
        copy_dst = 0x8;
        index = 0x10;
        vertex = 0x20;
        uniform = 0x40;
        storage = 0x80;
        indirect = 0x100;
        query_resolve = 0x200;
    }
    /// `gpu-map-mode`
    MapMode, HostGpuMapMode {
        read = 0x1;
        write = 0x2;
    }
    /// `gpu-texture-usage`
    TextureUsage, HostGpuTextureUsage {
        copy_src = 0x1;
        copy_dst = 0x2;
        texture_binding = 0x4;
        storage_binding = 0x8;
        render_attachment = 0x10;
    }
    /// `gpu-shader-stage`
    ShaderStage, HostGpuShaderStage {
        vertex = 0x1;
        fragment = 0x2;
        compute = 0x4;
    }
    /// `gpu-color-write`
    ColorWrite, HostGpuColorWrite {
        red = 0x1;
        green = 0x2;
        blue = 0x4;
        alpha = 0x8;
        all = 0xf;
    }
}
