//! Objects in PostgreSQL: rows of pieces, each read and written by a statement of its own, so that no connection waits for
//! a guest. What must be exact over all hosts is kept by the database's own functions (`tenant_postgres/schema`).
//!
//! Pieces that are no object's any more are removed a part at a time, and an object whose writer is gone is given up when
//! its lease has ended: by whichever host comes first.

mod sweep;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use roadstead_config::{Limits, Namespace, ObjectName, StoreName};
use roadstead_metrics::{Error, Metrics};
use roadstead_runtime::PluginError;

use super::{
    Blobstore,
    backend::{
        BlobBackend, BlobError, Chunks, ContainerInfo, Containers, OBJECT_OVERHEAD_BYTES, ObjectInfo, ObjectPage,
    },
};
use crate::tenant_postgres::{Database, Effect, Parameter, QueryError, TenantDatabase};
use sweep::Sweeper;

/// Size of the pieces of an object, in bytes. It is part of the schema: objects that are there have it.
const PIECE_BYTES: usize = 131_072;
/// Time beyond the longest silences of its writer and of the store for which an object in the making is kept.
const LEASE_GRACE: Duration = Duration::from_secs(60);
/// Longest such time: a year.
const LEASE_MAX: Duration = Duration::from_secs(31_536_000);

const CREATE: &str = "SELECT roadstead.blob_create($1, $2, $3)";
const CONTAINER: &str = "\
    SELECT extract(epoch FROM created_at)::bigint FROM roadstead.blob_container WHERE namespace = $1 AND name = $2";
const DELETE: &str = "SELECT roadstead.blob_delete_container($1, $2)";
const OBJECT: &str = "\
    SELECT o.id, o.size, extract(epoch FROM o.created_at)::bigint FROM roadstead.blob_container c \
    LEFT JOIN roadstead.blob_object o ON o.container = c.id AND o.name = $3 AND o.number IS NOT NULL \
    WHERE c.namespace = $1 AND c.name = $2";
const CHUNK: &str = "SELECT data FROM roadstead.blob_chunk WHERE object = $1 AND position = $2";
const BEGIN: &str = "SELECT roadstead.blob_begin($1, $2, $3, $4, $5, $6)";
const APPEND: &str = "SELECT roadstead.blob_append($1, $2, $3, $4, $5)";
const RENEW: &str = "\
    UPDATE roadstead.blob_object SET lease_until = now() + $2::bigint * interval '1 millisecond' \
    WHERE id = $1 AND number IS NULL RETURNING id";
const FINISH: &str = "SELECT roadstead.blob_finish($1)";
const ABORT: &str = "SELECT 1 FROM roadstead.blob_abort($1, false)";
const REMOVE: &str = "SELECT roadstead.blob_remove($1, $2, $3)";
const CLEAR: &str = "SELECT roadstead.blob_clear($1, $2)";
const LIST: &str = "\
    SELECT o.name, o.number FROM roadstead.blob_container c LEFT JOIN LATERAL ( \
        SELECT name, number FROM roadstead.blob_object \
        WHERE container = c.id AND number IS NOT NULL AND number >= $3 ORDER BY number LIMIT $4 \
    ) o ON true WHERE c.namespace = $1 AND c.name = $2 ORDER BY o.number";

/// Objects over an open database.
pub struct PostgresBlobstore;

impl PostgresBlobstore {
    /// The plugin over `database`, which all namespaces share. It is to be made inside a runtime of tokio.
    #[expect(clippy::new_ret_no_self, reason = "as the other backends are made: the plugin is one")]
    pub fn new(database: &Database) -> Blobstore {
        Blobstore::new(Arc::new(PostgresContainers::new(database)))
    }
}

/// The backend.
pub struct PostgresContainers {
    database: Database,
    sweeper: Arc<Sweeper>,
}

impl PostgresContainers {
    /// In this database. It begins a task that removes what is no object's any more, and ends with this.
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone(), sweeper: Sweeper::start(database.of_the_host()) }
    }
}

#[async_trait]
impl BlobBackend for PostgresContainers {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Containers>, PluginError> {
        Ok(Arc::new(PostgresTenant {
            database: self.database.of(namespace),
            limits: limits.clone(),
            sweeper: self.sweeper.clone(),
        }))
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
    sweeper: Arc<Sweeper>,
}

impl From<QueryError> for BlobError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Disconnected => Self::Disconnected,
            QueryError::NoRoom => Self::DiskFull,
            other => Self::Failed(other.to_string()),
        }
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// An object that is there.
struct Found {
    id: i64,
    info: ObjectInfo,
}

/// An object in the making.
struct Writing<'a> {
    tenant: &'a PostgresTenant,
    container: &'a StoreName,
    id: i64,
    position: i64,
    /// When its lease was last renewed.
    renewed: Instant,
}

impl PostgresTenant {
    fn place(&self, container: &StoreName) -> Vec<Parameter> {
        vec![self.database.namespace(), Parameter::text(container.as_str())]
    }

    fn at(&self, container: &StoreName, object: &ObjectName) -> Vec<Parameter> {
        let mut parameters = self.place(container);
        parameters.push(Parameter::bytes(object.as_str()));
        parameters
    }

    fn bytes_max(&self) -> Parameter {
        Parameter::number(self.limits.blobstore_container_bytes_max)
    }

    /// How long an object in the making is kept without a further piece.
    fn lease_time(&self) -> Duration {
        let silences = self.limits.blobstore_idle_ms.saturating_add(self.limits.store_call_ms);
        Duration::from_millis(silences).saturating_mul(2).saturating_add(LEASE_GRACE).min(LEASE_MAX)
    }

    fn lease(&self) -> Parameter {
        Parameter::number(u64::try_from(self.lease_time().as_millis()).unwrap_or(u64::MAX))
    }

    async fn find(&self, container: &StoreName, object: &ObjectName) -> Result<Option<Found>, BlobError> {
        let rows = self.database.query(Effect::Reads, OBJECT, self.at(container, object)).await?;
        let row = rows.first().ok_or_else(|| BlobError::NoContainer(container.clone()))?;
        let Some(id) = row.try_get(0).map_err(QueryError::of_row)? else { return Ok(None) };
        let size = row.try_get(1).map_err(QueryError::of_row)?;
        let created_at = row.try_get(2).map_err(QueryError::of_row)?;
        Ok(Some(Found { id, info: ObjectInfo { created_at: unsigned(created_at), size: unsigned(size) } }))
    }

    /// Does something that tells whether the container was there.
    async fn in_container(
        &self,
        statement: &'static str,
        container: &StoreName,
        parameters: Vec<Parameter>,
    ) -> Result<(), BlobError> {
        let rows = self.database.query(Effect::Changes, statement, parameters).await?;
        match QueryError::only(&rows)? {
            true => Ok(()),
            false => Err(BlobError::NoContainer(container.clone())),
        }
    }

    async fn begin<'a>(&'a self, container: &'a StoreName, object: &ObjectName) -> Result<Writing<'a>, BlobError> {
        let mut parameters = self.at(container, object);
        parameters.extend([Parameter::number(OBJECT_OVERHEAD_BYTES), self.bytes_max(), self.lease()]);
        match QueryError::only(&self.database.query(Effect::Changes, BEGIN, parameters).await?)? {
            -1 => Err(BlobError::NoContainer(container.clone())),
            -2 => Err(BlobError::BytesFull(container.clone())),
            id => Ok(Writing { tenant: self, container, id, position: 0, renewed: Instant::now() }),
        }
    }
}

impl Writing<'_> {
    async fn append(&mut self, piece: Bytes) -> Result<(), BlobError> {
        let parameters = vec![
            Parameter::Number(self.id),
            Parameter::Number(self.position),
            Parameter::Bytes(piece),
            self.tenant.bytes_max(),
            self.tenant.lease(),
        ];
        match QueryError::only(&self.tenant.database.query(Effect::Changes, APPEND, parameters).await?)? {
            0_i32 => {
                self.position += 1;
                self.renewed = Instant::now();
                Ok(())
            }
            2 => Err(BlobError::BytesFull(self.container.clone())),
            _ => Err(self.is_no_more().await),
        }
    }

    /// A writer that fills a piece slowly keeps its object.
    async fn renew(&mut self) -> Result<(), BlobError> {
        let parameters = vec![Parameter::Number(self.id), self.tenant.lease()];
        let rows = self.tenant.database.query(Effect::Changes, RENEW, parameters).await?;
        if rows.is_empty() {
            return Err(self.is_no_more().await);
        }
        self.renewed = Instant::now();
        Ok(())
    }

    /// Why the object in the making is not there.
    async fn is_no_more(&self) -> BlobError {
        match self.tenant.info(self.container).await {
            Ok(None) => BlobError::NoContainer(self.container.clone()),
            Ok(Some(_)) => BlobError::GivenUp,
            Err(error) => error,
        }
    }

    /// Stores all that comes, in pieces of one size.
    async fn take(&mut self, source: &mut dyn Chunks) -> Result<(), BlobError> {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        while let Some(mut next) = source.next().await? {
            if self.renewed.elapsed() > self.tenant.lease_time() / 3 {
                self.renew().await?;
            }
            while !next.is_empty() {
                let room = PIECE_BYTES.saturating_sub(piece.len()).min(next.len());
                piece.extend_from_slice(&next.split_to(room));
                if piece.len() == PIECE_BYTES {
                    let full = std::mem::replace(&mut piece, BytesMut::with_capacity(PIECE_BYTES));
                    self.append(full.freeze()).await?;
                }
            }
        }
        if piece.is_empty() { Ok(()) } else { self.append(piece.freeze()).await }
    }

    /// What was written is an object from now on; whether another was in its place.
    async fn finish(&self) -> Result<bool, BlobError> {
        let rows = self.tenant.database.query(Effect::Changes, FINISH, vec![Parameter::Number(self.id)]).await?;
        match QueryError::only(&rows)? {
            0_i32 => Ok(false),
            2 => Ok(true),
            _ => Err(self.is_no_more().await),
        }
    }

    /// Nothing stays of it; where that cannot be done now, not when its lease has ended.
    async fn give_up(&self) {
        let given_up = self.tenant.database.query(Effect::Changes, ABORT, vec![Parameter::Number(self.id)]).await;
        if let Err(error) = given_up {
            tracing::debug!(%error, object = self.id, "an object in the making stays until its lease ends");
        }
    }
}

/// The pieces of an object, each asked for by itself.
struct Pieces {
    database: TenantDatabase,
    object: i64,
    next: i64,
    count: i64,
}

#[async_trait]
impl Chunks for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.next >= self.count {
            return Ok(None);
        }
        let parameters = vec![Parameter::Number(self.object), Parameter::Number(self.next)];
        let rows = self.database.query(Effect::Reads, CHUNK, parameters).await?;
        // Deleted or replaced, and removed meanwhile.
        let row = rows.first().ok_or(BlobError::Gone)?;
        let data: &[u8] = row.try_get(0).map_err(QueryError::of_row)?;
        self.next += 1;
        Ok(Some(Bytes::copy_from_slice(data)))
    }

    fn skip(&mut self, bytes: u64) -> u64 {
        let pieces = i64::try_from(bytes / PIECE_BYTES as u64).unwrap_or(i64::MAX);
        let pieces = pieces.min(self.count.saturating_sub(self.next)).max(0);
        self.next += pieces;
        unsigned(pieces) * PIECE_BYTES as u64
    }
}

#[async_trait]
impl Containers for PostgresTenant {
    async fn create(&self, name: &StoreName) -> Result<(), BlobError> {
        let max = self.limits.blobstore_containers_max;
        let mut parameters = self.place(name);
        parameters.push(Parameter::number(max));
        match QueryError::only(&self.database.query(Effect::Changes, CREATE, parameters).await?)? {
            0_i32 => Ok(()),
            1 => Err(BlobError::ContainerExists(name.clone())),
            _ => Err(BlobError::ContainersFull { max }),
        }
    }

    async fn info(&self, name: &StoreName) -> Result<Option<ContainerInfo>, BlobError> {
        let rows = self.database.query(Effect::Reads, CONTAINER, self.place(name)).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let created_at = row.try_get(0).map_err(QueryError::of_row)?;
        Ok(Some(ContainerInfo { created_at: unsigned(created_at) }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), BlobError> {
        self.in_container(DELETE, name, self.place(name)).await?;
        self.sweeper.wake();
        Ok(())
    }

    async fn object(&self, container: &StoreName, object: &ObjectName) -> Result<Option<ObjectInfo>, BlobError> {
        Ok(self.find(container, object).await?.map(|found| found.info))
    }

    async fn read(
        &self,
        container: &StoreName,
        object: &ObjectName,
    ) -> Result<(ObjectInfo, Box<dyn Chunks>), BlobError> {
        let found = self.find(container, object).await?.ok_or_else(|| BlobError::NoObject(container.clone()))?;
        let count = i64::try_from(found.info.size.div_ceil(PIECE_BYTES as u64)).unwrap_or(i64::MAX);
        let pieces = Pieces { database: self.database.clone(), object: found.id, next: 0, count };
        Ok((found.info, Box::new(pieces)))
    }

    async fn write(
        &self,
        container: &StoreName,
        object: &ObjectName,
        source: &mut dyn Chunks,
    ) -> Result<(), BlobError> {
        let mut writing = self.begin(container, object).await?;
        let written = match writing.take(source).await {
            Ok(()) => writing.finish().await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            writing.give_up().await;
        }
        if !matches!(written, Ok(false)) {
            self.sweeper.wake();
        }
        written.map(drop)
    }

    async fn remove(&self, container: &StoreName, object: &ObjectName) -> Result<(), BlobError> {
        self.in_container(REMOVE, container, self.at(container, object)).await?;
        self.sweeper.wake();
        Ok(())
    }

    async fn clear(&self, container: &StoreName) -> Result<(), BlobError> {
        self.in_container(CLEAR, container, self.place(container)).await?;
        self.sweeper.wake();
        Ok(())
    }

    async fn list(&self, container: &StoreName, from: u64, max: usize) -> Result<ObjectPage, BlobError> {
        let mut parameters = self.place(container);
        // One more than is asked for tells where the rest begins.
        parameters.extend([Parameter::number(from), Parameter::number(max as u64 + 1)]);
        let rows = self.database.query(Effect::Reads, LIST, parameters).await?;
        if rows.is_empty() {
            return Err(BlobError::NoContainer(container.clone()));
        }
        let mut page = ObjectPage::default();
        for row in &rows {
            let Some(number) = row.try_get::<_, Option<i64>>(1).map_err(QueryError::of_row)? else { break };
            if page.names.len() == max {
                page.next = Some(unsigned(number));
                break;
            }
            let name = std::str::from_utf8(row.try_get(0).map_err(QueryError::of_row)?).ok();
            // What others put there under names that are none of ours is left out.
            page.names.extend(name.and_then(|name| name.parse().ok()));
        }
        Ok(page)
    }
}
