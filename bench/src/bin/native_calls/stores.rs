//! Values written and read by the libraries' own clients, one call after the other, each timed. Who compares is not known
//! here.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};
use tokio_postgres::{Client, NoTls, Statement};

use super::AnyError;

const KEY: &str = "timed";
/// Whose values these are, apart from those of the host.
const OWNER: &str = "native";
/// Of the calls, how many are made before as many as asked for are timed: one in so many.
const WARM_UP_PART: usize = 10;
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// More keys and bytes than there are, for the statement that counts them.
const PLENTY: i64 = i64::MAX / 2;

/// As the host asks; see `plugins/src/wasi_keyvalue/postgres.rs`.
const GET: &str = "SELECT value, revision FROM roadstead.kv_entry WHERE namespace = $1 AND bucket = $2 AND key = $3";
const PUT: &str = "SELECT roadstead.kv_put($1, $2, $3, $4, $5, $6, $7)";
/// What `kv_put` is told where any value is expected, and what it says when it is done.
const ANYTHING: i64 = -1;
const DONE: i32 = 0;

#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Get,
    Set,
}

/// A store, as far as it is measured.
pub(super) trait Store {
    /// The length of the value.
    async fn get(&self) -> Result<usize, AnyError>;
    async fn set(&self, value: &Bytes) -> Result<(), AnyError>;
}

/// The time of each of `count` calls. The value is there before the first is read.
///
/// # Errors
/// When a call fails, or reads another value.
pub(super) async fn time(
    store: &impl Store,
    operation: Operation,
    value: &Bytes,
    count: usize,
) -> Result<Vec<Duration>, AnyError> {
    store.set(value).await?;
    for _ in 0..count / WARM_UP_PART {
        call(store, operation, value).await?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        call(store, operation, value).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

async fn call(store: &impl Store, operation: Operation, value: &Bytes) -> Result<(), AnyError> {
    match operation {
        Operation::Set => store.set(value).await,
        Operation::Get if store.get().await? == value.len() => Ok(()),
        Operation::Get => Err("another value than was written".into()),
    }
}

/// Bytes that no store makes smaller, the same each time.
pub(super) fn noise(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..size).map(byte).collect()
}

/// redb in a file, each change synchronised to the disk and the file ready for use after a crash, as the host has it.
pub(super) struct Redb {
    database: Database,
}

impl Redb {
    pub(super) fn open(file: &str) -> Result<Self, AnyError> {
        Ok(Self { database: Database::create(file)? })
    }
}

impl Store for Redb {
    async fn get(&self) -> Result<usize, AnyError> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let found = table.get(KEY)?;
        // Copied, as whoever is to keep it has to.
        Ok(found.map_or(0, |found| std::hint::black_box(found.value().to_vec()).len()))
    }

    async fn set(&self, value: &Bytes) -> Result<(), AnyError> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        write.open_table(TABLE)?.insert(KEY, &**value)?;
        Ok(write.commit()?)
    }
}

/// A key-value bucket of JetStream.
pub(super) struct Nats {
    bucket: kv::Store,
}

impl Nats {
    pub(super) async fn open(address: &str) -> Result<Self, AnyError> {
        let jetstream = jetstream::new(async_nats::connect(address).await?);
        let config = kv::Config { bucket: OWNER.into(), history: 1, ..kv::Config::default() };
        Ok(Self { bucket: jetstream.create_key_value(config).await? })
    }
}

impl Store for Nats {
    async fn get(&self) -> Result<usize, AnyError> {
        Ok(self.bucket.get(KEY).await?.map_or(0, |value| value.len()))
    }

    async fn set(&self, value: &Bytes) -> Result<(), AnyError> {
        self.bucket.put(KEY, value.clone()).await?;
        Ok(())
    }
}

/// The host's statements, prepared once, on one connection without TLS.
pub(super) struct Postgres {
    client: Client,
    get: Statement,
    put: Statement,
}

impl Postgres {
    pub(super) async fn open(url: &str) -> Result<Self, AnyError> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // It ends with the client.
        tokio::spawn(connection);
        let (get, put) = (client.prepare(GET).await?, client.prepare(PUT).await?);
        Ok(Self { client, get, put })
    }
}

impl Store for Postgres {
    async fn get(&self) -> Result<usize, AnyError> {
        let row = self.client.query_opt(&self.get, &[&OWNER, &OWNER, &KEY.as_bytes()]).await?;
        Ok(match row {
            Some(row) => std::hint::black_box(row.try_get::<_, &[u8]>(0)?.to_vec()).len(),
            None => 0,
        })
    }

    async fn set(&self, value: &Bytes) -> Result<(), AnyError> {
        let row = self
            .client
            .query_one(&self.put, &[&OWNER, &OWNER, &KEY.as_bytes(), &&**value, &ANYTHING, &PLENTY, &PLENTY])
            .await?;
        match row.try_get::<_, i32>(0)? {
            DONE => Ok(()),
            other => Err(format!("kv_put told {other}").into()),
        }
    }
}
