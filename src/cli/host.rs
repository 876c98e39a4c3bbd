//! `roadstead host`: a host of a fleet, which takes its work from a scheduler over NATS.

mod flags;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use roadstead_config::{Limits, parse_duration};
use roadstead_plugins::{
    wasi_logging::TracingLogger,
    wasi_otel::Otel,
    wasmcloud_messaging::{ConnectError, Messaging, connect_scheduler},
    wasmcloud_secrets::Secrets,
};
use roadstead_proxy::{DynamicRouter, HttpServer, TlsFiles};
use roadstead_runtime::{
    HandlerError,
    host::{BuildError, HostBuilder},
    washlet::{ClusterError, ClusterHostBuilder, ClusterShutdown, run_cluster_host},
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
    messaging::SendingArguments,
    process::{self, Ended, Signals, millis},
    proxies::ProxyArguments,
    registry::RegistryArguments,
    secrets,
    stores::{StoreArguments, StoreArgumentsError},
    telemetry::{RunningTelemetry, Telemetry, TelemetryArguments, TelemetryError, Told},
    tls::TlsArguments,
    usage,
};
use crate::admin::{AdminError, AdminServer, token::TokenError};
use flags::{AddressArguments, DataArguments, SchedulerArguments};

/// Flags of `roadstead host`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead host --http-addr 0.0.0.0:8080
  roadstead host --host-group edge --scheduler-nats-url nats://nats:4222 --data-nats-url nats://nats:4222
  roadstead host --scheduler-nats-url tls://nats:4222 --scheduler-nats-tls-ca ca.pem --scheduler-nats-creds host.creds

Exit codes:
  0    told to stop by SIGTERM or SIGINT: requests under way have had --drain-timeout
  1    failed; also when the scheduler's NATS server cannot be reached for a minute at the start
  2    wrong usage of the command line
  130  told to stop again by SIGINT, and ended at once
  143  told to stop again by SIGTERM, and ended at once")]
pub(super) struct HostArguments {
    /// Group of hosts among which the scheduler chooses.
    #[arg(long, default_value = "default", env = "ROADSTEAD_HOST_GROUP", value_name = "GROUP")]
    host_group: String,
    /// Name of the host, for people; its id is another one at each start [default: made up at each start].
    #[arg(long, env = "ROADSTEAD_HOST_NAME", value_name = "NAME")]
    host_name: Option<String>,
    /// Environment of the host, for workloads that name one [default: none].
    #[arg(long, env = "ROADSTEAD_ENVIRONMENT", value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    scheduler: SchedulerArguments,
    #[command(flatten)]
    data: DataArguments,
    #[command(flatten)]
    sending: SendingArguments,
    #[command(flatten)]
    addresses: AddressArguments,
    #[command(flatten)]
    admin: AdminArguments,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    proxies: ProxyArguments,
    #[command(flatten)]
    gpu: GpuArguments,
    #[command(flatten)]
    stores: StoreArguments,
    #[command(flatten)]
    egress: EgressArguments,
    #[command(flatten)]
    registry: RegistryArguments,
    /// Time that requests under way are given when the host is told to stop.
    #[arg(long, default_value = "30s", value_parser = parse_duration, env = "ROADSTEAD_DRAIN_TIMEOUT")]
    drain_timeout: Duration,
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
enum HostError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Metrics(#[from] roadstead_metrics::Error),
    #[error("there is no connection to the scheduler (--scheduler-nats-url)")]
    Scheduler(#[source] ConnectError),
    #[error("there is no connection for the workloads' messages (--data-nats-url)")]
    Data(#[source] ConnectError),
    #[error(transparent)]
    Stores(#[from] StoreArgumentsError),
    #[error(transparent)]
    Gpu(#[from] HostGpuError),
    #[error(transparent)]
    Handler(#[from] HandlerError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    AdminToken(#[from] TokenError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error("the plugins cannot be put together")]
    Plugins(#[source] BuildError),
    #[error("the path of this program, which compiles components in processes of its own, cannot be found out")]
    Program(#[source] std::io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// Runs the command until it is told to stop.
pub(super) fn main(arguments: HostArguments) -> ExitCode {
    let telemetry = match arguments.telemetry.prepare(&arguments.limits.apply(Limits::default())) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error),
    };
    let spans = telemetry.as_ref().map(Telemetry::spans);
    let log = match log::start(&arguments.log, Some(&arguments.access_log), spans) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    match arguments.tls_files() {
        Ok(tls_files) => process::run(serve(arguments, log.handle(), tls_files, telemetry)),
        Err(error) => usage(&error),
    }
}

impl HostArguments {
    /// What is served over TLS: on --https-addr, or without one on --http-addr.
    fn tls_files(&self) -> Result<Option<TlsFiles>, super::tls::NoTlsAddress> {
        let takes_http = self.tls.names_files() && self.addresses.http_addr.is_some();
        self.tls.files(takes_http)
    }

    fn limits(&self) -> Limits {
        let defaults = Limits::default();
        self.limits.apply(Limits {
            request_timeout_ms: millis(self.sending.request_timeout),
            drain_timeout_ms: millis(self.drain_timeout),
            connections_max: self.addresses.max_connections.unwrap_or(defaults.connections_max),
            ..defaults
        })
    }
}

async fn serve(
    arguments: HostArguments,
    log: Arc<LogHandle>,
    tls_files: Option<TlsFiles>,
    telemetry: Option<Telemetry>,
) -> Result<Ended, HostError> {
    let telemetry = RunningTelemetry::of(telemetry)?;
    let told = (telemetry.outbox().cloned(), telemetry.timelines());
    let mut signals = Signals::take().map_err(HostError::Signals)?;
    let (cluster, admin) = tokio::select! {
        started = start(arguments, log.clone(), tls_files, told) => started?,
        _ = signals.told_to_stop() => return Ok(Ended::Stopped),
    };
    log.show(cluster.host().metrics())?;
    if let Some(outbox) = telemetry.outbox() {
        outbox.show(cluster.host().metrics())?;
    }
    process::tell_service_manager(NotifyState::Ready);

    tokio::select! {
        _ = signals.told_to_stop() => {}
        () = admin.told_to_drain() => {}
    }
    let limit = Duration::from_millis(cluster.host().limits().drain_timeout_ms);
    tracing::info!(timeout_ms = limit.as_millis(), "stopping: no more commands, requests under way may finish");
    process::tell_service_manager(NotifyState::Stopping);
    admin.set_draining();
    let cut_off = tokio::select! {
        cut_off = cluster.stop(limit) => cut_off,
        told = signals.told_to_stop() => return Ok(process::at_once(told)),
    };
    tracing::info!(cut_off, "stopped");
    telemetry.close().await;
    Ok(Ended::Stopped)
}

async fn start(
    arguments: HostArguments,
    log: Arc<LogHandle>,
    tls_files: Option<TlsFiles>,
    (outbox, timelines): Told,
) -> Result<(ClusterShutdown, AdminServer), HostError> {
    let admin = arguments.admin.settings(arguments.addresses.admin_addr.into(), log)?;
    let http = ingress(&arguments, tls_files).await?;
    let limits = arguments.limits();
    let gpu = arguments.gpu.plugin(&limits).await?;
    let messaging = data(&arguments).await.map_err(HostError::Data)?;
    let scheduler = connect_scheduler(&arguments.scheduler.server()).await.map_err(HostError::Scheduler)?;
    let stores = arguments.stores.plugins(&messaging, &limits).await?;
    let mut host = HostBuilder::new()
        .with_limits(limits)
        .with_artifacts(arguments.registry.options())
        .with_egress(arguments.egress.options())
        .with_compiler_program(compiler().map_err(HostError::Program)?);
    host = arguments.cache.tell(host);
    if gpu.is_none() {
        host = arguments.gpu.explain(host);
    }
    host = secrets::explain(host);
    if let Some(timelines) = timelines {
        host = host.with_timelines(timelines);
    }
    let mut builder = ClusterHostBuilder::default()
        .with_host_group(&arguments.host_group)
        .with_nats_client(Arc::new(scheduler))
        .with_host_builder(host)
        .with_plugin(Arc::new(TracingLogger::default()))
        .and_then(|builder| stores.into_iter().try_fold(builder, ClusterHostBuilder::with_plugin))
        .and_then(|builder| builder.with_plugin(Arc::new(messaging)))
        .and_then(|builder| builder.with_plugin(Arc::new(Otel::new(outbox))))
        // A scheduler sends values, not names.
        .and_then(|builder| builder.with_plugin(Arc::new(Secrets::new())))
        .map_err(HostError::Plugins)?;
    if let Some(gpu) = gpu {
        builder = builder.with_plugin(Arc::new(gpu)).map_err(HostError::Plugins)?;
    }
    if let Some(name) = &arguments.host_name {
        builder = builder.with_host_name(name);
    }
    if let Some(environment) = &arguments.environment {
        builder = builder.with_environment(environment);
    }
    if let Some(http) = http {
        builder = builder.with_http_handler(Arc::new(http));
    }
    let cluster = run_cluster_host(builder.build()?).await?;
    let admin = AdminServer::start(admin, cluster.host().clone()).await?;
    admin.set_notice(cluster.scheduler_lost());
    // What the scheduler sends is no part of the start.
    admin.set_deployed();
    tracing::info!(
        id = cluster.id(),
        http = cluster.host().http_address().map(tracing::field::display),
        https = cluster.host().https_address().map(tracing::field::display),
        admin = %admin.address(),
        admin_socket = admin.socket().map(tracing::field::debug),
        "ready"
    );
    Ok((cluster, admin))
}

/// What carries the workloads' messages.
async fn data(arguments: &HostArguments) -> Result<Messaging, ConnectError> {
    let server = arguments.data.server();
    let messaging = match arguments.data.tenants() {
        Some(folder) => Messaging::nats_accounts_at(&server, folder)?,
        None => Messaging::nats_at(&server).await?,
    };
    Ok(arguments.sending.tell(messaging))
}

/// The ingress, where there is one.
async fn ingress(arguments: &HostArguments, tls_files: Option<TlsFiles>) -> Result<Option<HttpServer>, HandlerError> {
    let router = DynamicRouter::default();
    let server = match (arguments.addresses.http_addr, arguments.tls.address(), tls_files) {
        (Some(http), None, None) => HttpServer::new(router, http).await?,
        (Some(http), Some(https), Some(files)) => HttpServer::new(router, http).await?.with_tls(https, files).await?,
        (Some(address), None, Some(files)) | (None, Some(address), Some(files)) => {
            HttpServer::tls_only(router, address, files).await?
        }
        (None, None, _) | (_, Some(_), None) => return Ok(None),
    };
    Ok(Some(arguments.proxies.tell(server)))
}

#[cfg(test)]
mod tests;
