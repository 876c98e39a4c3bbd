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
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::broker::{Broker, BrokerError, Delivery, Message, Subscription};

/// Where answers to requests go. No guest can name it.
const INBOX_PREFIX: &str = "_INBOX.";

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
    queue: mpsc::Sender<Delivery>,
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
        let table = self.table.load();
        let literal = table.literal.get(&message.subject).into_iter().flatten();
        let wildcard = table.wildcard.iter().filter(|other| other.pattern.matches(&message.subject));
        let mut groups: BTreeMap<&str, Vec<&Subscriber>> = BTreeMap::new();
        let mut fate = Fate::default();
        let take = |subscriber: &Subscriber| subscriber.queue.try_send(Delivery::now(message.clone())).is_ok();
        for subscriber in literal.chain(wildcard) {
            match &subscriber.group {
                Some(group) => groups.entry(group.as_str()).or_default().push(subscriber),
                None => fate.count(take(subscriber)),
            }
        }
        for members in groups.values() {
            let start = self.turn.fetch_add(1, Ordering::Relaxed);
            let mut in_turn = members.iter().cycle().skip(start % members.len().max(1)).take(members.len());
            fate.count(in_turn.any(|member| take(member)));
        }
        fate
    }
}

impl Fate {
    fn count(&mut self, taken: bool) {
        if taken { self.taken += 1 } else { self.refused += 1 }
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
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        let capacity = usize::try_from(limits.subscription_messages_max).unwrap_or(usize::MAX).max(1);
        let (queue, messages) = mpsc::channel(capacity.min(tokio::sync::Semaphore::MAX_PERMITS));
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
    answer: Option<oneshot::Receiver<Message>>,
}

impl<'a> Inbox<'a> {
    fn open(broker: &'a Inner) -> Self {
        let name = format!("{INBOX_PREFIX}{:032x}", rand::random::<u128>());
        let (sender, answer) = oneshot::channel();
        broker.inboxes().insert(name.clone(), sender);
        Self { broker, name, answer: Some(answer) }
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
        self.broker.inboxes().remove(&self.name);
    }
}

struct InProcessSubscription {
    messages: mpsc::Receiver<Delivery>,
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
        self.messages.recv().await
    }

    async fn drain(&mut self) {
        self.registration = None;
        self.messages.close();
    }
}
