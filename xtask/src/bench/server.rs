//! A server under measurement: started, waited for, ended. It knows the command lines of Roadstead, `wasmtime serve`,
//! nats-server and the servers of the `bench` crate.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Bench, process_stats, programs};
use crate::{client, process};

/// The first start of many components compiles them all.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to end in after SIGTERM.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const LOG_LINES_SHOWN: usize = 10;

/// A running server; it ends when the value is dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    started: Instant,
    /// Where it answers.
    pub(crate) http: SocketAddr,
    /// Where Roadstead answers operators.
    pub(crate) admin: Option<SocketAddr>,
    /// From the start of the process to the first answer that it is ready.
    pub(crate) ready_after: Duration,
}

/// What a start of Roadstead is given.
pub(crate) struct Roadstead<'a> {
    pub(crate) program: &'a Path,
    /// A manifest, or a folder of them.
    pub(crate) manifests: &'a Path,
    pub(crate) component_cache: &'a Path,
    /// On the server's core, or on all.
    pub(crate) pinned: bool,
    /// The nats-server that carries its messages, in place of its own broker.
    pub(crate) nats: Option<SocketAddr>,
    /// Further words of the command line.
    pub(crate) more: &'a [&'a str],
}

impl Server {
    /// Starts Roadstead and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready within 5 minutes; with the last lines of its log.
    pub(crate) fn roadstead(bench: &Bench<'_>, start: &Roadstead<'_>) -> Result<Self> {
        let [http, admin] = free_addresses()?;
        let mut command = if start.pinned {
            programs::pinned(start.program, programs::SERVER_CORE)
        } else {
            programs::measured(start.program)
        };
        command.arg("run").arg(start.manifests);
        command.args(["--http-addr", &http.to_string(), "--admin-addr", &admin.to_string()]);
        command.args(["--log-level", "warn", "--drain-timeout", "1s", "--component-cache-dir"]);
        command.arg(start.component_cache);
        if let Some(nats) = start.nats {
            command.args(["--data-nats-url", &format!("nats://{nats}")]);
        }
        command.args(start.more);
        let mut server = Self::start(bench, "roadstead", &mut command, http)?;
        server.admin = Some(admin);
        server.wait(bench, &|| client::is_ready(admin, ASK_TIMEOUT))?;
        Ok(server)
    }

    /// Starts `wasmtime serve` on the server's core and waits until it accepts connections.
    ///
    /// # Errors
    /// As [`Server::roadstead`].
    pub(crate) fn wasmtime(bench: &Bench<'_>, program: &Path, component: &Path) -> Result<Self> {
        let [http, _] = free_addresses()?;
        let mut command = programs::pinned(program, programs::SERVER_CORE);
        command.args(["serve", "-Scli", "--addr", &http.to_string()]).arg(component);
        let mut server = Self::start(bench, "wasmtime", &mut command, http)?;
        // Whatever it answers: the measurement itself looks at the status.
        server.wait(bench, &|| client::get(http, "any.test", "/", ASK_TIMEOUT).is_ok())?;
        Ok(server)
    }

    /// Starts a server of the `bench` crate on the server's core and waits until it accepts connections.
    ///
    /// # Errors
    /// As [`Server::roadstead`].
    pub(crate) fn bare(bench: &Bench<'_>, name: &str, program: &Path, arguments: &[&str]) -> Result<Self> {
        Self::bare_on(programs::SERVER_CORE, bench, name, program, arguments)
    }

    /// The same on another core.
    ///
    /// # Errors
    /// As [`Server::roadstead`].
    pub(crate) fn bare_on(
        core: u32,
        bench: &Bench<'_>,
        name: &str,
        program: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let [http, _] = free_addresses()?;
        let mut command = programs::pinned(program, core);
        command.arg(http.to_string()).args(arguments);
        let mut server = Self::start(bench, name, &mut command, http)?;
        server.wait(bench, &|| TcpStream::connect(http).is_ok())?;
        Ok(server)
    }

    /// Starts a nats-server on the clients' core, with JetStream where there is a folder for it, and waits until it accepts
    /// connections.
    ///
    /// # Errors
    /// As [`Server::roadstead`].
    pub(crate) fn nats(bench: &Bench<'_>, program: &Path, jetstream: Option<&Path>) -> Result<Self> {
        let [address, _] = free_addresses()?;
        let mut command = programs::pinned(program, programs::CLIENT_CORE);
        command.args(["-a", &address.ip().to_string(), "-p", &address.port().to_string()]);
        if let Some(folder) = jetstream {
            command.arg("-js").arg("-sd").arg(folder);
        }
        let mut server = Self::start(bench, "nats-server", &mut command, address)?;
        server.wait(bench, &|| TcpStream::connect(address).is_ok())?;
        Ok(server)
    }

    /// Starts what `command` makes of a free address, and waits until `is_ready` says that it answers there.
    ///
    /// # Errors
    /// As [`Server::roadstead`].
    pub(crate) fn other(
        bench: &Bench<'_>,
        name: &str,
        command: impl FnOnce(SocketAddr) -> Command,
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Result<Self> {
        let [address, _] = free_addresses()?;
        let mut server = Self::start(bench, name, &mut command(address), address)?;
        server.wait(bench, &|| is_ready(address))?;
        Ok(server)
    }

    fn start(bench: &Bench<'_>, name: &str, command: &mut Command, http: SocketAddr) -> Result<Self> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let log = bench.scratch.path().join(format!("{name}-{}.log", STARTED.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).context("cannot write a server's log")?;
        command.stdout(file.try_clone()?).stderr(file);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("{name} could not be started"))?;
        Ok(Self { child, log, started, http, admin: None, ready_after: Duration::ZERO })
    }

    fn wait(&mut self, bench: &Bench<'_>, is_ready: &dyn Fn() -> bool) -> Result<()> {
        while !is_ready() {
            bench.stop.check()?;
            self.must_run()?;
            if self.started.elapsed() > START_TIMEOUT {
                bail!("not ready after {} s: {}", START_TIMEOUT.as_secs(), self.last_words());
            }
            thread::sleep(POLL_INTERVAL);
        }
        self.ready_after = self.started.elapsed();
        Ok(())
    }

    /// # Errors
    /// When the server has ended by itself.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended by itself ({status}): {}", self.last_words()),
            None => Ok(()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        process_stats::resident_kib(self.pid())
    }

    /// The end of the server's log on one line.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
        lines.get(from..).map_or_else(String::new, |lines| lines.join("; "))
    }

    fn end(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        let mut kill = process::command("kill", "/".as_ref());
        process::output(kill.args(["-TERM", &self.pid().to_string()]))?;
        let deadline = Instant::now() + END_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.end(), Ok(Some(_))) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Addresses that nobody listens on. Both are held until both are known, so that they differ.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let bind = || TcpListener::bind("127.0.0.1:0").context("there is no free port");
    let (first, second) = (bind()?, bind()?);
    Ok([first.local_addr()?, second.local_addr()?])
}

#[cfg(test)]
mod tests {
    use super::free_addresses;

    #[test]
    fn addresses_differ() {
        let [first, second] = free_addresses().unwrap();
        assert_ne!(first.port(), second.port());
    }
}
