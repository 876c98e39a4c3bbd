//! Containers whose calls are counted and timed: writing an object with all of its bytes, reading one up to its beginning.
//! What a call does, is the backend's.

use std::sync::Arc;

use async_trait::async_trait;
use roadstead_config::{ObjectName, StoreName};

use super::backend::{BlobError, Chunks, ContainerInfo, Containers, ObjectInfo, ObjectPage};
use crate::store_metrics::{BackendMetrics, Outcome};

/// Those of one namespace in one backend.
pub(super) struct Measured {
    pub(super) inner: Arc<dyn Containers>,
    pub(super) metrics: BackendMetrics,
}

impl Outcome for BlobError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::NoContainer(_) | Self::NoObject(_) | Self::ContainerExists(_) => true,
            Self::ContainersFull { .. } | Self::BytesFull(_) => true,
            Self::GivenUp | Self::Idle { .. } | Self::Gone => true,
            Self::DiskFull | Self::Disconnected | Self::Failed(_) => false,
        }
    }
}

#[async_trait]
impl Containers for Measured {
    async fn create(&self, container: &StoreName) -> Result<(), BlobError> {
        self.metrics.measure("create-container", self.inner.create(container)).await
    }

    async fn info(&self, container: &StoreName) -> Result<Option<ContainerInfo>, BlobError> {
        self.metrics.measure("container-info", self.inner.info(container)).await
    }

    async fn delete(&self, container: &StoreName) -> Result<(), BlobError> {
        self.metrics.measure("delete-container", self.inner.delete(container)).await
    }

    async fn object(&self, container: &StoreName, object: &ObjectName) -> Result<Option<ObjectInfo>, BlobError> {
        self.metrics.measure("object-info", self.inner.object(container, object)).await
    }

    async fn read(
        &self,
        container: &StoreName,
        object: &ObjectName,
    ) -> Result<(ObjectInfo, Box<dyn Chunks>), BlobError> {
        self.metrics.measure("read", self.inner.read(container, object)).await
    }

    async fn write(
        &self,
        container: &StoreName,
        object: &ObjectName,
        source: &mut dyn Chunks,
    ) -> Result<(), BlobError> {
        self.metrics.measure("write", self.inner.write(container, object, source)).await
    }

    async fn remove(&self, container: &StoreName, object: &ObjectName) -> Result<(), BlobError> {
        self.metrics.measure("delete", self.inner.remove(container, object)).await
    }

    async fn clear(&self, container: &StoreName) -> Result<(), BlobError> {
        self.metrics.measure("clear", self.inner.clear(container)).await
    }

    async fn list(&self, container: &StoreName, from: u64, max: usize) -> Result<ObjectPage, BlobError> {
        self.metrics.measure("list-objects", self.inner.list(container, from, max)).await
    }
}
