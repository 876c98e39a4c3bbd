//! The programs of `examples/`: what a user copies runs as it is. Each is a process of its own, with real peers.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::{client::Client, nats::tool, process::Process};

/// SHA-256 of the published program, with the published name of the crate.
const PUBLISHED: &str = "898d480413be066fb3db4312d2d1bbfa00188e56d009337c1c0defbe46f43a33";

/// Cargo builds the examples together with the tests, unless it is told to build one test alone.
fn example(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_roadstead")).with_file_name("examples").join(name);
    assert!(program.is_file(), "{} is missing; build it with `cargo build --examples`", program.display());
    program
}

/// The published program connects to port 4222 and answers on 8080: it gets a network of its own, where both are free.
struct OwnNetwork {
    nats: Process,
    _folder: tempfile::TempDir,
}

impl OwnNetwork {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("server.conf");
        std::fs::write(&configuration, format!("jetstream {{ store_dir: {:?} }}\n", folder.path().join("js"))).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", "\"$0\" -c \"$1\" && shift && exec \"$@\""]);
        command.arg(tool("ROADSTEAD_TEST_PYTHON", "python")).arg(LOOPBACK_UP);
        command.arg(tool("ROADSTEAD_TEST_NATS_SERVER", "nats-server")).args(["-a", "127.0.0.1", "-p", "4222", "-c"]);
        command.arg(configuration);
        let mut nats = Process::start(command);
        nats.wait_for_line("nats-server's start in a network of its own", |line| {
            assert!(!line.contains("unshare:"), "{line}: this machine lets nobody have a network of his own");
            line.contains("Server is ready").then_some(())
        });
        Self { nats, _folder: folder }
    }

    /// A command that runs there.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--net", "--preserve-credentials", "--target", &self.nats.id().to_string(), "--"]);
        command.arg(program);
        command
    }
}

/// Brings up the one interface of a new network.
const LOOPBACK_UP: &str = "
import fcntl, socket, struct
UP, SET_FLAGS = 1, 0x8914
fcntl.ioctl(socket.socket(), SET_FLAGS, struct.pack('16sH22x', b'lo', UP))
";

/// A scheduler of another make: waits for a heartbeat, asks for another, for a workload's state and for a page.
const OPERATOR: &str = r#"
import asyncio, json, urllib.request, urllib.error
import nats

async def main():
    client = await nats.connect("nats://127.0.0.1:4222")
    heard = await client.subscribe("runtime.operator.heartbeat.*")
    heartbeat = json.loads((await heard.next_msg(timeout=60)).data)
    subject = "runtime.host." + heartbeat["id"]
    asked = json.loads((await client.request(subject + ".heartbeat", b"{}", timeout=30)).data)
    ask = json.dumps({"workloadId": "none"}).encode()
    status = json.loads((await client.request(subject + ".workload.status", ask, timeout=30)).data)
    try:
        page = urllib.request.urlopen("http://127.0.0.1:8080/", timeout=30).status
    except urllib.error.HTTPError as error:
        page = error.code
    print(json.dumps({"heard": heartbeat, "asked": asked, "status": status, "page": page}))

asyncio.run(main())
"#;

#[test]
fn the_embedding_program_is_the_published_one() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/embed/main.rs")).unwrap();
    let begin = text.find("use std::sync::Arc;").unwrap();
    let program = text[begin..].replace("use roadstead::", "use wash_runtime::");
    let digest: String = Sha256::digest(program).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, PUBLISHED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedding_program_answers_a_scheduler() {
    let network = OwnNetwork::start();
    let mut program = Process::start(network.command(example("embed")));
    program.wait_for_line("the program's own line", |line| line.contains("Cluster host running").then_some(()));
    let mut operator = network.command(tool("ROADSTEAD_TEST_PYTHON", "python"));
    operator.args(["-c", OPERATOR]).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || operator.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), program.output());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();

    for heartbeat in [&said["heard"], &said["asked"]] {
        assert_eq!(heartbeat["labels"]["hostgroup"], "my-cluster", "{heartbeat}");
        assert_eq!(heartbeat["httpPort"], 8080, "{heartbeat}");
        let imports = heartbeat["imports"].as_array().unwrap();
        for package in ["config", "logging", "blobstore", "messaging", "keyvalue"] {
            assert!(imports.iter().any(|import| import["package"] == package), "{package}: {heartbeat}");
        }
    }
    assert_eq!(said["status"]["workloadStatus"]["workloadState"], "WORKLOAD_STATE_NOT_FOUND");
    assert_eq!(said["page"], 404);

    program.signal(Signal::INT);
    assert!(program.wait().success(), "{}", program.output());
    assert!(program.output().contains("Host stopped."), "{}", program.output());
}

#[tokio::test]
async fn a_capability_of_ones_own_keeps_tenants_apart() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/custom-plugin");
    let component = folder.join("components/counter.wasm");
    assert!(component.is_file(), "{} is missing; build it with `cargo xtask guests`", component.display());
    let mut command = Command::new(example("custom-plugin"));
    command.arg(folder.join("app.yaml")).arg("127.0.0.1:0");
    let mut program = Process::start(command);
    let patience = std::time::Duration::from_secs(120);
    let address = program.wait_for_line_within(patience, "the program's readiness", |line| {
        line.strip_prefix("2 workloads on ")?.parse().ok()
    });
    let ask = async |host: &str, path: &str| {
        let answer = Client::new(address, host).get(path).send().await;
        (answer.status, answer.text())
    };
    let ok = |sum: &str| (StatusCode::OK, format!("{sum}\n"));
    assert_eq!(ask("a.localhost", "/home").await, ok("1"));
    assert_eq!(ask("a.localhost", "/home?amount=5").await, ok("6"));
    assert_eq!(ask("b.localhost", "/home").await, ok("1"));
    assert_eq!(ask("b.localhost", "/two").await, ok("1"));
    let (status, reason) = ask("b.localhost", "/three").await;
    assert_eq!(status, StatusCode::CONFLICT, "{reason}");
    assert!(reason.contains("max-counters"), "{reason}");
    assert_eq!(ask("a.localhost", "/three").await, ok("1"));

    program.signal(Signal::INT);
    assert!(program.wait().success(), "{}", program.output());
    assert!(program.output().contains("stopped, 0 requests were cut off"), "{}", program.output());
}
