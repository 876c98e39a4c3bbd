//! The programs that take part: built from this work tree, installed from crates.io into `.tools/bench`, or Debian's. It
//! knows where they come from, not what is asked of them.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::layout::Layout;
use crate::process;
use crate::report::Step;
use crate::setup;

/// The core that servers run on where speed is measured.
pub(crate) const SERVER_CORE: u32 = 0;
/// The core that their clients run on.
pub(crate) const CLIENT_CORE: u32 = 1;

/// A crate whose program is measured or measures.
pub(crate) struct Tool {
    package: &'static str,
    version: &'static str,
    program: &'static str,
}

/// The peer: the same engine behind the server of its own project.
pub(crate) const WASMTIME: Tool = Tool { package: "wasmtime-cli", version: "48.0.8", program: "wasmtime" };
/// The client with a fixed rate.
pub(crate) const OHA: Tool = Tool { package: "oha", version: "1.16.0", program: "oha" };

/// Builds the programs of this work tree for which no other was given, in one go, so that they have the same engine.
///
/// # Errors
/// When the build fails.
pub(crate) fn build(layout: &Layout, programs: &[(&str, Option<&Path>)]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().filter(|(_, given)| given.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.join(" and ");
    let step = Step::begin("release", format_args!("building {what} (about 10 minutes the first time)"));
    let mut cargo = process::cargo(layout.root());
    cargo.args(["build", "--release", "--locked", "--workspace"]);
    for name in missing {
        cargo.args(["--bin", name]);
    }
    process::run(&mut cargo)?;
    step.done("built");
    Ok(())
}

/// The release build of a program, or the one that was given in its place.
///
/// # Errors
/// When it is no program.
pub(crate) fn release(layout: &Layout, name: &str, given: Option<&Path>) -> Result<PathBuf> {
    let path = given.map_or_else(|| layout.target().join("release").join(name), Path::to_path_buf);
    if !process::is_executable(&path) {
        bail!("{} is no program", path.display());
    }
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

/// Installs a tool where this version of it is not there.
///
/// # Errors
/// When cargo cannot install it.
pub(crate) fn install(layout: &Layout, tool: &Tool) -> Result<PathBuf> {
    let Tool { package, version, program } = tool;
    let root = layout.tools().join("bench");
    let path = root.join("bin").join(program);
    if is_version(&path, version) {
        return Ok(path);
    }
    let step = Step::begin(*program, format_args!("installing {package} {version} (about 10 minutes)"));
    let mut cargo = process::cargo(layout.root());
    cargo.args(["install", "--locked", "--force", &format!("{package}@{version}"), "--root"]).arg(&root);
    // What this work tree sets for its own builds does not hold for others'.
    cargo.arg("--target-dir").arg(root.join("build"));
    process::run(&mut cargo)?;
    std::fs::remove_dir_all(root.join("build")).context("cannot remove what the installation left")?;
    if !is_version(&path, version) {
        bail!("{package} {version} was installed, but there is no {}", path.display());
    }
    step.done(layout.shown(&path));
    Ok(path)
}

fn is_version(path: &Path, version: &str) -> bool {
    process::is_executable(path)
        && process::output(process::command(path, "/".as_ref()).arg("--version"))
            .is_ok_and(|told| told.split_whitespace().nth(1) == Some(version))
}

/// wrk, and the taskset that pins all of them.
///
/// # Errors
/// When they are missing and cannot be installed, with the command that installs them.
pub(crate) fn debian() -> Result<PathBuf> {
    taskset()?;
    setup::program("wrk", "wrk")
}

/// What pins all of them to their cores.
///
/// # Errors
/// As [`debian`].
pub(crate) fn taskset() -> Result<PathBuf> {
    setup::program("taskset", "util-linux")
}

/// A program on one core, in an environment in which errors are as cheap as a user's.
pub(crate) fn pinned(program: &Path, core: u32) -> Command {
    let mut command = measured(Path::new("taskset"));
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

/// The same on any core.
pub(crate) fn measured(program: &Path) -> Command {
    let mut command = process::command(program, "/".as_ref());
    command.env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    command
}
