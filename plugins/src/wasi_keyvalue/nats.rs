//! Keys and values in NATS: one key-value bucket of JetStream for each namespace, made when it is first used. What is
//! there survives the host and, as JetStream keeps its files, the server.
//!
//! A key is `BUCKET.KEY` there, KEY escaped. Deleting leaves nothing behind, so that what was deleted takes no room.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, DeliverPolicy, pull},
    context::{Context, PublishError, PublishErrorKind},
    message::PublishMessage,
    stream::{Config, DirectGetErrorKind, DiscardPolicy, Stream},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture};
use roadstead_config::{Limits, Namespace, StoreKey, StoreName};
use roadstead_runtime::PluginError;

use super::{
    KeyValue,
    backend::{Buckets, Expected, KeyPage, KeyValueBackend, KeyValueError, Versioned},
    increment::{Turns, by_swaps},
};
use crate::tenant_nats::{LazyStream, NatsClients};

/// Begin of the name of a namespace's bucket; the namespace follows, which has no '_'.
const BUCKET_PREFIX: &str = "roadstead_kv_";
/// Room for headers of a message beside its value, in bytes.
const HEADER_ROOM_BYTES: usize = 1_024;
/// Time after which the server forgets a listing that was left alone.
const LISTING_FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// Longest wait of the server for keys that it has said are there.
const LISTING_WAIT: Duration = Duration::from_secs(3);

/// Keys and values over an existing NATS connection.
pub struct NatsKeyValue;

impl NatsKeyValue {
    /// The plugin over `client`'s connection, which all namespaces share.
    #[expect(clippy::new_ret_no_self, reason = "the published embedding API names the backend, the plugin is one")]
    pub fn new(client: &async_nats::Client) -> KeyValue {
        KeyValue::nats(NatsClients::shared(client.clone()))
    }
}

/// The backend.
pub struct NatsBuckets {
    clients: NatsClients,
    /// Of each namespace whose components are bound: its increments on this host take turns.
    turns: Mutex<BTreeMap<Namespace, Weak<Turns>>>,
}

impl NatsBuckets {
    /// Over these connections.
    pub fn new(clients: NatsClients) -> Self {
        Self { clients, turns: Mutex::default() }
    }

    /// Those of a namespace, which all its components share.
    fn turns(&self, namespace: &Namespace) -> Arc<Turns> {
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turns| turns.strong_count() > 0);
        let found = all.get(namespace).and_then(Weak::upgrade);
        found.unwrap_or_else(|| {
            let turns = Arc::new(Turns::default());
            all.insert(namespace.clone(), Arc::downgrade(&turns));
            turns
        })
    }
}

#[async_trait]
impl KeyValueBackend for NatsBuckets {
    fn name(&self) -> &'static str {
        "nats"
    }

    async fn of(&self, namespace: &Namespace, limits: &Arc<Limits>) -> Result<Arc<dyn Buckets>, PluginError> {
        let client = self.clients.of(namespace).await?;
        let name = format!("{BUCKET_PREFIX}{namespace}");
        let stream = LazyStream::new(client, config(&name, limits));
        Ok(Arc::new(NatsTenant { prefix: format!("$KV.{name}."), stream, turns: self.turns(namespace) }))
    }

    fn readiness(&self) -> Result<(), String> {
        self.clients.readiness()
    }
}

/// A bucket as NATS' own tools know it, with the limits kept by the server.
fn config(name: &str, limits: &Limits) -> Config {
    let signed = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
    let message = limits.keyvalue_value_bytes_max.saturating_add(HEADER_ROOM_BYTES as u64);
    Config {
        name: format!("KV_{name}"),
        description: Some("keys and values of wasi:keyvalue, made by roadstead".into()),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        max_messages: signed(limits.keyvalue_keys_max),
        max_bytes: signed(limits.keyvalue_bytes_max),
        max_message_size: i32::try_from(message).unwrap_or(i32::MAX),
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// One namespace's.
struct NatsTenant {
    prefix: String,
    stream: LazyStream,
    turns: Arc<Turns>,
}

impl NatsTenant {
    fn subject(&self, bucket: &StoreName, key: &StoreKey) -> String {
        format!("{}{bucket}.{}", self.prefix, key.to_token())
    }

    /// Does something with the stream; and once more where the stream was gone, with a new one.
    async fn with_stream<T>(
        &self,
        work: impl Fn(Arc<Stream>) -> BoxFuture<'static, Result<T, Failure>> + Send,
    ) -> Result<T, KeyValueError> {
        match work(self.stream.stream().await?).await {
            Err(Failure::NoStream) => {}
            Err(Failure::Other(error)) => return Err(error),
            Ok(done) => return Ok(done),
        }
        self.stream.forget().await;
        work(self.stream.stream().await?).await.map_err(|failure| match failure {
            Failure::NoStream => KeyValueError::Failed("its bucket in NATS is gone".into()),
            Failure::Other(error) => error,
        })
    }
}

async fn get(stream: &Stream, subject: String) -> Result<Option<Versioned>, Failure> {
    match stream.direct_get_last_for_subject(subject).await {
        Ok(found) if is_marker(&found.headers) => Ok(None),
        Ok(found) => Ok(Some(Versioned { value: found.payload, revision: found.sequence })),
        Err(error) => match error.kind() {
            DirectGetErrorKind::NotFound => Ok(None),
            // Nobody answers for a stream that is not there.
            DirectGetErrorKind::ErrorResponse(..) => Err(Failure::NoStream),
            _ => Err(Failure::of_request(&error)),
        },
    }
}

async fn put(jetstream: Context, subject: String, value: Bytes, expected: Expected) -> Result<(), Failure> {
    let message = PublishMessage::build().payload(value);
    let message = match expected {
        Expected::Anything => message,
        Expected::Revision(revision) => message.expected_last_subject_sequence(revision),
    };
    let acknowledged = jetstream.send_publish(subject, message).await.map_err(|error| Failure::of_publish(&error))?;
    acknowledged.await.map(drop).map_err(|error| Failure::of_publish(&error))
}

/// What went wrong, and whether it is because the stream is not there.
enum Failure {
    NoStream,
    Other(KeyValueError),
}

impl Failure {
    fn of_publish(error: &PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Self::NoStream,
            PublishErrorKind::WrongLastSequence => Self::Other(KeyValueError::Changed),
            _ => Self::Other(of_publish(error)),
        }
    }

    fn of_request(error: &(dyn std::error::Error + 'static)) -> Self {
        match error_code(error) {
            Some(ErrorCode::STREAM_NOT_FOUND) => Self::NoStream,
            _ => Self::Other(KeyValueError::Failed(error.to_string())),
        }
    }
}

fn of_publish(error: &PublishError) -> KeyValueError {
    match error_code(error) {
        Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => KeyValueError::Changed,
        Some(ErrorCode::STREAM_STORE_FAILED) => {
            // Which of the two limits it was, is in the words alone.
            let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            match () {
                () if said.contains("maximum messages exceeded") => KeyValueError::KeysFull,
                () if said.contains("maximum bytes exceeded") => KeyValueError::BytesFull,
                () => KeyValueError::Failed(said),
            }
        }
        _ => KeyValueError::Failed(error.to_string()),
    }
}

/// What JetStream said, somewhere among the causes.
fn error_code(error: &(dyn std::error::Error + 'static)) -> Option<ErrorCode> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(said) = error.downcast_ref::<jetstream::Error>() {
            return Some(said.error_code());
        }
        cause = error.source();
    }
    None
}

#[async_trait]
impl Buckets for NatsTenant {
    async fn get(&self, bucket: &StoreName, key: &StoreKey) -> Result<Option<Versioned>, KeyValueError> {
        let subject = self.subject(bucket, key);
        self.with_stream(|stream| {
            let subject = subject.clone();
            async move { get(&stream, subject).await }.boxed()
        })
        .await
    }

    async fn put(
        &self,
        bucket: &StoreName,
        key: &StoreKey,
        value: Bytes,
        expected: Expected,
    ) -> Result<(), KeyValueError> {
        let max = self.stream.client().message_bytes_max().saturating_sub(HEADER_ROOM_BYTES);
        if value.len() > max {
            return Err(KeyValueError::TooLarge { found: value.len(), max });
        }
        let subject = self.subject(bucket, key);
        let jetstream = self.stream.client().jetstream();
        self.with_stream(|_| put(jetstream.clone(), subject.clone(), value.clone(), expected).boxed()).await
    }

    /// Others on this host wait for their turn: only those on other hosts can be faster.
    async fn increment(&self, bucket: &StoreName, key: &StoreKey, delta: u64) -> Result<u64, KeyValueError> {
        let _turn = self.turns.take(bucket, key).await;
        by_swaps(self, bucket, key, delta).await
    }

    async fn delete(&self, bucket: &StoreName, key: &StoreKey) -> Result<(), KeyValueError> {
        let subject = self.subject(bucket, key);
        self.with_stream(|stream| {
            let subject = subject.clone();
            let purge = async move { stream.purge().filter(subject).await };
            purge.map(|purged| purged.map(drop).map_err(|error| Failure::of_request(&error))).boxed()
        })
        .await
    }

    async fn list(&self, bucket: &StoreName, from: u64, max: usize) -> Result<KeyPage, KeyValueError> {
        let prefix = format!("{}{bucket}.", self.prefix);
        self.with_stream(|stream| {
            let prefix = prefix.clone();
            async move { list(&stream, &prefix, from, max).await }.boxed()
        })
        .await
    }
}

/// Markers are not ours: somebody deleted a key with NATS' own tools.
fn is_marker(headers: &async_nats::HeaderMap) -> bool {
    headers.get("KV-Operation").is_some()
}

/// The subjects of messages from a sequence on, without their values, through a consumer that lives as long as this.
async fn list(stream: &Stream, prefix: &str, from: u64, max: usize) -> Result<KeyPage, Failure> {
    let config = pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from.max(1) },
        ack_policy: AckPolicy::None,
        filter_subject: format!("{prefix}*"),
        headers_only: true,
        memory_storage: true,
        inactive_threshold: LISTING_FORGOTTEN_AFTER,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await.map_err(|error| Failure::of_request(&error))?;
    let info = consumer.cached_info();
    let pending = usize::try_from(info.num_pending).unwrap_or(usize::MAX);
    let name = info.name.clone();
    let read = read_page(&consumer, prefix, pending, max).await;
    // It would be forgotten anyway, only later.
    let _ = stream.delete_consumer(&name).await;
    read
}

async fn read_page(
    consumer: &jetstream::consumer::PullConsumer,
    prefix: &str,
    pending: usize,
    max: usize,
) -> Result<KeyPage, Failure> {
    let mut page = KeyPage::default();
    if pending == 0 {
        return Ok(page);
    }
    let failed = |error: &dyn std::fmt::Display| Failure::Other(KeyValueError::Failed(error.to_string()));
    let wanted = pending.min(max);
    let batch = consumer.fetch().max_messages(wanted).expires(LISTING_WAIT).messages().await;
    let mut batch = batch.map_err(|error| failed(&error))?;
    let mut last = 0;
    while let Some(message) = batch.next().await {
        let message = message.map_err(|error| failed(&error))?;
        last = message.info().map_err(|error| failed(&error))?.stream_sequence;
        let is_there = message.headers.as_ref().is_none_or(|headers| !is_marker(headers));
        let token = message.subject.strip_prefix(prefix).filter(|_| is_there);
        // What others put there under keys that are none of ours is left out.
        page.keys.extend(token.and_then(StoreKey::from_token));
    }
    page.next = (pending > wanted && last > 0).then_some(last + 1);
    Ok(page)
}
