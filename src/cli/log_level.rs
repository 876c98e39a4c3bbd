//! `roadstead log-level`: shows and changes what a running host's log has.

use std::process::ExitCode;

use clap::Args;
use http::Method;

use super::{
    asking::{self, AskArguments},
    shown::{print, text},
};

/// Flags of `roadstead log-level`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead log-level                                   show the filter in force
  roadstead log-level info,roadstead::guest=debug       what components say at debug as well
  roadstead log-level info                              back again

The change lasts until the host stops.

Exit codes:
  0  done        1  the filter is none, or no host answers        2  wrong usage of the command line")]
pub(super) struct LogLevelArguments {
    /// Level (error, warn, info, debug, trace) or filter, in the form of --log-level [default: change nothing].
    filter: Option<String>,
    #[command(flatten)]
    ask: AskArguments,
}

/// Runs the command.
pub(super) fn main(arguments: LogLevelArguments) -> ExitCode {
    asking::run(async {
        let asking = arguments.ask.asking()?;
        let told = match arguments.filter {
            Some(filter) => asking.ask(Method::PUT, "/v1/log-level", filter.into()).await?.json().await?,
            None => asking.get("/v1/log-level").await?,
        };
        print(&format!("{}\n", text(&told, "filter")))
    })
}
