//! What keeps the workloads' keys, objects and live settings: PostgreSQL, where there is `--postgres-url`, NATS, where messages go over NATS, the disk, where there is
//! `--data-dir`, and the memory of this process. How each does it, is not known here.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use roadstead_config::Limits;
use roadstead_plugins::{
    data_dir::{DataDir, DataDirError},
    embedded::DiskError,
    tenant_nats::NatsClients,
    tenant_postgres::{Database, PostgresError},
    wasi_blobstore::{BlobBackend, Blobstore, DiskContainers, InMemoryContainers, NatsContainers, PostgresContainers},
    wasi_config::DynamicConfig,
    wasi_keyvalue::{DiskBuckets, InMemoryBuckets, KeyValue, KeyValueBackend, NatsBuckets, PostgresBuckets},
    wasmcloud_messaging::Messaging,
    wasmcloud_secrets::Secrets,
};
use roadstead_runtime::{host::HostBuilder, plugin::HostPlugin};

use super::{
    postgres::PostgresArguments,
    secrets::{NoVariableError, SecretArguments},
};

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

/// Flags of what keeps the workloads' keys and objects.
#[derive(Debug, Args)]
pub(super) struct StoreArguments {
    /// Folder in which keys and objects are kept, made where it is not there; this host alone uses it [default: none].
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_DATA_DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    postgres: PostgresArguments,
}

/// What brings the backends that a host may lack.
const REMEDIES: [(&str, &str); 3] =
    [("postgres", "--postgres-url URL"), ("disk", "--data-dir DIR"), ("nats", "--data-nats-url URL")];

/// The backends of a host for keys and for objects, the one of entries that ask for none first.
struct HostBackends {
    keys: Vec<Arc<dyn KeyValueBackend>>,
    objects: Vec<Arc<dyn BlobBackend>>,
}

impl StoreArguments {
    /// The plugins that store, over the connections of `messaging` where it has some.
    pub(super) async fn plugins(
        &self,
        messaging: &Messaging,
        limits: &Limits,
    ) -> Result<[Arc<dyn HostPlugin>; 3], StoreArgumentsError> {
        let database = self.postgres.database(limits).await?;
        let clients = messaging.nats_clients();
        let HostBackends { keys, objects } = self.backends(database.as_ref(), clients.clone()).await?;
        let live = clients.map_or_else(|| DynamicConfig::new(false), DynamicConfig::with_clients);
        let mut keys = keys.into_iter();
        let mut objects = objects.into_iter();
        let (Some(first_keys), Some(first_objects)) = (keys.next(), objects.next()) else {
            return Err(StoreArgumentsError::Nothing);
        };
        let mut key_value = keys.fold(KeyValue::new(first_keys), KeyValue::with_backend);
        let mut blobstore = objects.fold(Blobstore::new(first_objects), Blobstore::with_backend);
        for (name, remedy) in REMEDIES {
            key_value = key_value.with_remedy(name, remedy);
            blobstore = blobstore.with_remedy(name, remedy);
        }
        Ok([Arc::new(live), Arc::new(key_value), Arc::new(blobstore)])
    }

    /// All that this host has, in the order in which entries get them that ask for none.
    async fn backends(
        &self,
        database: Option<&Database>,
        clients: Option<NatsClients>,
    ) -> Result<HostBackends, StoreArgumentsError> {
        let mut all = HostBackends { keys: Vec::new(), objects: Vec::new() };
        if let Some(database) = database {
            all.add(PostgresBuckets::new(database), PostgresContainers::new(database));
        }
        if let Some(clients) = clients {
            all.add(NatsBuckets::new(clients.clone()), NatsContainers::new(clients));
        }
        if let Some(directory) = self.data_dir.clone() {
            // All that is kept is read, which takes its time.
            let opening = tokio::task::spawn_blocking(move || {
                let folder = DataDir::open(&directory)?;
                Ok::<_, StoreArgumentsError>((DiskBuckets::open(&folder)?, DiskContainers::open(&folder)?))
            });
            let (keys, objects) = opening.await.map_err(|_| StoreArgumentsError::Nothing)??;
            all.add(keys, objects);
        }
        all.add(InMemoryBuckets::default(), InMemoryContainers::default());
        Ok(all)
    }
}

impl HostBackends {
    fn add(&mut self, keys: impl KeyValueBackend, objects: impl BlobBackend) {
        self.keys.push(Arc::new(keys));
        self.objects.push(Arc::new(objects));
    }
}

/// Why there are no stores.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreArgumentsError {
    #[error("the host has nothing that keeps keys and objects")]
    Nothing,
    #[error("there is no folder for keys and objects (--data-dir)")]
    DataDir(#[from] DataDirError),
    #[error("what is kept in --data-dir cannot be used")]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}
