//! NATS as a broker: the one place that speaks with its client.

use std::time::Duration;

use async_nats::{HeaderMap, Subscriber, client::RequestErrorKind, connection::State};
use async_trait::async_trait;
use futures::StreamExt;
use roadstead_config::{Limits, QueueGroup, Subject, SubjectPattern};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    broker::{Broker, BrokerError, Delivery, Headers, Message, Subscription},
    headers::{DEADLINE_MS, SERVICE_ERROR, SERVICE_ERROR_CODE, TRACEPARENT, TRACESTATE},
    reply::Failure,
};

/// The headers that are read from a message; others are left aside.
const KNOWN_HEADERS: [&str; 5] = [SERVICE_ERROR, SERVICE_ERROR_CODE, DEADLINE_MS, TRACEPARENT, TRACESTATE];
/// Longest header value that is kept, in bytes.
const HEADER_VALUE_BYTES_MAX: usize = 4_096;
/// Messages of a subscription that the client holds until they are looked at, which is as soon as they are there: they
/// are refused then, or wait as `subscription_messages_max` allows.
const BURST_MESSAGES_MAX: usize = 65_536;
/// First and longest pause between two attempts to connect.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Time that a first connection may take, all attempts together.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);

/// Why there is no connection to NATS.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{url} is no NATS address; write nats://HOST:PORT")]
    Address { url: String },
    #[error("NATS at {url} cannot be reached after {attempts} attempts; is nats-server running there?")]
    Unreachable {
        url: String,
        attempts: u32,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("NATS at {url} refuses this host; check its credentials")]
    Refused {
        url: String,
        #[source]
        source: async_nats::ConnectError,
    },
}

/// Connects to the NATS server at `url`. A server that is not there yet is waited for, and each attempt is logged.
///
/// # Errors
/// When the server refuses the connection, or none comes to be within a minute.
pub async fn connect_nats(url: &str) -> Result<async_nats::Client, ConnectError> {
    let shown = without_password(url);
    let address: async_nats::ServerAddr = url.parse().map_err(|_| ConnectError::Address { url: shown.clone() })?;
    let begun = Instant::now();
    let mut pause = RETRY_PAUSE.0;
    for attempt in 1.. {
        let options = async_nats::ConnectOptions::new()
            .name("roadstead")
            .subscription_capacity(BURST_MESSAGES_MAX)
            .request_timeout(None);
        match options.connect(address.clone()).await {
            Ok(client) => return Ok(client),
            Err(source) if is_refusal(&source) => return Err(ConnectError::Refused { url: shown, source }),
            Err(source) if begun.elapsed() > CONNECT_WITHIN => {
                return Err(ConnectError::Unreachable { url: shown, attempts: attempt, source });
            }
            Err(error) => tracing::warn!(
                url = shown,
                %error,
                "NATS cannot be reached yet; trying again in {} ms",
                pause.as_millis()
            ),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
    }
    Err(ConnectError::Address { url: shown })
}

fn is_refusal(error: &async_nats::ConnectError) -> bool {
    use async_nats::ConnectErrorKind as Kind;
    matches!(error.kind(), Kind::Authentication | Kind::AuthorizationViolation | Kind::Tls)
}

/// The address as a log may show it.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    }
}

/// A NATS server as a broker.
#[derive(Clone)]
pub struct NatsBroker {
    client: async_nats::Client,
}

impl NatsBroker {
    /// A broker over an existing connection, which must hear what it sends itself (not made with `no_echo`).
    pub fn new(client: async_nats::Client) -> Self {
        Self { client }
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
    async fn confirm(&self) -> Result<(), BrokerError> {
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
        self.check_size(&message)?;
        let Message { subject, reply, headers, body } = message;
        let headers = to_nats(&headers);
        let sent = match reply {
            Some(reply) => self.client.publish_with_reply_and_headers(subject, reply, headers, body).await,
            None => self.client.publish_with_headers(subject, headers, body).await,
        };
        sent.map_err(|error| BrokerError::Refused(error.to_string()))
    }

    async fn request(&self, message: Message, deadline: Instant) -> Result<Message, BrokerError> {
        self.check_size(&message)?;
        let Message { subject, headers, body, .. } = message;
        if self.client.connection_state() != State::Connected {
            return Err(BrokerError::Disconnected);
        }
        // The client's own timeout would begin only once its queue has taken the request, which may be full.
        let request = async_nats::Request::new().payload(body).headers(to_nats(&headers)).timeout(None);
        let answered = tokio::time::timeout_at(deadline, self.client.send_request(subject.clone(), request));
        let answer = answered.await.map_err(|_| BrokerError::Timeout)?;
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
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        let refused = |error: &dyn std::fmt::Display| BrokerError::Refused(error.to_string());
        let pattern = pattern.to_string();
        let subscriber = match group {
            Some(group) => self.client.queue_subscribe(pattern, group.as_str().to_owned()).await,
            None => self.client.subscribe(pattern).await,
        };
        let subscriber = subscriber.map_err(|error| refused(&error))?;
        self.confirm().await?;
        let max = usize::try_from(limits.subscription_messages_max).unwrap_or(usize::MAX);
        let max = max.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        let (queue, deliveries) = mpsc::channel(max);
        let draining = CancellationToken::new();
        let reason_bytes_max = usize::try_from(limits.error_reason_bytes_max).unwrap_or(usize::MAX);
        let pump = Pump { broker: self.clone(), queue, draining: draining.clone(), max, reason_bytes_max };
        let pump = AbortOnDropHandle::new(tokio::spawn(pump.run(subscriber)));
        Ok(Box::new(NatsSubscription { deliveries, draining, _pump: pump }))
    }

    fn readiness(&self) -> Result<(), String> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => Err("the connection to NATS is lost; reconnecting".into()),
        }
    }
}

struct NatsSubscription {
    deliveries: mpsc::Receiver<Delivery>,
    draining: CancellationToken,
    _pump: AbortOnDropHandle<()>,
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    async fn drain(&mut self) {
        self.draining.cancel();
    }
}

/// Takes messages from the client as they come, so that their arrival is known, and what there is no room for is
/// known as well: the client itself drops it in silence.
struct Pump {
    broker: NatsBroker,
    queue: mpsc::Sender<Delivery>,
    draining: CancellationToken,
    max: usize,
    reason_bytes_max: usize,
}

impl Pump {
    async fn run(self, mut subscriber: Subscriber) {
        let (mut drained, mut missed) = (false, 0);
        loop {
            let message = tokio::select! {
                biased;
                () = self.draining.cancelled(), if !drained => {
                    drained = true;
                    if let Err(error) = subscriber.drain().await {
                        tracing::warn!(%error, "a NATS subscription could not be drained");
                    }
                    continue;
                }
                message = subscriber.next() => message,
            };
            let Some(message) = message else { return };
            match self.queue.try_send(Delivery { missed, ..Delivery::now(from_nats(message)) }) {
                Ok(()) => missed = 0,
                Err(mpsc::error::TrySendError::Full(delivery)) => {
                    missed += 1;
                    self.refuse(delivery.message).await;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }

    /// Tells whoever waits for an answer that there will be none. A wildcard may have reached what is not for guests:
    /// its answer is not ours to give.
    async fn refuse(&self, message: Message) {
        let Some(reply) = message.reply.filter(|_| message.subject.parse::<Subject>().is_ok()) else { return };
        let failure = Failure::subscription_full(self.max).told_to(reply, self.reason_bytes_max);
        // Who cannot be told waits until its own time is up.
        let _ = self.broker.publish(failure).await;
    }
}

fn to_nats(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter() {
        map.insert(name, value);
    }
    map
}

fn from_nats(message: async_nats::Message) -> Message {
    let mut headers = Headers::default();
    if let Some(map) = &message.headers {
        for name in KNOWN_HEADERS {
            let own = map.iter().find(|(own, _)| AsRef::<str>::as_ref(*own).eq_ignore_ascii_case(name));
            if let Some(value) = own.and_then(|(_, values)| values.first())
                && value.as_str().len() <= HEADER_VALUE_BYTES_MAX
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_logs() {
        assert_eq!(without_password("nats://a:b@host:4222"), "nats://host:4222");
        assert_eq!(without_password("a:b@host:4222"), "host:4222");
        assert_eq!(without_password("nats://host:4222"), "nats://host:4222");
    }

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
