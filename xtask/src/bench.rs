//! `cargo xtask bench`: how fast, how dense and how lasting a release build of the host is, measured from outside. The
//! measurements are in the files below; none of them knows the host but by its command line, its listeners and /proc.

mod capabilities;
mod components;
mod density;
mod figures;
mod gauges;
mod gpu;
mod h2load;
mod http;
mod ingress;
mod manifests;
mod messaging;
mod observability;
mod oha;
mod postgres;
mod process_stats;
mod programs;
mod scratch;
mod server;
mod soak;
mod stop;
mod wrk;

use anyhow::{Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::thread;

use crate::layout::Layout;
use crate::process;
use crate::setup::{self, Purpose};
use crate::{guests, report};
use scratch::Scratch;
use stop::Stop;

/// Measure the host: speed, density, and how it lasts
#[derive(Args)]
#[command(long_about = "Measures a release build of the host from outside. Tables go to standard output, progress to
standard error. Everything that is measured is started here and ended here, and works in a temporary folder.

Server and client are pinned to cores 0 and 1 where speed is measured: keep the machine idle meanwhile.")]
#[command(after_help = "Examples:
  cargo xtask bench http                      beside `wasmtime serve` and the bare loop (about 9 minutes)
  cargo xtask bench http --only hello         one case of it
  cargo xtask bench http --roadstead ./old    another build than this work tree's
  cargo xtask bench density                   1,000 triggers on one host (about 1 minute)
  cargo xtask bench ingress                   the ingress beside a bare hyper server (about 2 minutes)
  cargo xtask bench messaging                 a worker asked over NATS and in the process (about 3 minutes)
  cargo xtask bench capabilities              stores and outgoing HTTP beside native clients (some minutes)
  cargo xtask bench observability             what metrics, traces and the access log cost (about 2 minutes)
  cargo xtask bench gpu                       the GPU process beside wgpu in one process (about 3 minutes)
  cargo xtask bench soak --minutes 10         load with faults; fails when something stays behind")]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Http(http::Arguments),
    Density(density::Arguments),
    Ingress(ingress::Arguments),
    Messaging(messaging::Arguments),
    Capabilities(capabilities::Arguments),
    Observability(observability::Arguments),
    Gpu(gpu::Arguments),
    Soak(soak::Arguments),
}

/// What all measurements take.
#[derive(Args)]
struct Common {
    /// Measure this program and build none
    #[arg(long, value_name = "PATH")]
    roadstead: Option<PathBuf>,
    /// Form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Markdown tables
    Text,
    /// One JSON object, with the figures of every round
    Json,
}

/// What every measurement works with.
struct Bench<'a> {
    layout: &'a Layout,
    scratch: Scratch,
    stop: Stop,
}

/// Runs the command.
///
/// # Errors
/// When a part cannot be built or installed, a server does not answer as it should, or a bound of the soak is not met.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        bail!("this needs two cores: one for the server, one for the client");
    }
    let bench = Bench { layout, scratch: Scratch::new()?, stop: Stop::on_signals()? };
    let purpose = match arguments.what {
        // Their servers are those of the tests.
        What::Messaging(_) | What::Capabilities(_) => Purpose::Test,
        _ => Purpose::Build,
    };
    setup::step(layout, purpose)?;
    if !matches!(arguments.what, What::Ingress(_)) {
        guests::step(layout)?;
    }
    match &arguments.what {
        What::Http(arguments) => http::run(&bench, arguments),
        What::Density(arguments) => density::run(&bench, arguments),
        What::Ingress(arguments) => ingress::run(&bench, arguments),
        What::Messaging(arguments) => messaging::run(&bench, arguments),
        What::Capabilities(arguments) => capabilities::run(&bench, arguments),
        What::Observability(arguments) => observability::run(&bench, arguments),
        What::Gpu(arguments) => gpu::run(&bench, arguments),
        What::Soak(arguments) => soak::run(&bench, arguments),
    }
}

/// Prints the result in the form that was asked for.
fn print(output: Output, text: &str, json: &Value) {
    match output {
        Output::Text => println!("{text}"),
        Output::Json => println!("{json:#}"),
    }
}

/// What was measured and where, for whoever reads the figures later.
fn surroundings(bench: &Bench<'_>, roadstead: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let commit = match roadstead.starts_with(bench.layout.target()) {
        true => {
            let mut git = process::command("git", bench.layout.root());
            let commit = process::output(git.args(["describe", "--always", "--dirty"]));
            format!("built from {}", commit.unwrap_or_else(|_| "an unknown commit".into()))
        }
        false => format!("program {}", roadstead.display()),
    };
    format!(
        "{cores} cores of {}, Linux {}; {commit}",
        model.map_or("an unknown processor", |(_, model)| model.trim()),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

/// A line of progress.
fn progress(text: impl std::fmt::Display) {
    report::note(text);
}
