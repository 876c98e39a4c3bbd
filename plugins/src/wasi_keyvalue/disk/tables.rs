//! Keys and values as tables of the embedded store, and what one change does to them. When a change is durable and who
//! waits for it, is not known here.

use std::sync::Arc;

use bytes::Bytes;
use redb::{
    Database, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition, TableError, WriteTransaction,
};
use roadstead_config::{Limits, Namespace, StoreKey, StoreName};

use crate::{
    embedded::{self, Applied, table_of},
    wasi_keyvalue::{
        backend::{Expected, KeyPage, KeyValueError, Versioned},
        increment,
    },
};

/// By namespace, bucket and key: the number of the change that gave the value, and the value.
const VALUES: TableDefinition<'_, (&str, &str, &str), (u64, &[u8])> = TableDefinition::new("values");
/// By namespace, bucket and number of the change: the key. One for each value.
const CHANGES: TableDefinition<'_, (&str, &str, u64), &str> = TableDefinition::new("changes");
/// By namespace: keys, their bytes and those of their values, the number of the latest change.
const USAGE: TableDefinition<'_, &str, (u64, u64, u64)> = TableDefinition::new("usage");

/// A change of a key.
pub(super) struct KeyChange {
    pub(super) place: Place,
    pub(super) change: Change,
    pub(super) limits: Arc<Limits>,
}

/// What is to be done.
pub(super) enum Change {
    Put { value: Bytes, expected: Expected },
    Add { delta: u64 },
    Delete,
}

/// Where: a key of a bucket of a namespace.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) namespace: Namespace,
    pub(super) bucket: StoreName,
    pub(super) key: StoreKey,
}

/// The number that was made by adding, 0 for other changes.
impl embedded::Change for KeyChange {
    type Answer = u64;
    type Error = KeyValueError;

    fn bytes(&self) -> usize {
        match &self.change {
            Change::Put { value, .. } => value.len(),
            Change::Add { .. } | Change::Delete => 0,
        }
    }

    fn apply(&self, write: &WriteTransaction) -> Result<Applied<Self>, redb::Error> {
        let mut tables = Tables::open(write)?;
        let (limits, place) = (&self.limits, &self.place);
        let found = tables.find(place, matches!(self.change, Change::Add { .. }))?;
        match &self.change {
            Change::Put { value, expected } => {
                let revision = found.as_ref().map_or(0, |found| found.revision);
                if *expected != Expected::Anything && *expected != Expected::Revision(revision) {
                    return Ok(applied(Err(KeyValueError::Changed), 0));
                }
                Ok(applied(tables.put(limits, place, found.as_ref(), value)?, 0))
            }
            Change::Add { delta } => {
                let sum = match increment::sum(found.as_ref().map(|found| &*found.value), *delta) {
                    Ok(sum) => sum,
                    Err(error) => return Ok(applied(Err(error), 0)),
                };
                let value = Bytes::from(sum.to_string());
                Ok(applied(tables.put(limits, place, found.as_ref(), &value)?, sum))
            }
            Change::Delete => {
                let Some(old) = found else { return Ok(Applied { answer: Ok(0), is_changed: false }) };
                tables.delete(place, &old)?;
                Ok(applied(Ok(()), 0))
            }
        }
    }
}

fn applied(done: Result<(), KeyValueError>, sum: u64) -> Applied<KeyChange> {
    Applied { is_changed: done.is_ok(), answer: done.map(|()| sum) }
}

/// A value that is there.
struct Old {
    revision: u64,
    /// What it counts.
    size: u64,
    value: Bytes,
}

/// The tables of one write.
struct Tables<'t> {
    values: Table<'t, (&'static str, &'static str, &'static str), (u64, &'static [u8])>,
    changes: Table<'t, (&'static str, &'static str, u64), &'static str>,
    usage: Table<'t, &'static str, (u64, u64, u64)>,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Self, TableError> {
        Ok(Self {
            values: write.open_table(VALUES)?,
            changes: write.open_table(CHANGES)?,
            usage: write.open_table(USAGE)?,
        })
    }

    /// What there is; its value only where it is wanted.
    fn find(&self, place: &Place, with_value: bool) -> Result<Option<Old>, StorageError> {
        let found = self.values.get(place.as_key())?;
        Ok(found.map(|found| {
            let (revision, value) = found.value();
            let size = place.size(value);
            Old { revision, size, value: if with_value { Bytes::copy_from_slice(value) } else { Bytes::new() } }
        }))
    }

    fn usage_of(&self, place: &Place) -> Result<(u64, u64, u64), StorageError> {
        Ok(self.usage.get(place.namespace.as_str())?.map_or((0, 0, 0), |found| found.value()))
    }

    fn put(
        &mut self,
        limits: &Limits,
        place: &Place,
        old: Option<&Old>,
        value: &Bytes,
    ) -> Result<Result<(), KeyValueError>, StorageError> {
        let (keys, bytes, revision) = self.usage_of(place)?;
        let keys = keys + u64::from(old.is_none());
        if keys > limits.keyvalue_keys_max {
            return Ok(Err(KeyValueError::KeysFull));
        }
        let bytes = (bytes + place.size(value)).saturating_sub(old.map_or(0, |old| old.size));
        if bytes > limits.keyvalue_bytes_max {
            return Ok(Err(KeyValueError::BytesFull));
        }
        let revision = revision + 1;
        let (namespace, bucket, key) = place.as_key();
        if let Some(old) = old {
            self.changes.remove((namespace, bucket, old.revision))?;
        }
        self.changes.insert((namespace, bucket, revision), key)?;
        self.values.insert((namespace, bucket, key), (revision, &**value))?;
        self.usage.insert(namespace, (keys, bytes, revision))?;
        Ok(Ok(()))
    }

    fn delete(&mut self, place: &Place, old: &Old) -> Result<(), StorageError> {
        let (keys, bytes, revision) = self.usage_of(place)?;
        let (namespace, bucket, key) = place.as_key();
        self.changes.remove((namespace, bucket, old.revision))?;
        self.values.remove((namespace, bucket, key))?;
        // The numbers of changes go on: a cursor and an expected revision stay what they were.
        let left = (keys.saturating_sub(1), bytes.saturating_sub(old.size), revision);
        self.usage.insert(namespace, left)?;
        Ok(())
    }
}

impl Place {
    fn as_key(&self) -> (&str, &str, &str) {
        (self.namespace.as_str(), self.bucket.as_str(), self.key.as_str())
    }

    fn size(&self, value: &[u8]) -> u64 {
        (self.key.as_str().len() + value.len()) as u64
    }
}

fn versioned((revision, value): (u64, &[u8])) -> Versioned {
    Versioned { value: Bytes::copy_from_slice(value), revision }
}

/// The value of a key.
pub(super) fn get(database: &Database, place: &Place) -> Result<Option<Versioned>, redb::Error> {
    let read = database.begin_read()?;
    let Some(values) = table_of(&read, VALUES)? else { return Ok(None) };
    let found = values.get(place.as_key())?;
    Ok(found.map(|found| versioned(found.value())))
}

/// Keys in the order of their last change.
pub(super) fn list(
    database: &Database,
    namespace: &Namespace,
    bucket: &StoreName,
    from: u64,
    max: usize,
) -> Result<KeyPage, redb::Error> {
    let (namespace, bucket) = (namespace.as_str(), bucket.as_str());
    let read = database.begin_read()?;
    let mut page = KeyPage::default();
    let Some(changes) = table_of(&read, CHANGES)? else { return Ok(page) };
    for found in changes.range((namespace, bucket, from)..=(namespace, bucket, u64::MAX))? {
        let (number, key) = found?;
        if page.keys.len() == max {
            page.next = Some(number.value().2);
            break;
        }
        // Nothing else than checked keys was ever put there.
        page.keys.extend(key.value().parse::<StoreKey>().ok());
    }
    Ok(page)
}
