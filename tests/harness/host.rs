//! A running `roadstead run`, as a user starts it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    PATIENCE,
    client::{Client, Response},
    guests,
    nats::NatsServer,
    process::Process,
};

pub struct Host {
    process: Process,
    http: SocketAddr,
    https: Option<SocketAddr>,
    admin: SocketAddr,
    /// The id that a host of a fleet has made for itself.
    fleet_id: String,
    pub folder: tempfile::TempDir,
}

/// What a host is started with.
#[derive(Clone, Default)]
pub struct Options {
    flags: Vec<String>,
    /// Arguments of `ulimit`, by which the shell that starts the host bounds it.
    ulimit: Option<String>,
    ready_within: Option<Duration>,
    passed: Vec<(String, Arc<TcpListener>)>,
    /// A program with arguments, behind which the host's own command line goes.
    through: Vec<String>,
}

impl Options {
    /// Starts the host by another program, which ends by executing what follows its arguments.
    pub fn through(self, program: &[&str]) -> Self {
        Self { through: program.iter().map(ToString::to_string).collect(), ..self }
    }

    /// Passes a listening socket with a name, as a service manager does; two at most.
    pub fn passed(mut self, name: &str, socket: &Arc<TcpListener>) -> Self {
        self.passed.push((name.to_owned(), socket.clone()));
        self
    }

    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// A flag without a value.
    pub fn switch(mut self, name: &str) -> Self {
        self.flags.push(name.to_owned());
        self
    }

    /// Longest wait for readiness, where a component takes long to compile.
    pub fn ready_within(self, patience: Duration) -> Self {
        Self { ready_within: Some(patience), ..self }
    }

    /// Starts the host from a shell that has been told `ulimit ARGUMENTS`.
    pub fn ulimit(self, arguments: &str) -> Self {
        Self { ulimit: Some(arguments.to_owned()), ..self }
    }

    pub fn nats(self, server: &NatsServer) -> Self {
        self.flag("--data-nats-url", &server.url())
    }
}

/// A command of the program under test.
pub fn roadstead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roadstead"));
    command.env_remove("RUST_BACKTRACE").env_remove("NO_COLOR").env("ROADSTEAD_LOG_FORMAT", "text");
    // Shared by all tests and kept between runs: compiled once, the test components are ready at once.
    command.env("ROADSTEAD_COMPONENT_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/component-cache"));
    command
}

/// Where a host whose files are in `folder` has its admin socket.
fn admin_socket(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("admin.sock")
}

/// The same, with sockets from its standard streams on as a service manager passes them.
fn roadstead_with(passed: &[(String, Arc<TcpListener>)]) -> Command {
    let streams = match passed.len() {
        0 => return roadstead(),
        1 => "3<&0 </dev/null",
        2 => "3<&0 4<&1 </dev/null >/dev/null",
        more => panic!("{more} sockets"),
    };
    let program = roadstead();
    let mut shell = Command::new("sh");
    // The variable is to be the number of the process, which stays the same.
    shell.arg("-c").arg(format!("exec {streams}; export LISTEN_PID=$$; exec \"$0\" \"$@\"")).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
    shell.env("LISTEN_FDS", passed.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    shell
}

/// The same, behind another program.
fn through(program: &[String]) -> Command {
    let mut command = Command::new(&program[0]);
    let host = roadstead();
    for (name, value) in host.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(&program[1..]).arg(host.get_program());
    command
}

/// The same, started by a shell with less than the test has itself.
fn under_ulimit(arguments: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit {arguments} && exec \"$@\""), "sh"]);
    let program = roadstead();
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.arg(program.get_program());
    command
}

/// Writes a manifest and the components that it names into `folder`.
pub fn write_application(folder: &Path, manifest: &str) {
    fs::write(folder.join("app.yaml"), manifest).unwrap();
    let images = manifest.lines().filter_map(|line| line.trim().strip_prefix("image: file:"));
    for image in images {
        let target = folder.join(image);
        let name = image.strip_suffix(".wasm").unwrap_or(image);
        if !target.exists() && !name.starts_with("made-") {
            fs::copy(guests::path(name), target).unwrap();
        }
    }
}

impl Host {
    pub fn start(manifest: &str) -> Self {
        Self::start_with(manifest, Options::default())
    }

    pub fn start_with(manifest: &str, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_application(folder.path(), manifest);
        Self::start_in(folder, options)
    }

    /// Starts from an application that is in `folder` already.
    pub fn start_in(folder: tempfile::TempDir, options: Options) -> Self {
        let manifest = folder.path().join("app.yaml");
        Self::start_file(&manifest, folder, &options)
    }

    /// Starts from a manifest elsewhere.
    pub fn start_file(manifest: &Path, folder: tempfile::TempDir, options: &Options) -> Self {
        let mut command = match &options.ulimit {
            None if !options.through.is_empty() => through(&options.through),
            None => roadstead_with(&options.passed),
            Some(arguments) => under_ulimit(arguments),
        };
        command.arg("run").arg(manifest).args(["--log-format", "json"]);
        for (name, flag) in [("http", "--http-addr"), ("admin", "--admin-addr")] {
            let passed = options.passed.iter().any(|(passed, _)| passed == name);
            if !passed && !options.flags.iter().any(|given| given == flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        let socket = admin_socket(&folder);
        // Who is started by another program may be another user.
        if options.through.is_empty() && !options.flags.iter().any(|given| given == "--admin-socket") {
            command.arg("--admin-socket").arg(&socket);
        }
        command.args(&options.flags);
        // Something to read, for who could.
        let input = folder.path().join("standard-input");
        fs::write(&input, "not for guests").unwrap();
        let mut sockets =
            options.passed.iter().map(|(_, socket)| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
        let input = sockets.next().unwrap_or_else(|| fs::File::open(&input).unwrap().into());
        let mut process = Process::start_with(command, input, sockets.next().unwrap_or_else(Stdio::piped));
        let patience = options.ready_within.unwrap_or(PATIENCE);
        let (http, https, admin) = process.wait_for_line_within(patience, "the host's readiness", |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let address = |field: &str| event[field].as_str()?.parse().ok();
            (event["message"] == "ready").then(|| Some((address("http")?, address("https"), address("admin")?)))?
        });
        Self { process, http, https, admin, fleet_id: String::new(), folder }
    }

    /// Starts `roadstead host` with a scheduler and messages on `server`.
    pub fn join(server: &NatsServer, options: Options) -> Self {
        let urls = ["--scheduler-nats-url", "--data-nats-url"];
        let options = urls.into_iter().fold(options, |options, flag| {
            let given = options.flags.iter().any(|known| known == flag);
            if given { options } else { options.flag(flag, &server.url()) }
        });
        let mut command = roadstead();
        command.args(["host", "--log-format", "json", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]);
        let folder = tempfile::tempdir().unwrap();
        command.arg("--admin-socket").arg(admin_socket(&folder));
        command.args(&options.flags);
        let mut process = Process::start(command);
        let (id, http, admin) = process.wait_for_line("the host's readiness", |line| {
            let event: Value = serde_json::from_str(line).ok()?;
            let field = |field: &str| event[field].as_str().map(str::to_owned);
            let ready = event["message"] == "ready";
            ready.then(|| Some((field("id")?, field("http")?.parse().ok()?, field("admin")?.parse().ok()?)))?
        });
        Self { process, http, https: None, admin, fleet_id: id, folder }
    }

    /// The id by which the scheduler knows a host of a fleet.
    pub fn fleet_id(&self) -> &str {
        &self.fleet_id
    }

    /// A client of the workloads, for requests to `host`.
    pub fn client(&self, host: &str) -> Client {
        Client::new(self.http, host)
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// The address for TLS, when the host was started with one.
    pub fn https_address(&self) -> SocketAddr {
        self.https.unwrap()
    }

    pub async fn admin(&self, path: &str) -> Response {
        Client::new(self.admin, "localhost").get(path).send().await
    }

    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// What a command says that asks this host over its socket.
    pub async fn ask(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = roadstead();
        command.args(arguments).arg("--admin-socket").arg(admin_socket(&self.folder));
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The same for one that ends well: what it prints.
    pub async fn told(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// A command that goes on asking this host over its socket.
    pub fn following(&self, arguments: &[&str]) -> Process {
        let mut command = roadstead();
        command.args(arguments).arg("--admin-socket").arg(admin_socket(&self.folder));
        Process::start(command)
    }

    pub async fn status(&self) -> Value {
        serde_json::from_str(&self.admin("/status").await.text()).unwrap()
    }

    /// The status of one workload.
    pub async fn workload(&self, name: &str) -> Value {
        let status = self.status().await;
        let workloads = status["workloads"].as_array().unwrap();
        workloads.iter().find(|workload| workload["name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// The sum of a metric over all its series whose line contains each of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").await.text();
        let of_metric = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        of_metric.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub async fn wait_for_metric(&self, name: &str, labels: &[&str], wanted: f64) {
        let begun = Instant::now();
        loop {
            let value = self.metric(name, labels).await;
            if value == wanted {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {name} {labels:?} = {wanted}; it is {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Memory of the host's process that is in use, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was in use since [`Host::forget_peak`].
    pub fn resident_bytes_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    /// How many files the host may open: the soft limit and the hard one.
    pub fn open_files_max(&self) -> (u64, u64) {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.process.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Files and sockets that the host's process has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// The number of the host's process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.process.wait()
    }
}
