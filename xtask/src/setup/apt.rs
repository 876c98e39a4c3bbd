//! Debian packages: installed when we may, otherwise named in the command that a person is to run. It does not know
//! what the packages are for.

use anyhow::{Result, bail};
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::process;
use crate::report::Step;

/// The command line that a person with root rights runs.
pub(crate) fn command_line(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", packages.join(" "))
}

/// Brings the packages, after refreshing the package lists.
///
/// # Errors
/// When this is no Debian, when neither root nor a sudo without password is at hand, or when apt-get fails; the error
/// names the command to run.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if process::on_path("apt-get").is_none() {
        bail!(
            "missing here: {}. There is no apt-get: install them with this system's package manager{}",
            packages.join(", "),
            if packages.contains(&"rustc-web") {
                ", and instead of rustc-web and the packages after it run `rustup target add wasm32-wasip2`"
            } else {
                ""
            }
        );
    }
    let step = Step::begin("setup", format_args!("installing Debian packages: {}", packages.join(" ")));
    run_as_root(&["update", "-qq"], packages)?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    run_as_root(&arguments, packages)?;
    step.done("installed");
    Ok(())
}

/// Fetches the package lists where this machine has none yet (a container image, say).
///
/// # Errors
/// As [`install`].
pub(crate) fn ensure_lists() -> Result<()> {
    let listed =
        process::output(process::command("apt-get", Path::new("/")).args(["indextargets", "Created-By: Packages"]))?;
    if listed.is_empty() { run_as_root(&["update", "-qq"], &[]) } else { Ok(()) }
}

fn run_as_root(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let wanted = if packages.is_empty() { "sudo apt-get update".to_owned() } else { command_line(packages) };
    let mut command = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
    command.extend(arguments);
    as_root(&command, &wanted)
}

/// Runs a command with root rights, its environment before it.
///
/// # Errors
/// When it fails, or when there are no such rights: the error names `wanted` as what a person is to run.
pub(crate) fn as_root(arguments: &[&str], wanted: &str) -> Result<()> {
    let mut command = if is_root() {
        process::command("env", Path::new("/"))
    } else if process::on_path("sudo").is_some() && sudo_asks_nothing() {
        let mut sudo = process::command("sudo", Path::new("/"));
        sudo.args(["-n", "env"]);
        sudo
    } else {
        bail!("this needs root rights: run `{wanted}`, then the same command again");
    };
    quiet(command.args(arguments))
}

/// apt-get talks a lot: on a terminal that is progress, in a log it only hides what matters.
fn quiet(command: &mut Command) -> Result<()> {
    if io::stderr().is_terminal() { process::run(command) } else { process::output(command).map(drop) }
}

/// Whether this process has root rights.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

fn sudo_asks_nothing() -> bool {
    process::output(process::command("sudo", Path::new("/")).args(["-n", "true"])).is_ok()
}

#[cfg(test)]
mod tests {
    use super::command_line;

    #[test]
    fn the_remedy_can_be_pasted() {
        let line = command_line(&["cmake", "make"]);
        assert_eq!(line, "sudo apt-get update && sudo apt-get install -y --no-install-recommends cmake make");
    }
}
