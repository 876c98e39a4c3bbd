//! A PostgreSQL under measurement, of Debian's programs, in the temporary folder. It refuses to be root's: where we are root,
//! it runs as Debian's user of that name, or as nobody. It does not know what is asked of it.

use anyhow::{Context, Result};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Server;
use super::{Bench, programs};
use crate::process;
use crate::setup::{self, postgres};

const ROOT: u32 = 0;
/// Of a server that is gone with the measurement, on a loopback address.
const PASSWORD: &str = "measured";
const USER: &str = "roadstead";

/// A running server, with its defaults for what is durable.
pub(super) struct Postgres {
    pub(super) server: Server,
}

/// Whom the server runs as.
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Makes a database and starts its server on the clients' core.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub(super) fn start(bench: &Bench<'_>) -> Result<Self> {
        let program = postgres::server().context("no PostgreSQL: run `cargo xtask setup`")?;
        let owner = Owner::find()?;
        // The owner is to reach what is below.
        fs::set_permissions(bench.scratch.path(), fs::Permissions::from_mode(0o755))?;
        let folder = bench.scratch.folder("postgres")?;
        let secret = folder.join("password");
        fs::write(&secret, PASSWORD).context("cannot write a password")?;
        for (path, mode) in [(&secret, 0o600), (&folder, 0o700)] {
            owner.give(path, mode)?;
        }
        let data = folder.join("data");
        let mut make = owner.command(&program.with_file_name("initdb"), None)?;
        make.arg("-D").arg(&data).arg("--pwfile").arg(&secret);
        make.args(["-U", USER, "-E", "UTF8", "--locale=C", "--auth=scram-sha-256"]);
        process::output(&mut make)?;
        let mut command = owner.command(&program, Some(programs::CLIENT_CORE))?;
        command.arg("-D").arg(&data);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let psql = program.with_file_name("psql");
        let start = |address: SocketAddr| {
            command.args(["-p", &address.port().to_string()]);
            command
        };
        Ok(Self { server: Server::other(bench, "postgres", start, |address| answers(&psql, address))? })
    }

    /// Where it is, without TLS.
    pub(super) fn url(&self) -> String {
        format!("{}?sslmode=disable", url(self.server.http))
    }
}

fn url(address: SocketAddr) -> String {
    format!("postgres://{USER}:{PASSWORD}@{address}/postgres")
}

fn answers(psql: &Path, address: SocketAddr) -> bool {
    let mut command = process::command(psql, Path::new("/"));
    process::output(command.args(["-XAtqw", "-c", "SELECT 1", &url(address)])).is_ok_and(|told| told == "1")
}

impl Owner {
    fn find() -> Result<Self> {
        let ours = fs::metadata("/proc/self").context("no /proc")?;
        if ours.uid() != ROOT {
            return Ok(Self { user: ours.uid(), group: ours.gid() });
        }
        let users = fs::read_to_string("/etc/passwd").context("no /etc/passwd")?;
        find("postgres", &users)
            .or_else(|| find("nobody", &users))
            .context("no user for PostgreSQL, which does not run as root: run `cargo xtask setup`")
    }

    /// A program as this user, on one core or on all.
    fn command(&self, program: &Path, core: Option<u32>) -> Result<Command> {
        let is_root = fs::metadata("/proc/self")?.uid() == ROOT;
        let setpriv: Option<PathBuf> = if is_root { Some(setup::program("setpriv", "util-linux")?) } else { None };
        let first = setpriv.as_deref().unwrap_or(program);
        let mut command = core.map_or_else(|| programs::measured(first), |core| programs::pinned(first, core));
        if is_root {
            command.arg(format!("--reuid={}", self.user)).arg(format!("--regid={}", self.group));
            command.arg("--clear-groups").arg(program);
        }
        Ok(command)
    }

    fn give(&self, path: &Path, mode: u32) -> Result<()> {
        let give = chown(path, Some(self.user), Some(self.group));
        give.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .with_context(|| format!("cannot give {} to PostgreSQL's user", path.display()))
    }
}

/// A user of /etc/passwd.
fn find(name: &str, users: &str) -> Option<Owner> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        let mut number = || fields.nth(1)?.parse().ok();
        let user = number();
        let group = fields.next()?.parse().ok();
        is_it.then_some(())?;
        Some(Owner { user: user?, group: group? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nshort\npostgres:x:107:113:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        let owner = find("postgres", users).unwrap();
        assert_eq!((owner.user, owner.group), (107, 113));
        assert!(find("nobody", users).is_none());
    }

    #[test]
    fn a_url_names_all() {
        let address = SocketAddr::from(([127, 0, 0, 1], 5_432));
        assert_eq!(url(address), "postgres://roadstead:measured@127.0.0.1:5432/postgres");
    }
}
