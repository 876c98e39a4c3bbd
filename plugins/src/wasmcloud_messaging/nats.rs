//! NATS as a broker: the one place that speaks with its client.

mod accounts;
mod batch;
mod connect;
mod credentials;
mod health;
mod subscription;

use std::{borrow::Cow, future::poll_fn, pin::pin, sync::Arc};

use async_nats::{HeaderMap, HeaderName, client::RequestErrorKind, connection::State};
use async_trait::async_trait;
use futures::StreamExt;
use roadstead_config::{Limits, QueueGroup, SubjectPattern};
use roadstead_metrics::Gauge;
use roadstead_runtime::BAGGAGE_BYTES_MAX;
use tokio::{sync::watch, time::Instant};

use super::{
    broker::{Broker, BrokerError, Headers, Message, Requester, Subscription},
    headers::{BAGGAGE, DEADLINE_MS, SERVICE_ERROR, SERVICE_ERROR_CODE, TRACEPARENT, TRACESTATE},
};
use batch::Batch;
use connect::Server;
use health::ConnectionHealth;
use subscription::NatsSubscription;

pub use accounts::AccountError;
pub use connect::{ConnectError, NatsServer};
pub use credentials::CredentialsError;
pub(crate) use {accounts::NatsAccounts, health::ConnectionMetrics};

/// The headers that are read from a message; others are left aside.
const KNOWN_HEADERS: [&str; 6] = [SERVICE_ERROR, SERVICE_ERROR_CODE, DEADLINE_MS, TRACEPARENT, TRACESTATE, BAGGAGE];
/// Longest header value that is kept, in bytes; baggage has a bound of its own.
const HEADER_VALUE_BYTES_MAX: usize = 4_096;
/// Connects to the NATS server at `url`. A server that is not there yet is waited for, and each attempt is logged.
///
/// # Errors
/// When the server refuses the connection, or none comes to be within a minute.
pub async fn connect_nats(url: &str) -> Result<async_nats::Client, ConnectError> {
    let metrics = ConnectionMetrics::default();
    Server::read(&NatsServer::at(url)).await?.connect(&Arc::new(metrics.connection(""))).await
}

/// The same for a connection over which a scheduler sends its commands to a host. The log calls it the scheduler's.
///
/// # Errors
/// When the server refuses the connection, a file cannot be used, or no connection comes to be within a minute.
pub async fn connect_scheduler(server: &NatsServer) -> Result<async_nats::Client, ConnectError> {
    let metrics = ConnectionMetrics::default();
    let health = Arc::new(metrics.connection("(scheduler)"));
    Server::read(server).await?.of_scheduler().connect(&health).await
}

/// A NATS server as a broker.
#[derive(Clone)]
pub struct NatsBroker {
    client: async_nats::Client,
    /// `None` where nobody says when the connection is lost.
    losses: Option<watch::Receiver<u64>>,
    batch: Batch,
}

impl NatsBroker {
    /// A broker over an existing connection, which must hear what it sends itself (not made with `no_echo`).
    pub fn new(client: async_nats::Client) -> Self {
        Self { client, losses: None, batch: Batch::new() }
    }

    /// A broker over a connection of its own to `server`.
    pub(crate) async fn connect(server: &NatsServer, metrics: &ConnectionMetrics) -> Result<Self, ConnectError> {
        let health = Arc::new(metrics.connection(""));
        let client = Server::read(server).await?.connect_some_day(&health).await?;
        Ok(Self::watched(client, &health))
    }

    /// The connection.
    pub(crate) fn client(&self) -> async_nats::Client {
        self.client.clone()
    }

    fn watched(client: async_nats::Client, health: &ConnectionHealth) -> Self {
        Self { client, losses: Some(health.losses()), batch: Batch::new() }
    }

    /// Ends when the connection is lost, from now on.
    async fn lost(&self) {
        let Some(mut losses) = self.losses.clone() else { return std::future::pending().await };
        losses.mark_unchanged();
        if losses.changed().await.is_err() {
            std::future::pending().await
        }
    }

    fn check_connected(&self) -> Result<(), BrokerError> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err(BrokerError::Disconnected),
        }
    }

    fn check_size(&self, message: &Message) -> Result<(), BrokerError> {
        let max = self.client.max_payload();
        match message.body.len() {
            found if found > max => Err(BrokerError::TooLarge { found, max }),
            _ => Ok(()),
        }
    }

    /// What this connection sends to itself comes back only after the server took everything sent before it. A request
    /// to a subject that nobody has would not do: a subscription with a wildcard may have it.
    pub(super) async fn confirm(&self) -> Result<(), BrokerError> {
        self.check_connected()?;
        let refused = |error: &dyn std::fmt::Display| BrokerError::Refused(error.to_string());
        let own = self.client.new_inbox();
        let mut heard = self.client.subscribe(own.clone()).await.map_err(|error| refused(&error))?;
        self.client.publish(own, bytes::Bytes::new()).await.map_err(|error| refused(&error))?;
        heard.next().await.map(drop).ok_or(BrokerError::Disconnected)
    }
}

#[async_trait]
impl Broker for NatsBroker {
    async fn publish(&self, message: Message) -> Result<(), BrokerError> {
        // The client would keep it for later, and whoever is told of a failure sends it again.
        self.check_connected()?;
        self.answer(message).await?;
        self.flush().await
    }

    async fn flush(&self) -> Result<(), BrokerError> {
        self.check_connected()?;
        self.client.flush().await.map_err(|error| BrokerError::Refused(error.to_string()))
    }

    async fn answer(&self, message: Message) -> Result<(), BrokerError> {
        self.check_size(&message)?;
        let Message { subject, reply, headers, body, .. } = message;
        let headers = to_nats(headers);
        let sent = match reply {
            Some(reply) => self.client.publish_with_reply_and_headers(subject, reply, headers, body).await,
            None => self.client.publish_with_headers(subject, headers, body).await,
        };
        self.batch.answered();
        sent.map_err(|error| BrokerError::Refused(error.to_string()))
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message, BrokerError> {
        self.check_connected()?;
        self.check_size(&message)?;
        let Message { subject, headers, body, .. } = message;
        // The client's own timeout would begin only once its queue has taken the request, which may be full.
        let request = async_nats::Request::new().payload(body).headers(to_nats(headers)).timeout(None);
        let lost = self.lost();
        let (asking, mut sent) = (self.batch.ask(), false);
        let mut asked = pin!(self.client.send_request(subject.clone(), request));
        let answered = tokio::time::timeout_at(
            deadline,
            poll_fn(|cx| {
                let answer = asked.as_mut().poll(cx);
                // Done once: later polls send nothing.
                if !std::mem::replace(&mut sent, true) {
                    asking.asked();
                }
                answer
            }),
        );
        let answer = tokio::select! {
            biased;
            answered = answered => answered.map_err(|_| BrokerError::Timeout)?,
            // The answer may have been sent while nobody was there to hear it.
            () = lost => return Err(BrokerError::ConnectionLost),
        };
        answer.map(from_nats).map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => BrokerError::NoResponders { subject },
            RequestErrorKind::TimedOut => BrokerError::Timeout,
            _ => BrokerError::Refused(error.to_string()),
        })
    }

    async fn subscribe(
        &self,
        pattern: &SubjectPattern,
        group: Option<&QueueGroup>,
        limits: &Limits,
        waiting: &Gauge,
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        self.check_connected()?;
        let refused = |error: &dyn std::fmt::Display| BrokerError::Refused(error.to_string());
        let pattern = pattern.to_string();
        let subscriber = match group {
            Some(group) => self.client.queue_subscribe(pattern, group.as_str().to_owned()).await,
            None => self.client.subscribe(pattern).await,
        };
        let subscriber = subscriber.map_err(|error| refused(&error))?;
        self.confirm().await?;
        Ok(Box::new(NatsSubscription::new(self, subscriber, limits, waiting)))
    }

    fn readiness(&self) -> Result<(), String> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err("the connection to NATS is lost; reconnecting".into()),
        }
    }
}

fn to_nats(headers: Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        match name {
            Cow::Borrowed(name) => map.insert(HeaderName::from_static(name), value),
            Cow::Owned(name) => map.insert(name, value),
        }
    }
    map
}

fn from_nats(message: async_nats::Message) -> Message {
    let mut headers = Headers::default();
    if let Some(map) = &message.headers {
        for name in KNOWN_HEADERS {
            let bytes_max = if name == BAGGAGE { BAGGAGE_BYTES_MAX } else { HEADER_VALUE_BYTES_MAX };
            let own = map.iter().find(|(own, _)| AsRef::<str>::as_ref(*own).eq_ignore_ascii_case(name));
            if let Some(value) = own.and_then(|(_, values)| values.first())
                && value.as_str().len() <= bytes_max
            {
                headers.push(name, value.as_str());
            }
        }
    }
    Message {
        subject: message.subject.to_string(),
        reply: message.reply.map(|reply| reply.to_string()),
        headers,
        body: message.payload,
        requester: Requester::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_header_values_are_left_aside() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, "p".repeat(HEADER_VALUE_BYTES_MAX));
        headers.insert(TRACESTATE, "s".repeat(HEADER_VALUE_BYTES_MAX + 1));
        headers.insert("x-other", "not read at all");
        let message = from_nats(async_nats::Message {
            subject: "probe.work".into(),
            reply: None,
            payload: "body".into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        });
        let kept: Vec<_> = message.headers.iter().map(|(name, value)| (name, value.len())).collect();
        assert_eq!(kept, [(TRACEPARENT, 4_096)]);
        assert_eq!((message.subject.as_str(), &*message.body), ("probe.work", b"body".as_slice()));
    }
}
