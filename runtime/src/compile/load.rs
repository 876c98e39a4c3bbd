//! From compiled code as bytes to code that can run: the one place where bytes become machine code of this process.
//!
//! `unsafe` is here because the engine cannot tell code that it made from code that somebody forged: running a forged
//! file is running its author's program. What may come in is therefore a type, [`Artifact`], and there are three ways
//! to make one: this process compiled it, its compiler child did, or the cache's code of authentication proves that a
//! process with the cache's secret wrote it.

#![allow(unsafe_code)]

use wasmtime::{Engine, component::Component};

use super::CompileError;
use crate::fault::detail;

/// Compiled code that a compiler of ours made.
pub(super) struct Artifact(Vec<u8>);

impl Artifact {
    /// Output of the compiler child: this program itself, over a pipe that nobody else has.
    pub(super) fn from_child(code: Vec<u8>) -> Self {
        Self(code)
    }

    /// Contents of a cache file whose code of authentication was verified.
    pub(super) fn authenticated(code: Vec<u8>) -> Self {
        Self(code)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Compiles with `engine`, in this process.
pub(super) fn compile_here(engine: &Engine, component: &[u8]) -> Result<Artifact, CompileError> {
    let compiled = engine.precompile_component(component);
    compiled.map(Artifact).map_err(|error| CompileError::Refused(detail(&error)))
}

/// Makes code ready to run, with the memory images that instances start from.
pub(super) fn load(engine: &Engine, artifact: &Artifact) -> Result<Component, CompileError> {
    let garbage = |error: wasmtime::Error| CompileError::Garbage(detail(&error));
    // SAFETY: the bytes were made by this program's own compiler and not changed since; see `Artifact`. That they are
    // for another engine is noticed by the engine itself.
    let component = unsafe { Component::deserialize(engine, artifact.as_bytes()) }.map_err(garbage)?;
    component.initialize_copy_on_write_image().map_err(garbage)?;
    Ok(component)
}
