//! Keys and values in PostgreSQL: rows of one table, each with its namespace. What must be exact over all hosts, numbers of
//! keys and bytes and the order of changes, is kept by the database's own functions (`tenant_postgres/schema`).
//!
//! Revisions of a namespace are committed in their order, so a listing by revision leaves out none that stays.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, Namespace, StoreKey, StoreName};
use roadstead_metrics::{Error, Metrics};
use roadstead_runtime::PluginError;

use super::{
    KeyValue,
    backend::{Buckets, Expected, KeyPage, KeyValueBackend, KeyValueError, Versioned},
};
use crate::tenant_postgres::{Database, Effect, Parameter, QueryError, TenantDatabase};

const GET: &str = "\
    SELECT value, revision FROM roadstead.kv_entry WHERE namespace = $1 AND bucket = $2 AND key = $3";
const PUT: &str = "SELECT roadstead.kv_put($1, $2, $3, $4, $5, $6, $7)";
const DELETE: &str = "SELECT 1 FROM roadstead.kv_delete($1, $2, $3)";
const LIST: &str = "\
    SELECT key, revision FROM roadstead.kv_entry WHERE namespace = $1 AND bucket = $2 AND revision >= $3 \
    ORDER BY revision LIMIT $4";
/// What `kv_put` is told where any value is expected.
const ANYTHING: i64 = -1;

/// Keys and values over an open database.
pub struct PostgresKeyValue;

impl PostgresKeyValue {
    /// The plugin over `database`, which all namespaces share.
    #[expect(clippy::new_ret_no_self, reason = "as the other backends are made: the plugin is one")]
    pub fn new(database: &Database) -> KeyValue {
        KeyValue::new(Arc::new(PostgresBuckets::new(database)))
    }
}

/// The backend.
pub struct PostgresBuckets {
    database: Database,
}

impl PostgresBuckets {
    /// In this database.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }
}

#[async_trait]
impl KeyValueBackend for PostgresBuckets {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Buckets>, PluginError> {
        Ok(Arc::new(PostgresTenant { database: self.database.of(namespace), limits: limits.clone() }))
    }

    fn show(&self, metrics: &Metrics) -> Result<(), Error> {
        self.database.show(metrics)
    }

    fn readiness(&self) -> Result<(), String> {
        self.database.readiness()
    }
}

/// One namespace's.
struct PostgresTenant {
    database: TenantDatabase,
    limits: Arc<Limits>,
}

impl From<QueryError> for KeyValueError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Disconnected => Self::Disconnected,
            QueryError::NoRoom => Self::DiskFull,
            other => Self::Failed(other.to_string()),
        }
    }
}

fn revision(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl PostgresTenant {
    /// What every statement begins with.
    fn place(&self, bucket: &StoreName) -> Vec<Parameter> {
        vec![self.database.namespace(), Parameter::text(bucket.as_str())]
    }

    fn at(&self, bucket: &StoreName, key: &StoreKey) -> Vec<Parameter> {
        let mut parameters = self.place(bucket);
        parameters.push(Parameter::bytes(key.as_str()));
        parameters
    }
}

#[async_trait]
impl Buckets for PostgresTenant {
    async fn get(&self, bucket: &StoreName, key: &StoreKey) -> Result<Option<Versioned>, KeyValueError> {
        let rows = self.database.query(Effect::Reads, GET, self.at(bucket, key)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let value: &[u8] = row.try_get(0).map_err(QueryError::of_row)?;
        let number = row.try_get(1).map_err(QueryError::of_row)?;
        Ok(Some(Versioned { value: Bytes::copy_from_slice(value), revision: revision(number) }))
    }

    async fn put(
        &self,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError> {
        let expected = match expected {
            Expected::Anything => ANYTHING,
            // A revision that no value has.
            Expected::Revision(revision) => i64::try_from(revision).unwrap_or(i64::MAX),
        };
        let mut parameters = self.at(bucket, key);
        parameters.extend([
            Parameter::Bytes(value),
            Parameter::Number(expected),
            Parameter::number(self.limits.keyvalue_keys_max),
            Parameter::number(self.limits.keyvalue_bytes_max),
        ]);
        match QueryError::only(&self.database.query(Effect::Changes, PUT, parameters).await?)? {
            0_i32 => Ok(()),
            1 => Err(KeyValueError::Changed),
            2 => Err(KeyValueError::KeysFull),
            3 => Err(KeyValueError::BytesFull),
            other => Err(KeyValueError::Failed(format!("kv_put told {other}"))),
        }
    }

    async fn delete(&self, bucket: &StoreName, key: &StoreKey) -> Result<(), KeyValueError> {
        self.database.query(Effect::Changes, DELETE, self.at(bucket, key)).await?;
        Ok(())
    }

    async fn list(&self, bucket: &StoreName, from: u64, max: usize) -> Result<KeyPage, KeyValueError> {
        let mut parameters = self.place(bucket);
        // One more than is asked for tells where the rest begins.
        parameters.extend([Parameter::number(from), Parameter::number(max as u64 + 1)]);
        let rows = self.database.query(Effect::Reads, LIST, parameters).await?;
        let mut page = KeyPage::default();
        for row in &rows {
            if page.keys.len() == max {
                page.next = Some(revision(row.try_get(1).map_err(QueryError::of_row)?));
                break;
            }
            let key = std::str::from_utf8(row.try_get(0).map_err(QueryError::of_row)?).ok();
            // What others put there under keys that are none of ours is left out.
            page.keys.extend(key.and_then(|key| key.parse().ok()));
        }
        Ok(page)
    }
}
