//! The command line: one file a command. The only place that reads arguments and the environment.

mod access_log;
mod admin;
mod asking;
mod compile;
mod compile_child;
mod component_cache;
mod describe;
mod drain;
mod egress;
mod get;
mod gpu;
mod health;
mod host;
mod images;
mod limits;
mod log;
mod log_level;
mod logs;
mod manifests;
mod messaging;
mod metrics;
mod named_workload;
mod new;
mod output;
mod postgres;
mod process;
mod proxies;
mod registry;
mod run;
mod secrets;
mod shown;
mod sockets;
mod stores;
mod telemetry;
mod tls;
mod top;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A multi-tenant WebAssembly edge host.
#[derive(Parser)]
#[command(name = "roadstead", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  roadstead new hello                    write a project of two components to begin with
  roadstead run app.yaml                 run the manifests of a file
  roadstead run ./apps --http-addr 0.0.0.0:80
  roadstead host --host-group edge --http-addr 0.0.0.0:80 --scheduler-nats-url nats://nats:4222
  roadstead validate app.yaml            print every problem of a manifest
  roadstead compile app.yaml             compile components before they are needed
  roadstead push gateway.wasm ghcr.io/org/gateway:0.3.0
  roadstead inspect ghcr.io/org/gateway:0.3.0
  roadstead get                          what a running host has
  roadstead describe gateway             why a workload is not ready, and what to do

Exit codes:
  0  done        1  failed, or not valid, or not well        2  wrong usage of the command line
  More of a command: roadstead run --help, roadstead host --help";

#[derive(Subcommand)]
enum Command {
    /// Write a project of two components, a gateway and a worker, to begin with.
    New(new::NewArguments),
    /// Run the workloads of manifest files on this machine.
    Run(Box<run::RunArguments>),
    /// Join a fleet: run what a scheduler sends over NATS.
    Host(Box<host::HostArguments>),
    /// Check manifest files and print all their problems.
    Validate(validate::ValidateArguments),
    /// Compile components into the cache that hosts start from.
    Compile(compile::CompileArguments),
    /// Fetch a component from a registry, into a file or the image cache.
    Pull(Box<images::PullArguments>),
    /// Send a component to a registry.
    Push(Box<images::PushArguments>),
    /// Show what a component imports, exports, and what a manifest must declare for it.
    Inspect(Box<images::InspectArguments>),
    /// List what a running host has.
    Get(get::GetArguments),
    /// Show all that a running host knows of a workload, and what to do where something is wrong.
    Describe(describe::DescribeArguments),
    /// Show what a workload's components write.
    Logs(logs::LogsArguments),
    /// Show what is busy on a running host.
    Top(top::TopArguments),
    /// Show or change what a running host's log has.
    LogLevel(log_level::LogLevelArguments),
    /// Tell a running host to stop in order.
    Drain(drain::DrainArguments),
    /// Ask a running host whether it is alive (for container health checks).
    Health(health::HealthArguments),
    /// Print the catalogue of metrics: names, labels and what they mean.
    Metrics(metrics::MetricsArguments),
    /// List the GPUs of this machine that components can be given.
    Gpu(gpu::ListArguments),
    #[command(name = gpu::CHILD, hide = true)]
    GpuChild(gpu::ChildArguments),
    #[command(name = compile_child::NAME, hide = true)]
    CompileChild(compile_child::ChildArguments),
}

/// Runs the program and tells how it ended: 0 done, 1 failed, 2 wrong usage, 130 and 143 told to stop twice.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::New(arguments) => new::main(&arguments),
        Command::Run(arguments) => run::main(*arguments),
        Command::Host(arguments) => host::main(*arguments),
        Command::Validate(arguments) => validate::main(&arguments),
        Command::Compile(arguments) => compile::main(&arguments),
        Command::Pull(arguments) => images::pull(&arguments),
        Command::Push(arguments) => images::push(&arguments),
        Command::Inspect(arguments) => images::inspect(&arguments),
        Command::CompileChild(arguments) => compile_child::main(&arguments),
        Command::Gpu(arguments) => gpu::list(&arguments),
        Command::GpuChild(arguments) => gpu::child(&arguments),
        Command::Metrics(arguments) => metrics::main(&arguments),
        Command::Get(arguments) => get::main(&arguments),
        Command::Describe(arguments) => describe::main(&arguments),
        Command::Logs(arguments) => logs::main(&arguments),
        Command::Top(arguments) => top::main(&arguments),
        Command::LogLevel(arguments) => log_level::main(arguments),
        Command::Drain(arguments) => drain::main(&arguments),
        Command::Health(arguments) => health::main(&arguments),
    }
}

/// Prints an error with what caused it, and gives the exit code of a failure.
fn fail(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

/// The same for flags that do not fit together, as the parser of the command line gives it.
fn usage(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let _failure = fail(error);
    ExitCode::from(2)
}
