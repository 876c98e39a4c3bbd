//! A real nats-server, and a client of another make.

use std::{net::TcpListener, path::PathBuf, process::Command, time::Duration};

use rustix::process::Signal;

use super::process::Process;

pub struct NatsServer {
    process: Process,
    port: u16,
    _folder: tempfile::TempDir,
}

impl NatsServer {
    pub fn start() -> Self {
        let program = tool("ROADSTEAD_TEST_NATS_SERVER", "nats-server");
        let folder = tempfile::tempdir().unwrap();
        // Between this look and the server's start another process may take the port: then the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut command = Command::new(&program);
            command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-P"]).arg(folder.path().join("pid"));
            let mut process = Process::start(command);
            let taken = process.wait_for_line("nats-server's start", |line| {
                if line.contains("Server is ready") {
                    Some(false)
                } else {
                    line.contains("address already in use").then_some(true)
                }
            });
            if !taken {
                return Self { process, port, _folder: folder };
            }
        }
        panic!("no free port for nats-server (get it with `cargo xtask setup`)");
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
