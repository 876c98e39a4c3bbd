//! A real registry, Debian's docker-registry, on a port of its own with its data in a temporary folder.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
};

use super::{
    certificates::{Authority, Issued},
    process::Process,
};

/// Who may ask the registry that asks for a password.
pub const USER: &str = "anna";
pub const PASSWORD: &str = "hunter2-registry";
/// The same as htpasswd writes it (bcrypt, which is all that this registry reads).
const HTPASSWD: &str = "anna:$2b$04$abcdefghijklmnopqrstuuM/Z0A7FUJ615yT0MkE8r/urtke.cnyW\n";

pub struct Registry {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// A registry without TLS that everybody may use.
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// A registry with TLS, its certificate from `authority`, that wants [`USER`] and [`PASSWORD`].
    pub fn start_private(authority: &Authority) -> Self {
        let issued: Issued = authority.issue(&["127.0.0.1", "localhost"], "registry");
        Self::start_with(|folder| {
            let (certificate, key) = issued.write(folder, "registry");
            fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
            format!(
                "  tls: {{certificate: {}, key: {}}}\nauth:\n  htpasswd: {{realm: test, path: {}}}\n",
                certificate.display(),
                key.display(),
                folder.join("htpasswd").display()
            )
        })
    }

    /// `more` goes behind the section `http` of its configuration.
    fn start_with(more: impl Fn(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let more = more(folder.path());
        // Between this look and the registry's start another process may take the port: then the next one is tried.
        for _ in 0..5 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let configuration = format!(
                "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  \
                 addr: {address}\n{more}",
                folder.path().join("data").display()
            );
            let file = folder.path().join("config.yml");
            fs::write(&file, configuration).unwrap();
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(&file);
            let mut process = Process::start(command);
            let started = process.wait_for_line("docker-registry's start", |line| {
                let taken = line.contains("address already in use");
                (taken || line.contains("listening on")).then_some(!taken)
            });
            if started {
                return Self { process, address, _folder: folder };
            }
        }
        panic!("no free port for docker-registry");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A reference without TLS.
    pub fn plain(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// A reference with TLS.
    pub fn secure(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Lines of its access log for requests of a method to a path that contains `path`.
    pub fn requests(&self, method: &str, path: &str) -> usize {
        let of = |line: &str| line.contains(&format!("\"{method} ")) && line.contains(path);
        self.log().lines().filter(|line| of(line)).count()
    }

    /// Ends it, as a crash would.
    pub fn kill(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        self.process.wait();
    }
}
