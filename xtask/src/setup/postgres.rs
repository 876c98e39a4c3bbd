//! PostgreSQL of Debian, which tests start as a process of their own: installed without a database of the system's.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, apt};
use crate::process;

const PART: &str = "postgresql";
/// Where Debian has the programs of each version; they are not on the PATH.
const VERSIONS: &str = "/usr/lib/postgresql";
/// What Debian's packages read before they make a database for the system, and what it is told.
const CONFIGURATION: &str = "/etc/postgresql-common/createcluster.d";
const NO_CLUSTER: &str = "create_main_cluster = false";

/// The Debian packages of what is missing.
pub(crate) fn packages() -> Vec<&'static str> {
    if server().is_none() { vec![PART] } else { Vec::new() }
}

/// Sees to it, before the package is installed, that Debian makes no database of the system's and starts no server. What a
/// system has already is left as it is.
///
/// # Errors
/// When the file cannot be written; the error names the command to run.
pub(crate) fn prepare() -> Result<()> {
    if server().is_some() || process::on_path("apt-get").is_none() {
        return Ok(());
    }
    apt::as_root(&["sh", "-c", &no_cluster()], &format!("sudo sh -c \"{}\"", no_cluster()))
}

fn no_cluster() -> String {
    format!("mkdir -p {CONFIGURATION} && echo '{NO_CLUSTER}' > {CONFIGURATION}/roadstead-tests.conf")
}

/// The server, found or not.
pub(crate) fn find() -> Finding {
    match server() {
        Some(path) => Finding::Present { part: PART, detail: path.display().to_string() },
        None => Finding::Missing { part: PART, remedy: format!("`{}`", apt::command_line(&[PART])) },
    }
}

/// The server's program; `initdb` and `psql` are beside it.
pub(crate) fn server() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    let has_all =
        |folder: &Path| ["postgres", "initdb", "psql"].iter().all(|name| process::is_executable(&folder.join(name)));
    programs.filter(|folder| has_all(folder)).max().map(|folder| folder.join("postgres"))
}

#[cfg(test)]
mod tests {
    use super::no_cluster;

    #[test]
    fn the_system_gets_no_database() {
        assert_eq!(
            no_cluster(),
            "mkdir -p /etc/postgresql-common/createcluster.d && echo 'create_main_cluster = false' > \
             /etc/postgresql-common/createcluster.d/roadstead-tests.conf"
        );
    }
}
