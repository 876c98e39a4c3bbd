//! `roadstead run`: one host, alone, from manifest files.

mod deployment;
mod watch;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use roadstead_config::{Limits, ManifestSet, Network, parse_duration};
use roadstead_plugins::{
    wasi_logging::TracingLogger,
    wasmcloud_messaging::{ConnectError, Messaging, NatsMessaging, connect_nats},
};
use roadstead_proxy::{DynamicRouter, HttpServer};
use roadstead_runtime::{
    HandlerError,
    host::{BuildError, Host, HostBuilder},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    component_cache::{CacheArguments, compiler},
    fail,
    limits::LimitArguments,
    log, manifests,
    tls::TlsArguments,
};
use crate::admin::{AdminError, AdminServer};
use deployment::Deployment;

/// Flags of `roadstead run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead run examples/harbor-watch/app.yaml
  roadstead run ./apps --watch
  roadstead run ./apps --http-addr 0.0.0.0:8080 --log-format json
  roadstead run ./apps --https-addr 0.0.0.0:8443 --tls-dir /etc/roadstead/certificates
  roadstead run app.yaml --data-nats-url nats://127.0.0.1:4222")]
pub(super) struct RunArguments {
    /// Manifest files, or folders with *.yaml, *.yml and *.json.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Address that answers the workloads' HTTP requests.
    #[arg(long, default_value = "127.0.0.1:8080", env = "ROADSTEAD_HTTP_ADDR")]
    http_addr: SocketAddr,
    #[command(flatten)]
    tls: TlsArguments,
    /// Address of /metrics, /healthz, /readyz and /status.
    #[arg(long, default_value = "127.0.0.1:9090", env = "ROADSTEAD_ADMIN_ADDR")]
    admin_addr: SocketAddr,
    /// Networks of the proxies in front, such as 10.0.0.0/8: what these say about their clients is believed.
    #[arg(long, value_name = "CIDR,...", value_delimiter = ',', env = "ROADSTEAD_TRUSTED_PROXIES")]
    trusted_proxies: Vec<Network>,
    /// Connections of the trusted proxies begin with a PROXY header (version 1 or 2), which names the client.
    #[arg(long, requires = "trusted_proxies")]
    proxy_protocol: bool,
    /// NATS server that carries the workloads' messages; without it they stay inside this process.
    #[arg(long, value_name = "URL", env = "ROADSTEAD_DATA_NATS_URL", hide_env_values = true)]
    data_nats_url: Option<String>,
    /// Longest wait of a component for the reply to a message request.
    #[arg(long, default_value = "300s", value_parser = parse_duration)]
    request_timeout: Duration,
    /// Deploy again whenever a manifest or a component file changes. What is not valid changes nothing.
    #[arg(long)]
    watch: bool,
    /// Time that requests under way are given when the host is told to stop.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    drain_timeout: Duration,
    /// Name of the host in its status.
    #[arg(long, default_value = "roadstead")]
    host_name: String,
    #[command(flatten)]
    cache: CacheArguments,
    /// Keep no compiled components, whatever --component-cache-dir says: each start compiles anew.
    #[arg(long)]
    no_component_cache: bool,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    log: log::LogArguments,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Handler(#[from] HandlerError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the plugins cannot be put together")]
    Plugins(#[source] BuildError),
    #[error("the path of this program, which compiles components in processes of its own, cannot be found out")]
    Program(#[source] std::io::Error),
    #[error("none of the {count} workloads could be started")]
    NothingRuns { count: usize },
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// Runs the command until it is told to stop.
pub(super) fn main(arguments: RunArguments) -> ExitCode {
    if let Err(error) = log::start(&arguments.log) {
        return fail(&error);
    }
    raise_descriptors();
    // The one TLS provider of the process; that another is installed already cannot be.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let limits = arguments.limits.apply(Limits {
        request_timeout_ms: millis(arguments.request_timeout),
        drain_timeout_ms: millis(arguments.drain_timeout),
        ..Limits::default()
    });
    let seen = watch::manifests_at(&arguments.paths);
    let files = match manifests::read(&arguments.paths, &limits) {
        Ok(files) => files,
        Err(error) => return fail(&error),
    };
    let set = match manifests::check(&files, &limits) {
        Ok(set) => set,
        Err(problems) => {
            manifests::print(&problems, &files);
            eprintln!("error: nothing was started; correct the manifests first");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(RunError::Runtime);
    match runtime.and_then(|runtime| runtime.block_on(serve(arguments, limits, set, seen))) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::AtOnce(Told::Interrupt)) => ExitCode::from(130),
        Ok(Ended::AtOnce(Told::Terminate)) => ExitCode::from(143),
        Err(error) => fail(&error),
    }
}

/// The signal by which the host is told to stop.
#[derive(Debug, Clone, Copy)]
enum Told {
    Interrupt,
    Terminate,
}

/// How a host ended that did not fail.
enum Ended {
    /// As it was told to.
    Stopped,
    /// Told again, it did not wait for what was under way: shells name that by 128 and the signal's number.
    AtOnce(Told),
}

/// Lets the process have as many files and sockets open as it may: what it is given at first is meant for programs that
/// cannot deal with more.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, current = limit.current, "the number of open files stays as it is");
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn serve(
    arguments: RunArguments,
    limits: Limits,
    set: ManifestSet,
    seen: watch::Snapshot,
) -> Result<Ended, RunError> {
    // Signals are taken from the first moment: a stop during the start ends the start.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut told_to_stop = async || {
        tokio::select! {
            _ = interrupt.recv() => Told::Interrupt,
            _ = terminate.recv() => Told::Terminate,
        }
    };
    let (host, admin) = tokio::select! {
        started = start(&arguments, limits, &set, seen) => started?,
        _ = told_to_stop() => return Ok(Ended::Stopped),
    };

    told_to_stop().await;
    tracing::info!(timeout_ms = host.limits().drain_timeout_ms, "stopping: requests under way may finish");
    admin.set_draining();
    let cut_off = tokio::select! {
        cut_off = host.stop(Duration::from_millis(host.limits().drain_timeout_ms)) => cut_off,
        told = told_to_stop() => {
            tracing::warn!("told to stop again: ending at once");
            return Ok(Ended::AtOnce(told));
        }
    };
    tracing::info!(cut_off, "stopped");
    Ok(Ended::Stopped)
}

async fn start(
    arguments: &RunArguments,
    limits: Limits,
    set: &ManifestSet,
    seen: watch::Snapshot,
) -> Result<(Arc<Host>, AdminServer), RunError> {
    let messaging = match &arguments.data_nats_url {
        Some(url) => NatsMessaging::new(connect_nats(url).await?),
        None => Messaging::in_process(),
    };
    let mut http = HttpServer::new(DynamicRouter::default(), arguments.http_addr)
        .await?
        .with_trusted_proxies(arguments.trusted_proxies.iter().copied().collect());
    if arguments.proxy_protocol {
        http = http.with_proxy_protocol();
    }
    if let Some((address, files)) = arguments.tls.listener() {
        http = http.with_tls(address, files).await?;
    }
    let https = http.tls_address();
    let mut builder = HostBuilder::new()
        .with_host_name(&arguments.host_name)
        .with_limits(limits)
        .with_compiler_program(compiler().map_err(RunError::Program)?)
        .with_plugin(Arc::new(TracingLogger::default()))
        .and_then(|builder| builder.with_plugin(Arc::new(messaging)))
        .map_err(RunError::Plugins)?
        .with_http_handler(Arc::new(http));
    if let Some(directory) = arguments.cache.directory().filter(|_| !arguments.no_component_cache) {
        builder = builder.with_component_cache(directory);
    }
    let host = builder.start().await?;
    let admin = AdminServer::start(arguments.admin_addr, host.clone()).await?;
    let mut deployment = Deployment::new(host.clone());
    let outcome = deployment.apply(set).await;
    if outcome.running == 0 && outcome.changed > 0 && !arguments.watch {
        return Err(RunError::NothingRuns { count: outcome.changed });
    }
    admin.set_deployed();
    if arguments.watch {
        tokio::spawn(watch::watch(deployment, arguments.paths.clone(), host.limits().clone(), seen));
    }
    tracing::info!(
        http = host.http_address().map(tracing::field::display),
        https = https.map(tracing::field::display),
        admin = %admin.address(),
        messages = if arguments.data_nats_url.is_some() { "NATS" } else { "in process" },
        "ready"
    );
    Ok((host, admin))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }

    #[test]
    fn nobody_elsewhere_is_answered_unless_the_operator_says_so() {
        let run = Line::parse_from(["roadstead", "app.yaml"]).run;
        assert!(run.http_addr.ip().is_loopback(), "{}", run.http_addr);
        assert!(run.admin_addr.ip().is_loopback(), "{}", run.admin_addr);
    }

    #[test]
    fn proxies_are_trusted_by_their_networks() {
        let parse = |flags: &[&str]| Line::try_parse_from([&["roadstead", "app.yaml"], flags].concat());
        let run =
            parse(&["--trusted-proxies", "10.0.0.0/8,fd00::/8", "--proxy-protocol"]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(run.run.trusted_proxies.len(), 2);
        for (flags, why) in [
            (&["--proxy-protocol"][..], "--trusted-proxies"),
            (&["--trusted-proxies", "10.1.0.0/8"], "write 10.0.0.0/8"),
            (&["--trusted-proxies", "everybody"], "is no network such as"),
        ] {
            let error = parse(flags).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why), "{flags:?}: {error}");
        }
    }
}
