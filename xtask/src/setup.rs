//! `cargo xtask setup`: sees to it that what building and testing need is there. Each part says what it found, which
//! Debian packages would help, and how it is made; this file only asks them in order.

mod apt;
pub(crate) mod gpu_driver;
mod guest_toolchain;
mod host_tools;
pub(crate) mod image_base;
pub(crate) mod postgres;
pub(crate) mod prometheus;
mod test_parts;
mod test_programs;

use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs::{self, File};
use std::path::PathBuf;

use crate::layout::Layout;
use crate::process;
use crate::report::{self, Step};

pub(crate) use apt::is_root;
use gpu_driver::Driver;
pub(crate) use guest_toolchain::{GuestToolchain, TARGET};
pub(crate) use test_parts::{COMPONENTIZE_PY, TestParts};

/// Install what building and testing need
#[derive(Args)]
#[command(long_about = "Installs what building and testing need, and nothing that is there already.

Looks for cmake, make and a C compiler; for a compiler with the wasm32-wasip2 standard library; and, for tests, for
nats-server, Envoy, a Python with nats-py, grpcio, componentize-py and sslyze, curl, openssl, h2load, slowhttptest,
Chromium, docker-registry, PostgreSQL (without a database of the system's), Prometheus (unpacked, not installed), Mesa's Vulkan driver that needs no GPU, and buildah
with a Debian that container images are made from (as root alone, 350 MB). What is missing comes from Debian's packages (as root, or
through sudo where it asks for no password) and from PyPI; the project's own copies go to .tools/.")]
#[command(after_help = "Examples:
  cargo xtask setup            installs what is missing (about 3 minutes on a new machine)
  cargo xtask setup --check    only tells what is there and what is not; fails when a part is missing")]
pub(crate) struct Arguments {
    /// Change nothing: tell what is there and what is missing
    #[arg(long)]
    check: bool,
}

/// What the machine is set up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building guests and host.
    Build,
    /// The same, and what only tests need: their real peers, and components of other languages.
    Test,
}

/// A part that is there, with words about it, or missing, with the command that brings it.
pub(crate) enum Finding {
    Present { part: &'static str, detail: String },
    Missing { part: &'static str, remedy: String },
}

/// Runs the command.
///
/// # Errors
/// When a part is missing and could not be installed, with the command that installs it.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    if arguments.check {
        let missing = print_findings(&find(layout, Purpose::Test));
        if missing > 0 {
            bail!("{missing} missing: run `cargo xtask setup`");
        }
        return Ok(());
    }
    ensure(layout, Purpose::Test)?;
    print_findings(&find(layout, Purpose::Test));
    Ok(())
}

/// Installs what is missing for a purpose. Quick when nothing is.
///
/// # Errors
/// When a part is missing and could not be installed, with the command that installs it.
pub(crate) fn ensure(layout: &Layout, purpose: Purpose) -> Result<()> {
    fs::create_dir_all(layout.tools())?;
    let lock = File::create(layout.tools().join("lock")).context("cannot write to .tools")?;
    lock.lock().context("cannot wait for another `cargo xtask setup`")?;

    let mut packages = host_tools::packages();
    packages.extend(guest_toolchain::packages(layout));
    if purpose == Purpose::Test {
        packages.extend(test_parts::packages(layout));
        packages.extend(test_programs::packages());
        packages.extend(postgres::packages());
        packages.extend(gpu_driver::packages(Driver::Software));
        packages.extend(image_base::packages());
    }
    if purpose == Purpose::Test {
        postgres::prepare()?;
    }
    if !packages.is_empty() {
        apt::install(&packages)?;
    }
    guest_toolchain::ensure(layout)?;
    if purpose == Purpose::Test {
        test_parts::ensure(layout)?;
        prometheus::ensure(layout)?;
        image_base::ensure(layout)?;
    }
    for finding in find(layout, purpose) {
        if let Finding::Missing { part, remedy } = finding {
            bail!("{part} is still missing after the set-up: {remedy}");
        }
    }
    Ok(())
}

/// A program on the PATH; its Debian package is installed where it is missing. For what neither building nor testing
/// needs.
///
/// # Errors
/// When it is missing and could not be installed, with the command that installs it.
pub(crate) fn program(name: &str, package: &'static str) -> Result<PathBuf> {
    if let Some(path) = process::on_path(name) {
        return Ok(path);
    }
    apt::install(&[package])?;
    process::on_path(name).with_context(|| format!("the Debian package {package} brought no {name}"))
}

/// Sets up and says so only where there was something to do or someone waits to know.
pub(crate) fn step(layout: &Layout, purpose: Purpose) -> Result<std::time::Duration> {
    let step = Step::begin("setup", "looking for what the build needs (about 1 minute on a new machine)");
    ensure(layout, purpose)?;
    Ok(step.done("all there"))
}

fn find(layout: &Layout, purpose: Purpose) -> Vec<Finding> {
    let mut findings = host_tools::find();
    findings.push(guest_toolchain::find(layout));
    if purpose == Purpose::Test {
        findings.extend(test_parts::find(layout));
        findings.extend(test_programs::find());
        findings.push(postgres::find());
        findings.extend(prometheus::find(layout));
        findings.push(gpu_driver::find(Driver::Software));
        findings.extend(image_base::find(layout));
    }
    findings
}

/// Prints a line for each part and returns the number of missing ones.
fn print_findings(findings: &[Finding]) -> usize {
    let mut missing = 0;
    for finding in findings {
        match finding {
            Finding::Present { part, detail } => report::note(format_args!("{part:<16} {detail}")),
            Finding::Missing { part, remedy } => {
                missing += 1;
                report::note(format_args!("{part:<16} MISSING: {remedy}"));
            }
        }
    }
    missing
}
