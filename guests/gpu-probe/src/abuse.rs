//! Scenarios that misbehave. They tell what came of it; that the host and its other guests come through is for the tests
//! to see. Some end the component, the device or the whole GPU process, and none has a right to an answer.

mod objects;
mod running;
mod shaders;
mod sizes;

use serde_json::{Value, json};

use crate::Scenario;
use crate::stage::Stage;
use crate::webgpu::{GpuErrorFilter, GpuErrorKind};

pub(crate) const SCENARIOS: [&[Scenario]; 4] =
    [objects::SCENARIOS, running::SCENARIOS, shaders::SCENARIOS, sizes::SCENARIOS];

/// Longest text of an error that is told.
const TOLD_MAX: usize = 300;

/// Does `work` and tells which errors it made, by their kinds.
fn errors_of<T>(stage: &Stage, work: impl FnOnce() -> T) -> Result<(T, Value), String> {
    let filters = [GpuErrorFilter::Internal, GpuErrorFilter::OutOfMemory, GpuErrorFilter::Validation];
    for filter in filters {
        call!(stage.device, push_error_scope, filter);
    }
    let value = work();
    let mut told = serde_json::Map::new();
    for _ in filters {
        if let Some(error) = call!(stage.device, pop_error_scope).map_err(|error| error.message)? {
            let kind = match call!(error, kind) {
                GpuErrorKind::ValidationError => "validation",
                GpuErrorKind::OutOfMemoryError => "out-of-memory",
                GpuErrorKind::InternalError => "internal",
            };
            told.insert(kind.to_owned(), short(&call!(error, message)).into());
        }
    }
    Ok((value, json!(told)))
}

/// The same where only the errors matter.
fn told<T>(stage: &Stage, work: impl FnOnce() -> T) -> Result<Value, String> {
    Ok(errors_of(stage, work)?.1)
}

fn short(text: &str) -> String {
    text.chars().take(TOLD_MAX).collect()
}

/// What the message asks for, or so many.
fn number(asked: &Value, name: &str, default: u64) -> u64 {
    asked.get(name).and_then(Value::as_u64).unwrap_or(default)
}
