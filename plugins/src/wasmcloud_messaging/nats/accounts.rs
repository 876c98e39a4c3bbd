//! A connection for each tenant, with credentials of its own: what one may send and hear, the server decides by account.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use roadstead_config::Namespace;
use tokio::sync::Mutex as AsyncMutex;

use super::{
    NatsBroker,
    connect::{ConnectError, NatsServer, Server},
    credentials::{Credentials, CredentialsError},
    health::ConnectionMetrics,
};
use crate::wasmcloud_messaging::broker::Broker;

/// Why a tenant has no connection.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("no connection to NATS for the namespace {namespace}")]
    Connect {
        namespace: Namespace,
        #[source]
        source: ConnectError,
    },
}

/// The tenants' connections. One is made when its first workload is deployed, and ends with its last.
pub(crate) struct NatsAccounts {
    server: Server,
    folder: PathBuf,
    metrics: ConnectionMetrics,
    by_namespace: Mutex<BTreeMap<Namespace, Slot>>,
}

/// Whoever wants the connection while it is being made waits for it; others do not.
type Slot = Arc<AsyncMutex<Weak<NatsBroker>>>;

impl NatsAccounts {
    pub(crate) fn new(server: &NatsServer, folder: PathBuf, metrics: ConnectionMetrics) -> Result<Self, ConnectError> {
        Ok(Self { server: Server::without_credentials(server)?, folder, metrics, by_namespace: Mutex::default() })
    }

    /// The connection of `namespace`, one for all its workloads.
    pub(crate) async fn of(&self, namespace: &Namespace) -> Result<Arc<dyn Broker>, AccountError> {
        Ok(self.connection_of(namespace).await?)
    }

    /// The same for those who know NATS.
    pub(crate) async fn connection_of(&self, namespace: &Namespace) -> Result<Arc<NatsBroker>, AccountError> {
        let slot = self.slots().entry(namespace.clone()).or_default().clone();
        let mut connection = slot.lock().await;
        if let Some(broker) = connection.upgrade() {
            return Ok(broker);
        }
        let credentials = Credentials::read(&self.folder, namespace).await?;
        let health = Arc::new(self.metrics.connection(namespace.as_str()));
        let client = self.server.connect_as(&credentials, &health).await;
        let client = client.map_err(|source| AccountError::Connect { namespace: namespace.clone(), source })?;
        let broker = Arc::new(NatsBroker::watched(client, &health));
        *connection = Arc::downgrade(&broker);
        Ok(broker)
    }

    /// Not ready when all connections are lost: one tenant's is its own trouble, not the host's.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        let mut reason = Ok(());
        let mut slots = self.slots();
        slots.retain(|_, slot| slot.try_lock().is_err() || Arc::strong_count(slot) > 1 || is_alive(slot));
        for broker in slots.values().filter_map(|slot| slot.try_lock().ok()?.upgrade()) {
            match broker.readiness() {
                Ok(()) => return Ok(()),
                lost => reason = lost,
            }
        }
        reason
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Namespace, Slot>> {
        self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_alive(slot: &Slot) -> bool {
    slot.try_lock().is_ok_and(|connection| connection.strong_count() > 0)
}
