//! The forms in which commands print their results.

use clap::ValueEnum;

/// Form of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Lines for people.
    Text,
    /// JSON, for programs.
    Json,
}
