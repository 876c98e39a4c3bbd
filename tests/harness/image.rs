//! Container images that buildah makes of the Dockerfile as it is, and hosts that run from them. In place of the compiler
//! there is a stand-in, which brings the program under test; all that the images have else is made as for a user.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{eventually, process::Process};

/// What `cargo xtask setup` makes.
const BASE_FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/image-base");
const BASE: &str = "localhost/roadstead-test-base";
const STAND_IN: &str = "localhost/stand-in";
/// Names another program to put into the images than the one under test: `cargo xtask image` does.
const PROGRAM_VARIABLE: &str = "ROADSTEAD_TEST_IMAGE_PROGRAM";
/// Longest that a host from an image may take until it is ready: it compiles its components.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// The same time in all files of an image, so that the same content makes the same image.
const TIMESTAMP: &str = "1700000000";

/// In place of cargo: what the Dockerfile asks for is the program under test, if the build context has all of the workspace.
const CARGO: &str = r#"#!/bin/sh
set -eu
[ "$*" = "build --release --locked --bin roadstead" ] || { echo "stand-in: no such build: cargo $*" >&2; exit 1; }
for file in Cargo.lock $(sed -n 's/^members = \[\(.*\)\]$/\1/p' Cargo.toml | tr -d '",'); do
    [ -e "$file" ] || { echo "stand-in: the build context lacks $file" >&2; exit 1; }
done
mkdir -p target/release
cp /usr/local/share/roadstead target/release/roadstead
"#;
/// In place of apt-get: nothing is fetched. What the compiler would need is not installed; what the image is made of is in
/// the base as archives, and the real program finds out which of them.
const APT_GET: &str = r#"#!/bin/sh
case "$*" in
update | "install --yes --no-install-recommends ca-certificates cmake") echo "stand-in: apt-get $*" ;;
*) exec /usr/bin/apt-get --no-download "$@" ;;
esac
"#;
/// What an engine does: the container's root, read only, with `/proc` and some devices; a process table of its own, and the
/// image's user with no way to more rights. Arguments: root, folder for /app, user, and what to run.
const AS_AN_ENGINE: &str = r#"set -eu
root=$1 app=$2 user=$3
shift 3
mkdir -p "$root/proc" "$root/dev"
touch "$root/dev/null" "$root/dev/zero" "$root/dev/urandom"
mount --bind "$root" "$root"
mount --bind "$app" "$root/app"
mount -t proc proc "$root/proc"
for device in null zero urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
mount -o remount,bind,ro "$root"
mount -o remount,bind,ro "$root/app"
exec setpriv --no-new-privs chroot --userspec="$user" "$root" "$@"
"#;

/// Buildah with a store of its own, on top of the one that has the base.
pub struct Buildah {
    folder: tempfile::TempDir,
    driver: String,
    images: Mutex<Vec<(Wanted, String)>>,
}

/// A target of the Dockerfile and the arguments of the build.
type Wanted = (Option<String>, Vec<String>);

/// An image of the Dockerfile.
pub struct Image {
    buildah: Arc<Buildah>,
    name: String,
}

/// A container of an image; its files are gone with it.
pub struct Container<'a> {
    image: &'a Image,
    name: String,
    pub root: PathBuf,
}

impl Buildah {
    /// The one that all tests of this process share, while one of them has it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Buildah>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let new = Arc::new(Self::new());
            *shared = Arc::downgrade(&new);
            new
        })
    }

    fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the tests of the image need root, for buildah: run them with sudo"
        );
        let made = Path::new(BASE_FOLDER).join("made-from");
        assert!(made.exists(), "there is no base for the image; `cargo xtask setup` makes it");
        let driver = fs::read_to_string(Path::new(BASE_FOLDER).join("driver")).unwrap();
        // Not in memory, where a test's other folders may be: layers are large.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let buildah = Self { folder, driver, images: Mutex::default() };
        buildah.make_stand_in();
        buildah
    }

    fn make_stand_in(&self) {
        let file = |name: &str| self.folder.path().join(name);
        for (name, script) in [("cargo", CARGO), ("apt-get", APT_GET)] {
            fs::write(file(name), script).unwrap();
            fs::set_permissions(file(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let program = std::env::var(PROGRAM_VARIABLE).unwrap_or_else(|_| env!("CARGO_BIN_EXE_roadstead").to_owned());
        output(Command::new("strip").args(["--strip-all", "-o"]).arg(file("roadstead")).arg(program));
        let container = self.output(&["from", "--pull-never", BASE]);
        let copy = |names: &[&str], target: &str| {
            let mut command = self.command();
            command.args(["copy", "--quiet", &container]);
            output(command.args(names.iter().map(|name| file(name))).arg(target));
        };
        copy(&["cargo", "apt-get"], "/usr/local/bin/");
        copy(&["roadstead"], "/usr/local/share/");
        self.output(&["commit", "--quiet", "--rm", &container, STAND_IN]);
    }

    fn command(&self) -> Command {
        let path = self.folder.path();
        let mut command = Command::new("buildah");
        command.env("TMPDIR", path.join("tmp"));
        command.arg("--root").arg(path.join("storage")).arg("--runroot").arg(path.join("run"));
        command.args(["--storage-driver", &self.driver, "--storage-opt"]);
        command.arg(format!("{}.imagestore={BASE_FOLDER}/storage", self.driver));
        command
    }

    fn output(&self, arguments: &[&str]) -> String {
        output(self.command().args(arguments))
    }

    /// A target of the Dockerfile, or without one what a user gets who names none. Built once with the same arguments.
    pub fn image(self: &Arc<Self>, target: Option<&str>, arguments: &[&str]) -> Image {
        self.build(target, arguments, false)
    }

    /// The same, built once more.
    pub fn image_again(self: &Arc<Self>, target: Option<&str>, arguments: &[&str]) -> Image {
        self.build(target, arguments, true)
    }

    fn build(self: &Arc<Self>, target: Option<&str>, arguments: &[&str], again: bool) -> Image {
        // One after the other: what they have in common is the processor.
        let mut images = self.images.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let wanted = (target.map(str::to_owned), arguments.iter().map(ToString::to_string).collect());
        if let Some((_, name)) = images.iter().find(|(made, _)| *made == wanted && !again) {
            return Image { buildah: self.clone(), name: name.clone() };
        }
        let name = format!("localhost/roadstead:{}-{}", target.unwrap_or("default"), images.len());
        let mut command = self.command();
        command.args(["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--timestamp", TIMESTAMP]);
        command.args(["--build-arg", &format!("BUILDER_IMAGE={STAND_IN}"), "--tag", &name]);
        for argument in arguments {
            command.args(["--build-arg", argument]);
        }
        if let Some(target) = target {
            command.args(["--target", target]);
        }
        output(command.arg(env!("CARGO_MANIFEST_DIR")));
        images.push((wanted, name.clone()));
        Image { buildah: self.clone(), name }
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "--all"]).output();
        let _ = self.command().args(["rmi", "--all", "--force"]).output();
    }
}

impl Image {
    /// What `buildah inspect` says of it, by a Go template.
    pub fn inspect(&self, template: &str) -> String {
        self.buildah.output(&["inspect", "--type", "image", "--format", template, &self.name])
    }

    /// Its configuration, as Docker reads it.
    pub fn config(&self) -> Value {
        let inspected: Value =
            serde_json::from_str(&self.buildah.output(&["inspect", "--type", "image", &self.name])).unwrap();
        inspected["Docker"]["config"].clone()
    }

    pub fn container(&self) -> Container<'_> {
        let name = self.buildah.output(&["from", "--pull-never", &self.name]);
        let root = self.buildah.output(&["mount", &name]).into();
        Container { image: self, name, root }
    }

    /// Where the image finds programs.
    fn path(&self) -> String {
        let variables = self.words("Env");
        variables.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default().to_owned()
    }

    fn words(&self, of: &str) -> Vec<String> {
        let words = self.config()[of].as_array().cloned().unwrap_or_default();
        words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}

impl Container<'_> {
    /// What the image runs by itself, or with other arguments in place of its own.
    fn words(&self, arguments: &[&str]) -> Vec<String> {
        let mut words = self.image.words("Entrypoint");
        match arguments {
            [] => words.extend(self.image.words("Cmd")),
            given => words.extend(given.iter().map(ToString::to_string)),
        }
        words
    }

    /// A command that runs the image as an engine does: as process 1, with a root that cannot be written to. Of isolation it
    /// has nothing more: the network is this machine's.
    pub fn as_engine(&self, app: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
        let user = self.image.config()["User"].as_str().unwrap().to_owned();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", AS_AN_ENGINE, "sh"]);
        command.args([&self.root, app]).arg(user).args(self.words(arguments));
        // As in an engine, of this machine's environment there is nothing. `PATH` also finds what the script calls.
        command.env_clear();
        let of_image = self.image.words("Env");
        let of_image = of_image.iter().filter_map(|variable| variable.split_once('='));
        for (name, value) in of_image.chain(environment.iter().copied()) {
            command.env(name, value);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", self.image.path()));
        command
    }

    /// A command that runs the image by `buildah run`, in whose isolation there is no process 1 and the root is writable.
    pub fn by_buildah(&self, app: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Command {
        let buildah = self.image.buildah.command();
        // What it leaves running would outlive a test that fails.
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(buildah.get_program())
            .args(buildah.get_args());
        command.env("TMPDIR", self.image.buildah.folder.path().join("tmp"));
        command.args(["run", "--isolation", "chroot", "--cap-drop", "all"]);
        for (name, value) in environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        command.arg("--volume").arg(format!("{}:/app:ro", app.display()));
        command.args([&self.name, "--"]).args(self.words(arguments));
        command
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.image.buildah.command().args(["rm", &self.name]).output();
    }
}

/// A host that runs from an image.
pub struct ImageHost {
    process: Process,
    id: u32,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// The variables with which a host from an image is on ports of its own.
pub const OWN_PORTS: [(&str, &str); 3] =
    [("ROADSTEAD_HTTP_ADDR", "127.0.0.1:0"), ("ROADSTEAD_ADMIN_ADDR", "127.0.0.1:0"), ("ROADSTEAD_LOG_FORMAT", "json")];

impl ImageHost {
    pub fn start(command: Command) -> Self {
        let mut process = Process::start(command);
        let (http, admin) = process.wait_for_line_within(READY_WITHIN, "the host's readiness", |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let address = |field: &str| event[field].as_str()?.parse().ok();
            (event["message"] == "ready").then(|| Some((address("http")?, address("admin")?)))?
        });
        let id = descendants(process.id()).into_iter().find(|id| name(*id) == "roadstead").expect("the host's process");
        Self { process, id, http, admin }
    }

    /// The number of the host's process, as this machine counts.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.id).unwrap()).unwrap(), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// A line of what the kernel says about the host's process.
    pub fn kernel_says(&self, field: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The host's children by their first arguments, and whether they have ended without anybody asking.
    pub fn children(&self) -> Vec<(u32, String, bool)> {
        let ids = processes().into_iter().filter(|id| stat(*id).is_some_and(|(_, parent)| parent == self.id));
        let child = |id: u32| {
            let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let zombie = stat(id).is_some_and(|(state, _)| state == "Z");
            (id, command.split('\0').nth(1).unwrap_or_default().to_owned(), zombie)
        };
        ids.map(child).collect()
    }

    /// Waits until no child is left of which nobody has asked how it ended.
    pub async fn no_zombie_stays(&self) {
        eventually("no zombie is left", async || self.children().iter().all(|(_, _, zombie)| !zombie).then_some(()))
            .await;
    }
}

/// Runs a command to its end and returns what it says on both streams; the test fails when it takes longer than usual.
pub fn ended(command: Command) -> (ExitStatus, String) {
    let mut process = Process::start(command);
    let status = process.wait();
    (status, process.output())
}

fn output(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask setup` installs it"));
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed ({}):\n{text}\n{errors}", output.status);
    text.trim().to_owned()
}

fn processes() -> Vec<u32> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// State and parent.
fn stat(id: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name is in brackets and may have any characters in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn name(id: u32) -> String {
    fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().to_owned()
}

/// A process's children, theirs, and so on: nearer ones first.
fn descendants(id: u32) -> Vec<u32> {
    let all: Vec<(u32, u32)> = processes().into_iter().filter_map(|id| Some((id, stat(id)?.1))).collect();
    let mut found = vec![id];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}
