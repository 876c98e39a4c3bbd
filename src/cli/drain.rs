//! `roadstead drain`: tells a running host to stop in order.

use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use http::Method;

use super::{
    asking::{self, AskArguments},
    shown::{print, text},
};

/// Flags of `roadstead drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead drain
  roadstead drain --admin-socket /run/roadstead/admin.sock

The host does what it does at SIGTERM: it is not ready any more, lets requests under way finish for --drain-timeout, and
ends. A service manager that restarts it whenever it ends will do so.

Exit codes:
  0  the host has begun        1  no host answers, or it refuses        2  wrong usage of the command line")]
pub(super) struct DrainArguments {
    #[command(flatten)]
    ask: AskArguments,
}

/// Runs the command.
pub(super) fn main(arguments: &DrainArguments) -> ExitCode {
    asking::run(async {
        let told = arguments.ask.asking()?.ask(Method::POST, "/v1/drain", Bytes::new()).await?.json().await?;
        print(&format!("draining; requests under way have {} ms\n", text(&told, "timeout_ms")))
    })
}
