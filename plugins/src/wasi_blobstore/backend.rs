//! What keeps objects: one trait for all backends. A backend is told checked names only, and knows no guest.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, Namespace, ObjectName, StoreName};
use roadstead_metrics::{Error, Metrics};
use roadstead_runtime::PluginError;

use crate::{embedded::StoreFailure, tenant_nats::StreamError};

/// What an object counts beside its bytes.
pub(crate) const OBJECT_OVERHEAD_BYTES: u64 = 512;

/// Containers of all namespaces.
#[async_trait]
pub trait BlobBackend: Send + Sync + 'static {
    /// What manifests call it in `config.backend`: one of a few fixed words, which metrics have as a label.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Those of one namespace: out of reach of every other.
    ///
    /// # Errors
    /// When the namespace has no connection.
    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Containers>, PluginError>;

    /// Shows what the backend has to tell beside the calls, which are counted for it.
    ///
    /// # Errors
    /// When something of the same name is shown.
    fn show(&self, _metrics: &Metrics) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the backend can be reached; the reason when it cannot.
    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Seconds since 1970.
    pub created_at: u64,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Seconds since 1970.
    pub created_at: u64,
    /// Bytes.
    pub size: u64,
}

/// Names of objects in the order of their writing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectPage {
    /// At most as many as were asked for.
    pub names: Vec<ObjectName>,
    /// Where the rest begins, if there is more. An object that is written meanwhile may be listed again.
    pub next: Option<u64>,
}

/// Bytes a piece at a time. A piece is asked for when the one before has been used: this is the back-pressure.
#[async_trait]
pub trait Chunks: Send {
    /// The next piece, never empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError>;

    /// Leaves out the next `bytes`, of those that are there, where that costs nothing; returns how many were left out.
    fn skip(&mut self, bytes: u64) -> u64 {
        let _ = bytes;
        0
    }
}

/// The containers of one namespace. Whoever calls bounds the time.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes a container.
    async fn create(&self, container: &StoreName) -> Result<(), BlobError>;

    /// What is known of a container; `None` where it is not there.
    async fn info(&self, container: &StoreName) -> Result<Option<ContainerInfo>, BlobError>;

    /// Deletes a container and its objects.
    async fn delete(&self, container: &StoreName) -> Result<(), BlobError>;

    /// What is known of an object; `None` where it is not there.
    async fn object(&self, container: &StoreName, object: &ObjectName) -> Result<Option<ObjectInfo>, BlobError>;

    /// The bytes of an object from the first one on.
    async fn read(
        &self,
        container: &StoreName,
        object: &ObjectName,
    ) -> Result<(ObjectInfo, Box<dyn Chunks>), BlobError>;

    /// Makes an object of all bytes of `source`, in place of one that is there. Nothing is there of one that fails.
    async fn write(&self, container: &StoreName, object: &ObjectName, source: &mut dyn Chunks)
    -> Result<(), BlobError>;

    /// Deletes an object, also one that is not there.
    async fn remove(&self, container: &StoreName, object: &ObjectName) -> Result<(), BlobError>;

    /// Deletes all objects.
    async fn clear(&self, container: &StoreName) -> Result<(), BlobError>;

    /// At most `max` names, from `from` on.
    async fn list(&self, container: &StoreName, from: u64, max: usize) -> Result<ObjectPage, BlobError>;
}

/// Why something could not be done with objects.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// There is no such container.
    #[error("there is no container {0}")]
    NoContainer(StoreName),
    /// There is no such object.
    #[error("there is no such object in the container {0}")]
    NoObject(StoreName),
    /// There is such a container.
    #[error("there is a container {0} already")]
    ContainerExists(StoreName),
    /// The namespace has as many containers as it may.
    #[error("the namespace has {max} containers, as many as it may (blobstore_containers_max)")]
    ContainersFull { max: u64 },
    /// The container stores as much as it may.
    #[error("the container {0} stores as much as it may (blobstore_container_bytes_max)")]
    BytesFull(StoreName),
    /// The writer gave the object up.
    #[error("the object was given up before it was finished")]
    GivenUp,
    /// The writer stood still.
    #[error("no byte of the object came for {idle_ms} ms (blobstore_idle_ms)")]
    Idle { idle_ms: u64 },
    /// The object was deleted or replaced while it was read.
    #[error("the object was deleted or replaced while it was read")]
    Gone,
    /// The disk of the store is full.
    #[error("the disk of the store is full; the object is not stored")]
    DiskFull,
    /// The backend cannot be reached.
    #[error("the store cannot be reached just now")]
    Disconnected,
    /// The backend failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl From<StreamError> for BlobError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Disconnected => Self::Disconnected,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<StoreFailure> for BlobError {
    fn from(failure: StoreFailure) -> Self {
        match failure {
            StoreFailure::DiskFull => Self::DiskFull,
            StoreFailure::Failed(reason) => Self::Failed(reason),
        }
    }
}
