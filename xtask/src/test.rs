//! `cargo xtask test`: every check and test of the project, in the order that finds mistakes soonest; what CI runs. It
//! knows no single test.

use anyhow::{Context, Result};
use clap::Args;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::layout::Layout;
use crate::report::{self, Seconds, Step};
use crate::setup::{self, Purpose, TestParts, prometheus};
use crate::{deny, guests, process, tidy};

/// Run all checks and tests, as CI does
#[derive(Args)]
#[command(long_about = "Sets the machine up, builds the components, and runs the checks (format, tidy, dependencies,
lints) and all tests, those against a real NATS server included.")]
#[command(after_help = "Examples:
  cargo xtask test             everything, as CI does
  cargo xtask test --fast      the tests alone
  cargo xtask test routing     the tests whose names contain `routing`, alone")]
pub(crate) struct Arguments {
    /// Run only the tests whose names contain this; leaves out the checks as --fast does
    filter: Option<String>,
    /// Leave out format, dependency and lint checks
    #[arg(long)]
    fast: bool,
}

/// The steps so far, with their times.
#[derive(Default)]
struct Times(Vec<(&'static str, Duration)>);

impl Times {
    fn step(&mut self, name: &'static str, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let step = Step::begin(name, what);
        work().with_context(|| format!("{name} failed"))?;
        self.0.push((name, step.done("passed")));
        Ok(())
    }
}

/// Runs the command.
///
/// # Errors
/// At the first step that fails.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    let started = Instant::now();
    let mut times = Times::default();
    times.0.push(("setup", setup::step(layout, Purpose::Test)?));
    if !arguments.fast && arguments.filter.is_none() {
        checks_without_a_build(layout, &mut times)?;
    }
    times.0.push(("guests", guests::step_for_tests(layout)?));
    if !arguments.fast && arguments.filter.is_none() {
        lints(layout, &mut times)?;
    }
    tests(layout, arguments.filter.as_deref(), &mut times)?;

    report::note("");
    for (name, time) in &times.0 {
        report::note(format_args!("{name:<14} {}", Seconds(*time)));
    }
    report::note(format_args!("{:<14} {}", "all", Seconds(started.elapsed())));
    Ok(())
}

fn checks_without_a_build(layout: &Layout, times: &mut Times) -> Result<()> {
    times.step("fmt", "formatting of host, guests and fuzz targets", || {
        for workspace in [layout.root(), &layout.guests(), &layout.fuzz()] {
            process::run(process::cargo(workspace).args(["fmt", "--all", "--check"]))
                .with_context(|| format!("run `cargo fmt --all` in {}", workspace.display()))?;
        }
        Ok(())
    })?;
    times.step("tidy", "rules of this repository that no compiler checks", || tidy::check(layout))?;
    times.step("deny", "licences, banned crates and sources of the dependencies", || deny::check(layout))
}

fn lints(layout: &Layout, times: &mut Times) -> Result<()> {
    const CLIPPY: [&str; 4] = ["clippy", "--locked", "--workspace", "--all-targets"];
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    times.step("clippy", "lints of host and guests (about 5 minutes the first time)", || {
        // Guests are built without features and with them.
        for features in [&[][..], &["--all-features"]] {
            let mut cargo = process::cargo(&layout.guests());
            process::run(cargo.env("CARGO_TARGET_DIR", "target").args(CLIPPY).args(features).args(DENY))?;
        }
        process::run(process::cargo(layout.root()).args(CLIPPY).args(DENY))
    })
}

fn tests(layout: &Layout, filter: Option<&str>, times: &mut Times) -> Result<()> {
    times.step("guest tests", "libraries of the guests, natively", || guests::test_libraries(layout, filter))?;
    times.step("tests", "the workspace (about 10 minutes the first time)", || {
        let mut cargo = process::cargo(layout.root());
        // What fails in one crate is not to hide what fails in the next.
        cargo.args(["test", "--locked", "--workspace", "--no-fail-fast"]).args(filter);
        process::run(with_parts(layout, &mut cargo)?)
    })
}

/// Runs the tests of the container image with another program in it than the one that tests are built with.
///
/// # Errors
/// When the components cannot be built, or a test fails.
pub(crate) fn image(layout: &Layout, program: &Path) -> Result<()> {
    guests::step_for_tests(layout)?;
    let step = Step::begin(
        "image",
        "the tests of the image with this program (some minutes, most of them to build the tests)",
    );
    let mut cargo = process::cargo(layout.root());
    cargo.args(["test", "--locked", "--test", "it", "image::", "--", "--nocapture"]);
    process::run(with_parts(layout, cargo.env("ROADSTEAD_TEST_IMAGE_PROGRAM", program))?)?;
    step.done("passed");
    Ok(())
}

/// Tells the tests where their peers and guests are.
fn with_parts<'a>(layout: &Layout, cargo: &'a mut Command) -> Result<&'a mut Command> {
    let parts = TestParts::ready(layout).context("no nats-server, Envoy and Python: run `cargo xtask setup`")?;
    cargo.env("ROADSTEAD_TEST_NATS_SERVER", parts.nats_server);
    cargo.env("ROADSTEAD_TEST_ENVOY", parts.envoy);
    cargo.env("ROADSTEAD_TEST_PYTHON", parts.python);
    let [prometheus, promtool] = prometheus::programs(layout).context("no Prometheus: run `cargo xtask setup`")?;
    cargo.env("ROADSTEAD_TEST_PROMETHEUS", prometheus).env("ROADSTEAD_TEST_PROMTOOL", promtool);
    Ok(cargo.env("ROADSTEAD_TEST_GUESTS", layout.test_guests()))
}
