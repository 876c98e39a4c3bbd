//! `cargo xtask guests`: builds the components and puts each where tests and examples look for it. It does not know what
//! any component does.

mod python;

use anyhow::{Context, Result};
use clap::Args;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::components::{self, Guest};
use crate::layout::Layout;
use crate::process;
use crate::report::Step;
use crate::setup::{self, GuestToolchain, Purpose, TARGET};

/// Build the components of the examples and tests
#[derive(Args)]
#[command(
    long_about = "Builds the guest workspace for wasm32-wasip2 in release mode, with the compiler in use where it
has that target and otherwise with the private toolchain that `cargo xtask setup` makes.

Every component is copied to target/guests/NAME.wasm for the tests, those of an example also to
examples/EXAMPLE/components/NAME.wasm. A copy is only written when the component changed. A crate with a feature is
built once more with it, into NAME-FEATURE.wasm.

The component in Python, python-hello, is made by componentize-py, which `cargo xtask setup` gets."
)]
#[command(after_help = "Examples:
  cargo xtask guests           (about 1 minute the first time)")]
pub(crate) struct Arguments {}

/// Runs the command.
///
/// # Errors
/// When the set-up or the build fails.
pub(crate) fn run(layout: &Layout, _: &Arguments) -> Result<()> {
    setup::ensure(layout, Purpose::Test)?;
    step_for_tests(layout).map(drop)
}

/// Builds all components, those that only tests use included; the machine is set up for tests.
///
/// # Errors
/// When a build fails or a component cannot be copied.
pub(crate) fn step_for_tests(layout: &Layout) -> Result<Duration> {
    Ok(step(layout)? + python::step(layout)?)
}

/// Builds the components of the guest workspace; the machine is set up.
///
/// # Errors
/// When the build fails or a component cannot be copied.
pub(crate) fn step(layout: &Layout) -> Result<Duration> {
    let guests = components::find(layout)?;
    let components: Vec<&Guest> = guests.iter().filter(|guest| guest.component).collect();
    let count = components.iter().map(|guest| 1 + guest.features.len()).sum::<usize>();
    let step = Step::begin("guests", format_args!("building {count} components (about 1 minute the first time)"));
    let toolchain = GuestToolchain::ready(layout).context("no guest compiler: run `cargo xtask setup`")?;
    let mut cargo = toolchain.cargo(&layout.guests());
    cargo.args(["build", "--locked", "--release", "--target", TARGET, "--target-dir", "target"]);
    for guest in &components {
        cargo.args(["--package", &guest.package]);
    }
    process::run(&mut cargo)?;
    let mut changed = 0;
    for guest in &components {
        changed += usize::from(place(layout, guest, &guest.name())?);
    }
    // Those with a feature go by the same name in cargo's folder, so they come after.
    for (guest, feature) in components.iter().flat_map(|guest| guest.features.iter().map(move |name| (guest, name))) {
        let mut cargo = toolchain.cargo(&layout.guests());
        cargo.args(["build", "--locked", "--release", "--target", TARGET, "--target-dir", "target"]);
        process::run(cargo.args(["--package", &guest.package, "--features", feature]))?;
        changed += usize::from(place(layout, guest, &format!("{}-{feature}", guest.name()))?);
    }
    Ok(step.done(format_args!("{count} components in {}, {changed} changed", layout.shown(&layout.test_guests()))))
}

/// Copies the component that cargo made last of a crate to where it is used; whether it changed.
fn place(layout: &Layout, guest: &Guest, name: &str) -> Result<bool> {
    let artifact = layout.guests().join("target").join(TARGET).join("release").join(guest.artifact());
    let name = format!("{name}.wasm");
    if let Some(example) = guest.example(layout) {
        copy_if_changed(&artifact, &example.join("components").join(&name))?;
    }
    copy_if_changed(&artifact, &layout.test_guests().join(&name))
}

/// Tests the libraries of the guest workspace natively, with the compiler in use.
///
/// # Errors
/// When a test fails.
pub(crate) fn test_libraries(layout: &Layout, filter: Option<&str>) -> Result<()> {
    let mut cargo = process::cargo(&layout.guests());
    cargo.args(["test", "--locked", "--target-dir", "target"]);
    for guest in components::find(layout)?.iter().filter(|guest| !guest.component) {
        cargo.args(["--package", &guest.package]);
    }
    process::run(cargo.args(filter))
}

/// Copies a file where its bytes differ, so that what depends on its time is not made anew. A reader never sees half a
/// file.
fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("the build made no {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let partial = to.with_extension("wasm.partial");
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, to))
        .with_context(|| format!("cannot write {}", to.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::copy_if_changed;
    use std::fs;

    #[test]
    fn an_unchanged_component_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("xtask-copy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from.wasm"), folder.join("deep").join("to.wasm"));
        fs::write(&from, b"one").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        assert!(!copy_if_changed(&from, &to).unwrap());
        fs::write(&from, b"two").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"two");
        fs::remove_dir_all(&folder).unwrap();
    }
}
