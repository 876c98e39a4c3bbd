//! What keeps the workloads' keys, objects and live settings: NATS, where messages go over NATS, else this process.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use roadstead_plugins::{
    wasi_blobstore::Blobstore, wasi_config::DynamicConfig, wasi_keyvalue::KeyValue, wasmcloud_messaging::Messaging,
    wasmcloud_secrets::Secrets,
};
use roadstead_runtime::{host::HostBuilder, plugin::HostPlugin};

use super::secrets::{NoVariableError, SecretArguments};

/// Flags of where manifests' references are found.
#[derive(Debug, Args)]
pub(super) struct ReferenceArguments {
    /// Folder of what `configFrom` names: a file NAME/KEY for each value, as Kubernetes mounts a ConfigMap;
    /// NAMESPACE/NAME/KEY for workloads of another namespace than `default` [default: none].
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_CONFIG_DIR")]
    config_dir: Option<PathBuf>,
    /// The same for what `secretFrom` names [default: none].
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_SECRET_DIR")]
    secret_dir: Option<PathBuf>,
    #[command(flatten)]
    secrets: SecretArguments,
}

impl ReferenceArguments {
    /// Lets the host know.
    pub(super) fn tell(&self, mut builder: HostBuilder) -> HostBuilder {
        if let Some(directory) = &self.config_dir {
            builder = builder.with_config_dir(directory);
        }
        match &self.secret_dir {
            Some(directory) => builder.with_secret_dir(directory),
            None => builder,
        }
    }
}

impl ReferenceArguments {
    /// The plugin that has the secrets of the folder and of the environment.
    ///
    /// # Errors
    /// When a variable is not there.
    pub(super) fn secrets(&self) -> Result<Secrets, NoVariableError> {
        let secrets = match &self.secret_dir {
            Some(directory) => Secrets::new().with_dir(directory),
            None => Secrets::new(),
        };
        self.secrets.tell(secrets)
    }

    /// Whether the host is given any secret.
    pub(super) fn have_secrets(&self) -> bool {
        self.secret_dir.is_some() || self.secrets.are_some()
    }
}

/// The plugins that store, over the connections of `messaging` where it has some.
pub(super) fn plugins(messaging: &Messaging) -> [Arc<dyn HostPlugin>; 3] {
    match messaging.nats_clients() {
        Some(clients) => [
            Arc::new(DynamicConfig::with_clients(clients.clone())),
            Arc::new(KeyValue::nats(clients.clone())),
            Arc::new(Blobstore::nats(clients)),
        ],
        None => {
            [Arc::new(DynamicConfig::new(false)), Arc::new(KeyValue::in_memory()), Arc::new(Blobstore::in_memory())]
        }
    }
}
