//! `roadstead compile-child`, not for people: compiles one component from standard input to standard output, in a
//! process that has taken its own possibilities away. A host starts it; see `docs/compiling.md`.

use std::{
    io::{stdin, stdout},
    process::ExitCode,
};

use clap::Args;
use roadstead_config::Limits;
use roadstead_runtime::{compile::compile_child, error_text};

use super::limits::LimitArguments;

/// Name of the command.
pub(super) const NAME: &str = "compile-child";

/// Flags of `roadstead compile-child`.
#[derive(Debug, Args)]
pub(super) struct ChildArguments {
    #[command(flatten)]
    limits: LimitArguments,
}

/// Runs the command; exit code 1 and the reason on standard error when there is no code.
pub(super) fn main(arguments: &ChildArguments) -> ExitCode {
    let limits = arguments.limits.apply(Limits::default());
    match compile_child(&limits, stdin().lock(), &mut stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not as `fail` prints it: the host quotes this in its own reason.
            eprintln!("{}", error_text(&error));
            ExitCode::FAILURE
        }
    }
}
