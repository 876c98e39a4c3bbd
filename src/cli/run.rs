//! `roadstead run`: one host, alone, from manifest files.

mod deployment;
mod watch;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use roadstead_config::{Limits, ManifestSet, parse_duration};
use roadstead_plugins::{
    wasi_logging::TracingLogger, wasi_otel::Otel, wasmcloud_messaging::ConnectError, wasmcloud_secrets::Secrets,
};
use roadstead_proxy::{DynamicRouter, HttpServer, ListenAt, TlsFiles};
use roadstead_runtime::{
    HandlerError,
    host::{BuildError, Host, HostBuilder},
};
use sd_notify::NotifyState;

use super::{
    admin::AdminArguments,
    component_cache::{HostCacheArguments, compiler},
    egress::EgressArguments,
    fail,
    gpu::{GpuArguments, HostGpuError},
    limits::LimitArguments,
    log::{self, LogHandle},
    manifests,
    messaging::MessagingArguments,
    process::{self, Ended, Signals, millis},
    proxies::ProxyArguments,
    registry::{PullSecrets, RegistryArguments},
    secrets,
    sockets::{PassedSockets, Places, SocketArguments},
    stores::{ReferenceArguments, StoreArguments, StoreArgumentsError},
    telemetry::{RunningTelemetry, Telemetry, TelemetryArguments, TelemetryError, Told},
    tls::TlsArguments,
    usage,
};
use crate::admin::{AdminError, AdminServer, token::TokenError};
use deployment::Deployment;

/// Flags of `roadstead run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead run examples/harbor-watch/app.yaml
  roadstead run ./apps --watch
  roadstead run ./apps --http-addr 0.0.0.0:8080 --log-format json
  roadstead run ./apps --https-addr 0.0.0.0:8443 --tls-dir /etc/roadstead/certificates
  roadstead run app.yaml --data-nats-url nats://127.0.0.1:4222
  roadstead run app.yaml --registry-mirror ghcr.io=127.0.0.1:5000 --allow-insecure-registries
  roadstead run ./apps --data-nats-url nats://nats:4222 --nats-creds-dir /etc/roadstead/nats --tenant-subjects strict

Exit codes:
  0    told to stop by SIGTERM or SIGINT: requests under way have had --drain-timeout
  1    failed
  2    wrong usage of the command line
  130  told to stop again by SIGINT, and ended at once
  143  told to stop again by SIGTERM, and ended at once")]
pub(super) struct RunArguments {
    /// Manifest files, or folders with *.yaml, *.yml and *.json.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    sockets: SocketArguments,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    proxies: ProxyArguments,
    #[command(flatten)]
    messaging: MessagingArguments,
    #[command(flatten)]
    gpu: GpuArguments,
    #[command(flatten)]
    references: ReferenceArguments,
    #[command(flatten)]
    stores: StoreArguments,
    #[command(flatten)]
    egress: EgressArguments,
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
    registry: RegistryArguments,
    #[command(flatten)]
    pull_secrets: PullSecrets,
    #[command(flatten)]
    cache: HostCacheArguments,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    log: log::LogArguments,
    #[command(flatten)]
    access_log: log::AccessLogArguments,
    #[command(flatten)]
    telemetry: TelemetryArguments,
}

#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Metrics(#[from] roadstead_metrics::Error),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Stores(#[from] StoreArgumentsError),
    #[error(transparent)]
    Gpu(#[from] HostGpuError),
    #[error(transparent)]
    Handler(#[from] HandlerError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    AdminToken(#[from] TokenError),
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

/// All that a host is started from.
struct Orders {
    arguments: RunArguments,
    log: Arc<LogHandle>,
    secrets: Secrets,
    limits: Limits,
    set: ManifestSet,
    /// The state of the manifests before they were read.
    seen: watch::Snapshot,
    places: Places,
    tls_files: Option<TlsFiles>,
}

/// Runs the command until it is told to stop.
pub(super) fn main(arguments: RunArguments) -> ExitCode {
    let telemetry = match arguments.telemetry.prepare(&arguments.limits.apply(Limits::default())) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error),
    };
    let spans = telemetry.as_ref().map(Telemetry::spans);
    let log = match log::start(&arguments.log, Some(&arguments.access_log), spans) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    let orders = match read(arguments, log.handle()) {
        Ok(orders) => orders,
        Err(code) => return code,
    };
    process::run(serve(orders, telemetry))
}

/// Reads what the arguments name, while the process has one thread; what is wrong with it has been said when it fails.
fn read(arguments: RunArguments, log: Arc<LogHandle>) -> Result<Orders, ExitCode> {
    let passed = PassedSockets::take().map_err(|error| usage(&error))?;
    if passed.of_another {
        tracing::warn!("LISTEN_PID is not this process: the sockets of LISTEN_FDS are left alone");
    }
    let tls_files = arguments.tls.files(passed.has_https()).map_err(|error| usage(&error))?;
    let places = Places::new(&arguments.sockets, arguments.tls.address(), passed).map_err(|error| usage(&error))?;
    let limits = arguments.limits.apply(Limits {
        request_timeout_ms: millis(arguments.messaging.sending.request_timeout),
        drain_timeout_ms: millis(arguments.drain_timeout),
        ..Limits::default()
    });
    let secrets = arguments.references.secrets().map_err(|error| usage(&error))?;
    let seen = watch::manifests_at(&arguments.paths);
    let files = manifests::read(&arguments.paths, &limits).map_err(|error| fail(&error))?;
    let set = manifests::check(&files, &limits).map_err(|problems| {
        manifests::print(&problems, &files);
        eprintln!("error: nothing was started; correct the manifests first");
        ExitCode::FAILURE
    })?;
    Ok(Orders { arguments, log, secrets, limits, set, seen, places, tls_files })
}

async fn serve(orders: Orders, telemetry: Option<Telemetry>) -> Result<Ended, RunError> {
    let telemetry = RunningTelemetry::of(telemetry)?;
    let told = (telemetry.outbox().cloned(), telemetry.timelines());
    let log = orders.log.clone();
    // Signals are taken from the first moment: a stop during the start ends the start.
    let mut signals = Signals::take().map_err(RunError::Signals)?;
    let (host, admin) = tokio::select! {
        started = start(orders, told) => started?,
        _ = signals.told_to_stop() => return Ok(Ended::Stopped),
    };
    log.show(host.metrics())?;
    if let Some(outbox) = telemetry.outbox() {
        outbox.show(host.metrics())?;
    }
    process::tell_service_manager(NotifyState::Ready);

    tokio::select! {
        _ = signals.told_to_stop() => {}
        () = admin.told_to_drain() => {}
    }
    tracing::info!(timeout_ms = host.limits().drain_timeout_ms, "stopping: requests under way may finish");
    process::tell_service_manager(NotifyState::Stopping);
    admin.set_draining();
    let cut_off = tokio::select! {
        cut_off = host.stop(Duration::from_millis(host.limits().drain_timeout_ms)) => cut_off,
        told = signals.told_to_stop() => return Ok(process::at_once(told)),
    };
    tracing::info!(cut_off, "stopped");
    telemetry.close().await;
    Ok(Ended::Stopped)
}

async fn start(orders: Orders, (outbox, timelines): Told) -> Result<(Arc<Host>, AdminServer), RunError> {
    let Orders { arguments, log, secrets, limits, set, seen, places, tls_files } = orders;
    // Before anything is made that takes time.
    let admin = arguments.admin.settings(places.admin, log)?;
    let messaging = arguments.messaging.plugin().await?;
    let gpu = arguments.gpu.plugin(&limits).await?;
    let stores = arguments.stores.plugins(&messaging, &limits).await?;
    let http = Arc::new(ingress(&arguments, places.http, places.https.zip(tls_files)).await?);
    let mut builder = arguments
        .references
        .tell(HostBuilder::new())
        .with_host_name(&arguments.host_name)
        .with_limits(limits)
        .with_compiler_program(compiler().map_err(RunError::Program)?)
        .with_plugin(Arc::new(TracingLogger::default()))
        .and_then(|builder| stores.into_iter().try_fold(builder, HostBuilder::with_plugin))
        .and_then(|builder| builder.with_plugin(Arc::new(messaging)))
        .and_then(|builder| builder.with_plugin(Arc::new(Otel::new(outbox))))
        .and_then(|builder| builder.with_plugin(Arc::new(secrets)))
        .map(secrets::explain)
        .map_err(RunError::Plugins)?
        .with_artifacts(arguments.registry.options())
        .with_egress(arguments.egress.options())
        .with_http_handler(http.clone());
    builder = match gpu {
        Some(gpu) => builder.with_plugin(Arc::new(gpu)).map_err(RunError::Plugins)?,
        None => arguments.gpu.explain(builder),
    };
    if let Some(timelines) = timelines {
        builder = builder.with_timelines(timelines);
    }
    let host = arguments.cache.tell(builder).start().await?;
    if arguments.references.have_secrets() {
        // After the engine has opened what it reads of this process itself.
        secrets::keep_memory_private();
    }
    let admin = AdminServer::start(admin, host.clone()).await?;
    let mut deployment = Deployment::new(host.clone(), arguments.pull_secrets.clone());
    let outcome = deployment.apply(&set).await;
    // What is not there yet may come: then there is something to wait for.
    if outcome.running == 0 && outcome.changed > 0 && !arguments.watch && host.not_ready().is_empty() {
        return Err(RunError::NothingRuns { count: outcome.changed });
    }
    http.open()?;
    admin.set_deployed();
    if arguments.watch {
        tokio::spawn(watch::watch(deployment, arguments.paths.clone(), host.limits().clone(), seen));
    } else {
        tokio::spawn(watch::retry(deployment));
    }
    tracing::info!(
        http = host.http_address().map(tracing::field::display),
        https = host.https_address().map(tracing::field::display),
        admin = %admin.address(),
        admin_socket = admin.socket().map(tracing::field::debug),
        messages = arguments.messaging.broker(),
        "ready"
    );
    Ok((host, admin))
}

/// The ingress, before its start.
async fn ingress(
    arguments: &RunArguments,
    http: ListenAt,
    https: Option<(ListenAt, TlsFiles)>,
) -> Result<HttpServer, HandlerError> {
    let shared = |at: &ListenAt| !matches!(at, ListenAt::Address(_));
    let taking_over = shared(&http) || https.as_ref().is_some_and(|(at, _)| shared(at));
    let mut server = HttpServer::listening(DynamicRouter::default(), http).await?;
    if let Some((at, files)) = https {
        server = server.with_tls_listening(at, files).await?;
    }
    let server = arguments.proxies.tell(server);
    // Another host may answer there just now: its clients are to have no answer from this one that has no workloads.
    Ok(if taking_over { server.held() } else { server })
}
