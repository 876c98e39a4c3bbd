//! A subscription of NATS: messages are taken from the client as they come, so that their arrival is known, and so that
//! what there is no room for is known as well: the client itself drops it in silence.

use std::time::Duration;

use async_nats::Subscriber;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::Fuse};
use roadstead_config::{Limits, Subject};
use roadstead_metrics::Gauge;
use roadstead_runtime::washlet::NATS_MESSAGES_WITHOUT_END;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{NatsBroker, batch::Batch, from_nats};
use crate::wasmcloud_messaging::{
    broker::{Broker, Delivery, Message, Subscription},
    queue::{NotQueued, QueueReceiver, QueueSender, queue},
    reply::Failure,
};

/// Refusals that wait to be sent, beyond which requesters are not told that a queue was full.
const REFUSALS_MAX: usize = 1_024;
/// Messages that are taken from the client in one go.
const TAKEN_AT_ONCE_MAX: usize = 1_024;

pub(super) struct NatsSubscription {
    deliveries: QueueReceiver,
    draining: CancellationToken,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl NatsSubscription {
    pub(super) fn new(broker: &NatsBroker, subscriber: Subscriber, limits: &Limits, waiting: &Gauge) -> Self {
        let (sender, deliveries) = queue(limits, waiting);
        let draining = CancellationToken::new();
        let (refusals, refused) = mpsc::channel(REFUSALS_MAX);
        let confirm_within = Duration::from_millis(limits.broker_call_ms);
        let pump = Pump {
            broker: broker.clone(),
            confirm_within,
            queue: sender,
            draining: draining.clone(),
            refusals,
            batch: broker.batch.clone(),
        };
        let refuser = Refuser { broker: broker.clone(), limits: limits.clone() };
        let tasks = [tokio::spawn(pump.run(subscriber)), tokio::spawn(refuser.run(refused))];
        Self { deliveries, draining, _tasks: tasks.map(AbortOnDropHandle::new) }
    }
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.next().await
    }

    async fn drain(&mut self) {
        self.draining.cancel();
    }
}

/// Takes messages from the client, and waits for nothing else: the client keeps what is not taken.
struct Pump {
    broker: NatsBroker,
    /// Longest wait for the server's word that it sends nothing more.
    confirm_within: Duration,
    queue: QueueSender,
    draining: CancellationToken,
    refusals: mpsc::Sender<Message>,
    batch: Batch,
}

impl Pump {
    async fn run(self, subscriber: Subscriber) {
        let mut subscriber = subscriber.ready_chunks(TAKEN_AT_ONCE_MAX);
        let (mut drained, mut missed) = (false, 0);
        let mut confirmed = Fuse::terminated();
        loop {
            let messages = tokio::select! {
                biased;
                () = self.draining.cancelled(), if !drained => {
                    drained = true;
                    let _ = subscriber.get_mut().unsubscribe_after(NATS_MESSAGES_WITHOUT_END).await;
                    let confirm = self.broker.confirm();
                    confirmed = Box::pin(tokio::time::timeout(self.confirm_within, confirm)).fuse();
                    continue;
                }
                // What the server sent before is here, or it is not there any more.
                _ = &mut confirmed => {
                    if let Err(error) = subscriber.get_mut().drain().await {
                        tracing::warn!(%error, "a NATS subscription could not be drained");
                    }
                    continue;
                }
                messages = subscriber.next() => messages,
            };
            let Some(messages) = messages else { return };
            let arrived = Instant::now();
            self.batch.came_together(messages.len());
            for message in messages {
                let delivery = Delivery { message: from_nats(message), arrived, missed };
                match self.queue.offer(delivery) {
                    Ok(()) => missed = 0,
                    Err(NotQueued::Full(Delivery { message, .. })) => {
                        missed += 1;
                        self.refuse(message);
                    }
                    Err(NotQueued::Gone) => return,
                }
            }
        }
    }

    /// Has the one who asked told; who cannot be told waits until its own time is up.
    fn refuse(&self, mut message: Message) {
        if message.reply.is_some() {
            message.body = bytes::Bytes::new();
            let _ = self.refusals.try_send(message);
        }
    }
}

/// Tells whoever waits for an answer that there will be none.
struct Refuser {
    broker: NatsBroker,
    limits: Limits,
}

impl Refuser {
    async fn run(self, mut refused: mpsc::Receiver<Message>) {
        let reason_bytes_max = usize::try_from(self.limits.error_reason_bytes_max).unwrap_or(usize::MAX);
        let full = Failure::subscription_full(&self.limits);
        while let Some(message) = refused.recv().await {
            // A wildcard may have reached what is not for guests: its answer is not ours to give.
            let Some(reply) = message.reply.filter(|_| message.subject.parse::<Subject>().is_ok()) else { continue };
            let _ = self.broker.answer(full.told_to(reply, reason_bytes_max)).await;
        }
    }
}
