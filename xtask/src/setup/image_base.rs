//! What the tests of the container image start from: Debian 12 with certificates and the archives of the packages that the
//! Dockerfile unpacks, as an image in a store of its own, where buildah finds it without a registry or a mirror. What the
//! Dockerfile does with it is not known here.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Finding, apt};
use crate::layout::Layout;
use crate::process;
use crate::report::{self, Step};

const PART: &str = "image base";
/// The name under which the store has it.
pub(crate) const IMAGE: &str = "localhost/roadstead-test-base";
const PROGRAMS: [(&str, &str); 3] = [("buildah", "buildah"), ("debootstrap", "debootstrap"), ("strip", "binutils")];
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// What the Dockerfile may unpack, for both of its targets, and Mesa's drivers.
const ARCHIVES: [&str; 6] = ["libc6", "libgcc-s1", "libvulkan1", "libx11-6", "libxext6", "mesa-vulkan-drivers"];
/// To be raised where this file makes another base of the same parts.
const RECIPE: u32 = 1;
const STAMP: &str = "made-from";

/// The Debian packages of the programs that are missing.
pub(crate) fn packages() -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| process::on_path(program).is_none());
    missing.map(|(_, package)| *package).collect()
}

/// Makes the base where it is missing. Only root can: elsewhere nothing is done, and the tests of the image say so.
///
/// # Errors
/// When debootstrap, apt or buildah fails.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    if ready(layout) || !apt::is_root() {
        return Ok(());
    }
    let step =
        Step::begin("setup", "the base of the container image's tests, out of Debian's packages (about 2 minutes)");
    let folder = folder(layout);
    if folder.exists() {
        let _ = process::output(buildah(layout).args(["rm", "--all"]));
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder.join("tmp"))?;
    let driver = working_driver(layout)?;
    fs::write(folder.join("driver"), driver)?;
    let container = process::output(buildah(layout).args(["from", "scratch"]))?;
    let root = process::output(buildah(layout).args(["mount", &container]))?;
    fill(layout, Path::new(&root))?;
    report::note("an image of them");
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    process::output(buildah(layout).args(["config", "--env", path, &container]))?;
    process::output(buildah(layout).args(["commit", "--quiet", "--rm", &container, IMAGE]))?;
    fs::write(folder.join(STAMP), wanted_stamp(layout))?;
    step.done(layout.shown(&folder));
    Ok(())
}

/// What there is; nothing to find where only root could make it.
pub(crate) fn find(layout: &Layout) -> Vec<Finding> {
    let program = |(part, package): &(&'static str, &'static str)| match process::on_path(part) {
        Some(path) => Finding::Present { part, detail: path.display().to_string() },
        None => Finding::Missing { part, remedy: format!("`{}`", apt::command_line(&[package])) },
    };
    let mut findings: Vec<Finding> = PROGRAMS.iter().map(program).collect();
    findings.push(match (ready(layout), apt::is_root()) {
        (true, _) => Finding::Present { part: PART, detail: layout.shown(&folder(layout)).to_string() },
        (false, true) => Finding::Missing { part: PART, remedy: "`cargo xtask setup`".to_owned() },
        (false, false) => Finding::Present {
            part: PART,
            detail: "not made: this is not root, and the tests in tests/it/image.rs will fail for that".to_owned(),
        },
    });
    findings
}

/// A command of buildah on the store of the base.
pub(crate) fn buildah(layout: &Layout) -> Command {
    let folder = folder(layout);
    let mut command = process::command("buildah", layout.root());
    command.env("TMPDIR", folder.join("tmp"));
    command.arg("--root").arg(folder.join("storage")).arg("--runroot").arg(folder.join("run"));
    command.args(["--storage-driver", &driver(layout)]);
    command
}

/// How the store keeps layers.
pub(crate) fn driver(layout: &Layout) -> String {
    fs::read_to_string(folder(layout).join("driver")).unwrap_or_else(|_| "overlay".to_owned())
}

/// Where all of it is.
pub(crate) fn folder(layout: &Layout) -> PathBuf {
    layout.tools().join("image-base")
}

fn ready(layout: &Layout) -> bool {
    fs::read_to_string(folder(layout).join(STAMP)).is_ok_and(|stamp| stamp == wanted_stamp(layout))
}

/// A store names its folders by their absolute paths, so a moved one is stale.
fn wanted_stamp(layout: &Layout) -> String {
    format!("{RECIPE}\n{}\n{SUITE}\n{}\n", folder(layout).display(), ARCHIVES.join(" "))
}

/// Layers that share what they have in common where the file system can, else copies, which work everywhere.
fn working_driver(layout: &Layout) -> Result<&'static str> {
    if process::output(buildah(layout).arg("info")).is_ok() {
        return Ok("overlay");
    }
    fs::write(folder(layout).join("driver"), "vfs")?;
    process::output(buildah(layout).arg("info")).context("buildah works with neither of its storage drivers here")?;
    Ok("vfs")
}

fn fill(layout: &Layout, root: &Path) -> Result<()> {
    report::note(format_args!("Debian 12 by debootstrap, from {MIRROR}"));
    let mut debootstrap = process::command("debootstrap", layout.root());
    debootstrap.args(["--variant=minbase", "--include=ca-certificates", SUITE]).arg(root).arg(MIRROR);
    process::output(&mut debootstrap)?;
    report::note("archives of the packages that the image is made of");
    chroot(layout, root, "apt-get clean && apt-get update")?;
    let archives = ARCHIVES.join(" ");
    let download = format!(
        "apt-get --option Dir::State::status=/dev/null --option Debug::NoLocking=true --option APT::Sandbox::User=root \
         --no-install-recommends --yes --download-only install {archives}"
    );
    chroot(layout, root, &download)?;
    if fs::read_dir(root.join("var/cache/apt/archives"))?.count() <= ARCHIVES.len() {
        bail!("apt-get kept no archives in {}", root.display());
    }
    Ok(())
}

fn chroot(layout: &Layout, root: &Path, script: &str) -> Result<()> {
    let mut command = process::command("chroot", layout.root());
    process::output(command.arg(root).args(["sh", "-c", script]).env("LC_ALL", "C.UTF-8"))?;
    Ok(())
}
