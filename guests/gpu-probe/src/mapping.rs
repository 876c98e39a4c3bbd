//! Mapping buffers: to read, to write, at their creation, in parts; and each way to get it wrong. Must not use shaders.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::{self, Stage};
use crate::webgpu::{
    GetMappedRangeError, GpuBuffer, GpuBufferDescriptor, GpuBufferMapState, GpuErrorFilter, MapAsyncError,
    MapAsyncErrorKind,
};
use crate::{Saw, Scenario, expect, must};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("mapping.read", read),
    ("mapping.write", write),
    ("mapping.at-creation", at_creation),
    ("mapping.ranges", ranges),
    ("mapping.range-errors", range_errors),
    ("mapping.map-errors", map_errors),
    ("mapping.buffer-errors", buffer_errors),
    ("mapping.destroyed", destroyed),
];

const READABLE: u32 = flags::MAP_READ | flags::COPY_DST;
const WRITABLE: u32 = flags::MAP_WRITE | flags::COPY_SRC;

fn state(buffer: &GpuBuffer) -> &'static str {
    match call!(buffer, map_state) {
        GpuBufferMapState::Unmapped => "unmapped",
        GpuBufferMapState::Pending => "pending",
        GpuBufferMapState::Mapped => "mapped",
    }
}

fn map(buffer: &GpuBuffer, mode: u32, offset: Option<u64>, size: Option<u64>) -> Result<(), MapAsyncError> {
    call!(buffer, map_async, mode, offset, size)
}

fn get(buffer: &GpuBuffer, offset: Option<u64>, size: Option<u64>) -> Result<Vec<u8>, GetMappedRangeError> {
    call!(buffer, get_mapped_range_get_with_copy, offset, size)
}

fn unmap(buffer: &GpuBuffer) -> Result<(), String> {
    call!(buffer, unmap).map_err(|error| error.message)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 7 % 251) as u8).collect()
}

/// A buffer to read, with known bytes in it.
fn readable(stage: &Stage, contents: &[u8]) -> Result<GpuBuffer, String> {
    let source = stage.buffer_of(contents, flags::COPY_SRC)?;
    let buffer = stage.buffer(contents.len() as u64, READABLE);
    let encoder = stage.encoder();
    call!(encoder, copy_buffer_to_buffer, &source, 0, &buffer, 0, contents.len() as u64);
    stage.submit(&encoder);
    Ok(buffer)
}

fn read(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let contents = bytes(4096);
    let buffer = readable(&stage, &contents)?;
    expect("the size", call!(buffer, size), 4096)?;
    expect("the usage", call!(buffer, usage), READABLE)?;
    expect("before", state(&buffer), "unmapped")?;
    map(&buffer, flags::READ, None, None).map_err(|error| error.message)?;
    expect("mapped", state(&buffer), "mapped")?;
    expect("the bytes", get(&buffer, None, None).map_err(|error| error.message)?, contents)?;
    unmap(&buffer)?;
    expect("after", state(&buffer), "unmapped")?;
    expect("again", stage::mapped(&buffer)?, bytes(4096))?;
    Ok(Value::Null)
}

fn write(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let buffer = stage.buffer(64, WRITABLE);
    for round in 1..=3_u8 {
        map(&buffer, flags::WRITE, None, None).map_err(|error| error.message)?;
        let set = call!(buffer, get_mapped_range_set_with_copy, &[round; 16], Some(16), Some(16));
        set.map_err(|error| error.message)?;
        let seen = get(&buffer, Some(8), Some(16)).map_err(|error| error.message)?;
        expect("what is mapped", seen.last().copied(), Some(round))?;
        unmap(&buffer)?;
        let read = stage.read(&buffer)?;
        expect("what was written", read.get(16..32), Some(&[round; 16][..]))?;
        expect("what was not", (read.get(..16), read.get(32..)), (Some(&[0; 16][..]), Some(&[0; 32][..])))?;
    }
    Ok(Value::Null)
}

fn at_creation(_: &Value) -> Saw {
    let stage = Stage::new()?;
    // Any usage will do, and the whole of it is zero.
    let descriptor = GpuBufferDescriptor { mapped_at_creation: Some(true), ..make::buffer(32, flags::COPY_SRC) };
    let buffer = call!(stage.device, create_buffer, &descriptor);
    expect("the state", state(&buffer), "mapped")?;
    expect("zeros", get(&buffer, None, None).map_err(|error| error.message)?, vec![0; 32])?;
    call!(buffer, get_mapped_range_set_with_copy, &bytes(32), None, None).map_err(|error| error.message)?;
    let while_mapped = stage.invalid("a copy from what is mapped", || stage.read(&buffer).ok())?;
    unmap(&buffer)?;
    expect("the bytes", stage.read(&buffer)?, bytes(32))?;
    // A size that is no multiple of 4 cannot be mapped at creation.
    let descriptor = GpuBufferDescriptor { mapped_at_creation: Some(true), ..make::buffer(30, flags::COPY_SRC) };
    let odd = stage.error_of(GpuErrorFilter::Validation, || call!(stage.device, create_buffer, &descriptor))?.1;
    Ok(json!({ "while_mapped": while_mapped, "odd": odd.map(|(_, message)| message) }))
}

fn ranges(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let contents = bytes(256);
    let buffer = readable(&stage, &contents)?;
    map(&buffer, flags::READ, Some(64), Some(128)).map_err(|error| error.message)?;
    for (offset, size) in [(64, 128), (64, 4), (72, 8), (184, 8), (128, 64)] {
        let seen = get(&buffer, Some(offset), Some(size)).map_err(|error| error.message)?;
        let wanted = contents.get(offset as usize..(offset + size) as usize).unwrap_or_default();
        expect(&format!("{size} bytes from {offset}"), seen, wanted.to_vec())?;
    }
    unmap(&buffer)?;
    map(&buffer, flags::READ, Some(248), None).map_err(|error| error.message)?;
    let seen = get(&buffer, Some(248), None).map_err(|error| error.message)?;
    expect("to the end", seen, contents.get(248..).unwrap_or_default().to_vec())?;
    unmap(&buffer)?;
    Ok(Value::Null)
}

/// What asking for a wrong range says.
fn refused<T>(what: &str, asked: Result<T, GetMappedRangeError>) -> Result<Value, String> {
    match asked {
        Ok(_) => Err(format!("{what} was given")),
        Err(error) => {
            must(!error.message.is_empty(), "the error says something")?;
            Ok(json!([format!("{:?}", error.kind), error.message]))
        }
    }
}

fn range_errors(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let buffer = readable(&stage, &bytes(256))?;
    let unmapped = refused("an unmapped buffer", get(&buffer, None, None))?;
    map(&buffer, flags::READ, Some(64), Some(128)).map_err(|error| error.message)?;
    let mut told = serde_json::Map::new();
    told.insert("unmapped".to_owned(), unmapped);
    for (what, offset, size) in [
        ("before what is mapped", 56, 16),
        ("past what is mapped", 184, 16),
        ("past the buffer", 1024, 8),
        ("an unaligned offset", 68, 8),
        ("an unaligned size", 72, 6),
        ("an overflow", u64::MAX - 7, 16),
        ("an absurd size", 64, u64::MAX),
        ("an absurd size in words", 64, 1 << 40),
    ] {
        told.insert(what.to_owned(), refused(what, get(&buffer, Some(offset), Some(size)))?);
    }
    let set = call!(buffer, get_mapped_range_set_with_copy, &[0; 8], Some(64), Some(8));
    told.insert("writing to what is mapped to read".to_owned(), json!(set.is_err()));
    unmap(&buffer)?;
    let buffer = stage.buffer(64, WRITABLE);
    map(&buffer, flags::WRITE, None, None).map_err(|error| error.message)?;
    let set = |data: &[u8], offset, size| call!(buffer, get_mapped_range_set_with_copy, data, offset, size);
    told.insert("more than fits".to_owned(), refused("more than fits", set(&[0; 72], None, None))?);
    told.insert("past the end".to_owned(), refused("past the end", set(&[0; 16], Some(56), Some(16)))?);
    told.insert("less than the range".to_owned(), json!(set(&[0; 8], Some(0), Some(16)).is_err()));
    unmap(&buffer)?;
    Ok(Value::Object(told))
}

fn map_errors(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let (readable, writable) = (stage.buffer(64, READABLE), stage.buffer(64, WRITABLE));
    let plain = stage.buffer(64, flags::STORAGE);
    let mut told = serde_json::Map::new();
    for (what, buffer, mode, offset, size) in [
        ("reading what is to be written", &writable, flags::READ, None, None),
        ("writing what is to be read", &readable, flags::WRITE, None, None),
        ("what may not be mapped", &plain, flags::READ, None, None),
        ("both modes", &readable, flags::READ | flags::WRITE, None, None),
        ("no mode", &readable, 0, None, None),
        ("an unknown mode", &readable, 0x80, None, None),
        ("an unaligned offset", &readable, flags::READ, Some(4), None),
        ("an unaligned size", &readable, flags::READ, Some(0), Some(6)),
        ("past the end", &readable, flags::READ, Some(72), None),
        ("too much", &readable, flags::READ, Some(8), Some(64)),
        ("an overflow", &readable, flags::READ, Some(u64::MAX - 7), Some(16)),
    ] {
        let (mapped, error) = stage.error_of(GpuErrorFilter::Validation, || map(buffer, mode, offset, size))?;
        let Err(failure) = mapped else { return Err(format!("{what} was mapped")) };
        must(
            !failure.message.is_empty() && state(buffer) == "unmapped",
            "the error says something; nothing is mapped",
        )?;
        must(!matches!(failure.kind, MapAsyncErrorKind::AbortError), &format!("{what} is no abort"))?;
        told.insert(what.to_owned(), json!([format!("{:?}", failure.kind), failure.message, error.is_some()]));
    }
    map(&readable, flags::READ, None, None).map_err(|error| error.message)?;
    let (twice, _) = stage.error_of(GpuErrorFilter::Validation, || map(&readable, flags::READ, None, None))?;
    must(twice.is_err() && state(&readable) == "mapped", "a second mapping fails and leaves the first")?;
    let used = stage.invalid("copying to what is mapped", || {
        let (encoder, source) = (stage.encoder(), stage.buffer(64, flags::COPY_SRC));
        call!(encoder, copy_buffer_to_buffer, &source, 0, &readable, 0, 64);
        stage.submit(&encoder);
    })?;
    unmap(&readable)?;
    // Unmapping what is not mapped does nothing.
    unmap(&readable)?;
    told.insert("copying to what is mapped".to_owned(), json!(used));
    Ok(Value::Object(told))
}

fn buffer_errors(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let refused = |size, usage| stage.invalid("a buffer", || stage.buffer(size, usage));
    let largest = call!(call!(stage.device, limits), max_buffer_size);
    let empty = stage.valid("an empty buffer", || stage.buffer(0, flags::COPY_SRC))?;
    expect("its size", call!(empty, size), 0)?;
    Ok(json!({
        "no_usage": refused(64, 0)?,
        "read_and_storage": refused(64, flags::MAP_READ | flags::STORAGE)?,
        "read_and_write": refused(64, flags::MAP_READ | flags::MAP_WRITE)?,
        "unknown_usage": refused(64, 0x8000_0000)?,
        "too_large": refused(largest + 4, flags::COPY_SRC)?,
        "absurd": refused(u64::MAX, flags::COPY_SRC)?,
    }))
}

fn destroyed(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let buffer = readable(&stage, &bytes(64))?;
    map(&buffer, flags::READ, None, None).map_err(|error| error.message)?;
    call!(buffer, destroy);
    call!(buffer, destroy);
    expect("the state", state(&buffer), "unmapped")?;
    expect("the size", call!(buffer, size), 64)?;
    must(get(&buffer, None, None).is_err(), "there is nothing to read")?;
    let (mapped, _) = stage.error_of(GpuErrorFilter::Validation, || map(&buffer, flags::READ, None, None))?;
    must(mapped.is_err(), "it cannot be mapped")?;
    unmap(&buffer)?;
    let used = stage.invalid("submitting what was destroyed", || {
        let (encoder, source) = (stage.encoder(), stage.buffer(64, flags::COPY_SRC));
        call!(encoder, copy_buffer_to_buffer, &source, 0, &buffer, 0, 64);
        stage.submit(&encoder);
    })?;
    Ok(json!({ "used": used }))
}
