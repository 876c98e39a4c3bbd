//! The flags: each function that tells one tells the number that the WebGPU specification gives it. Must not use them.

use serde_json::{Value, json};

use crate::make::flags;
use crate::{Saw, Scenario, expect};

pub(crate) const SCENARIOS: &[Scenario] = &[("constants.flags", all_flags)];

fn all_flags(_: &Value) -> Saw {
    let found = [
        ("MAP_READ", call!(GpuBufferUsage => map_read), flags::MAP_READ),
        ("MAP_WRITE", call!(GpuBufferUsage => map_write), flags::MAP_WRITE),
        ("COPY_SRC", call!(GpuBufferUsage => copy_src), flags::COPY_SRC),
        ("COPY_DST", call!(GpuBufferUsage => copy_dst), flags::COPY_DST),
        ("INDEX", call!(GpuBufferUsage => index), flags::INDEX),
        ("VERTEX", call!(GpuBufferUsage => vertex), flags::VERTEX),
        ("UNIFORM", call!(GpuBufferUsage => uniform), flags::UNIFORM),
        ("STORAGE", call!(GpuBufferUsage => storage), flags::STORAGE),
        ("INDIRECT", call!(GpuBufferUsage => indirect), flags::INDIRECT),
        ("QUERY_RESOLVE", call!(GpuBufferUsage => query_resolve), flags::QUERY_RESOLVE),
        ("READ", call!(GpuMapMode => read), flags::READ),
        ("WRITE", call!(GpuMapMode => write), flags::WRITE),
        ("texture COPY_SRC", call!(GpuTextureUsage => copy_src), flags::TEXTURE_COPY_SRC),
        ("texture COPY_DST", call!(GpuTextureUsage => copy_dst), flags::TEXTURE_COPY_DST),
        ("TEXTURE_BINDING", call!(GpuTextureUsage => texture_binding), flags::TEXTURE_BINDING),
        ("STORAGE_BINDING", call!(GpuTextureUsage => storage_binding), flags::STORAGE_BINDING),
        ("RENDER_ATTACHMENT", call!(GpuTextureUsage => render_attachment), flags::RENDER_ATTACHMENT),
        ("stage VERTEX", call!(GpuShaderStage => vertex), flags::STAGE_VERTEX),
        ("FRAGMENT", call!(GpuShaderStage => fragment), flags::STAGE_FRAGMENT),
        ("COMPUTE", call!(GpuShaderStage => compute), flags::STAGE_COMPUTE),
        ("RED", call!(GpuColorWrite => red), flags::RED),
        ("GREEN", call!(GpuColorWrite => green), flags::GREEN),
        ("BLUE", call!(GpuColorWrite => blue), flags::BLUE),
        ("ALPHA", call!(GpuColorWrite => alpha), flags::ALPHA),
        ("ALL", call!(GpuColorWrite => all), flags::ALL),
    ];
    for (name, told, defined) in found {
        expect(name, told, defined)?;
    }
    Ok(json!({ "flags": found.len() }))
}
