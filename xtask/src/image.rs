//! `cargo xtask image`: builds the program by the Dockerfile's own compiler stage, on a machine that reaches a Debian mirror
//! and crates.io but no container registry, and runs the tests of the image with it. What an image has to be is known to
//! those tests alone.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::layout::Layout;
use crate::process;
use crate::report::{self, Step};
use crate::setup::{self, Purpose, image_base};
use crate::test;

const BUILDER: &str = "localhost/roadstead-builder";
const BUILT: &str = "localhost/roadstead-built";
/// What the public builder image has beside Debian and Rust, as far as the build needs it.
const C_TOOLCHAIN: &str = "build-essential";
/// The certificates of this machine, for cargo alone: a proxy may have an authority of its own.
const MACHINE_CA: &str = "/etc/machine-ca.crt";

/// Build the container image's program by the Dockerfile, and try the image
#[derive(Args)]
#[command(long_about = "Builds the compiler stage of the Dockerfile as it stands, with buildah, on Debian 12 from its
packages and this machine's Rust toolchain, and runs the tests of the image with the program that comes out. Needs root.
Cargo's caches stay in .tools/image-build (several GB) for the next time; that folder may be deleted.")]
#[command(after_help = "Examples:
  cargo xtask image             with one compilation a core
  cargo xtask image --jobs 1    on a machine with other work")]
pub(crate) struct Arguments {
    /// Compilations at a time
    #[arg(long)]
    jobs: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// When this is not root, or at the first step that fails.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    if !setup::is_root() {
        bail!("this needs root, for buildah: run it with sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask image");
    }
    setup::step(layout, Purpose::Test)?;
    let store = Store { layout, folder: layout.tools().join("image-build") };
    fs::create_dir_all(store.folder.join("tmp"))?;
    store.make_builder(arguments.jobs)?;
    let program = store.build()?;
    let bytes = program.metadata()?.len();
    report::note(format_args!("{}: {bytes} bytes", layout.shown(&program)));
    test::image(layout, &program)
}

/// Images on top of the one that the tests start from.
struct Store<'a> {
    layout: &'a Layout,
    folder: PathBuf,
}

impl Store<'_> {
    fn buildah(&self) -> Command {
        let driver = image_base::driver(self.layout);
        let base = image_base::folder(self.layout).join("storage");
        let mut command = process::command("buildah", self.layout.root());
        // The Dockerfile's cache mounts live there.
        command.env("TMPDIR", self.folder.join("tmp"));
        command.arg("--root").arg(self.folder.join("storage")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--storage-driver", &driver, "--storage-opt"]);
        command.arg(format!("{driver}.imagestore={}", base.display()));
        command
    }

    fn output(&self, arguments: &[&str]) -> Result<String> {
        process::output(self.buildah().args(arguments))
    }

    /// What BUILDER_IMAGE is by default: Debian, a C toolchain, and Rust.
    fn make_builder(&self, jobs: Option<usize>) -> Result<()> {
        let step = Step::begin("builder", "Debian with a C toolchain and this machine's Rust (about 1 minute)");
        let container = self.output(&["from", "--pull-never", image_base::IMAGE])?;
        let root = PathBuf::from(self.output(&["mount", &container])?);
        let install = format!("apt-get update -qq && apt-get install -qq -y --no-install-recommends {C_TOOLCHAIN}");
        let mut chroot = process::command("chroot", self.layout.root());
        process::output(chroot.env("DEBIAN_FRONTEND", "noninteractive").arg(&root).args(["sh", "-c", &install]))?;
        let rust = process::output(process::command("rustc", self.layout.root()).args(["--print", "sysroot"]))?;
        self.copy(&[&Path::new(&rust).join("bin"), &Path::new(&rust).join("lib")], &root.join("usr/local/rust"))?;
        fs::create_dir_all(root.join("usr/local/cargo"))?;
        fs::copy("/etc/ssl/certs/ca-certificates.crt", root.join(MACHINE_CA.trim_start_matches('/')))
            .context("this machine has no certificates: install ca-certificates")?;
        let path = "PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let ca = format!("CARGO_HTTP_CAINFO={MACHINE_CA}");
        let jobs = jobs.map(|jobs| format!("CARGO_BUILD_JOBS={jobs}"));
        let mut config = self.buildah();
        config.args(["config", "--env", path, "--env", "CARGO_HOME=/usr/local/cargo", "--env", &ca]);
        if let Some(jobs) = &jobs {
            config.args(["--env", jobs]);
        }
        process::output(config.arg(&container))?;
        self.output(&["commit", "--quiet", "--rm", &container, BUILDER])?;
        step.done("made");
        Ok(())
    }

    fn copy(&self, from: &[&Path], to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        process::output(process::command("cp", self.layout.root()).arg("-a").args(from).arg(to))?;
        Ok(())
    }

    /// The program that the Dockerfile's compiler stage makes.
    fn build(&self) -> Result<PathBuf> {
        let step =
            Step::begin("build", "the compiler stage of the Dockerfile (about 20 minutes on two cores the first time)");
        let builder = format!("BUILDER_IMAGE={BUILDER}");
        let mut build = self.buildah();
        build.args(["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--target", "builder"]);
        process::run(build.args(["--build-arg", &builder, "--tag", BUILT]).arg(self.layout.root()))?;
        let container = self.output(&["from", "--pull-never", BUILT])?;
        let root = self.output(&["mount", &container])?;
        let program = self.folder.join("roadstead");
        fs::copy(Path::new(&root).join("out/roadstead"), &program).context("the stage made no /out/roadstead")?;
        self.output(&["rm", &container])?;
        step.done(self.layout.shown(&program));
        Ok(program)
    }
}
