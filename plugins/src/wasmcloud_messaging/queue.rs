//! The messages of a subscription that wait to be handled: bounded in number and in bytes. It knows no broker.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use roadstead_config::Limits;
use roadstead_metrics::{Gauge, Held};
use tokio::sync::{Semaphore, mpsc};

use super::broker::Delivery;

/// The end at which messages come in.
#[derive(Clone)]
pub(crate) struct QueueSender {
    messages: mpsc::Sender<Queued>,
    gauge: Gauge,
    waiting: Arc<Waiting>,
}

/// The end at which they are taken.
pub(crate) struct QueueReceiver {
    messages: mpsc::Receiver<Queued>,
    waiting: Arc<Waiting>,
}

struct Waiting {
    bytes: AtomicU64,
    bytes_max: u64,
}

/// A message that waits, counted for as long as it does.
struct Queued {
    delivery: Delivery,
    _counted: Held,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum NotQueued {
    /// As many messages wait as may, or as many bytes.
    Full(Delivery),
    /// Nobody takes messages any more.
    Gone,
}

/// A queue as `subscription_messages_max` and `subscription_bytes_max` say. One that is empty takes any message. What
/// waits in it is counted in `gauge`.
pub(crate) fn queue(limits: &Limits, gauge: &Gauge) -> (QueueSender, QueueReceiver) {
    let messages_max = usize::try_from(limits.subscription_messages_max).unwrap_or(usize::MAX);
    let (sender, receiver) = mpsc::channel(messages_max.clamp(1, Semaphore::MAX_PERMITS));
    let waiting = Arc::new(Waiting { bytes: AtomicU64::new(0), bytes_max: limits.subscription_bytes_max });
    let sender = QueueSender { messages: sender, gauge: gauge.clone(), waiting: waiting.clone() };
    (sender, QueueReceiver { messages: receiver, waiting })
}

fn bytes_of(delivery: &Delivery) -> u64 {
    delivery.message.body.len() as u64
}

impl QueueSender {
    pub(crate) fn offer(&self, delivery: Delivery) -> Result<(), NotQueued> {
        if self.messages.is_closed() {
            return Err(NotQueued::Gone);
        }
        let bytes = bytes_of(&delivery);
        let with = |waiting: u64| {
            let sum = waiting.saturating_add(bytes);
            (waiting == 0 || sum <= self.waiting.bytes_max).then_some(sum)
        };
        if self.waiting.bytes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, with).is_err() {
            return Err(NotQueued::Full(delivery));
        }
        let queued = Queued { delivery, _counted: self.gauge.hold(1) };
        self.messages.try_send(queued).map_err(|error| {
            self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
            match error {
                mpsc::error::TrySendError::Full(queued) => NotQueued::Full(queued.delivery),
                mpsc::error::TrySendError::Closed(_) => NotQueued::Gone,
            }
        })
    }
}

impl QueueReceiver {
    /// Takes nothing more in; what waits still comes out.
    pub(crate) fn close(&mut self) {
        self.messages.close();
    }

    /// The next message; `None` after the end. May be dropped and called again without losing one.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        let Queued { delivery, .. } = self.messages.recv().await?;
        self.waiting.bytes.fetch_sub(bytes_of(&delivery), Ordering::AcqRel);
        Some(delivery)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use roadstead_metrics::{Gauges, catalogue::MESSAGES_WAITING};

    use super::*;
    use crate::wasmcloud_messaging::{Headers, Message, Requester};

    fn of_bytes(bytes: usize) -> Delivery {
        let body = Bytes::from(vec![b'x'; bytes]);
        Delivery::now(Message {
            subject: "a".into(),
            reply: None,
            headers: Headers::default(),
            body,
            requester: Requester::default(),
        })
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_in_bytes() {
        let limits = Limits { subscription_messages_max: 3, subscription_bytes_max: 10, ..Limits::default() };
        let gauge = Gauges::new(&MESSAGES_WAITING).with(["team", "app"]);
        let (sender, mut receiver) = queue(&limits, &gauge);
        let full = |bytes| matches!(sender.offer(of_bytes(bytes)), Err(NotQueued::Full(_)));
        assert!(!full(11), "an empty queue takes any message");
        assert!(full(1));
        assert_eq!(receiver.next().await.map(|delivery| delivery.message.body.len()), Some(11));
        assert!(!full(4) && !full(6) && full(1));
        receiver.next().await.unwrap();
        assert!(!full(4) && !full(0) && full(0), "three messages, one of them empty");
        assert_eq!(gauge.get(), 3);
        for _ in 0..3 {
            receiver.next().await.unwrap();
        }
        assert!(!full(10), "nothing is kept of what was refused");
        assert_eq!(gauge.get(), 1);
        drop(receiver);
        assert_eq!(gauge.get(), 0, "what will not be taken any more does not wait");
        assert!(matches!(sender.offer(of_bytes(0)), Err(NotQueued::Gone)));
    }
}
