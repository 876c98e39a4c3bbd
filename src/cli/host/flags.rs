//! The flags of `roadstead host` by what they are about: the two connections to NATS, the addresses, and what this version
//! does not have yet. The names are the published ones.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, builder::FalseyValueParser};
use roadstead_plugins::wasmcloud_messaging::NatsServer;

use crate::cli::sockets::ADMIN_ADDR_DEFAULT;

/// Flags of the connection to the scheduler.
#[derive(Debug, Args)]
pub(super) struct SchedulerArguments {
    /// NATS server over which the scheduler sends its commands.
    #[arg(
        long,
        value_name = "URL",
        default_value = "nats://localhost:4222",
        env = "ROADSTEAD_SCHEDULER_NATS_URL",
        hide_env_values = true
    )]
    scheduler_nats_url: String,
    /// Authorities (PEM) of that server's certificate, in place of the system's.
    #[arg(long, visible_alias = "scheduler-tls-ca", value_name = "FILE", env = "ROADSTEAD_SCHEDULER_NATS_TLS_CA")]
    scheduler_nats_tls_ca: Option<PathBuf>,
    /// Certificate (PEM) that the host shows to that server.
    #[arg(long, value_name = "FILE", requires = "scheduler_nats_tls_key", env = "ROADSTEAD_SCHEDULER_NATS_TLS_CERT")]
    scheduler_nats_tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    #[arg(long, value_name = "FILE", requires = "scheduler_nats_tls_cert", env = "ROADSTEAD_SCHEDULER_NATS_TLS_KEY")]
    scheduler_nats_tls_key: Option<PathBuf>,
    /// Begin TLS with the connection, before that server says anything (its `handshake_first`).
    #[arg(long, env = "ROADSTEAD_SCHEDULER_NATS_TLS_FIRST", value_parser = FalseyValueParser::new())]
    scheduler_nats_tls_first: bool,
    /// Credentials (JWT and seed) for that server.
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_SCHEDULER_NATS_CREDS")]
    scheduler_nats_creds: Option<PathBuf>,
}

impl SchedulerArguments {
    /// The server that the flags name.
    pub(super) fn server(&self) -> NatsServer {
        NatsServer {
            url: self.scheduler_nats_url.clone(),
            ca_file: self.scheduler_nats_tls_ca.clone(),
            certificate: self.scheduler_nats_tls_cert.clone().zip(self.scheduler_nats_tls_key.clone()),
            is_tls_first: self.scheduler_nats_tls_first,
            credentials_file: self.scheduler_nats_creds.clone(),
        }
    }
}

/// Flags of what carries the workloads' messages.
#[derive(Debug, Args)]
pub(super) struct DataArguments {
    /// NATS server that carries the workloads' messages.
    #[arg(
        long,
        value_name = "URL",
        default_value = "nats://localhost:4222",
        env = "ROADSTEAD_DATA_NATS_URL",
        hide_env_values = true
    )]
    data_nats_url: String,
    /// Authorities (PEM) of that server's certificate, in place of the system's.
    #[arg(long, visible_alias = "data-tls-ca", value_name = "FILE", env = "ROADSTEAD_DATA_NATS_TLS_CA")]
    data_nats_tls_ca: Option<PathBuf>,
    /// Certificate (PEM) that the host shows to that server.
    #[arg(long, value_name = "FILE", requires = "data_nats_tls_key", env = "ROADSTEAD_DATA_NATS_TLS_CERT")]
    data_nats_tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate.
    #[arg(long, value_name = "FILE", requires = "data_nats_tls_cert", env = "ROADSTEAD_DATA_NATS_TLS_KEY")]
    data_nats_tls_key: Option<PathBuf>,
    /// Begin TLS with the connection, before that server says anything (its `handshake_first`).
    #[arg(long, env = "ROADSTEAD_DATA_NATS_TLS_FIRST", value_parser = FalseyValueParser::new())]
    data_nats_tls_first: bool,
    /// Credentials (JWT and seed) for that server, of all workloads together.
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_DATA_NATS_CREDS", conflicts_with = "nats_creds_dir")]
    data_nats_creds: Option<PathBuf>,
    /// Folder with credentials for that server: each namespace has a connection of its own, with NAMESPACE.creds (JWT and
    /// seed), NAMESPACE.nk (seed of an NKEY) or NAMESPACE.user (USER:PASSWORD).
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_NATS_CREDS_DIR")]
    nats_creds_dir: Option<PathBuf>,
}

impl DataArguments {
    /// The server that the flags name.
    pub(super) fn server(&self) -> NatsServer {
        NatsServer {
            url: self.data_nats_url.clone(),
            ca_file: self.data_nats_tls_ca.clone(),
            certificate: self.data_nats_tls_cert.clone().zip(self.data_nats_tls_key.clone()),
            is_tls_first: self.data_nats_tls_first,
            credentials_file: self.data_nats_creds.clone(),
        }
    }

    /// The folder with each namespace's credentials.
    pub(super) fn tenants(&self) -> Option<PathBuf> {
        self.nats_creds_dir.clone()
    }
}

/// Flags of the addresses without TLS, and of what may connect there.
#[derive(Debug, Args)]
pub(super) struct AddressArguments {
    /// Address that answers the workloads' HTTP requests [default: none, no HTTP]. With --tls-cert-path and the like, and
    /// without --https-addr, it speaks TLS.
    #[arg(long, env = "ROADSTEAD_HTTP_ADDR", value_name = "ADDR")]
    pub(super) http_addr: Option<SocketAddr>,
    /// Address of /metrics, /healthz, /readyz and /status.
    #[arg(long, env = "ROADSTEAD_ADMIN_ADDR", value_name = "ADDR", default_value_t = ADMIN_ADDR_DEFAULT)]
    pub(super) admin_addr: SocketAddr,
    /// Open connections of the two HTTP addresses [default: that of the limit connections_max].
    #[arg(long, env = "ROADSTEAD_MAX_CONNECTIONS", value_name = "COUNT")]
    pub(super) max_connections: Option<u64>,
}
