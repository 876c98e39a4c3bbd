//! NATS for capabilities that store things: whose connection serves a namespace, and what JetStream calls what is its.
//! What is stored is not known here.

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::{CreateStreamErrorKind, GetStreamErrorKind},
        stream::{Config, Stream},
    },
};
use roadstead_config::Namespace;
use roadstead_runtime::PluginError;
use tokio::sync::Mutex;

use crate::wasmcloud_messaging::{NatsAccounts, NatsBroker};

/// Time that one request to JetStream may take, also one for which no guest waits any more.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// Connections to NATS by namespace: one for all, or one for each.
#[derive(Clone)]
pub struct NatsClients(Clients);

#[derive(Clone)]
enum Clients {
    Shared(Client),
    Accounts(Arc<NatsAccounts>),
}

/// The connection of one namespace, which stays as long as this.
#[derive(Clone)]
pub(crate) struct TenantClient {
    client: Client,
    jetstream: Context,
    _connection: Option<Arc<NatsBroker>>,
}

impl NatsClients {
    /// One connection for all namespaces.
    pub fn shared(client: Client) -> Self {
        Self(Clients::Shared(client))
    }

    pub(crate) fn accounts(accounts: Arc<NatsAccounts>) -> Self {
        Self(Clients::Accounts(accounts))
    }

    /// The connection of `namespace`.
    pub(crate) async fn of(&self, namespace: &Namespace) -> Result<TenantClient, PluginError> {
        match &self.0 {
            Clients::Shared(client) => Ok(TenantClient::new(client.clone(), None)),
            Clients::Accounts(accounts) => {
                let broker = accounts
                    .connection_of(namespace)
                    .await
                    .map_err(|error| PluginError::backend("the namespace has no connection to NATS", error))?;
                Ok(TenantClient::new(broker.client(), Some(broker)))
            }
        }
    }

    /// Whether the one connection is there; messaging tells of those by namespace.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        match &self.0 {
            Clients::Shared(client) if client.connection_state() != State::Connected => {
                Err("the connection to NATS is lost; reconnecting".into())
            }
            _ => Ok(()),
        }
    }
}

impl TenantClient {
    fn new(client: Client, connection: Option<Arc<NatsBroker>>) -> Self {
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(REQUEST_WITHIN);
        Self { jetstream, client, _connection: connection }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Largest message that the server takes, in bytes.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.client.max_payload()
    }
}

/// Why JetStream has no stream for us.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("the connection to NATS is lost")]
    Disconnected,
    #[error("the NATS server has no JetStream; start it with --jetstream")]
    NoJetStream,
    #[error("JetStream has no room for {name}: {reason}")]
    NoRoom { name: String, reason: String },
    #[error("JetStream refused {name}: {reason}")]
    Refused { name: String, reason: String },
}

/// A stream that is looked for when it is first needed, and made where it is not there.
pub(crate) struct LazyStream {
    client: TenantClient,
    config: Config,
    found: Mutex<Option<Arc<Stream>>>,
}

impl LazyStream {
    /// Of a stream that is made with `config`; one that is there is taken as it is.
    pub(crate) fn new(client: TenantClient, config: Config) -> Self {
        Self { client, config, found: Mutex::default() }
    }

    pub(crate) fn client(&self) -> &TenantClient {
        &self.client
    }

    /// The stream.
    pub(crate) async fn stream(&self) -> Result<Arc<Stream>, StreamError> {
        if !self.client.is_connected() {
            return Err(StreamError::Disconnected);
        }
        let mut found = self.found.lock().await;
        if let Some(stream) = &*found {
            return Ok(stream.clone());
        }
        let stream = Arc::new(find_or_make(self.client.jetstream(), &self.config).await?);
        *found = Some(stream.clone());
        Ok(stream)
    }

    /// The stream may have been deleted: it is looked for again.
    pub(crate) async fn forget(&self) {
        *self.found.lock().await = None;
    }
}

/// The stream of the config's name; `None` where there is none.
pub(crate) async fn find(context: &Context, name: &str) -> Result<Option<Stream>, StreamError> {
    match context.get_stream(name).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            GetStreamErrorKind::JetStream(said) => Err(refusal(name, &said)),
            _ if says_no_responders(&error) => Err(StreamError::NoJetStream),
            _ => Err(StreamError::Refused { name: name.to_owned(), reason: error.to_string() }),
        },
    }
}

/// Makes a stream.
pub(crate) async fn make(context: &Context, config: &Config) -> Result<Stream, StreamError> {
    let name = &config.name;
    context.create_stream(config.clone()).await.map_err(|error| match error.kind() {
        CreateStreamErrorKind::JetStream(said) => refusal(name, &said),
        CreateStreamErrorKind::JetStreamUnavailable => StreamError::NoJetStream,
        _ => StreamError::Refused { name: name.to_owned(), reason: error.to_string() },
    })
}

async fn find_or_make(context: &Context, config: &Config) -> Result<Stream, StreamError> {
    if let Some(stream) = find(context, &config.name).await? {
        return Ok(stream);
    }
    match make(context, config).await {
        // Another host was faster, with other limits.
        Err(StreamError::Refused { name, reason }) => match find(context, &name).await? {
            Some(stream) => Ok(stream),
            None => Err(StreamError::Refused { name, reason }),
        },
        made => made,
    }
}

fn refusal(name: &str, said: &jetstream::Error) -> StreamError {
    let (name, reason) = (name.to_owned(), said.to_string());
    match said.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED | ErrorCode::MAXIMUM_STREAMS_LIMIT => {
            StreamError::NoRoom { name, reason }
        }
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT | ErrorCode::JETSTREAM_NOT_ENABLED => StreamError::NoJetStream,
        _ => StreamError::Refused { name, reason },
    }
}

fn says_no_responders(error: &dyn std::error::Error) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("no responders") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error and its causes, in one line.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
