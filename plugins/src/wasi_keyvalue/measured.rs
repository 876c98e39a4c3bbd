//! Buckets whose calls are counted and timed. What a call does, is the backend's.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{StoreKey, StoreName};

use super::backend::{Buckets, Expected, KeyPage, KeyValueError, Versioned};
use crate::store_metrics::{BackendMetrics, Outcome};

/// Those of one namespace in one backend.
pub(super) struct Measured {
    pub(super) inner: Arc<dyn Buckets>,
    pub(super) metrics: BackendMetrics,
}

impl Outcome for KeyValueError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Changed | Self::KeysFull | Self::BytesFull | Self::TooLarge { .. } => true,
            Self::NoNumber | Self::NumberTooLarge | Self::Contended => true,
            Self::DiskFull | Self::Disconnected | Self::Failed(_) => false,
        }
    }
}

#[async_trait]
impl Buckets for Measured {
    async fn get(&self, bucket: &StoreName, key: &StoreKey) -> Result<Option<Versioned>, KeyValueError> {
        self.metrics.measure("get", self.inner.get(bucket, key)).await
    }

    async fn put(
        &self,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError> {
        self.metrics.measure("set", self.inner.put(bucket, key, value, expected)).await
    }

    async fn increment(&self, bucket: &StoreName, key: &StoreKey, delta: u64) -> Result<u64, KeyValueError> {
        self.metrics.measure("increment", self.inner.increment(bucket, key, delta)).await
    }

    async fn delete(&self, bucket: &StoreName, key: &StoreKey) -> Result<(), KeyValueError> {
        self.metrics.measure("delete", self.inner.delete(bucket, key)).await
    }

    async fn list(&self, bucket: &StoreName, from: u64, max: usize) -> Result<KeyPage, KeyValueError> {
        self.metrics.measure("list-keys", self.inner.list(bucket, from, max)).await
    }
}
