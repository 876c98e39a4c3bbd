//! Starting other programs: with an environment free of what `cargo run` left in ours, and with errors that name the
//! command line. It knows no particular program but cargo.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that is to run in `dir` without standard input.
pub(crate) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        if is_leftover(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// The cargo in use, in `dir`.
pub(crate) fn cargo(dir: &Path) -> Command {
    command("cargo", dir)
}

/// What cargo and rustup set for a program started by `cargo run`, and what would mislead a second cargo or compiler.
/// RUSTUP_TOOLCHAIN stays: it says which compiler is in use.
fn is_leftover(name: &OsStr) -> bool {
    const EXACT: [&str; 7] = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "LD_LIBRARY_PATH",
        "OUT_DIR",
        "RUST_RECURSION_COUNT",
    ];
    let Some(name) = name.to_str() else { return false };
    EXACT.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Runs a command to its end; its output goes where ours goes.
///
/// # Errors
/// When it cannot be started or ends with another status than success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and returns its standard output, trimmed. Its standard error is shown only with the failure.
///
/// # Errors
/// When it cannot be started or ends with another status than success.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = shown(command);
    let output = command.output().with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, told.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first executable file of that name on the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

/// Whether `path` is a file that may be executed.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A command line for people: arguments with blanks in quotes.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        if word.contains(' ') || word.is_empty() { format!("'{word}'") } else { word.into_owned() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_words() {
        let error = output(command("sh", Path::new("/")).args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c 'echo no such thing >&2; exit 3'` failed (exit status: 3): no such thing"
        );
    }

    #[test]
    fn only_what_cargo_left_is_removed() {
        assert!(is_leftover(OsStr::new("CARGO_PKG_NAME")));
        assert!(is_leftover(OsStr::new("LD_LIBRARY_PATH")));
        assert!(!is_leftover(OsStr::new("CARGO_TARGET_DIR")));
        assert!(!is_leftover(OsStr::new("RUSTUP_TOOLCHAIN")));
    }
}
