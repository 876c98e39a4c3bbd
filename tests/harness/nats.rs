//! A real nats-server, and a client of another make.

use std::{net::TcpListener, path::PathBuf, process::Command, time::Duration};

use rustix::process::Signal;

use super::process::Process;

const CONFIGURATION: &str = "server.conf";

pub struct NatsServer {
    process: Process,
    port: u16,
    folder: tempfile::TempDir,
}

impl NatsServer {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With more in its configuration.
    pub fn start_with(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), configuration)
    }

    /// With JetStream, which keeps its files until the test ends.
    pub fn start_with_jetstream() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!("jetstream {{ store_dir: {:?} }}\n", folder.path().join("jetstream"));
        Self::start_in(folder, &configuration)
    }

    fn start_in(folder: tempfile::TempDir, configuration: &str) -> Self {
        std::fs::write(folder.path().join(CONFIGURATION), configuration).unwrap();
        // Between this look and the server's start another process may take the port: then the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(process) = start_at(port, &folder) {
                return Self { process, port, folder };
            }
        }
        panic!("no free port for nats-server (get it with `cargo xtask setup`)");
    }

    /// Ends the server at once, as a crash would.
    pub fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
    }

    /// Starts the server again where it was.
    pub fn start_again(&mut self) {
        self.process = start_at(self.port, &self.folder).expect("the port is taken");
    }

    /// Lets the server take over another configuration.
    pub fn reconfigure(&mut self, configuration: &str) {
        std::fs::write(self.folder.path().join(CONFIGURATION), configuration).unwrap();
        self.process.signal(Signal::HUP);
        self.process.wait_for_line("the new configuration", |line| line.contains("Reloaded server").then_some(()));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// A server that is stopped (`STOP`) keeps its connections and says nothing on them, until it goes on (`CONT`).
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// `None` where the port is taken.
fn start_at(port: u16, folder: &tempfile::TempDir) -> Option<Process> {
    let mut command = Command::new(tool("ROADSTEAD_TEST_NATS_SERVER", "nats-server"));
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-P"]).arg(folder.path().join("pid"));
    command.arg("-c").arg(folder.path().join(CONFIGURATION));
    let mut process = Process::start(command);
    let taken = process.wait_for_line("nats-server's start", |line| {
        if line.contains("Server is ready") {
            Some(false)
        } else {
            line.contains("address already in use").then_some(true)
        }
    });
    (!taken).then_some(process)
}

/// Runs `script` with the Python that has nats-py and grpcio; what it prints comes back.
pub async fn python(script: &str, arguments: &[&str]) -> String {
    python_within(super::PATIENCE, script, arguments).await
}

/// The same for a script that may take longer than other things.
pub async fn python_within(patience: Duration, script: &str, arguments: &[&str]) -> String {
    let python = tool("ROADSTEAD_TEST_PYTHON", "python");
    let mut command = tokio::process::Command::new(python);
    command.arg("-c").arg(script).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(patience, command.output())
        .await
        .expect("the Python script does not end")
        .expect("python3 cannot be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the Python script failed (its modules come with `cargo xtask setup`):\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A program that `cargo xtask setup` gets: where `variable` says, else where it puts it, else on PATH.
pub fn tool(variable: &str, name: &str) -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin").join(name);
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None if own.is_file() => own,
        None => name.into(),
    }
}
