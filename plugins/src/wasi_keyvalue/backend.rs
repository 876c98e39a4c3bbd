//! What keeps keys and values: one trait for all backends. A backend is told checked names only, and knows no guest.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, Namespace, StoreKey, StoreName};
use roadstead_metrics::{Error, Metrics};
use roadstead_runtime::PluginError;

use crate::{embedded::StoreFailure, tenant_nats::StreamError};

/// Keys and values of all namespaces.
#[async_trait]
pub trait KeyValueBackend: Send + Sync + 'static {
    /// What manifests call it in `config.backend`: one of a few fixed words, which metrics have as a label.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Those of one namespace: out of reach of every other.
    ///
    /// # Errors
    /// When the namespace has no connection.
    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Buckets>, PluginError>;

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

/// A value and when it was given: each change of any key of the namespace has a greater number than the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes, as they were given.
    pub value: Bytes,
    /// The number of the change that gave them, never 0.
    pub revision: u64,
}

/// Which value a change takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever there is.
    Anything,
    /// That of this revision; 0: there is none.
    Revision(u64),
}

/// Keys of a bucket in the order of their last change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPage {
    /// At most as many as were asked for.
    pub keys: Vec<StoreKey>,
    /// Where the rest begins, if there is more. A key that is changed meanwhile may be listed again; none is left out.
    pub next: Option<u64>,
}

/// The buckets of one namespace. A bucket is there as soon as it is named. Whoever calls bounds the time.
#[async_trait]
pub trait Buckets: Send + Sync {
    /// The value of a key.
    async fn get(&self, bucket: &StoreName, key: &StoreKey) -> Result<Option<Versioned>, KeyValueError>;

    /// Gives a key a value.
    ///
    /// # Errors
    /// [`KeyValueError::Changed`] where the key does not have the value that is expected.
    async fn put(
        &self,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError>;

    /// Adds `delta` to the number of a key, 0 where there is none, and returns the sum. Atomic.
    ///
    /// # Errors
    /// [`KeyValueError::NoNumber`] where the value is something else, [`KeyValueError::NumberTooLarge`] where the sum is.
    async fn increment(&self, bucket: &StoreName, key: &StoreKey, delta: u64) -> Result<u64, KeyValueError> {
        super::increment::by_swaps(self, bucket, key, delta).await
    }

    /// Takes a key away, also one that is not there.
    async fn delete(&self, bucket: &StoreName, key: &StoreKey) -> Result<(), KeyValueError>;

    /// At most `max` keys, from those that were changed at revision `from` on.
    async fn list(&self, bucket: &StoreName, from: u64, max: usize) -> Result<KeyPage, KeyValueError>;
}

/// Why something could not be done with keys and values.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyValueError {
    /// The value is not the expected one any more.
    #[error("the value was changed meanwhile")]
    Changed,
    /// The namespace has as many keys as it may.
    #[error("the namespace has as many keys as it may (keyvalue_keys_max)")]
    KeysFull,
    /// The namespace stores as much as it may.
    #[error("the namespace stores as much as it may (keyvalue_bytes_max)")]
    BytesFull,
    /// The backend takes no value as large as this.
    #[error("the value is {found} bytes large, at most {max} are allowed")]
    TooLarge { found: usize, max: usize },
    /// The value is to be increased and is no number.
    #[error("the value is no number in decimal digits")]
    NoNumber,
    /// It would be too large.
    #[error("the number would be larger than 64 bits hold")]
    NumberTooLarge,
    /// Others were always faster.
    #[error(
        "others changed the value before each of {} attempts; it is as it was",
        super::increment::SWAP_ATTEMPTS_MAX
    )]
    Contended,
    /// The disk of the store is full.
    #[error("the disk of the store is full; nothing was changed")]
    DiskFull,
    /// The backend cannot be reached.
    #[error("the store cannot be reached just now")]
    Disconnected,
    /// The backend failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl From<StreamError> for KeyValueError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Disconnected => Self::Disconnected,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<StoreFailure> for KeyValueError {
    fn from(failure: StoreFailure) -> Self {
        match failure {
            StoreFailure::DiskFull => Self::DiskFull,
            StoreFailure::Failed(reason) => Self::Failed(reason),
        }
    }
}
