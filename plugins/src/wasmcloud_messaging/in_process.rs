//! A broker inside the process, with NATS semantics: what makes one command on a bare machine enough.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use roadstead_config::{Limits, QueueGroup, SubjectPattern};
use roadstead_metrics::Gauge;
use tokio::{sync::oneshot, time::Instant};

use super::{
    broker::{Broker, BrokerError, Delivery, Message, Requester, Subscription},
    queue::{NotQueued, QueueReceiver, QueueSender, queue},
};

/// Where answers to requests go. No guest can name it.
const INBOX_PREFIX: &str = "_INBOX.";

/// How often a message whose receivers have just left is offered to those who came in their place.
const LOOKS_AGAIN_MAX: usize = 3;

/// The broker. Clones are the same broker.
#[derive(Clone, Default)]
pub struct InProcessBroker(Arc<Inner>);

#[derive(Default)]
struct Inner {
    table: ArcSwap<Table>,
    changing: Mutex<()>,
    inboxes: Mutex<HashMap<String, oneshot::Sender<Message>>>,
    next_id: AtomicU64,
    /// Where the search for a free member of a queue group begins, so that all get their share.
    turn: AtomicUsize,
}

/// Who gets what. Read without a lock, replaced whole.
#[derive(Default, Clone)]
struct Table {
    literal: HashMap<String, Vec<Arc<Subscriber>>>,
    wildcard: Vec<Arc<Subscriber>>,
}

struct Subscriber {
    id: u64,
    pattern: SubjectPattern,
    group: Option<QueueGroup>,
    queue: QueueSender,
}

/// What became of a message.
#[derive(Default)]
struct Fate {
    taken: usize,
    refused: usize,
}

impl Inner {
    fn change(&self, change: impl FnOnce(&mut Table)) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.table.load());
        change(&mut table);
        self.table.store(Arc::new(table));
    }

    fn inboxes(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Message>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every subscriber without a group, and one of each group, gets the message.
    fn deliver(&self, message: &Message) -> Fate {
        self.deliver_by(&self.table.load(), message)
    }

    /// Delivers by a snapshot of the table, which may be older than the table by now.
    fn deliver_by(&self, table: &Table, message: &Message) -> Fate {
        let mut groups: BTreeMap<&QueueGroup, Vec<&Subscriber>> = BTreeMap::new();
        let mut fate = Fate::default();
        for subscriber in table.subscribers_of(&message.subject) {
            match &subscriber.group {
                Some(group) => groups.entry(group).or_default().push(subscriber),
                None => fate.count(subscriber.offer(message)),
            }
        }
        for (group, members) in groups {
            let mut offered = self.offer_to_one(&members, message);
            // All that the snapshot knew have left: those who came in their place are in the table.
            for _ in 0..LOOKS_AGAIN_MAX {
                if offered != Offered::Gone {
                    break;
                }
                let table = self.table.load();
                let of_group = |subscriber: &&Subscriber| subscriber.group.as_ref() == Some(group);
                let members: Vec<_> = table.subscribers_of(&message.subject).filter(of_group).collect();
                offered = self.offer_to_one(&members, message);
            }
            fate.count(offered);
        }
        fate
    }

    /// Offers a message to the members of a group in turn, until one takes it.
    fn offer_to_one(&self, members: &[&Subscriber], message: &Message) -> Offered {
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut offered = Offered::Gone;
        for member in members.iter().cycle().skip(start % members.len().max(1)).take(members.len()) {
            match member.offer(message) {
                Offered::Taken => return Offered::Taken,
                Offered::Full => offered = Offered::Full,
                Offered::Gone => {}
            }
        }
        offered
    }
}

impl Table {
    fn subscribers_of(&self, subject: &str) -> impl Iterator<Item = &Subscriber> {
        let literal = self.literal.get(subject).into_iter().flatten();
        let wildcard = self.wildcard.iter().filter(move |other| other.pattern.matches(subject));
        literal.chain(wildcard).map(|subscriber| &**subscriber)
    }
}

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offered {
    Taken,
    /// As many messages wait as may.
    Full,
    /// The subscription has ended.
    Gone,
}

impl Subscriber {
    fn offer(&self, message: &Message) -> Offered {
        match self.queue.offer(Delivery::now(message.clone())) {
            Ok(()) => Offered::Taken,
            Err(NotQueued::Full(_)) => Offered::Full,
            Err(NotQueued::Gone) => Offered::Gone,
        }
    }
}

impl Fate {
    fn count(&mut self, offered: Offered) {
        match offered {
            Offered::Taken => self.taken += 1,
            Offered::Full => self.refused += 1,
            Offered::Gone => {}
        }
    }
}

#[async_trait]
impl Broker for InProcessBroker {
    async fn publish(&self, message: Message) -> Result<(), BrokerError> {
        if message.subject.starts_with(INBOX_PREFIX) {
            if let Some(waiting) = self.0.inboxes().remove(&message.subject) {
                let _ = waiting.send(message);
            }
            return Ok(());
        }
        let fate = self.0.deliver(&message);
        if fate.refused > 0 && fate.taken == 0 {
            return Err(BrokerError::QueueFull { subject: message.subject });
        }
        Ok(())
    }

    async fn request(&self, mut message: Message, deadline: Instant) -> Result<Message, BrokerError> {
        let inbox = Inbox::open(&self.0);
        message.reply = Some(inbox.name.clone());
        message.requester = inbox.requester.clone();
        let fate = self.0.deliver(&message);
        match (fate.taken, fate.refused) {
            (0, 0) => return Err(BrokerError::NoResponders { subject: message.subject }),
            (0, _) => return Err(BrokerError::QueueFull { subject: message.subject }),
            _ => {}
        }
        inbox.answer(deadline).await
    }

    async fn subscribe(
        &self,
        pattern: &SubjectPattern,
        group: Option<&QueueGroup>,
        limits: &Limits,
        waiting: &Gauge,
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        let (queue, messages) = queue(limits, waiting);
        let subscriber = Arc::new(Subscriber {
            id: self.0.next_id.fetch_add(1, Ordering::Relaxed),
            pattern: pattern.clone(),
            group: group.cloned(),
            queue,
        });
        let entry = subscriber.clone();
        self.0.change(|table| match entry.pattern.is_literal() {
            true => table.literal.entry(entry.pattern.to_string()).or_default().push(entry),
            false => table.wildcard.push(entry),
        });
        let registration = Registration { broker: self.0.clone(), id: subscriber.id, pattern: pattern.clone() };
        Ok(Box::new(InProcessSubscription { messages, registration: Some(registration) }))
    }

    fn readiness(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Where one request waits for its answer; closed when dropped.
struct Inbox<'a> {
    broker: &'a Inner,
    name: String,
    /// Leaves when this is dropped without an answer.
    requester: Requester,
    answer: Option<oneshot::Receiver<Message>>,
}

impl<'a> Inbox<'a> {
    fn open(broker: &'a Inner) -> Self {
        let name = format!("{INBOX_PREFIX}{:032x}", rand::random::<u128>());
        let (sender, answer) = oneshot::channel();
        broker.inboxes().insert(name.clone(), sender);
        Self { broker, name, requester: Requester::present(), answer: Some(answer) }
    }

    async fn answer(mut self, deadline: Instant) -> Result<Message, BrokerError> {
        let Some(answer) = self.answer.take() else { return Err(BrokerError::Timeout) };
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(message)) => Ok(message),
            _ => Err(BrokerError::Timeout),
        }
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        // Who has been answered is not in the table any more.
        if self.broker.inboxes().remove(&self.name).is_some() {
            self.requester.leave();
        }
    }
}

struct InProcessSubscription {
    messages: QueueReceiver,
    registration: Option<Registration>,
}

/// A place in the table, given up when dropped.
struct Registration {
    broker: Arc<Inner>,
    id: u64,
    pattern: SubjectPattern,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let (id, pattern) = (self.id, &self.pattern);
        self.broker.change(|table| {
            table.wildcard.retain(|subscriber| subscriber.id != id);
            if let Some(subscribers) = table.literal.get_mut(pattern.as_str()) {
                subscribers.retain(|subscriber| subscriber.id != id);
                if subscribers.is_empty() {
                    table.literal.remove(pattern.as_str());
                }
            }
        });
    }
}

#[async_trait]
impl Subscription for InProcessSubscription {
    async fn next(&mut self) -> Option<Delivery> {
        self.messages.next().await
    }

    async fn drain(&mut self) {
        self.registration = None;
        self.messages.close();
    }
}

#[cfg(test)]
mod tests {
    use roadstead_metrics::{Gauges, catalogue::MESSAGES_WAITING};

    use super::*;

    fn gauge() -> Gauge {
        Gauges::new(&MESSAGES_WAITING).with(["team", "app"])
    }

    fn message() -> Message {
        Message {
            subject: "work".into(),
            reply: None,
            headers: Default::default(),
            body: Default::default(),
            requester: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_message_reaches_the_successor_of_a_subscription_that_has_just_left() {
        let broker = InProcessBroker::default();
        let (pattern, group) = ("work".parse().unwrap(), "workers".parse().unwrap());
        let limits = Limits { subscription_messages_max: 1, ..Limits::default() };
        let gauge = gauge();
        let mut old = broker.subscribe(&pattern, Some(&group), &limits, &gauge).await.unwrap();
        let before = broker.0.table.load_full();
        let mut new = broker.subscribe(&pattern, Some(&group), &limits, &gauge).await.unwrap();
        old.drain().await;
        let fate = broker.0.deliver_by(&before, &message());
        assert_eq!((fate.taken, fate.refused), (1, 0));
        assert_eq!(new.next().await.unwrap().message.subject, "work");

        // A full queue is no queue that has ended, and nobody is nobody.
        broker.publish(message()).await.unwrap();
        assert!(matches!(broker.publish(message()).await, Err(BrokerError::QueueFull { .. })));
        new.drain().await;
        let fate = broker.0.deliver_by(&before, &message());
        assert_eq!((fate.taken, fate.refused), (0, 0));
    }

    #[tokio::test]
    async fn a_message_that_finds_only_those_who_left_is_offered_so_many_times() {
        let broker = InProcessBroker::default();
        let (queue, receiver) = queue(&Limits::default(), &gauge());
        drop(receiver);
        // It has left, and the table does not know.
        let gone = Subscriber { id: 1, pattern: "work".parse().unwrap(), group: "workers".parse().ok(), queue };
        broker.0.change(|table| table.literal.entry("work".into()).or_default().push(Arc::new(gone)));
        let fate = broker.0.deliver(&message());
        assert_eq!((fate.taken, fate.refused), (0, 0));
        assert_eq!(broker.0.turn.load(Ordering::Relaxed), 1 + LOOKS_AGAIN_MAX);
    }
}
