//! Flags of messaging: over which server messages go, as whom, and where workloads may send.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use roadstead_config::parse_duration;
use roadstead_plugins::wasmcloud_messaging::{ConnectError, Messaging, TenantSubjects};

#[derive(Debug, Args)]
pub(super) struct MessagingArguments {
    /// NATS server that carries the workloads' messages and, with JetStream, keeps what they store; without it all stays
    /// inside this process.
    #[arg(long, value_name = "URL", env = "ROADSTEAD_DATA_NATS_URL", hide_env_values = true)]
    data_nats_url: Option<String>,
    /// Folder with NATS credentials: each namespace has a connection of its own, with NAMESPACE.creds (JWT and seed),
    /// NAMESPACE.nk (seed of an NKEY) or NAMESPACE.user (USER:PASSWORD).
    #[arg(long, value_name = "DIR", requires = "data_nats_url", env = "ROADSTEAD_NATS_CREDS_DIR")]
    nats_creds_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) sending: SendingArguments,
}

/// Flags of what workloads may send, whatever carries it.
#[derive(Debug, Args)]
pub(super) struct SendingArguments {
    /// Where workloads may send whose manifest lists no `publish` subjects.
    #[arg(long, value_enum, default_value_t = Subjects::Open, env = "ROADSTEAD_TENANT_SUBJECTS")]
    tenant_subjects: Subjects,
    /// Longest wait of a component for the reply to a message request.
    #[arg(long, default_value = "300s", value_parser = parse_duration, env = "ROADSTEAD_REQUEST_TIMEOUT")]
    pub(super) request_timeout: Duration,
}

impl SendingArguments {
    /// Lets `messaging` know.
    pub(super) fn tell(&self, messaging: Messaging) -> Messaging {
        messaging.with_tenant_subjects(match self.tenant_subjects {
            Subjects::Open => TenantSubjects::Open,
            Subjects::Strict => TenantSubjects::Strict,
        })
    }
}

/// [`TenantSubjects`] as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subjects {
    /// To every subject that is not reserved.
    Open,
    /// Nowhere.
    Strict,
}

impl MessagingArguments {
    /// The plugin that the flags ask for, connected where it has one connection for all.
    pub(super) async fn plugin(&self) -> Result<Messaging, ConnectError> {
        let messaging = match (&self.data_nats_url, &self.nats_creds_dir) {
            (Some(url), Some(folder)) => Messaging::nats_accounts(url, folder.clone())?,
            (Some(url), None) => Messaging::nats(url).await?,
            (None, _) => Messaging::in_process(),
        };
        Ok(self.sending.tell(messaging))
    }

    /// What carries the messages, for the log.
    pub(super) fn broker(&self) -> &'static str {
        match (&self.data_nats_url, &self.nats_creds_dir) {
            (Some(_), Some(_)) => "NATS, a connection for each namespace",
            (Some(_), None) => "NATS",
            (None, _) => "in process",
        }
    }
}
