//! Heartbeats: when they are sent and what they tell. A scheduler that hears none for a while takes the host for dead.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use async_nats::{Message, Subscriber, connection::State};
use bytes::Bytes;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::{
    control::Control,
    json::{self, Timestamp},
    listening::Listening,
    machine::{Facts, Load, Machine},
    messages::{HostHeartbeat, WitInterface},
    metrics::{ControlMetrics, Outcome},
};
use crate::{host::Host, plugin::InterfaceOffer};

/// Time between two heartbeats (published).
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Shortest time between two heartbeats, however much changes.
const CHANGE_PAUSE: Duration = Duration::from_millis(200);
/// Time between two looks whether the connection is there.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time in which the connection must have taken a heartbeat.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);

/// What does not change in a host's heartbeats.
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) environment: String,
    pub(super) started: Timestamp,
    pub(super) facts: Facts,
}

impl Identity {
    /// What the host tells now.
    fn heartbeat(&self, host: &Host, load: Load) -> HostHeartbeat {
        let (workload_count, component_count) = host.running_counts();
        let offers: Vec<InterfaceOffer> = host.offers().collect();
        HostHeartbeat {
            id: self.id.clone(),
            hostname: self.facts.hostname.clone(),
            friendly_name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: BTreeMap::from([("hostgroup".to_owned(), self.group.clone())]),
            started_at: Some(self.started),
            os_arch: self.facts.architecture.clone(),
            os_name: self.facts.os.clone(),
            os_kernel: self.facts.kernel.clone(),
            system_cpu_usage: load.cpu_percent,
            system_memory_total: load.memory_total_bytes,
            system_memory_free: load.memory_free_bytes,
            component_count,
            workload_count,
            imports: offers.iter().filter_map(|offer| interface(offer, &[offer.imports, offer.types])).collect(),
            exports: offers.iter().filter_map(|offer| interface(offer, &[offer.exports])).collect(),
            http_port: host.http_address().or(host.https_address()).map_or(0, |address| u32::from(address.port())),
            environment: self.environment.clone(),
        }
    }
}

fn interface(offer: &InterfaceOffer, lists: &[&[&str]]) -> Option<WitInterface> {
    let interfaces: Vec<String> = lists.iter().flat_map(|list| list.iter().map(|name| (*name).to_owned())).collect();
    (!interfaces.is_empty()).then(|| WitInterface {
        namespace: offer.package.namespace().to_owned(),
        package: offer.package.package().to_owned(),
        version: offer.version.to_string(),
        interfaces,
        ..WitInterface::default()
    })
}

/// When the next heartbeat is to be.
#[derive(Debug, Default)]
struct Schedule {
    last: Option<Instant>,
    /// Something has changed since.
    changed: bool,
}

impl Schedule {
    fn is_due(&self, now: Instant) -> bool {
        let wait = if self.changed { CHANGE_PAUSE } else { HEARTBEAT_EVERY };
        self.last.is_none_or(|last| now >= last + wait)
    }

    fn look_after(&self) -> Duration {
        if self.changed { CHANGE_PAUSE } else { LOOK_EVERY }
    }
}

/// What is known of the connection to the scheduler.
struct Connection {
    is_there: bool,
    /// How often it has come to be, by the client's own count.
    connects: u64,
    /// Losses that are counted already.
    lost: u64,
}

impl Connection {
    fn of(client: &async_nats::Client) -> Self {
        Self { is_there: true, connects: connects(client), lost: 0 }
    }

    /// Looks at it, and tells whether it has come back since the last look: also when it was lost and came back between
    /// the two.
    fn look(&mut self, client: &async_nats::Client, metrics: &ControlMetrics) -> bool {
        let is_there = client.connection_state() == State::Connected;
        let lost = connects(client).saturating_sub(self.connects) + u64::from(!is_there);
        let lost_now = lost.saturating_sub(self.lost);
        let came_back = is_there && (!self.is_there || lost_now > 0);
        metrics.connected.set(i64::from(is_there));
        metrics.lost.inc_by(lost_now);
        if lost_now > 0 {
            tracing::warn!("the connection to the scheduler is lost; workloads go on, and it is tried again");
        }
        if came_back {
            tracing::info!("the connection to the scheduler is there again");
        }
        (self.is_there, self.lost) = (is_there, self.lost.max(lost));
        came_back
    }
}

fn connects(client: &async_nats::Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// The host's pulse.
pub(super) struct Pulse {
    control: Arc<Control>,
    identity: Arc<Identity>,
    subject: String,
    machine: tokio::sync::Mutex<Machine>,
}

impl Pulse {
    pub(super) fn new(control: Arc<Control>, identity: Identity, machine: Machine) -> Self {
        let subject = format!("runtime.operator.heartbeat.{}", identity.id);
        Self { control, identity: Arc::new(identity), subject, machine: tokio::sync::Mutex::new(machine) }
    }

    /// Publishes heartbeats until the host stops: at once, regularly, after each change, and when a connection that was
    /// lost is there again. What is lost meanwhile is not sent later: it would be old.
    pub(super) async fn beat(self: Arc<Self>) {
        let control = &self.control;
        let mut connection = Connection::of(&control.client);
        let mut schedule = Schedule::default();
        loop {
            schedule.changed |= connection.look(&control.client, &control.metrics);
            let now = Instant::now();
            if connection.is_there && schedule.is_due(now) {
                self.publish().await;
                schedule = Schedule { last: Some(now), changed: false };
            }
            tokio::select! {
                biased;
                () = control.refusing.cancelled() => return,
                () = control.changed.notified() => schedule.changed = true,
                () = sleep_until(now + schedule.look_after()) => {}
            }
        }
    }

    /// Publishes one heartbeat.
    pub(super) async fn publish(&self) {
        let payload = Bytes::from(self.message().await);
        match timeout(PUBLISH_TIMEOUT, self.control.client.publish(self.subject.clone(), payload)).await {
            Ok(Ok(())) => self.control.metrics.heartbeats.inc(),
            Ok(Err(error)) => tracing::warn!(%error, "a heartbeat could not be sent"),
            Err(_) => tracing::warn!("a heartbeat could not be sent: the connection takes nothing"),
        }
    }

    /// Answers those who ask for a heartbeat.
    pub(super) async fn serve(self: Arc<Self>, questions: Subscriber) {
        let mut questions = Listening::new(questions, &self.control.ended);
        while let Some(question) = questions.next().await {
            self.tell(question).await;
        }
    }

    async fn tell(&self, question: Message) {
        self.control.metrics.command("heartbeat", Outcome::Done);
        let answer = self.message().await;
        self.control.reply(question, answer).await;
    }

    async fn message(&self) -> Vec<u8> {
        let load = self.machine.lock().await.look();
        json::encode(&self.identity.heartbeat(&self.control.host, load))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_come_at_once_regularly_and_after_changes() {
        let begun = Instant::now();
        let mut schedule = Schedule::default();
        assert!(schedule.is_due(begun));
        schedule.last = Some(begun);
        assert!(!schedule.is_due(begun + HEARTBEAT_EVERY - Duration::from_millis(1)));
        assert!(schedule.is_due(begun + HEARTBEAT_EVERY));
        schedule.changed = true;
        assert!(!schedule.is_due(begun + CHANGE_PAUSE - Duration::from_millis(1)));
        assert!(schedule.is_due(begun + CHANGE_PAUSE));
        assert_eq!(HEARTBEAT_EVERY, Duration::from_secs(15));
    }
}
