//! Objects in NATS: an object store of JetStream for each container, in the form that NATS' own tools read. What is there
//! survives the host and, as JetStream keeps its files, the server.
//!
//! Objects are read and written here a piece at a time, each asked for or acknowledged before the next: the client's own
//! reader has the server send ahead, and its writer leaves the pieces of an object that never came to be.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, ErrorCode,
        context::{Context, DeleteStreamErrorKind, PublishError},
        message::PublishMessage,
        object_store::{ObjectInfo as Meta, ObjectOptions},
        stream::{Config, DirectGetError, DirectGetErrorKind, DiscardPolicy, Stream},
    },
};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use roadstead_config::{Limits, Namespace, ObjectName, StoreName};
use roadstead_runtime::PluginError;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    Blobstore,
    backend::{BlobBackend, BlobError, Chunks, ContainerInfo, Containers, ObjectInfo, ObjectPage},
};
use crate::tenant_nats::{self, NatsClients, StreamError, TenantClient};

/// Size of the pieces of an object, in bytes.
const PIECE_BYTES: usize = 131_072;
/// Attempts to put a finished object in its place, each of which somebody else's object came before.
const PLACE_ATTEMPTS_MAX: u32 = 10;
/// Time that the removal of what is not needed any more may take.
const CLEANUP_WITHIN: Duration = Duration::from_secs(5);

/// Objects over an existing NATS connection.
pub struct NatsBlobstore;

impl NatsBlobstore {
    /// The plugin over `client`'s connection, which all namespaces share.
    #[expect(clippy::new_ret_no_self, reason = "the published embedding API names the backend, the plugin is one")]
    pub fn new(client: &async_nats::Client) -> Blobstore {
        Blobstore::nats(NatsClients::shared(client.clone()))
    }
}

/// The backend.
pub struct NatsContainers {
    clients: NatsClients,
}

impl NatsContainers {
    /// Over these connections.
    pub fn new(clients: NatsClients) -> Self {
        Self { clients }
    }
}

#[async_trait]
impl BlobBackend for NatsContainers {
    fn name(&self) -> &'static str {
        "nats"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Containers>, PluginError> {
        let client = self.clients.of(namespace).await?;
        // A namespace has no '_': where it ends is plain.
        Ok(Arc::new(NatsTenant { client, prefix: format!("roadstead_{namespace}_"), limits: limits.clone() }))
    }

    fn readiness(&self) -> Result<(), String> {
        self.clients.readiness()
    }
}

/// One namespace's.
struct NatsTenant {
    client: TenantClient,
    prefix: String,
    limits: Arc<Limits>,
}

/// One container's object store.
struct Place {
    context: Context,
    stream: Stream<()>,
    bucket: String,
    name: StoreName,
}

/// The latest meta message of an object.
struct Found {
    meta: Meta,
    sequence: u64,
    at: OffsetDateTime,
}

impl NatsTenant {
    fn bucket(&self, container: &StoreName) -> String {
        format!("{}{container}", self.prefix)
    }

    fn context(&self) -> Result<&Context, BlobError> {
        match self.client.is_connected() {
            true => Ok(self.client.jetstream()),
            false => Err(BlobError::Disconnected),
        }
    }

    async fn place(&self, container: &StoreName) -> Result<Place, BlobError> {
        let (context, bucket) = (self.context()?.clone(), self.bucket(container));
        let stream = context.get_stream_no_info(format!("OBJ_{bucket}")).await;
        let stream = stream.map_err(|error| BlobError::Failed(error.to_string()))?;
        Ok(Place { context, stream, bucket, name: container.clone() })
    }

    /// A store as NATS' own tools know it, with the limit kept by the server.
    fn config(&self, container: &StoreName) -> Config {
        let bucket = self.bucket(container);
        Config {
            name: format!("OBJ_{bucket}"),
            description: Some("objects of wasi:blobstore, made by roadstead".into()),
            subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
            max_bytes: i64::try_from(self.limits.blobstore_container_bytes_max).unwrap_or(i64::MAX),
            discard: DiscardPolicy::New,
            allow_rollup: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    /// How many containers the namespace has.
    async fn count(&self, context: &Context) -> Result<u64, BlobError> {
        let prefix = format!("OBJ_{}", self.prefix);
        let (mut names, mut count) = (context.stream_names(), 0);
        while let Some(name) = names.next().await {
            let name = name.map_err(|error| BlobError::Failed(error.to_string()))?;
            count += u64::from(name.starts_with(&prefix));
        }
        Ok(count)
    }
}

impl Place {
    fn meta_subject(&self, object: &ObjectName) -> String {
        format!("$O.{}.M.{}", self.bucket, BASE64_URL_SAFE.encode(object.as_str()))
    }

    fn pieces_subject(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.bucket)
    }

    fn of_get(&self, error: &DirectGetError) -> BlobError {
        match error.kind() {
            // Nobody answers for a stream that is not there.
            DirectGetErrorKind::ErrorResponse(..) => BlobError::NoContainer(self.name.clone()),
            _ => BlobError::Failed(tenant_nats::in_words(error)),
        }
    }

    fn of_publish(&self, error: &PublishError) -> BlobError {
        use async_nats::jetstream::context::PublishErrorKind as Kind;
        let said = tenant_nats::in_words(error);
        match error.kind() {
            Kind::StreamNotFound => BlobError::NoContainer(self.name.clone()),
            _ if said.contains("maximum bytes exceeded") => BlobError::BytesFull(self.name.clone()),
            _ => BlobError::Failed(said),
        }
    }

    async fn find(&self, object: &ObjectName) -> Result<Option<Found>, BlobError> {
        let message = match self.stream.direct_get_last_for_subject(self.meta_subject(object)).await {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.of_get(&error)),
        };
        let meta: Meta =
            serde_json::from_slice(&message.payload).map_err(|error| BlobError::Failed(error.to_string()))?;
        Ok(Some(Found { meta, sequence: message.sequence, at: message.time }))
    }

    async fn found(&self, object: &ObjectName) -> Result<Option<Found>, BlobError> {
        Ok(self.find(object).await?.filter(|found| !found.meta.deleted))
    }

    async fn publish(&self, subject: String, message: PublishMessage) -> Result<(), BlobError> {
        let sent = self.context.send_publish(subject, message).await.map_err(|error| self.of_publish(&error))?;
        sent.await.map(drop).map_err(|error| self.of_publish(&error))
    }

    /// Writes the pieces; the meta message makes an object of them.
    async fn write_pieces(&self, meta: &mut Meta, source: &mut dyn Chunks) -> Result<(), BlobError> {
        let subject = self.pieces_subject(&meta.nuid);
        let (mut piece, mut digest) = (BytesMut::with_capacity(PIECE_BYTES), Sha256::new());
        loop {
            let next = source.next().await?;
            let is_end = next.is_none();
            let mut next = next.unwrap_or_default();
            digest.update(&next);
            meta.size += next.len();
            while !next.is_empty() || (is_end && !piece.is_empty()) {
                let room = PIECE_BYTES.saturating_sub(piece.len()).min(next.len());
                piece.extend_from_slice(&next.split_to(room));
                if piece.len() < PIECE_BYTES && !is_end {
                    break;
                }
                let full = std::mem::replace(&mut piece, BytesMut::with_capacity(PIECE_BYTES)).freeze();
                self.publish(subject.clone(), PublishMessage::build().payload(full)).await?;
                meta.chunks += 1;
            }
            if is_end {
                meta.digest = Some(format!("SHA-256={}", BASE64_URL_SAFE.encode(digest.finalize())));
                return Ok(());
            }
        }
    }

    /// Puts the finished object in the place of the one that is there; tells whose pieces are not needed any more.
    async fn put_in_place(&self, object: &ObjectName, meta: &Meta) -> Result<Option<String>, BlobError> {
        let payload = serde_json::to_vec(meta).map_err(|error| BlobError::Failed(error.to_string()))?;
        let payload = Bytes::from(payload);
        for _ in 0..PLACE_ATTEMPTS_MAX {
            let old = self.find(object).await?;
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Rollup", "sub");
            let message = PublishMessage::build()
                .headers(headers)
                .payload(payload.clone())
                .expected_last_subject_sequence(old.as_ref().map_or(0, |old| old.sequence));
            let subject = self.meta_subject(object);
            let sent = match self.context.send_publish(subject, message).await {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(_) => return Ok(old.map(|old| old.meta.nuid)),
                Err(error) if is_changed(&error) => {}
                Err(error) => return Err(self.of_publish(&error)),
            }
        }
        Err(BlobError::Failed(format!("others wrote the object before each of {PLACE_ATTEMPTS_MAX} attempts")))
    }

    /// Removes the pieces of an object that is none any more. What cannot be removed takes room, and is told of.
    async fn remove_pieces(&self, nuid: &str) {
        if nuid.is_empty() {
            return;
        }
        let purge = self.stream.purge().filter(self.pieces_subject(nuid));
        let removed = tokio::time::timeout(CLEANUP_WITHIN, async { purge.await }).await;
        let reason = match removed {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".into(),
        };
        tracing::warn!(bucket = self.bucket, nuid, reason, "the pieces of an object that is no more cannot be removed");
    }

    async fn purge(&self, subject: String) -> Result<(), BlobError> {
        let purged = self.stream.purge().filter(subject).await;
        purged.map(drop).map_err(|error| match code_of(&error) {
            Some(ErrorCode::STREAM_NOT_FOUND) => BlobError::NoContainer(self.name.clone()),
            _ => BlobError::Failed(tenant_nats::in_words(&error)),
        })
    }
}

fn is_changed(error: &PublishError) -> bool {
    let codes = [ErrorCode::STREAM_WRONG_LAST_SEQUENCE, ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT];
    code_of(error).is_some_and(|code| codes.contains(&code))
}

/// What JetStream said, somewhere among the causes.
fn code_of(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref::<jetstream::Error>() {
            return Some(said.error_code());
        }
        cause = error.source();
    }
    None
}

fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or(0)
}

impl Found {
    fn info(&self) -> ObjectInfo {
        ObjectInfo { created_at: seconds(self.at), size: self.meta.size as u64 }
    }
}

/// The pieces of an object, each asked for by itself.
struct Pieces {
    place: Place,
    subject: String,
    left: usize,
    from: u64,
}

#[async_trait]
impl Chunks for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.left == 0 {
            return Ok(None);
        }
        let asked = self.place.stream.direct_get_next_for_subject(self.subject.clone(), Some(self.from)).await;
        let piece = asked.map_err(|error| match error.kind() {
            DirectGetErrorKind::NotFound => BlobError::Gone,
            _ => self.place.of_get(&error),
        })?;
        (self.left, self.from) = (self.left - 1, piece.sequence + 1);
        Ok(Some(piece.payload))
    }
}

#[async_trait]
impl Containers for NatsTenant {
    async fn create(&self, name: &StoreName) -> Result<(), BlobError> {
        let (context, config) = (self.context()?, self.config(name));
        if tenant_nats::find(context, &config.name).await?.is_some() {
            return Err(BlobError::ContainerExists(name.clone()));
        }
        let max = self.limits.blobstore_containers_max;
        if self.count(context).await? >= max {
            return Err(BlobError::ContainersFull { max });
        }
        Ok(tenant_nats::make(context, &config).await.map(drop)?)
    }

    async fn info(&self, name: &StoreName) -> Result<Option<ContainerInfo>, BlobError> {
        let found = tenant_nats::find(self.context()?, &format!("OBJ_{}", self.bucket(name))).await?;
        Ok(found.map(|stream| ContainerInfo { created_at: seconds(stream.cached_info().created) }))
    }

    async fn delete(&self, name: &StoreName) -> Result<(), BlobError> {
        let stream = format!("OBJ_{}", self.bucket(name));
        self.context()?.delete_stream(&stream).await.map(drop).map_err(|error| match error.kind() {
            DeleteStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                BlobError::NoContainer(name.clone())
            }
            _ => StreamError::Refused { name: stream, reason: error.to_string() }.into(),
        })
    }

    async fn object(&self, container: &StoreName, object: &ObjectName) -> Result<Option<ObjectInfo>, BlobError> {
        Ok(self.place(container).await?.found(object).await?.map(|found| found.info()))
    }

    async fn read(
        &self,
        container: &StoreName,
        object: &ObjectName,
    ) -> Result<(ObjectInfo, Box<dyn Chunks>), BlobError> {
        let place = self.place(container).await?;
        let found = place.found(object).await?.ok_or_else(|| BlobError::NoObject(container.clone()))?;
        let subject = place.pieces_subject(&found.meta.nuid);
        Ok((found.info(), Box::new(Pieces { place, subject, left: found.meta.chunks, from: 1 })))
    }

    async fn write(
        &self,
        container: &StoreName,
        object: &ObjectName,
        source: &mut dyn Chunks,
    ) -> Result<(), BlobError> {
        let place = self.place(container).await?;
        let mut meta = Meta {
            name: object.as_str().to_owned(),
            description: None,
            metadata: std::collections::HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: None, max_chunk_size: Some(PIECE_BYTES) }),
            bucket: place.bucket.clone(),
            nuid: format!("{:032x}", rand::random::<u128>()),
            size: 0,
            chunks: 0,
            modified: Some(OffsetDateTime::now_utc()),
            digest: None,
            deleted: false,
        };
        let placed = match place.write_pieces(&mut meta, source).await {
            Ok(()) => place.put_in_place(object, &meta).await,
            Err(error) => Err(error),
        };
        let unneeded = match &placed {
            Ok(old) => old.as_deref().unwrap_or_default(),
            Err(_) => &meta.nuid,
        };
        place.remove_pieces(unneeded).await;
        placed.map(drop)
    }

    async fn remove(&self, container: &StoreName, object: &ObjectName) -> Result<(), BlobError> {
        let place = self.place(container).await?;
        let Some(found) = place.find(object).await? else { return Ok(()) };
        place.purge(place.meta_subject(object)).await?;
        place.remove_pieces(&found.meta.nuid).await;
        Ok(())
    }

    async fn clear(&self, container: &StoreName) -> Result<(), BlobError> {
        let place = self.place(container).await?;
        place.purge(format!("$O.{}.>", place.bucket)).await
    }

    async fn list(&self, container: &StoreName, from: u64, max: usize) -> Result<ObjectPage, BlobError> {
        let place = self.place(container).await?;
        let subject = format!("$O.{}.M.>", place.bucket);
        let (mut page, mut from) = (ObjectPage::default(), from.max(1));
        loop {
            let message = match place.stream.direct_get_next_for_subject(subject.clone(), Some(from)).await {
                Ok(message) => message,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(page),
                Err(error) => return Err(place.of_get(&error)),
            };
            if page.names.len() == max {
                page.next = Some(message.sequence);
                return Ok(page);
            }
            from = message.sequence + 1;
            let meta: Option<Meta> = serde_json::from_slice(&message.payload).ok();
            // What others put there under names that are none of ours is left out.
            page.names.extend(meta.filter(|meta| !meta.deleted).and_then(|meta| meta.name.parse().ok()));
        }
    }
}
