//! A real PostgreSQL of Debian: a process of the test's own, with its data in a temporary folder, and a client of its make.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, geteuid};

use super::{PATIENCE, certificates::Issued, process::Process};

/// In every URL, and nowhere else.
pub const PASSWORD: &str = "hunter2-of-the-database";
/// Whom the server does not run as.
const ROOT: u32 = 0;
/// The folder of tables on a file system of their own.
const SMALL: &str = "small";
/// Where Debian has the programs, a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

pub struct PostgresServer {
    process: Process,
    port: u16,
    folder: tempfile::TempDir,
    owner: Owner,
    /// Megabytes of a file system of its own, where its tables are, if they have one.
    disk: Option<u32>,
}

/// Whom the server runs as: it refuses to be root's.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    fn find() -> Self {
        let user = geteuid().as_raw();
        if user != ROOT {
            return Self { user, group: fs::metadata("/proc/self").unwrap().gid() };
        }
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|line| line[0] == name)?;
            Some(Self { user: fields[2].parse().ok()?, group: fields[3].parse().ok()? })
        };
        find("postgres").or_else(|| find("nobody")).expect("no user for PostgreSQL; `cargo xtask setup` brings one")
    }

    /// A command of PostgreSQL's, as this user.
    fn command(self, program: &str) -> Command {
        let program = programs().join(program);
        if geteuid().as_raw() != ROOT {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.user)).arg(format!("--regid={}", self.group)).arg("--clear-groups");
        command.arg(program);
        command
    }

    fn give(self, path: &Path, mode: u32) {
        chown(path, Some(self.user), Some(self.group)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The folder of the newest version's programs.
fn programs() -> PathBuf {
    let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let usable = versions.filter(|folder| folder.join("postgres").is_file());
    usable.max().expect("no PostgreSQL in /usr/lib/postgresql: `cargo xtask setup` installs it")
}

impl PostgresServer {
    pub fn start() -> Self {
        Self::start_with(&[], None)
    }

    /// With TLS, on which it insists.
    pub fn start_with_tls(certificate: &Issued) -> Self {
        Self::start_with(&[], Some(certificate))
    }

    /// With settings beside its own.
    pub fn start_with(settings: &[&str], certificate: Option<&Issued>) -> Self {
        Self::start_on(None, settings, certificate)
    }

    /// With tables on a file system of so many megabytes, which only the server sees. Needs root, as the mount does.
    pub fn start_on_a_small_disk(megabytes: u32) -> Self {
        // Nobody looks for the folder of tables before it is there.
        let server = Self::start_on(Some(megabytes), &["default_tablespace = 'small'"], None);
        let folder = server.folder.path().join(SMALL);
        server.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", folder.display()));
        server
    }

    fn start_on(disk: Option<u32>, settings: &[&str], certificate: Option<&Issued>) -> Self {
        let (folder, owner) = (tempfile::tempdir().unwrap(), Owner::find());
        owner.give(folder.path(), 0o700);
        let data = folder.path().join("data");
        let secret = folder.path().join("password");
        fs::write(&secret, PASSWORD).unwrap();
        owner.give(&secret, 0o600);
        let mut command = owner.command("initdb");
        command.arg("-D").arg(&data).arg("--pwfile").arg(&secret);
        command.args(["-U", "roadstead", "-E", "UTF8", "--locale=C", "--auth=scram-sha-256", "--no-sync"]);
        let output = command.current_dir(folder.path()).output().expect("setpriv comes with `cargo xtask setup`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The crashes of tests are a process's, not the machine's: what the kernel has is not lost. Without this most of the
        // time of a test is the disk's.
        let mut configuration = String::from(
            "fsync = off\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 60\n\
             shared_buffers = 32MB\nautovacuum_naptime = 5s\nlogging_collector = off\n",
        );
        for setting in settings {
            configuration += &format!("{setting}\n");
        }
        if let Some(certificate) = certificate {
            let (chain, key) = certificate.write(&data, "server");
            owner.give(&chain, 0o600);
            owner.give(&key, 0o600);
            configuration += "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n";
            fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        }
        let base = data.join("postgresql.conf");
        fs::write(&base, fs::read_to_string(&base).unwrap() + &configuration).unwrap();
        // Between this look and the server's start another process may take the port: then the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(process) = start_at(port, &folder, owner, disk) {
                return Self { process, port, folder, owner, disk };
            }
        }
        panic!("no free port for PostgreSQL");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is, for `--postgres-url`.
    pub fn url(&self) -> String {
        self.url_at(&format!("127.0.0.1:{}", self.port))
    }

    /// The same by way of another address.
    pub fn url_at(&self, address: &str) -> String {
        format!("postgres://roadstead:{PASSWORD}@{address}/postgres")
    }

    /// What the server prints of a statement, in psql's plainest form.
    pub fn sql(&self, statement: &str) -> String {
        let mut command = Command::new(programs().join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "roadstead", "-d", "postgres"]);
        command.args(["-p", &self.port.to_string(), "-c", statement]);
        let output = command.env("PGPASSWORD", PASSWORD).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Ends the server at once, as a crash would: it recovers from its log when it is started again.
    pub fn kill(&mut self) {
        self.process.signal(Signal::QUIT);
        self.process.wait();
    }

    /// Ends the server without a chance to do anything, and waits until what it leaves behind has noticed.
    pub fn kill_hard(&mut self) {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        self.process.signal(Signal::KILL);
        self.process.wait();
        let begun = Instant::now();
        while children.split_whitespace().any(|child| Path::new("/proc").join(child).exists()) {
            assert!(begun.elapsed() < PATIENCE, "processes of PostgreSQL stay: {children}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts the server again where it was.
    pub fn start_again(&mut self) {
        self.process = start_at(self.port, &self.folder, self.owner, self.disk).expect("the port is taken");
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Its own processes end with it only if it is told. It may have ended.
        if fs::metadata(self.folder.path().join("data/postmaster.pid")).is_ok() {
            self.kill();
        }
    }
}

/// `None` where the port is taken.
fn start_at(port: u16, folder: &tempfile::TempDir, owner: Owner, disk: Option<u32>) -> Option<Process> {
    let mut command = match disk {
        None => owner.command("postgres"),
        Some(megabytes) => behind_mount(&folder.path().join(SMALL), megabytes, owner),
    };
    command.current_dir(folder.path()).arg("-D").arg(folder.path().join("data")).args(["-p", &port.to_string()]);
    let mut process = Process::start(command);
    let taken = process.wait_for_line("PostgreSQL's start", |line| {
        if line.contains("database system is ready to accept connections") {
            Some(false)
        } else {
            line.contains("could not bind").then_some(true)
        }
    });
    if taken {
        process.wait();
    }
    (!taken).then_some(process)
}

/// The command of the server, which sees a file system of its own at `place`.
fn behind_mount(place: &Path, megabytes: u32, owner: Owner) -> Command {
    fs::create_dir_all(place).unwrap();
    let Owner { user, group } = owner;
    let options = format!("size={megabytes}m,mode=0700,uid={user},gid={group}");
    let server = owner.command("postgres");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("mount -t tmpfs -o {options} tmpfs {} && exec \"$@\"", place.display())]);
    command.arg("sh").arg(server.get_program()).args(server.get_args());
    command
}
