//! The compiler for components: the one in use where it has the target's standard library, otherwise a private one made
//! by `guests/toolchain/setup.sh`, kept until that script or Debian's compiler changes.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Finding, apt};
use crate::layout::Layout;
use crate::process;
use crate::report::Step;

/// The target of every component.
pub(crate) const TARGET: &str = "wasm32-wasip2";

const DEBIAN_PACKAGES: [&str; 5] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "lld-19"];
const STAMP: &str = "made-from";

/// Which compiler builds the components.
pub(crate) enum GuestToolchain {
    /// The one that cargo uses anyway.
    InUse,
    /// The private one under this folder.
    Private(PathBuf),
}

impl GuestToolchain {
    /// The toolchain that is ready, if any.
    pub(crate) fn ready(layout: &Layout) -> Option<Self> {
        if in_use_has_target(layout) {
            return Some(Self::InUse);
        }
        let prefix = prefix(layout);
        let stamp = fs::read_to_string(prefix.join(STAMP)).ok()?;
        (stamp == wanted_stamp(layout)?).then_some(Self::Private(prefix))
    }

    /// A cargo that builds in `dir` for the target with this toolchain.
    pub(crate) fn cargo(&self, dir: &Path) -> Command {
        match self {
            Self::InUse => process::cargo(dir),
            Self::Private(prefix) => {
                let bin = prefix.join("bin");
                let mut command = process::command(bin.join("cargo"), dir);
                let inherited = std::env::var_os("PATH").unwrap_or_default();
                let path = std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&inherited)));
                command.env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc"));
                command.env("PATH", path.unwrap_or(inherited)).env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        }
    }
}

/// The Debian packages that the private toolchain still needs; none where the compiler in use will do.
pub(crate) fn packages(layout: &Layout) -> Vec<&'static str> {
    if GuestToolchain::ready(layout).is_some() || debian_parts_are_there() {
        return Vec::new();
    }
    DEBIAN_PACKAGES.to_vec()
}

/// Makes the private toolchain where it is needed and not there.
///
/// # Errors
/// When the script fails.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    if GuestToolchain::ready(layout).is_some() {
        return Ok(());
    }
    let step = Step::begin("setup", format_args!("making the {TARGET} toolchain from Debian's (about 1 minute)"));
    apt::ensure_lists()?;
    let prefix = prefix(layout);
    let stamp = wanted_stamp(layout).context("cannot read guests/toolchain/setup.sh or run /usr/bin/rustc")?;
    // Cargo would take components built with the former standard library for fresh: it sees only the compiler's version.
    let built = layout.guests().join("target").join(TARGET);
    for stale in [prefix.join(STAMP), prefix.join("lib"), prefix.join("bin"), built] {
        remove(&stale)?;
    }
    process::run(process::command(script(layout), layout.root()).arg(&prefix))?;
    fs::write(prefix.join(STAMP), stamp)?;
    step.done(layout.shown(&prefix));
    Ok(())
}

/// What there is.
pub(crate) fn find(layout: &Layout) -> Finding {
    const PART: &str = "guest compiler";
    match GuestToolchain::ready(layout) {
        Some(GuestToolchain::InUse) => {
            Finding::Present { part: PART, detail: format!("the compiler in use has {TARGET}") }
        }
        Some(GuestToolchain::Private(prefix)) => {
            Finding::Present { part: PART, detail: layout.shown(&prefix).to_string() }
        }
        None => Finding::Missing { part: PART, remedy: remedy() },
    }
}

fn remedy() -> String {
    let own =
        if process::on_path("rustup").is_some() { format!("`rustup target add {TARGET}`, or ") } else { String::new() };
    if debian_parts_are_there() {
        format!("{own}`cargo xtask setup` (makes one from Debian's packages, which are there)")
    } else {
        format!("{own}`{}`, then `cargo xtask setup`", apt::command_line(&DEBIAN_PACKAGES))
    }
}

fn prefix(layout: &Layout) -> PathBuf {
    layout.tools().join("guest-toolchain")
}

fn script(layout: &Layout) -> PathBuf {
    layout.guests().join("toolchain").join("setup.sh")
}

/// All that the private toolchain depends on: where it lies, Debian's compiler, and the script itself.
fn wanted_stamp(layout: &Layout) -> Option<String> {
    let compiler = process::output(process::command("/usr/bin/rustc", layout.root()).arg("-V")).ok()?;
    let script = fs::read_to_string(script(layout)).ok()?;
    Some(format!("{}\n{compiler}\n{script}", prefix(layout).display()))
}

fn in_use_has_target(layout: &Layout) -> bool {
    let mut ask = process::command("rustc", &layout.guests());
    let Ok(dir) = process::output(ask.args(["--print", "target-libdir", "--target", TARGET])) else { return false };
    fs::read_dir(dir).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    })
}

fn debian_parts_are_there() -> bool {
    ["/usr/bin/rustc", "/usr/bin/cargo", "/usr/bin/lld-19"].iter().all(|file| process::is_executable(Path::new(file)))
        && Path::new("/usr/lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
        && component_linker_is_there()
}

fn component_linker_is_there() -> bool {
    let Ok(targets) = fs::read_dir("/usr/lib/rustlib") else { return false };
    targets.flatten().any(|target| process::is_executable(&target.path().join("bin/wasm-component-ld")))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
