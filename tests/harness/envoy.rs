//! A real Envoy, with one of the example's configurations.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, nats::tool, process::Process};

pub struct Envoy {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Envoy {
    /// Starts with a configuration of `examples/behind-envoy`, in front of the host at `upstream`, with some of its
    /// text replaced.
    pub fn start(configuration: &str, upstream: SocketAddr, replaced: &[(&str, &str)]) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/behind-envoy").join(configuration);
        let text = fs::read_to_string(example).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ports = [
            ("port_value: 10080", format!("port_value: {}", address.port())),
            ("port_value: 8080", format!("port_value: {}", upstream.port())),
        ];
        let replaced = replaced.iter().map(|(old, new)| (*old, (*new).to_owned())).chain(ports);
        let text = replaced.fold(text, |text, (old, new)| {
            assert!(text.contains(old), "{old} is not in {configuration}");
            text.replace(old, &new)
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("envoy.yaml");
        fs::write(&path, text).unwrap();
        let mut command = Command::new(tool("ROADSTEAD_TEST_ENVOY", "envoy"));
        command.arg("-c").arg(&path).args(["--concurrency", "1", "--disable-hot-restart", "-l", "info"]);
        let mut process = Process::start(command);
        process.wait_for_line("Envoy's start", |line| line.contains("starting main dispatch loop").then_some(()));
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "Envoy does not listen:\n{}", process.output());
            thread::sleep(Duration::from_millis(20));
        }
        Self { process, address, _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn output(&self) -> String {
        self.process.output()
    }
}
