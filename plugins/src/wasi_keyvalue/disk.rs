//! Keys and values on the host's own disk, in the folder of `--data-dir`: what was acknowledged is there after a crash of
//! the host or of the machine. One embedded store for all namespaces, one thread that writes.

mod tables;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, Namespace, StoreKey, StoreName};
use roadstead_runtime::PluginError;

use super::backend::{Buckets, Expected, KeyPage, KeyValueBackend, KeyValueError, Versioned};
use crate::{
    data_dir::DataDir,
    embedded::{DiskError, Embedded},
};
use tables::{Change, KeyChange, Place};

/// The file of the embedded store in the folder of `--data-dir`.
const FILE: &str = "keys.redb";

/// The backend.
pub struct DiskBuckets {
    store: Embedded<KeyChange>,
}

impl DiskBuckets {
    /// Opens what is kept in `folder`, or makes it. Blocks, and reads all that is kept to find damage.
    ///
    /// # Errors
    /// When the file cannot be used, or is damaged.
    pub fn open(folder: &Arc<DataDir>) -> Result<Self, DiskError> {
        Ok(Self { store: Embedded::open(folder, FILE)? })
    }
}

#[async_trait]
impl KeyValueBackend for DiskBuckets {
    fn name(&self) -> &'static str {
        "disk"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Buckets>, PluginError> {
        let (namespace, limits) = (namespace.clone(), limits.clone());
        Ok(Arc::new(Tenant { namespace, limits, store: self.store.clone() }))
    }

    fn readiness(&self) -> Result<(), String> {
        self.store.readiness()
    }
}

/// One namespace's.
struct Tenant {
    namespace: Namespace,
    limits: Arc<Limits>,
    store: Embedded<KeyChange>,
}

impl Tenant {
    fn place(&self, bucket: &StoreName, key: &StoreKey) -> Place {
        Place { namespace: self.namespace.clone(), bucket: bucket.clone(), key: key.clone() }
    }

    async fn make(&self, bucket: &StoreName, key: &StoreKey, change: Change) -> Result<u64, KeyValueError> {
        let (place, limits) = (self.place(bucket, key), self.limits.clone());
        self.store.make(KeyChange { place, change, limits }).await
    }
}

#[async_trait]
impl Buckets for Tenant {
    async fn get(&self, bucket: &StoreName, key: &StoreKey) -> Result<Option<Versioned>, KeyValueError> {
        let place = self.place(bucket, key);
        self.store.read(move |database| tables::get(database, &place)).await
    }

    async fn put(
        &self,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError> {
        self.make(bucket, key, Change::Put { value, expected }).await.map(drop)
    }

    async fn increment(&self, bucket: &StoreName, key: &StoreKey, delta: u64) -> Result<u64, KeyValueError> {
        self.make(bucket, key, Change::Add { delta }).await
    }

    async fn delete(&self, bucket: &StoreName, key: &StoreKey) -> Result<(), KeyValueError> {
        self.make(bucket, key, Change::Delete).await.map(drop)
    }

    async fn list(&self, bucket: &StoreName, from: u64, max: usize) -> Result<KeyPage, KeyValueError> {
        let (namespace, bucket) = (self.namespace.clone(), bucket.clone());
        self.store.read(move |database| tables::list(database, &namespace, &bucket, from, max)).await
    }
}

#[cfg(test)]
mod tests;
