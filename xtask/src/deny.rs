//! Runs cargo-deny over the dependencies. It may be absent on a developer's machine; in CI it is installed, so that what
//! lands has been checked.

use anyhow::Result;
use std::env;
use std::path::PathBuf;

use crate::layout::Layout;
use crate::process;
use crate::report::{self, Step};

const VERSION: &str = "0.20.2";

/// Checks licences, banned crates and sources of the host's dependencies.
///
/// # Errors
/// When a check fails, or when cargo-deny cannot be installed in CI.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let Some(program) = find(layout).map_or_else(|| install_in_ci(layout), |program| Ok(Some(program)))? else {
        report::note("left out: cargo-deny is not installed (`cargo install cargo-deny --locked`, about 3 minutes)");
        return Ok(());
    };
    // The check itself is offline; it reads the manifests of all dependencies, those of other systems included.
    process::run(process::cargo(layout.root()).args(["fetch", "--locked"]))?;
    let mut deny = process::command(program, layout.root());
    deny.args(["--offline", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    process::run(&mut deny)
}

fn find(layout: &Layout) -> Option<PathBuf> {
    process::on_path("cargo-deny").or_else(|| Some(installed(layout)).filter(|file| process::is_executable(file)))
}

fn installed(layout: &Layout) -> PathBuf {
    layout.tools().join("bin").join("cargo-deny")
}

fn install_in_ci(layout: &Layout) -> Result<Option<PathBuf>> {
    if env::var_os("CI").is_none_or(|value| value != "true") {
        return Ok(None);
    }
    let step = Step::begin("deny", format_args!("installing cargo-deny {VERSION} (about 3 minutes)"));
    let mut cargo = process::cargo(layout.root());
    cargo.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--quiet", "--root"]).arg(layout.tools());
    process::run(cargo.arg("--target-dir").arg(layout.tools().join("cargo-deny-build")))?;
    std::fs::remove_dir_all(layout.tools().join("cargo-deny-build"))?;
    step.done("installed");
    Ok(Some(installed(layout)))
}
