//! What the GPU process says: answers, in the order of the commands that have one, and events at any time.

use serde::{Deserialize, Serialize};

/// Something from the GPU process on a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerFrame {
    Reply(Reply),
    Event(Event),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The device is there, or why it is not.
    Device(Result<(), DeviceRefused>),
    /// A range is mapped, or why it is not.
    Mapped(Result<(), MapRefused>),
    /// Bytes are in the shared memory's lane towards the host, from its beginning; `None` when the buffer gives none.
    Bytes(Option<u32>),
    /// The error that a scope took; `Err` when there is no scope.
    Scope(Result<Option<GpuError>, NoScope>),
    /// The pipeline is there, or why it is not.
    Pipeline(Result<(), GpuError>),
    Compilation(Vec<CompilationMessage>),
    Done,
}

/// No error scope was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoScope;

/// Why there is no device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceRefused {
    /// The adapter does not have what was asked for.
    Unsupported(String),
    /// There is no room for another.
    Full(String),
}

/// Why a buffer is not mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapRefused {
    /// It may not be: the error is in the error scope as well.
    Operation(String),
    /// It was unmapped or destroyed meanwhile, or the device is lost.
    Abort(String),
}

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorKind {
    Validation,
    OutOfMemory,
    Internal,
}

/// An error as WebGPU has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuError {
    pub kind: ErrorKind,
    pub message: String,
}

impl GpuError {
    /// An error of validation.
    pub fn validation(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Validation, message: message.into() }
    }

    /// An error for want of memory, or of what a workload may have of it.
    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::OutOfMemory, message: message.into() }
    }

    /// An error of the host or its driver, not of the guest.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Internal, message: message.into() }
    }
}

/// How bad something is that the compiler said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    Error,
    Warning,
    Info,
}

/// Something that the compiler said. Places count as WebGPU has them: lines and columns from 1, 0 for nowhere; offsets
/// and lengths in UTF-16 units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompilationMessage {
    pub severity: Severity,
    pub message: String,
    pub line: u64,
    pub column: u64,
    pub offset: u64,
    pub length: u64,
}

/// What happened without being asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The device is lost, for ever.
    Lost(Lost),
    /// An error that no scope took.
    Uncaptured(GpuError),
}

/// How a device was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// By the guest itself.
    pub destroyed: bool,
    pub message: String,
}
