//! What the plugin needs of a broker, in terms of neither NATS nor wasmtime.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Limits, QueueGroup, SubjectPattern};
use roadstead_metrics::Gauge;
use tokio::time::Instant;

/// A message's headers: few, in order, names compared without case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, String)>);

impl Headers {
    /// Adds a header.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value under `name`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Headers {
    type Item = (Cow<'static, str>, String);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Message {
    pub subject: String,
    /// Where the sender waits for an answer.
    pub reply: Option<String>,
    pub headers: Headers,
    pub body: Bytes,
    pub requester: Requester,
}

/// Who waits for the answer to a message, as far as the broker knows.
#[derive(Debug, Clone, Default)]
pub struct Requester(Option<Arc<AtomicBool>>);

impl Requester {
    /// One that will say when it leaves.
    pub fn present() -> Self {
        Self(Some(Arc::default()))
    }

    /// It leaves without an answer.
    pub fn leave(&self) {
        if let Some(left) = &self.0 {
            left.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is known to have left without an answer: what it asked for is of no use to it any more.
    pub fn has_left(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.load(Ordering::Relaxed))
    }
}

/// A message as a subscription got it.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub message: Message,
    /// When it reached this host: from then on its sender waits for us.
    pub arrived: Instant,
    /// Messages that were given up before this one, since the one before it, because as many waited as may.
    pub missed: u64,
}

impl Delivery {
    /// A message that arrives now, none before it missed.
    pub fn now(message: Message) -> Self {
        Self { message, arrived: Instant::now(), missed: 0 }
    }
}

/// Why a broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("nobody subscribes to {subject}")]
    NoResponders { subject: String },
    #[error("no reply came in time")]
    Timeout,
    #[error("the subscribers of {subject} have as many waiting messages as they may")]
    QueueFull { subject: String },
    #[error("the message is {found} bytes large, at most {max} are allowed")]
    TooLarge { found: usize, max: usize },
    #[error("the subscription to {pattern} was not confirmed within {waited:?}")]
    NotConfirmed { pattern: SubjectPattern, waited: Duration },
    #[error("the messaging server cannot be reached")]
    Disconnected,
    #[error("the connection to the messaging server was lost; whether the message was handled is not known")]
    ConnectionLost,
    #[error("the messaging server refused: {0}")]
    Refused(String),
}

/// Carries messages by subject, with NATS semantics: queue groups, request and reply, headers, no-responders.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Sends a message; returns when it has left this process.
    async fn publish(&self, message: Message) -> Result<(), BrokerError>;

    /// Sends an answer; returns when the broker has it, which sends it on as soon as it can. Whoever waits for it has a
    /// deadline.
    async fn answer(&self, message: Message) -> Result<(), BrokerError> {
        self.publish(message).await
    }

    /// Returns when what was sent before, answers among it, has left this process.
    async fn flush(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    /// Sends a message and waits for one answer, until `deadline`. The message's own `reply` is not used.
    async fn request(&self, message: Message, deadline: Instant) -> Result<Message, BrokerError>;

    /// Subscribes; returns when the broker has confirmed it. Messages that wait to be taken are counted in `waiting`.
    async fn subscribe(
        &self,
        pattern: &SubjectPattern,
        group: Option<&QueueGroup>,
        limits: &Limits,
        waiting: &Gauge,
    ) -> Result<Box<dyn Subscription>, BrokerError>;

    /// Whether messages can be sent just now; the reason when not.
    fn readiness(&self) -> Result<(), String>;
}

/// The messages of one subscription. Dropping it ends the subscription.
#[async_trait]
pub trait Subscription: Send {
    /// The next message; `None` after the end. May be dropped and called again without losing one.
    async fn next(&mut self) -> Option<Delivery>;

    /// Takes no further messages; those at hand still come out of [`Subscription::next`].
    async fn drain(&mut self);
}
