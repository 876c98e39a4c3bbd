//! `roadstead new`: what it writes does what its README says, literally, and what cannot be is refused without a trace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{eventually, guest_toolchain, host::roadstead, process::Process, programs::printed};

/// The first build makes the generator of bindings, for more than a minute of processor time.
const BUILT_WITHIN: Duration = Duration::from_secs(900);
/// Two small components, compiled by the host.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// A project of its own, whose compiled dependencies are kept between runs.
struct Project {
    folder: PathBuf,
}

impl Project {
    fn new(name: &str, arguments: &[&str]) -> Self {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new-project");
        // The same place each time: cargo would take it for another project elsewhere, and keep both.
        let _ = fs::remove_dir_all(parent.join(name));
        fs::create_dir_all(&parent).unwrap();
        let output = roadstead().current_dir(&parent).args(["new", name]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("wrote hello/README.md") && said.contains("cd hello\n"), "{said}");
        Self { folder: parent.join(name) }
    }

    /// The lines of the README's blocks of code, in their order.
    fn readme(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("README.md")).unwrap();
        let blocks = text.split("```\n").skip(1).step_by(2);
        blocks.flat_map(|block| block.lines().map(str::to_owned)).collect()
    }

    /// A line of a shell in the project's folder, with the program and a compiler on the path and nothing else of ours.
    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.folder).env_remove("RUST_BACKTRACE");
        for of_our_own_build in ["CARGO_TARGET_DIR", "CARGO_MANIFEST_DIR", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
            shell.env_remove(of_our_own_build);
        }
        shell.envs(guest_toolchain::environment());
        // Only what lies between sources and components: those are in the project's own folder.
        shell.env("CARGO_BUILD_BUILD_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/new-project-build"));
        let host = roadstead();
        shell.envs(host.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let path = shell.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
        let path = path.map_or_else(|| std::env::var_os("PATH").unwrap(), Into::into);
        let programs = Path::new(host.get_program()).parent().unwrap().to_owned();
        let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path))).unwrap();
        shell.env("PATH", path).env("ROADSTEAD_HTTP_ADDR", "127.0.0.1:0").env("ROADSTEAD_ADMIN_ADDR", "127.0.0.1:0");
        shell
    }

    async fn run(&self, line: &str) -> String {
        let mut shell = tokio::process::Command::from(self.shell(line));
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        printed(shell, BUILT_WITHIN).await
    }

    /// Starts the host by a line of the README, and gives the address at which it answers.
    fn start(&self, line: &str) -> (Process, String) {
        let mut process = Process::start(self.shell(&format!("exec {line} --log-format json")));
        let address = process.wait_for_line_within(READY_WITHIN, "the host's readiness", |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["message"] == "ready").then(|| event["http"].as_str().map(str::to_owned))?
        });
        (process, address)
    }
}

/// The one line that begins so.
fn beginning<'a>(lines: &'a [String], start: &str) -> &'a str {
    let mut found = lines.iter().filter(|line| line.starts_with(start));
    let line = found.next().unwrap_or_else(|| panic!("no line begins with {start}: {lines:#?}"));
    assert!(found.next().is_none(), "several lines begin with {start}: {lines:#?}");
    line
}

/// What the README promises, one line after the other: build, run, ask, change.
#[tokio::test]
async fn a_new_project_does_what_its_readme_says() {
    let project = Project::new("hello", &["--namespace", "my-team"]);
    let lines = project.readme();
    let lock = fs::read_to_string(project.folder.join("Cargo.lock")).unwrap();
    assert!(lines.iter().any(|line| line == "rustup target add wasm32-wasip2"), "{lines:#?}");
    project.run(lines.iter().find(|line| *line == "cargo build").unwrap()).await;
    project.run(beginning(&lines, "cargo native-test")).await;
    // As a user has it, with the settings of nobody above.
    project.run("cargo fmt --all --check -- --config max_width=100,use_small_heuristics=Default").await;
    assert_eq!(fs::read_to_string(project.folder.join("Cargo.lock")).unwrap(), lock, "the lock file is complete");
    let valid = project.run("roadstead validate .").await;
    assert_eq!(valid, "2 documents in 1 files: valid\n");

    let (host, address) = project.start(beginning(&lines, "roadstead run"));
    let ask = beginning(&lines, "curl ").replace("127.0.0.1:8080", &address).replace("curl ", "curl -sS ");
    let promised = beginning(&lines, "{\"lines\"");
    assert_eq!(project.run(&ask).await, promised);
    let refused = beginning(&lines, "printf ").replace("127.0.0.1:8080", &address).replace("curl ", "curl -sS -i ");
    let refused = project.run(&refused).await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("{\"error\":\"no text: "), "{refused}");
    host.signal(Signal::TERM);
    drop(host);

    let (_host, address) = project.start("roadstead run . --watch");
    let work = project.folder.join("worker/src/count.rs");
    let changed = fs::read_to_string(&work).unwrap().replace("bytes: text.len()", "bytes: text.len() * 1000");
    fs::write(&work, changed).unwrap();
    project.run("cargo build").await;
    let ask = beginning(&lines, "curl ").replace("127.0.0.1:8080", &address).replace("curl ", "curl -sS ");
    let (project, ask) = (&project, &ask);
    eventually("the changed worker", || async move { project.run(ask).await.contains(":13000}").then_some(()) }).await;
}

fn new(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = roadstead().current_dir(folder).arg("new").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said)
}

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Bounds of a name: `name::NAME_BYTES_MAX`.
#[test]
fn a_name_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a".repeat(56);
    let names = ["", "Hello", "../up", "/tmp/x", "a.b", "a_b", "2nd", "a b", "a-", "\u{e9}", "a\u{1b}[31m", &long];
    for name in names {
        let (code, said) = new(folder.path(), &[name]);
        assert_eq!(code, Some(2), "{name:?}: {said}");
        assert!(!said.contains('\u{1b}'), "{name:?}: {said:?}");
    }
    assert_eq!(new(folder.path(), &["ok", "--namespace", "Not/One"]).0, Some(2));
    assert_eq!(entries(folder.path()), [""; 0]);
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("hello")).unwrap();
    fs::write(folder.path().join("hello/mine"), "mine").unwrap();
    let (code, said) = new(folder.path(), &["hello"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("hello is not empty: name another folder with --path"), "{said}");
    let (code, said) = new(folder.path(), &["hello", "--path", "hello/mine"]);
    assert!(code == Some(1) && said.contains("is no folder"), "{said}");
    let (code, said) = new(folder.path(), &["hello", "--path", "no/such/parent"]);
    assert!(code == Some(1) && said.contains("cannot be written to no/such/parent"), "{said}");
    assert_eq!(entries(folder.path()), ["hello"]);
    assert_eq!(entries(&folder.path().join("hello")), ["mine"]);
}

#[test]
fn an_empty_folder_is_filled_and_json_says_with_what() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = new(folder.path(), &["ferry", "--path", ".", "--output", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&json["name"], &json["namespace"], &json["folder"]), (&"ferry".into(), &"default".into(), &".".into()));
    for file in json["files"].as_array().unwrap() {
        assert!(folder.path().join(file.as_str().unwrap()).is_file(), "{file}");
    }
    let found = entries(folder.path());
    let wanted =
        [".cargo", ".gitignore", "Cargo.lock", "Cargo.toml", "README.md", "app.yaml", "gateway", "wit", "worker"];
    assert_eq!(found, wanted);
    assert_eq!(json["next"][1], "cargo build");
}

#[test]
fn nothing_half_written_is_left() {
    let folder = tempfile::tempdir().unwrap();
    // Files may have 4 blocks of 512 bytes: the README is longer.
    let mut shell = Command::new("sh");
    let program = roadstead();
    shell.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" new hello"]).arg(program.get_program());
    let output = shell.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the project cannot be written to hello") && said.contains("File too large"), "{said}");
    assert_eq!(entries(folder.path()), [""; 0]);
}
