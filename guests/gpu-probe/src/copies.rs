//! Copies between buffers and textures, writes through the queue, and what of them is refused. Must not use shaders.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::{self, ROW_BYTES, Stage};
use crate::webgpu::{
    GpuExtent3D, GpuOrigin3D, GpuTexelCopyBufferInfo, GpuTexelCopyBufferLayout, GpuTexelCopyTextureInfo, GpuTexture,
    GpuTextureAspect, GpuTextureDescriptor, GpuTextureFormat,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("copies.buffer-to-buffer", buffer_to_buffer),
    ("copies.clear-buffer", clear_buffer),
    ("copies.write-buffer", write_buffer),
    ("copies.write-texture", write_texture),
    ("copies.textures-and-buffers", textures_and_buffers),
    ("copies.texture-to-texture", texture_to_texture),
    ("copies.layers-and-levels", layers_and_levels),
    ("copies.refused", refused),
    ("copies.texture-refused", texture_refused),
];

const BOTH: u32 = flags::COPY_SRC | flags::COPY_DST;
const TEXTURE_BOTH: u32 = flags::TEXTURE_COPY_SRC | flags::TEXTURE_COPY_DST;
const FORMAT: GpuTextureFormat = GpuTextureFormat::Rgba8unorm;

fn buffer_to_buffer(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let source = stage.words(&[1, 2, 3, 4, 5, 6, 7, 8], BOTH)?;
    let target = stage.buffer(32, BOTH);
    stage.valid("the copies", || {
        let encoder = stage.encoder();
        call!(encoder, copy_buffer_to_buffer, &source, 8, &target, 4, 12);
        call!(encoder, copy_buffer_to_buffer, &source, 0, &target, 28, 4);
        call!(encoder, copy_buffer_to_buffer, &source, 32, &target, 32, 0);
        stage.submit(&encoder);
    })?;
    expect("the target", stage.read_words(&target)?, vec![0, 3, 4, 5, 0, 0, 0, 1])?;
    Ok(Value::Null)
}

fn clear_buffer(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let cleared = |offset, size| -> Result<Vec<u32>, String> {
        let buffer = stage.words(&[9; 6], BOTH)?;
        stage.valid("clearing", || {
            let encoder = stage.encoder();
            call!(encoder, clear_buffer, &buffer, offset, size);
            stage.submit(&encoder);
        })?;
        stage.read_words(&buffer)
    };
    expect("all", cleared(None, None)?, vec![0; 6])?;
    expect("from", cleared(Some(8), None)?, vec![9, 9, 0, 0, 0, 0])?;
    expect("a part", cleared(Some(4), Some(8))?, vec![9, 0, 0, 9, 9, 9])?;
    Ok(Value::Null)
}

fn write_buffer(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let buffer = stage.buffer(16, BOTH);
    let data: Vec<u8> = (1..=12).collect();
    let write = |at, from, size| call!(stage.queue, write_buffer_with_copy, &buffer, at, &data, from, size);
    stage.valid("the writes", || -> Result<(), String> {
        write(0, None, Some(4)).map_err(|error| error.message)?;
        write(4, Some(8), None).map_err(|error| error.message)?;
        write(8, Some(3), Some(8)).map_err(|error| error.message)?;
        write(16, Some(12), None).map_err(|error| error.message)
    })??;
    expect("the buffer", stage.read(&buffer)?, vec![1, 2, 3, 4, 9, 10, 11, 12, 4, 5, 6, 7, 8, 9, 10, 11])?;
    // What is wrong with the data is told; what is wrong with the buffer is a validation error.
    let mut told = serde_json::Map::new();
    for (what, from, size) in [
        ("past the data", Some(13), None),
        ("more than the data", Some(8), Some(8)),
        ("an odd size", Some(0), Some(3)),
        ("an overflow", Some(u64::MAX), Some(8)),
    ] {
        let Err(error) = write(0, from, size) else { return Err(format!("{what} was written")) };
        must(!error.message.is_empty(), "the error says something")?;
        told.insert(what.to_owned(), error.message.into());
    }
    for (what, at) in [("past the buffer", 16), ("an odd offset", 2), ("far past the buffer", u64::MAX - 3)] {
        told.insert(what.to_owned(), stage.invalid(what, || write(at, None, Some(4)).ok())?.into());
    }
    expect("the buffer afterwards", stage.read(&buffer)?.len(), 16)?;
    Ok(Value::Object(told))
}

/// Texels that differ from one another.
fn pattern(count: u32) -> Vec<[u8; 4]> {
    (0..count).map(|index| [index as u8, (index >> 3) as u8, 255 - index as u8, 7]).collect()
}

fn texture(stage: &Stage, width: u32, height: u32) -> GpuTexture {
    call!(stage.device, create_texture, &make::texture(width, height, FORMAT, TEXTURE_BOTH))
}

fn layout(offset: u64, bytes_per_row: u32) -> GpuTexelCopyBufferLayout {
    GpuTexelCopyBufferLayout { offset: Some(offset), bytes_per_row: Some(bytes_per_row), rows_per_image: None }
}

fn write_texture(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let texture = stage.valid("a texture", || texture(&stage, 8, 4))?;
    let texels = pattern(32);
    let bytes: Vec<u8> = texels.iter().flatten().copied().collect();
    let write = |info: &GpuTexelCopyTextureInfo<'_>, data: &[u8], layout, size| {
        call!(stage.queue, write_texture_with_copy, info, data, layout, size);
    };
    stage.valid("the whole", || write(&make::texels(&texture), &bytes, layout(0, 32), make::extent(8, 4)))?;
    expect("the whole", stage.texels(&texture)?, texels.clone())?;
    // Rows of the data need no alignment here, and it may begin anywhere.
    let info = GpuTexelCopyTextureInfo { origin: Some(make::origin(6, 1)), ..make::texels(&texture) };
    let data = [0, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 3, 3, 3, 3, 4, 4, 4, 4];
    stage.valid("a part", || write(&info, &data, layout(1, 10), make::extent(2, 2)))?;
    let seen = stage.texels(&texture)?;
    let mut wanted = texels;
    for (place, value) in [(14, 1), (15, 2), (22, 3), (23, 4)] {
        if let Some(texel) = wanted.get_mut(place) {
            *texel = [value; 4];
        }
    }
    expect("a part", seen, wanted)?;
    let invalid = |what: &str, info: &GpuTexelCopyTextureInfo<'_>, data: &[u8], layout, size| {
        stage.invalid(what, || write(info, data, layout, size))
    };
    let whole = make::texels(&texture);
    Ok(json!({
        "too_little": invalid("too little", &whole, &bytes, layout(1, 32), make::extent(8, 4))?,
        "rows_too_short": invalid("short rows", &whole, &bytes, layout(0, 28), make::extent(8, 4))?,
        "past_the_edge": invalid("the edge", &info, &bytes, layout(0, 32), make::extent(3, 1))?,
        "no_row_length": invalid(
            "no row length",
            &whole,
            &bytes,
            GpuTexelCopyBufferLayout { bytes_per_row: None, ..layout(0, 0) },
            make::extent(8, 4),
        )?,
        "overflow": invalid("overflow", &whole, &bytes, layout(u64::MAX - 3, u32::MAX), make::extent(8, 4))?,
    }))
}

fn textures_and_buffers(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let texture = texture(&stage, 5, 3);
    let texels = pattern(15);
    let mut bytes = vec![0; ROW_BYTES as usize * 4];
    for (row, part) in texels.chunks(5).enumerate() {
        let start = (row + 1) * ROW_BYTES as usize;
        if let Some(target) = bytes.get_mut(start..start + 20) {
            target.copy_from_slice(part.as_flattened());
        }
    }
    let source = stage.buffer_of(&bytes, BOTH)?;
    let from = GpuTexelCopyBufferInfo { offset: Some(u64::from(ROW_BYTES)), ..make::rows(&source, ROW_BYTES) };
    stage.valid("to the texture", || {
        let encoder = stage.encoder();
        call!(encoder, copy_buffer_to_texture, &from, &make::texels(&texture), make::extent(5, 3));
        stage.submit(&encoder);
    })?;
    expect("texels", stage.texels(&texture)?, texels)?;
    // One row needs no row length, and comes back where it is wanted.
    let info = GpuTexelCopyTextureInfo { origin: Some(make::origin(1, 2)), ..make::texels(&texture) };
    let target = stage.buffer(64, BOTH);
    let to = GpuTexelCopyBufferInfo { offset: Some(8), bytes_per_row: None, ..make::rows(&target, 0) };
    stage.valid("to the buffer", || {
        let encoder = stage.encoder();
        call!(encoder, copy_texture_to_buffer, &info, &to, make::extent(2, 1));
        stage.submit(&encoder);
    })?;
    let wanted: Vec<u8> = pattern(15).get(11..13).unwrap_or_default().as_flattened().to_vec();
    expect("a row", stage.read(&target)?.get(8..16), Some(&wanted[..]))?;
    Ok(Value::Null)
}

fn texture_to_texture(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (one, other) = (texture(&stage, 4, 4), texture(&stage, 4, 4));
    let bytes: Vec<u8> = pattern(16).into_iter().flatten().collect();
    call!(stage.queue, write_texture_with_copy, &make::texels(&one), &bytes, layout(0, 16), make::extent(4, 4));
    stage.valid("the copy", || {
        let encoder = stage.encoder();
        let from = GpuTexelCopyTextureInfo { origin: Some(make::origin(1, 0)), ..make::texels(&one) };
        let to = GpuTexelCopyTextureInfo { origin: Some(make::origin(0, 2)), ..make::texels(&other) };
        call!(encoder, copy_texture_to_texture, &from, &to, make::extent(2, 2));
        stage.submit(&encoder);
    })?;
    let (from, nothing) = (pattern(16), [0; 4]);
    let at = |place: usize| from.get(place).copied().unwrap_or_default();
    let mut wanted = vec![nothing; 16];
    for (place, source) in [(8, 1), (9, 2), (12, 5), (13, 6)] {
        if let Some(texel) = wanted.get_mut(place) {
            *texel = at(source);
        }
    }
    expect("texels", stage.texels(&other)?, wanted)?;
    Ok(Value::Null)
}

/// Layers of an array and mip levels are places of their own.
fn layers_and_levels(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let size = GpuExtent3D { width: 4, height: Some(4), depth_or_array_layers: Some(3) };
    let descriptor =
        GpuTextureDescriptor { size, mip_level_count: Some(2), ..make::texture(4, 4, FORMAT, TEXTURE_BOTH) };
    let texture = stage.valid("the texture", || call!(stage.device, create_texture, &descriptor))?;
    let place = |layer, mip_level| GpuTexelCopyTextureInfo {
        mip_level: Some(mip_level),
        origin: Some(GpuOrigin3D { x: None, y: None, z: Some(layer) }),
        aspect: Some(GpuTextureAspect::All),
        ..make::texels(&texture)
    };
    stage.valid("the writes", || {
        let one = GpuExtent3D { width: 2, height: Some(2), depth_or_array_layers: Some(1) };
        for (layer, value) in [(0, 10), (1, 11), (2, 12)] {
            call!(stage.queue, write_texture_with_copy, &place(layer, 1), &[value; 16], layout(0, 8), one);
        }
    })?;
    let told = stage.buffer(u64::from(ROW_BYTES) * 2 * 3, flags::MAP_READ | flags::COPY_DST);
    stage.valid("the copy", || {
        let encoder = stage.encoder();
        let rows = GpuTexelCopyBufferInfo { rows_per_image: Some(2), ..make::rows(&told, ROW_BYTES) };
        let all = GpuExtent3D { width: 2, height: Some(2), depth_or_array_layers: Some(3) };
        call!(encoder, copy_texture_to_buffer, &place(0, 1), &rows, all);
        stage.submit(&encoder);
    })?;
    let bytes = stage::mapped(&told)?;
    let firsts: Vec<_> = bytes.chunks(ROW_BYTES as usize).map(|row| row.get(..8).map(<[u8]>::to_vec)).collect();
    let wanted: Vec<_> = [10, 10, 11, 11, 12, 12].into_iter().map(|value| Some(vec![value; 8])).collect();
    expect("layers", firsts, wanted)?;
    Ok(Value::Null)
}

fn refused(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (source, target) = (stage.buffer(64, flags::COPY_SRC), stage.buffer(64, flags::COPY_DST));
    let copy = |from, at, to, into, size| {
        stage.invalid("a copy", || {
            let encoder = stage.encoder();
            call!(encoder, copy_buffer_to_buffer, from, at, to, into, size);
            stage.submit(&encoder);
        })
    };
    let clear = |buffer, offset, size| {
        stage.invalid("clearing", || {
            let encoder = stage.encoder();
            call!(encoder, clear_buffer, buffer, offset, size);
            stage.submit(&encoder);
        })
    };
    let both = stage.buffer(64, BOTH);
    Ok(json!({
        "from_what_may_not": copy(&target, 0, &target, 0, 4)?,
        "to_what_may_not": copy(&source, 0, &source, 0, 4)?,
        "to_itself": copy(&both, 0, &both, 32, 4)?,
        "odd_size": copy(&source, 0, &target, 0, 3)?,
        "odd_offset": copy(&source, 2, &target, 0, 4)?,
        "odd_target": copy(&source, 0, &target, 6, 4)?,
        "past_the_source": copy(&source, 64, &target, 0, 4)?,
        "past_the_target": copy(&source, 0, &target, 60, 8)?,
        "overflow": copy(&source, u64::MAX - 3, &target, 0, 8)?,
        "clear_what_may_not": clear(&source, None, None)?,
        "clear_odd": clear(&target, Some(2), None)?,
        "clear_odd_size": clear(&target, Some(0), Some(6))?,
        "clear_past": clear(&target, Some(60), Some(8))?,
        "clear_overflow": clear(&target, Some(u64::MAX - 3), Some(8))?,
    }))
}

fn texture_refused(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let texture = texture(&stage, 4, 4);
    let whole = make::extent(4, 4);
    let buffer = stage.buffer(2048, BOTH);
    let copy = |info: &GpuTexelCopyBufferInfo<'_>, size| {
        stage.invalid("a copy", || {
            let encoder = stage.encoder();
            call!(encoder, copy_texture_to_buffer, &make::texels(&texture), info, size);
            stage.submit(&encoder);
        })
    };
    let level = GpuTexelCopyTextureInfo { mip_level: Some(1), ..make::texels(&texture) };
    let no_level = stage.invalid("a level that is not there", || {
        let encoder = stage.encoder();
        call!(encoder, copy_buffer_to_texture, &make::rows(&buffer, 256), &level, make::extent(1, 1));
        stage.submit(&encoder);
    })?;
    let uint = make::texture(4, 4, GpuTextureFormat::R32uint, TEXTURE_BOTH);
    let uint = call!(stage.device, create_texture, &uint);
    let other_format = stage.invalid("another format", || {
        let encoder = stage.encoder();
        call!(encoder, copy_texture_to_texture, &make::texels(&texture), &make::texels(&uint), whole);
        stage.submit(&encoder);
    })?;
    let from = |offset| GpuTexelCopyBufferInfo { offset: Some(offset), ..make::rows(&buffer, 256) };
    Ok(json!({
        "unaligned_rows": copy(&make::rows(&buffer, 100), whole)?,
        "rows_too_short": copy(&make::rows(&buffer, 0), whole)?,
        "past_the_buffer": copy(&from(1900), whole)?,
        "unaligned_offset": copy(&from(2), whole)?,
        "past_the_edge": copy(&make::rows(&buffer, 256), make::extent(5, 1))?,
        "no_level": no_level,
        "other_format": other_format,
    }))
}
