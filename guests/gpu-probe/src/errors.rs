//! Error scopes, errors that no scope takes, and devices that are lost. Must not know what else can go wrong.

use serde_json::{Value, json};

use crate::make::{self, flags};
use crate::stage::Stage;
use crate::webgpu::{
    GpuDeviceLostReason, GpuErrorFilter, GpuErrorKind, GpuFeatureName, PopErrorScopeErrorKind, RequestDeviceErrorKind,
};
use crate::{Saw, Scenario, expect, must, stage};

pub(crate) const SCENARIOS: &[Scenario] = &[
    ("errors.scopes", scopes),
    ("errors.filters", filters),
    ("errors.empty-pop", empty_pop),
    ("errors.first-counts", first_counts),
    ("errors.contagion", contagion),
    ("errors.uncaptured", uncaptured),
    ("errors.destroyed", destroyed),
    ("errors.one-device-alone", one_device_alone),
];

/// Makes a validation error.
fn mistake(stage: &Stage) {
    stage.buffer(4, 0);
}

/// The text of the error in the innermost scope, which is taken away.
fn popped(stage: &Stage) -> Result<Option<String>, String> {
    let error = call!(stage.device, pop_error_scope).map_err(|error| error.message)?;
    Ok(error.map(|error| call!(error, message)))
}

fn push(stage: &Stage, filter: GpuErrorFilter) {
    call!(stage.device, push_error_scope, filter);
}

fn scopes(_: &Value) -> Saw {
    let stage = Stage::new()?;
    push(&stage, GpuErrorFilter::Validation);
    push(&stage, GpuErrorFilter::Validation);
    mistake(&stage);
    let inner = popped(&stage)?;
    must(inner.as_ref().is_some_and(|text| !text.is_empty()), "the inner scope has the error")?;
    expect("the outer scope", popped(&stage)?, None)?;
    push(&stage, GpuErrorFilter::Validation);
    expect("a scope in which nothing went wrong", popped(&stage)?, None)?;
    Ok(json!({ "inner": inner }))
}

/// An error goes through scopes for other kinds to the one that it is meant for.
fn filters(_: &Value) -> Saw {
    let stage = Stage::new()?;
    push(&stage, GpuErrorFilter::Validation);
    push(&stage, GpuErrorFilter::OutOfMemory);
    push(&stage, GpuErrorFilter::Internal);
    mistake(&stage);
    expect("internal", popped(&stage)?, None)?;
    expect("out of memory", popped(&stage)?, None)?;
    let error = call!(stage.device, pop_error_scope).map_err(|error| error.message)?.ok_or("no error")?;
    must(matches!(call!(error, kind), GpuErrorKind::ValidationError), "it is a validation error")?;
    Ok(json!({ "message": call!(error, message) }))
}

fn empty_pop(_: &Value) -> Saw {
    let stage = Stage::new()?;
    for _ in 0..2 {
        match call!(stage.device, pop_error_scope) {
            Ok(_) => return Err("a scope was popped that nobody pushed".to_owned()),
            Err(error) => {
                let PopErrorScopeErrorKind::OperationError = error.kind;
                must(!error.message.is_empty(), "the error says something")?;
            }
        }
        push(&stage, GpuErrorFilter::Internal);
        popped(&stage)?;
    }
    Ok(Value::Null)
}

/// A scope keeps the first error.
fn first_counts(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let alone = stage.invalid("the first alone", || mistake(&stage))?;
    let both = stage.invalid("two", || {
        mistake(&stage);
        stage.shader("this is no shader");
    })?;
    expect("the first of two", both, alone)?;
    Ok(Value::Null)
}

/// What is made from something invalid is invalid, and using it is an error each time.
fn contagion(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let mut told = Vec::new();
    let (module, error) = stage.error_of(GpuErrorFilter::Validation, || stage.shader("fn main( {"))?;
    told.push(error.map(|(_, message)| message));
    let (pipeline, error) =
        stage.error_of(GpuErrorFilter::Validation, || stage.compute_stage(make::programmable(&module, "main")))?;
    told.push(error.map(|(_, message)| message));
    let (layout, error) = stage.error_of(GpuErrorFilter::Validation, || call!(pipeline, get_bind_group_layout, 0))?;
    told.push(error.map(|(_, message)| message));
    let descriptor = crate::webgpu::GpuBindGroupDescriptor { layout: &layout, entries: Vec::new(), label: None };
    let (group, error) =
        stage.error_of(GpuErrorFilter::Validation, || call!(stage.device, create_bind_group, &descriptor))?;
    told.push(error.map(|(_, message)| message));
    for _ in 0..2 {
        let refused = stage.invalid("a dispatch", || stage.dispatch(&pipeline, &group, 1).ok())?;
        told.push(Some(refused));
    }
    must(told.iter().all(Option::is_some), "each step is an error")?;
    stage.valid("what is valid stays so", || stage.compute("@compute @workgroup_size(1) fn main() {}"))?;
    Ok(json!({ "told": told }))
}

fn uncaptured(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let pollable = call!(stage.device, onuncapturederror_subscribe);
    must(!pollable.ready(), "nothing went wrong yet")?;
    stage.invalid("an error that a scope takes", || mistake(&stage))?;
    must(!pollable.ready(), "what a scope takes is not uncaptured")?;
    mistake(&stage);
    pollable.block();
    must(pollable.ready(), "an uncaptured error makes it ready")?;
    // The device goes on.
    let words = stage.words(&[7], flags::COPY_SRC)?;
    expect("a word", stage.read_words(&words)?, vec![7])?;
    let later = call!(stage.device, onuncapturederror_subscribe);
    Ok(json!({ "a_later_one_is_ready": later.ready() }))
}

fn destroyed(_: &Value) -> Saw {
    let stage = Stage::new()?;
    let buffer = stage.buffer(64, flags::MAP_READ | flags::COPY_DST);
    call!(stage.device, destroy);
    call!(stage.device, destroy);
    let lost = call!(stage.device, lost);
    must(matches!(call!(lost, reason), GpuDeviceLostReason::Destroyed), "it was destroyed")?;
    let message = call!(lost, message);
    // What is asked of a lost device is not an error but has no effect, except for what waits for an answer.
    let (_, error) = stage.error_of(GpuErrorFilter::Validation, || {
        mistake(&stage);
        stage.shader("this is no shader");
        stage.submit(&stage.encoder());
    })?;
    expect("errors of a lost device", error.map(|(_, message)| message), None)?;
    let mapped = call!(buffer, map_async, flags::READ, None, None);
    must(mapped.is_err(), "nothing of a lost device can be mapped")?;
    call!(stage.queue, on_submitted_work_done);
    let again = call!(stage.device, lost);
    must(matches!(call!(again, reason), GpuDeviceLostReason::Destroyed), "it is lost each time that it is asked")?;
    Ok(json!({ "message": message }))
}

/// A device that is lost takes no other with it, and a feature that is not there takes none either.
fn one_device_alone(_: &Value) -> Saw {
    let (one, other) = (Stage::new()?, Stage::new()?);
    call!(one.device, destroy);
    let words = other.words(&[1, 2, 3], flags::COPY_SRC)?;
    expect("words of the other", other.read_words(&words)?, vec![1, 2, 3])?;
    push(&other, GpuErrorFilter::Validation);
    push(&one, GpuErrorFilter::Validation);
    mistake(&other);
    expect("the scope of the one that is lost", popped(&one)?, None)?;
    must(popped(&other)?.is_some(), "each device has scopes of its own")?;
    if let Err(error) = stage::device(&[GpuFeatureName::TextureCompressionAstcSliced3d], None) {
        must(matches!(error.kind, RequestDeviceErrorKind::TypeError), "a missing feature is a TypeError")?;
    }
    Ok(Value::Null)
}
