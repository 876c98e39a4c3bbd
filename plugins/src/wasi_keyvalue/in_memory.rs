//! Keys and values in the memory of this process: they end with it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, Namespace, StoreKey, StoreName};
use roadstead_runtime::PluginError;

use super::backend::{Buckets, Expected, KeyPage, KeyValueBackend, KeyValueError, Versioned};

/// All namespaces' buckets.
#[derive(Default)]
pub struct InMemoryBuckets {
    by_namespace: Mutex<BTreeMap<Namespace, Arc<Tenant>>>,
}

#[async_trait]
impl KeyValueBackend for InMemoryBuckets {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Buckets>, PluginError> {
        let mut all = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = all
            .entry(namespace.clone())
            .or_insert_with(|| Arc::new(Tenant { limits: limits.clone(), kept: Mutex::default() }));
        Ok(tenant.clone())
    }
}

/// One namespace's.
struct Tenant {
    limits: Arc<Limits>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    buckets: HashMap<StoreName, Bucket>,
    keys: u64,
    bytes: u64,
    /// That of the latest change.
    revision: u64,
}

#[derive(Default)]
struct Bucket {
    values: HashMap<StoreKey, Versioned>,
    by_revision: BTreeMap<u64, StoreKey>,
}

impl Tenant {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&self, bucket: &StoreName, key: &StoreKey) -> Option<&Versioned> {
        self.buckets.get(bucket)?.values.get(key)
    }

    fn put(
        &mut self,
        limits: &Limits,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError> {
        let old = self.get(bucket, key).map(|old| (old.revision, size(key, &old.value)));
        let found = old.map_or(0, |(revision, _)| revision);
        if expected != Expected::Anything && expected != Expected::Revision(found) {
            return Err(KeyValueError::Changed);
        }
        let keys = self.keys + u64::from(old.is_none());
        if keys > limits.keyvalue_keys_max {
            return Err(KeyValueError::KeysFull);
        }
        let bytes = self.bytes + size(key, &value) - old.map_or(0, |(_, bytes)| bytes);
        if bytes > limits.keyvalue_bytes_max {
            return Err(KeyValueError::BytesFull);
        }
        (self.keys, self.bytes, self.revision) = (keys, bytes, self.revision + 1);
        let bucket = self.buckets.entry(bucket.clone()).or_default();
        bucket.by_revision.remove(&found);
        bucket.by_revision.insert(self.revision, key.clone());
        bucket.values.insert(key.clone(), Versioned { value, revision: self.revision });
        Ok(())
    }

    fn delete(&mut self, name: &StoreName, key: &StoreKey) {
        let Some(bucket) = self.buckets.get_mut(name) else { return };
        let Some(old) = bucket.values.remove(key) else { return };
        bucket.by_revision.remove(&old.revision);
        if bucket.values.is_empty() {
            self.buckets.remove(name);
        }
        self.keys -= 1;
        self.bytes -= size(key, &old.value);
    }

    fn list(&self, bucket: &StoreName, from: u64, max: usize) -> KeyPage {
        let Some(bucket) = self.buckets.get(bucket) else { return KeyPage::default() };
        let mut rest = bucket.by_revision.range(from..);
        let keys = rest.by_ref().take(max).map(|(_, key)| key.clone()).collect();
        KeyPage { keys, next: rest.next().map(|(revision, _)| *revision) }
    }
}

fn size(key: &StoreKey, value: &Bytes) -> u64 {
    (key.as_str().len() + value.len()) as u64
}

#[async_trait]
impl Buckets for Tenant {
    async fn get(&self, bucket: &StoreName, key: &StoreKey) -> Result<Option<Versioned>, KeyValueError> {
        Ok(self.kept().get(bucket, key).cloned())
    }

    async fn put(
        &self,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError> {
        self.kept().put(&self.limits, bucket, key, value, expected)
    }

    async fn delete(&self, bucket: &StoreName, key: &StoreKey) -> Result<(), KeyValueError> {
        self.kept().delete(bucket, key);
        Ok(())
    }

    async fn list(&self, bucket: &StoreName, from: u64, max: usize) -> Result<KeyPage, KeyValueError> {
        Ok(self.kept().list(bucket, from, max))
    }
}
