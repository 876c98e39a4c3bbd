//! Numbers that are too large, unknown or absurd, and texts that are no texts.

use serde_json::{Map, Value, json};

use super::{errors_of, number, short, told};
use crate::make::{self, flags};
use crate::stage::{self, Stage};
use crate::webgpu::{
    GpuBuffer, GpuBufferDescriptor, GpuExtent3D, GpuTextureDescriptor, GpuTextureDimension, GpuTextureFormat,
};
use crate::{Saw, Scenario, expect, must};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("abuse.unknown-usages", unknown_usages),
    ("abuse.limits", limits),
    ("abuse.large-records", large_records),
    ("abuse.mapping", mapping),
    ("abuse.large-buffers", large_buffers),
    ("abuse.mapped-buffers", mapped_buffers),
    ("abuse.buffers-come-and-go", buffers_come_and_go),
    ("abuse.large-textures", large_textures),
    ("abuse.labels", labels),
    ("abuse.large-writes", large_writes),
];

fn unknown_usages(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let mut seen = Map::new();
    for usage in [0x400, 0x8000_0000, u32::MAX, 0xffff_fc00] {
        seen.insert(format!("buffer {usage:#x}"), told(&stage, || stage.buffer(16, usage))?);
        let texture = make::texture(4, 4, GpuTextureFormat::Rgba8unorm, usage);
        seen.insert(format!("texture {usage:#x}"), told(&stage, || call!(stage.device, create_texture, &texture))?);
        let entries = vec![make::slot(0, usage, crate::webgpu::GpuBufferBindingType::Uniform)];
        let layout = crate::webgpu::GpuBindGroupLayoutDescriptor { entries, label: None };
        let layout = told(&stage, || call!(stage.device, create_bind_group_layout, &layout))?;
        seen.insert(format!("stage {usage:#x}"), layout);
    }
    Ok(Value::Object(seen))
}

fn limits(_: &Value) -> Saw {
    let mut seen = Map::new();
    let names = ["maxBufferSize", "maxBindGroups", "maxTextureDimension2D", "maxComputeWorkgroupsPerDimension"];
    for (name, value) in names.into_iter().flat_map(|name| [(name, u64::MAX), (name, 0)]).chain([
        ("max_buffer_size", 1),
        ("maxBufferSize\u{0}", 1),
        ("__proto__", 1),
        ("minStorageBufferOffsetAlignment", 0),
        ("minStorageBufferOffsetAlignment", 1),
        ("minStorageBufferOffsetAlignment", 1 << 40),
    ]) {
        let record = call!(RecordOptionGpuSize64 => new);
        call!(record, add, name, Some(value));
        let device = stage::device(&[], Some(record));
        let device = device.map_or_else(|error| short(&error.message), |_| "a device".to_owned());
        seen.insert(format!("{name:?} {value}"), device.into());
    }
    Ok(Value::Object(seen))
}

/// Records with many keys and with long ones.
fn large_records(asked: &Value) -> Saw {
    let count = number(asked, "count", 200_000);
    let limits = call!(RecordOptionGpuSize64 => new);
    let constants = call!(RecordGpuPipelineConstantValue => new);
    for index in 0..count {
        call!(limits, add, &format!("key{index}"), Some(index));
        call!(constants, add, &format!("key{index}"), 1.0);
    }
    call!(limits, add, &"k".repeat(1 << 20), None);
    let device = stage::device(&[], Some(limits)).map_or_else(|error| short(&error.message), |_| "a device".to_owned());
    Ok(json!({ "constants": call!(constants, keys).len(), "device": device }))
}

fn mapping(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let mut seen = Map::new();
    let mut map = |what: &str, buffer: &GpuBuffer, mode, offset, size| -> Result<(), String> {
        let (mapped, errors) = errors_of(&stage, || call!(buffer, map_async, mode, offset, size))?;
        let mapped = mapped.map_or_else(|error| short(&error.message), |()| "mapped".to_owned());
        seen.insert(what.to_owned(), json!([mapped, errors]));
        Ok(())
    };
    let readable = || stage.buffer(64, flags::MAP_READ | flags::COPY_DST);
    let buffer = readable();
    map("out of range", &buffer, flags::READ, Some(64), Some(8))?;
    map("far out of range", &buffer, flags::READ, Some(1 << 62), Some(1 << 62))?;
    map("unaligned", &buffer, flags::READ, Some(1), Some(3))?;
    map("nothing at all", &buffer, flags::READ, Some(0), Some(0))?;
    call!(buffer, unmap).map_err(|error| error.message)?;
    map("nothing at the end", &buffer, flags::READ, Some(64), Some(0))?;
    map("twice", &buffer, flags::READ, None, None)?;
    map("three times", &buffer, flags::READ, None, None)?;
    for (offset, size) in [(0, 0), (64, 0), (0, u64::MAX), (u64::MAX, u64::MAX), (3, 5), (0, 1 << 33)] {
        call!(buffer, get_mapped_range_get_with_copy, Some(offset), Some(size)).ok();
        call!(buffer, get_mapped_range_set_with_copy, &[1; 8], Some(offset), Some(size)).ok();
    }
    call!(buffer, destroy);
    call!(buffer, unmap).ok();
    map("after destroy", &buffer, flags::READ, None, None)?;
    let invalid = errors_of(&stage, || stage.buffer(64, flags::MAP_READ | flags::STORAGE))?.0;
    map("what is invalid", &invalid, flags::READ, None, None)?;
    must(call!(invalid, get_mapped_range_get_with_copy, None, None).is_err(), "nothing of it can be read")?;
    let kept = readable();
    map("while its device goes", &kept, flags::READ, None, None)?;
    call!(stage.device, destroy);
    call!(kept, get_mapped_range_get_with_copy, None, None).ok();
    call!(kept, unmap).ok();
    map("after its device went", &kept, flags::READ, None, None)?;
    Ok(Value::Object(seen))
}

/// Buffers, all kept, until one is refused.
fn large_buffers(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let (each, total) = (number(asked, "each", 256 << 20), number(asked, "total", 16 << 30));
    let mut kept = Vec::new();
    while (kept.len() as u64) * each < total {
        let (buffer, errors) = errors_of(&stage, || stage.buffer(each, flags::STORAGE | flags::COPY_DST))?;
        if errors.as_object().is_some_and(|errors| !errors.is_empty()) {
            return Ok(json!({ "bytes": kept.len() as u64 * each, "refused": errors }));
        }
        kept.push(buffer);
    }
    Ok(json!({ "bytes": kept.len() as u64 * each, "refused": null }))
}

/// The same with buffers that are mapped at their creation: memory of the host, not only of the GPU.
fn mapped_buffers(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let (each, total) = (number(asked, "each", 64 << 20), number(asked, "total", 8 << 30));
    let mut kept = Vec::new();
    while (kept.len() as u64) * each < total {
        let descriptor = GpuBufferDescriptor { mapped_at_creation: Some(true), ..make::buffer(each, flags::COPY_SRC) };
        let (buffer, errors) = errors_of(&stage, || call!(stage.device, create_buffer, &descriptor))?;
        if errors.as_object().is_some_and(|errors| !errors.is_empty()) {
            return Ok(json!({ "bytes": kept.len() as u64 * each, "refused": errors }));
        }
        kept.push(buffer);
    }
    Ok(json!({ "bytes": kept.len() as u64 * each, "refused": null }))
}

/// More in all than there is, but little at a time: destroyed, or only dropped.
fn buffers_come_and_go(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let errors = told(&stage, || {
        for index in 0..number(asked, "count", 1_000) {
            let buffer = stage.buffer(16 << 20, flags::STORAGE);
            if index % 2 == 0 {
                call!(buffer, destroy);
            }
        }
    })?;
    expect("errors", errors.clone(), json!({}))?;
    Ok(errors)
}

fn large_textures(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let mut seen = Map::new();
    let mut kept = Vec::new();
    for (what, width, height, layers, format) in [
        ("the largest", 8192, 8192, 256, GpuTextureFormat::Rgba32float),
        ("past the limit", 8193, 1, 1, GpuTextureFormat::R8unorm),
        ("absurd", u32::MAX, u32::MAX, u32::MAX, GpuTextureFormat::Rgba32float),
        ("nothing", 0, 0, 0, GpuTextureFormat::R8unorm),
    ] {
        let size = GpuExtent3D { width, height: Some(height), depth_or_array_layers: Some(layers) };
        let descriptor = GpuTextureDescriptor {
            size,
            ..make::texture(1, 1, format, flags::TEXTURE_BINDING | flags::TEXTURE_COPY_DST)
        };
        let (texture, errors) = errors_of(&stage, || call!(stage.device, create_texture, &descriptor))?;
        kept.push(texture);
        seen.insert(what.to_owned(), errors);
    }
    let size = GpuExtent3D { width: 2048, height: Some(2048), depth_or_array_layers: Some(2048) };
    let solid = GpuTextureDescriptor {
        size,
        dimension: Some(GpuTextureDimension::D3),
        mip_level_count: Some(u32::MAX),
        sample_count: Some(u32::MAX),
        ..make::texture(1, 1, GpuTextureFormat::Rgba32float, flags::TEXTURE_BINDING)
    };
    seen.insert("solid".to_owned(), told(&stage, || call!(stage.device, create_texture, &solid))?);
    Ok(Value::Object(seen))
}

/// Labels are texts of the guest: nothing of them may reach a log as it is, or a driver that trusts them.
fn labels(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let long = "l".repeat(1 << 20);
    let controls = "one\ntwo\r\u{1b}[31m\u{0}\u{7f}\u{202e}{\"level\":\"error\"}";
    let mut kept = Map::new();
    for (what, label) in [("long", long.as_str()), ("controls", controls), ("percent", "%s%n%x"), ("empty", "")] {
        let descriptor =
            GpuBufferDescriptor { label: Some(label.to_owned()), ..make::buffer(16, flags::STORAGE | flags::MAP_READ) };
        let (_, errors) = errors_of(&stage, || call!(stage.device, create_buffer, &descriptor))?;
        let buffer = stage.buffer(16, flags::COPY_DST);
        call!(buffer, set_label, label);
        let encoder = stage.encoder();
        call!(encoder, push_debug_group, label);
        call!(encoder, insert_debug_marker, label);
        call!(encoder, pop_debug_group);
        call!(encoder, set_label, label);
        let submitted = told(&stage, || stage.submit(&encoder))?;
        let same = call!(buffer, label) == label;
        let shown = errors.get("validation").and_then(Value::as_str).unwrap_or_default().len();
        kept.insert(what.to_owned(), json!({ "same": same, "error_bytes": shown, "submitted": submitted }));
    }
    Ok(Value::Object(kept))
}

/// Writes that are larger than what they are written to, and many that are not.
fn large_writes(asked: &Value) -> Saw {
    let stage = Stage::new()?;
    let buffer = stage.buffer(16 << 20, flags::COPY_DST | flags::COPY_SRC);
    let data = vec![7; 16 << 20];
    let errors = told(&stage, || {
        for _ in 0..number(asked, "count", 4) {
            call!(stage.queue, write_buffer_with_copy, &buffer, 0, &data, None, None).ok();
        }
    })?;
    let beyond = told(&stage, || call!(stage.queue, write_buffer_with_copy, &buffer, 8, &data, None, None).ok())?;
    call!(stage.queue, on_submitted_work_done);
    Ok(json!({ "errors": errors, "beyond": beyond }))
}
