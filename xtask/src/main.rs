//! `cargo xtask`: the project's own commands, one file each. It is built before anything else on a new machine, so it
//! stays light: no async runtime, no engine, nothing of the host but the table of limits.

mod bench;
mod client;
mod components;
mod demo;
mod deny;
mod fuzz;
mod guests;
mod image;
mod layout;
mod process;
mod report;
mod setup;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

use layout::Layout;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Set up, build, try and test Roadstead")]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Examples:
  cargo xtask demo             builds everything, starts the example and prints the curl line to try
  cargo xtask test             runs all checks and tests, as CI does
  cargo xtask test routing     runs the tests whose names contain `routing`
  cargo xtask bench http       measures a release build beside `wasmtime serve`")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Arguments),
    Guests(guests::Arguments),
    Demo(demo::Arguments),
    Test(test::Arguments),
    Bench(bench::Arguments),
    Fuzz(fuzz::Arguments),
    Image(image::Arguments),
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let layout = Layout::find();
    let outcome = match arguments.command {
        Command::Setup(arguments) => setup::run(&layout, &arguments),
        Command::Guests(arguments) => guests::run(&layout, &arguments),
        Command::Demo(arguments) => demo::run(&layout, &arguments),
        Command::Test(arguments) => test::run(&layout, &arguments),
        Command::Bench(arguments) => bench::run(&layout, &arguments),
        Command::Fuzz(arguments) => fuzz::run(&layout, &arguments),
        Command::Image(arguments) => image::run(&layout, &arguments),
        Command::Tidy(arguments) => tidy::run(&layout, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failure(&error);
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }
}
