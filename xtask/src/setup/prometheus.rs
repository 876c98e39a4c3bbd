//! Prometheus and promtool of Debian, for the tests of metrics: unpacked into `.tools` and not installed, because the
//! package starts a server of the system's.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{Finding, apt};
use crate::layout::Layout;
use crate::process;
use crate::report::Step;

const PACKAGE: &str = "prometheus";
const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// Unpacks the package where the programs are missing.
///
/// # Errors
/// When there is no such package to be had, or it cannot be unpacked.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    if programs(layout).is_some() {
        return Ok(());
    }
    if process::on_path("apt-get").is_none() || process::on_path("dpkg-deb").is_none() {
        bail!("prometheus and promtool are missing, and this is no Debian: install them with this system's packages");
    }
    let step = Step::begin("setup", "unpacking Debian's prometheus for the tests");
    apt::ensure_lists()?;
    let folder = folder(layout);
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove .tools/prometheus")?;
    }
    fs::create_dir_all(&folder)?;
    process::output(process::command("apt-get", &folder).args(["download", "-qq", PACKAGE]))?;
    let files = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let package = files.into_iter().find(|file| file.extension().is_some_and(|extension| extension == "deb"));
    let package = package.context("apt-get brought no package called prometheus")?;
    process::output(process::command("dpkg-deb", &folder).arg("-x").arg(&package).arg(&folder))?;
    fs::remove_file(&package)?;
    if programs(layout).is_none() {
        bail!("Debian's package prometheus brought no prometheus and promtool");
    }
    step.done(layout.shown(&folder));
    Ok(())
}

/// Each program, found or not.
pub(crate) fn find(layout: &Layout) -> Vec<Finding> {
    let missing = |part| Finding::Missing { part, remedy: "`cargo xtask setup`".to_owned() };
    let Some(found) = programs(layout) else { return PROGRAMS.map(missing).into() };
    let present = |(part, path): (_, PathBuf)| Finding::Present { part, detail: layout.shown(&path).to_string() };
    PROGRAMS.into_iter().zip(found).map(present).collect()
}

/// Where both are, in the order of their names: the project's own copies, or those on the PATH.
pub(crate) fn programs(layout: &Layout) -> Option<[PathBuf; 2]> {
    let own = |program: &str| {
        let path = folder(layout).join("usr/bin").join(program);
        process::is_executable(&path).then_some(path)
    };
    let [server, tool] = PROGRAMS.map(|program| own(program).or_else(|| process::on_path(program)));
    server.zip(tool).map(Into::into)
}

fn folder(layout: &Layout) -> PathBuf {
    layout.tools().join("prometheus")
}
