//! Why a component has no code. Knows neither where the component is from nor who wants it.

/// Why a component could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The compiler refused the component: it is not valid, or uses what this host does not offer.
    #[error("{0}")]
    Refused(String),
    /// The compilation took too long.
    #[error("it takes longer than {limit_ms} ms to compile (compile_time_ms)")]
    TimedOut { limit_ms: u64 },
    /// The compiler needed too much memory.
    #[error("the compiler needs more than {limit_bytes} bytes of memory for it (compile_memory_bytes_max)")]
    OutOfMemory { limit_bytes: u64 },
    /// The compiled component is too large.
    #[error("it is larger than {limit_bytes} bytes when compiled (compile_output_bytes_max)")]
    OutputTooLarge { limit_bytes: u64 },
    /// The compiler broke down.
    #[error("the compiler ended with {status}: {said}")]
    Crashed { status: String, said: String },
    /// What the compiler gave is not compiled code for this host.
    #[error("the compiler gave something that is no code for this host: {0}")]
    Garbage(String),
    /// No compiler process could be made.
    #[error("the compiler process cannot be started: {0}")]
    NotStarted(String),
    /// The host failed, not the component.
    #[error("the host could not compile it: {0}")]
    Internal(String),
}

impl CompileError {
    /// A short stable name for metric labels and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::TimedOut { .. } => "timeout",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::OutputTooLarge { .. } => "output-too-large",
            Self::Crashed { .. } => "crashed",
            Self::Garbage(_) => "garbage",
            Self::NotStarted(_) => "not-started",
            Self::Internal(_) => "internal",
        }
    }

    /// Another try with the same bytes would end the same way.
    pub(super) fn is_of_the_component(&self) -> bool {
        !matches!(self, Self::NotStarted(_) | Self::Internal(_))
    }
}
