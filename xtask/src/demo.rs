//! `cargo xtask demo`: from a fresh clone to a running example. It knows the host only by its command line and its
//! readiness path.

use anyhow::{Context, Result, bail};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{ErrorKind, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client;
use crate::guests;
use crate::layout::Layout;
use crate::process;
use crate::report::Step;
use crate::setup::{self, Purpose, gpu_driver};

/// The first start compiles the components.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const EXAMPLE: &str = "harbor-watch";
const HOST_NAME: &str = "harborwatch.localhost";

/// Build everything, start the example application and print the curl line to try
#[derive(Args)]
#[command(long_about = "Sets the machine up, builds the components and the host, and runs examples/harbor-watch in the
foreground. Prints a curl line to try once the host is ready. Ctrl-C ends it.

With --gpu it runs app-gpu.yaml, whose worker detects on the GPU through wasi:webgpu. Where this machine has no Vulkan
driver, Mesa's is installed, which computes on the processor.")]
#[command(after_help = "Examples:
  cargo xtask demo
  cargo xtask demo --gpu
  cargo xtask demo --release --http-addr 127.0.0.1:8081
  cargo xtask demo --data-nats-url nats://127.0.0.1:4222")]
pub(crate) struct Arguments {
    /// Build the host with optimisation: a longer build, faster answers
    #[arg(long)]
    release: bool,
    /// Let the worker detect on the GPU, or on a program that stands in for one
    #[arg(long)]
    gpu: bool,
    /// Let messages go through this NATS server, and keep what is stored there, instead of in the process: it needs JetStream
    #[arg(long, value_name = "URL")]
    data_nats_url: Option<String>,
    /// Where the application answers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http_addr: SocketAddr,
    /// Where /readyz, /metrics and /status answer
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    admin_addr: SocketAddr,
}

/// Runs the command.
///
/// # Errors
/// When set-up or a build fails, an address is in use, or the host ends otherwise than by Ctrl-C.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    must_be_free("--http-addr", arguments.http_addr)?;
    must_be_free("--admin-addr", arguments.admin_addr)?;
    setup::step(layout, Purpose::Build)?;
    if arguments.gpu {
        gpu_driver::ensure(gpu_driver::Driver::Any)?;
    }
    guests::step(layout)?;
    build_host(layout, arguments.release)?;

    let interrupted = Arc::new(AtomicBool::new(false));
    let terminated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&interrupted))?;
    signal_hook::flag::register(SIGTERM, Arc::clone(&terminated))?;

    let step = Step::begin("roadstead", format_args!("starting {}", manifest(arguments)));
    let mut host = host_command(layout, arguments).spawn().context("the host could not be started")?;
    let stopping = || interrupted.load(Ordering::Relaxed) || terminated.load(Ordering::Relaxed);
    match wait_until_ready(&mut host, arguments.admin_addr, &stopping)? {
        Wait::Ready => {
            step.done("ready");
            print_what_to_try(arguments);
        }
        Wait::Ended(status) => return told_end(status, stopping()),
        Wait::TimedOut => {
            end(&mut host)?;
            bail!("the host was not ready after {} s; its log above says why", READY_TIMEOUT.as_secs());
        }
        Wait::Stopping => {}
    }
    let must_pass_on = || {
        terminated.load(Ordering::Relaxed) || (interrupted.load(Ordering::Relaxed) && !std::io::stdin().is_terminal())
    };
    let status = wait_for_end(&mut host, &must_pass_on)?;
    told_end(status, stopping())
}

/// A host that is already there would answer in the place of ours.
fn must_be_free(option: &str, address: SocketAddr) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let other = SocketAddr::new(address.ip(), address.port().wrapping_add(1));
            bail!("{address} is in use: stop what listens there, or choose another with `{option} {other}`")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address} ({option})")),
    }
}

fn build_host(layout: &Layout, release: bool) -> Result<()> {
    let what = if release {
        "with optimisation (about 10 minutes the first time)"
    } else {
        "(about 5 minutes the first time)"
    };
    let step = Step::begin("host", format_args!("building roadstead {what}"));
    let mut cargo = process::cargo(layout.root());
    // Of the whole workspace, like the tests: what they have built is not built again with fewer features.
    cargo.args(["build", "--locked", "--workspace", "--bin", "roadstead"]);
    if release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    step.done("built");
    Ok(())
}

/// The application, relative to the repository.
fn manifest(arguments: &Arguments) -> String {
    let name = if arguments.gpu { "app-gpu.yaml" } else { "app.yaml" };
    format!("examples/{EXAMPLE}/{name}")
}

fn host_command(layout: &Layout, arguments: &Arguments) -> Command {
    let profile = if arguments.release { "release" } else { "debug" };
    let mut command = process::command(layout.target().join(profile).join("roadstead"), layout.root());
    command.arg("run").arg(manifest(arguments));
    if arguments.gpu {
        command.args(["--wasi-webgpu", "--gpu-allow-software"]);
    }
    command.arg("--http-addr").arg(arguments.http_addr.to_string());
    command.arg("--admin-addr").arg(arguments.admin_addr.to_string());
    if let Some(url) = &arguments.data_nats_url {
        command.arg("--data-nats-url").arg(url);
    }
    command
}

enum Wait {
    Ready,
    Ended(ExitStatus),
    TimedOut,
    Stopping,
}

fn wait_until_ready(host: &mut Child, admin: SocketAddr, stopping: &dyn Fn() -> bool) -> Result<Wait> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(status) = host.try_wait()? {
            return Ok(Wait::Ended(status));
        }
        if stopping() {
            return Ok(Wait::Stopping);
        }
        if client::is_ready(admin, PROBE_TIMEOUT) {
            return Ok(Wait::Ready);
        }
        if Instant::now() >= deadline {
            return Ok(Wait::TimedOut);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn print_what_to_try(arguments: &Arguments) {
    let address = arguments.http_addr;
    let port = address.port();
    println!(
        r#"
Try it:

curl -sS -X POST -H 'Host: {HOST_NAME}' -H 'Content-Type: application/json' \
  --data '{{"region":"singapore","sar_width":512,"sar_height":512,"num_targets":0,"seed":42,"density":0.5,"force_cpu":{force_cpu}}}' \
  http://{address}/api/detect

The page:    http://{HOST_NAME}:{port}/
The metrics: http://{admin}/metrics

Ctrl-C ends it.
"#,
        admin = arguments.admin_addr,
        force_cpu = !arguments.gpu
    );
}

/// Waits for the host. A terminal sends Ctrl-C to the host itself; any other signal reaches only us and is passed on.
fn wait_for_end(host: &mut Child, must_pass_on: &dyn Fn() -> bool) -> Result<ExitStatus> {
    let mut passed_on = false;
    loop {
        if let Some(status) = host.try_wait()? {
            return Ok(status);
        }
        if !passed_on && must_pass_on() {
            terminate(host)?;
            passed_on = true;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Asks the host to drain and waits for it.
fn end(host: &mut Child) -> Result<()> {
    terminate(host)?;
    host.wait()?;
    Ok(())
}

fn terminate(host: &Child) -> Result<()> {
    let mut kill = process::command("kill", "/".as_ref());
    process::run(kill.args(["-TERM", &host.id().to_string()]))
}

fn told_end(status: ExitStatus, asked: bool) -> Result<()> {
    if asked || status.success() {
        return Ok(());
    }
    bail!("the host ended by itself ({status}); its log above says why")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::answering;

    #[test]
    fn only_200_is_ready() {
        assert!(client::is_ready(answering(b"HTTP/1.1 200 OK\r\n\r\n"), PROBE_TIMEOUT));
        assert!(!client::is_ready(answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), PROBE_TIMEOUT));
        assert!(!client::is_ready(answering(b""), PROBE_TIMEOUT));
    }

    #[test]
    fn an_address_in_use_is_told_with_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = must_be_free("--http-addr", address).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{address} is in use")), "{error}");
        assert!(error.contains("--http-addr 127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_host_that_ends_early_is_noticed() {
        let mut host = process::command("false", "/".as_ref()).spawn().unwrap();
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let Wait::Ended(status) = wait_until_ready(&mut host, unused, &|| false).unwrap() else { panic!("it ended") };
        let error = told_end(status, false).unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
    }
}
