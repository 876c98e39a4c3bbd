//! From a subscription to a component's handler: admission, the call, and what the one who asked is told.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_config::{Subject, SubjectPattern};
use roadstead_runtime::{
    Call, CallError, CallSpan, ComponentHandle, InstanceState, PluginError, TraceContext, call_span, plugin::Activation,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wasmtime::{Store, component::Instance};

use super::{
    Bound,
    bindings::{MessagingIndices, wasmcloud::messaging::types::BrokerMessage},
    broker::{Delivery, Message, Requester, Subscription},
    headers::call_of,
    reply::{Failure, ReplyGrant},
};

/// Shortest time between two log lines about dropped messages of one subscription.
const DROPS_LOGGED_EVERY: Duration = Duration::from_secs(10);

/// The subscriptions of one component, and the messages that it is busy with.
pub(crate) struct Intake {
    worker: Arc<Worker>,
    tasks: TaskTracker,
}

/// What every message needs.
struct Worker {
    component: Arc<ComponentHandle>,
    handler: Arc<MessagingIndices>,
    bound: Arc<Bound>,
    /// One permit for each message under way.
    places: Arc<Semaphore>,
    places_max: u64,
    admission_wait: Duration,
    /// No further messages are taken.
    stopping: CancellationToken,
    /// Messages under way are given up.
    killed: CancellationToken,
}

impl Intake {
    /// # Errors
    /// When the configured bound is not possible, or the component's handler is not the published one.
    pub(crate) fn new(component: Arc<ComponentHandle>, bound: Arc<Bound>) -> Result<Self, PluginError> {
        let handler = MessagingIndices::new(component.instance_pre())
            .map_err(|error| PluginError::Configuration(format!("the handler is not the published one: {error:#}")))?;
        let limits = &bound.limits;
        let default = match component.pool_status() {
            Some(pool) => limits.pool_waiting_max.saturating_add(pool.size as u64),
            None => limits.workload_instances_max,
        };
        let places_max = bound.config.max_in_flight.map_or(default, |max| u64::from(max.get()).min(default));
        let places = usize::try_from(places_max).ok().filter(|places| *places <= Semaphore::MAX_PERMITS);
        let places = places.ok_or_else(|| PluginError::Configuration("max_in_flight is too large".into()))?;
        let admission_wait =
            bound.config.admission_wait.unwrap_or_else(|| Duration::from_millis(limits.admission_wait_ms));
        let worker = Arc::new(Worker {
            component,
            handler: Arc::new(handler),
            bound,
            places: Arc::new(Semaphore::new(places)),
            places_max,
            admission_wait,
            stopping: CancellationToken::new(),
            killed: CancellationToken::new(),
        });
        Ok(Self { worker, tasks: TaskTracker::new() })
    }

    /// Begins to handle the messages of `subscription`, which is to `pattern`.
    pub(crate) fn listen(&mut self, pattern: SubjectPattern, mut subscription: Box<dyn Subscription>) {
        let (worker, tasks) = (self.worker.clone(), self.tasks.clone());
        self.tasks.spawn(async move {
            let mut draining = false;
            let mut drops = Drops::default();
            loop {
                tokio::select! {
                    biased;
                    () = worker.stopping.cancelled(), if !draining => {
                        subscription.drain().await;
                        draining = true;
                    }
                    delivery = subscription.next() => match delivery {
                        Some(delivery) => {
                            worker.note_drops(&mut drops, delivery.missed, &pattern);
                            worker.clone().take(delivery, &tasks).await;
                        }
                        None => break,
                    },
                }
            }
        });
    }
}

#[async_trait]
impl Activation for Intake {
    async fn stop(self: Box<Self>, limit: Duration) {
        self.worker.stopping.cancel();
        self.tasks.close();
        let told = Duration::from_millis(self.worker.bound.limits.broker_call_ms);
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            self.worker.killed.cancel();
            let _ = tokio::time::timeout(told, self.tasks.wait()).await;
        }
        // The process may end next, and what the broker has not sent by then is lost.
        let _ = tokio::time::timeout(told, self.worker.bound.broker.flush()).await;
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.worker.stopping.cancel();
    }
}

/// Messages that a subscription dropped, not logged yet.
#[derive(Default)]
struct Drops {
    count: u64,
    logged: Option<Instant>,
}

impl Drops {
    /// Counts `missed` messages; gives how many are to be logged, when nothing has been for a while.
    fn add(&mut self, missed: u64, now: Instant) -> Option<u64> {
        self.count += missed;
        let due = self.logged.is_none_or(|logged| now.saturating_duration_since(logged) >= DROPS_LOGGED_EVERY);
        (self.count > 0 && due).then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}

impl Worker {
    /// Counts `missed` messages, and says so now and then.
    fn note_drops(&self, drops: &mut Drops, missed: u64, pattern: &SubjectPattern) {
        self.bound.metrics.dropped.inc_by(missed);
        if let Some(dropped) = drops.add(missed, Instant::now()) {
            tracing::warn!(
                namespace = %self.component.workload().namespace,
                workload = %self.component.workload().name,
                component = %self.component.name(),
                subscription = %pattern,
                dropped,
                "messages were dropped: as many wait as may (subscription_messages_max)"
            );
        }
    }

    /// Admits one message and lets it be handled, or tells the sender why not.
    async fn take(self: Arc<Self>, delivery: Delivery, tasks: &TaskTracker) {
        let Delivery { message, arrived, .. } = delivery;
        self.bound.metrics.received.inc();
        // A subscription with a wildcard may reach inboxes and the server's own subjects: none of a guest's business.
        if message.subject.parse::<Subject>().is_err() {
            self.bound.metrics.handled.count(Err("reserved-subject"));
            return;
        }
        let limits = &self.bound.limits;
        let (call, parent) = call_of(&message.headers, arrived, Duration::from_millis(limits.request_timeout_ms));
        let span = self.process_span(&call, parent.as_ref(), &message);
        let grant = message.reply.clone().map(|reply| ReplyGrant::new(reply, limits.replies_per_message_max));
        if message.body.len() as u64 > limits.message_bytes_max {
            let failure = Failure::too_large(message.body.len(), limits.message_bytes_max);
            return self.tell(grant.as_ref(), &failure, &span).await;
        }
        if Instant::now() >= call.deadline {
            return self.tell(grant.as_ref(), &(&CallError::Deadline).into(), &span).await;
        }
        if message.requester.has_left() {
            self.bound.metrics.handled.count(Err(Failure::requester_gone().kind));
            return;
        }
        let admit_by = Instant::now().checked_add(self.admission_wait).unwrap_or(call.deadline);
        let place = match self.admit(&call, admit_by).await {
            Ok(place) => place,
            Err(failure) => return self.tell(grant.as_ref(), &failure, &span).await,
        };
        let component = self.component.clone();
        let handled = component.in_lane(async move {
            self.bound.metrics.in_flight.inc();
            let incoming = Incoming { message, arrived, grant, call, admit_by };
            self.handle(incoming, &span).await;
            self.bound.metrics.in_flight.dec();
            drop(place);
        });
        tasks.spawn(async move {
            if let Err(error) = handled.await {
                tracing::error!(%error, "a message was lost");
            }
        });
    }

    async fn admit(&self, call: &Call, admit_by: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        let until = admit_by.min(call.deadline);
        match tokio::time::timeout_at(until, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err((&CallError::NotRunning).into()),
            Err(_) if Instant::now() >= call.deadline => Err((&CallError::Deadline).into()),
            Err(_) => Err(Failure::queue_full(self.places_max)),
        }
    }

    /// The span of a message from its arrival to its end, with the attributes of OpenTelemetry's conventions.
    fn process_span(&self, call: &Call, parent: Option<&TraceContext>, message: &Message) -> CallSpan {
        CallSpan::at(call.trace.clone(), parent, || {
            let workload = self.component.workload();
            call_span!(
                format!("process {}", message.subject),
                "consumer",
                messaging.system = "nats",
                messaging.operation.name = "process",
                messaging.operation.type = "process",
                messaging.destination.name = message.subject.as_str(),
                messaging.message.body.size = message.body.len(),
                roadstead.namespace = %workload.namespace,
                roadstead.workload = %workload.name,
            )
        })
    }

    async fn handle(&self, incoming: Incoming, span: &CallSpan) {
        let Incoming { message, arrived, grant, call, admit_by } = incoming;
        let Message { subject, body, requester, .. } = message;
        // Only where it may be needed: what nobody else has is handed on without a copy.
        let second = self.component.can_be_lost().then(|| (subject.clone(), body.clone()));
        let asker = Asker { requester, arrived, grant: grant.clone() };
        let mut result = self.attempt(subject, body, &asker, &call, admit_by).await;
        if let (Ok(Handled::Lost(_)), Some((subject, body))) = (&result, second)
            && !grant.as_ref().is_some_and(ReplyGrant::answered)
        {
            result = self.attempt(subject, body, &asker, &call, admit_by).await;
        }
        match result {
            Ok(Handled::Done) => self.bound.metrics.handled.count(Ok(())),
            Ok(Handled::Unwanted) => self.bound.metrics.handled.count(Err(Failure::requester_gone().kind)),
            Ok(Handled::Failed(reason) | Handled::Lost(reason)) => {
                self.tell(grant.as_ref(), &Failure::of_handler(reason), span).await
            }
            Err(error) => {
                tracing::warn!(
                    namespace = %self.component.workload().namespace,
                    workload = %self.component.workload().name,
                    component = %self.component.name(),
                    trace_id = %call.trace.trace_id(),
                    kind = error.kind(),
                    error = %error,
                    "a message was not handled"
                );
                self.tell(grant.as_ref(), &Failure::from(&error), span).await;
            }
        }
    }

    /// Has one instance handle the message.
    async fn attempt(
        &self,
        subject: String,
        body: Bytes,
        asker: &Asker,
        call: &Call,
        admit_by: Instant,
    ) -> Result<Handled, CallError> {
        let Asker { requester, arrived, grant } = asker.clone();
        let reply_to = grant.as_ref().map(|grant| grant.token().to_owned());
        let guest_message = BrokerMessage { subject, body: body.into(), reply_to };
        let (handler, wait) = (self.handler.clone(), self.bound.metrics.wait.clone());
        let handled = self.component.call_admitted_by(admit_by, call.clone(), move |store, instance| {
            Box::pin(async move {
                // It may have waited for its instance.
                if requester.has_left() {
                    return Ok(Handled::Unwanted);
                }
                wait.observe(arrived.elapsed().as_secs_f64());
                handle_message(store, instance, handler, guest_message, grant).await
            })
        });
        tokio::select! {
            result = handled => result,
            () = self.killed.cancelled() => Err(CallError::NotRunning),
        }
    }

    /// Counts a failure, and tells the one who asked unless it has had an answer.
    async fn tell(&self, grant: Option<&ReplyGrant>, failure: &Failure, span: &CallSpan) {
        span.fail(failure.kind, || failure.reason.clone());
        self.bound.metrics.handled.count(Err(failure.kind));
        let Some(grant) = grant.filter(|grant| !grant.answered()) else { return };
        let limits = &self.bound.limits;
        let reason_max = usize::try_from(limits.error_reason_bytes_max).unwrap_or(usize::MAX);
        let told = self.bound.broker.answer(grant.failure(failure, reason_max));
        let within = Duration::from_millis(limits.broker_call_ms);
        if !matches!(tokio::time::timeout(within, told).await, Ok(Ok(()))) {
            tracing::warn!(
                namespace = %self.component.workload().namespace,
                workload = %self.component.workload().name,
                trace_id = %span.context().trace_id(),
                kind = failure.kind,
                "the requester could not be told of a failure"
            );
        }
    }
}

/// A message that was admitted.
struct Incoming {
    message: Message,
    arrived: Instant,
    grant: Option<ReplyGrant>,
    call: Call,
    /// When it must have its instance.
    admit_by: Instant,
}

/// Who waits for an answer, since when, and where it goes.
#[derive(Clone)]
struct Asker {
    requester: Requester,
    arrived: Instant,
    grant: Option<ReplyGrant>,
}

/// What became of a message that had its instance.
enum Handled {
    Done,
    /// What stood behind the instance was lost by no fault of the workload's; another instance may do better.
    Lost(String),
    /// The handler said no.
    Failed(String),
    /// Whoever asked had left before the handler was called.
    Unwanted,
}

async fn handle_message(
    store: &mut Store<InstanceState>,
    instance: &Instance,
    handler: Arc<MessagingIndices>,
    message: BrokerMessage,
    grant: Option<ReplyGrant>,
) -> wasmtime::Result<Handled> {
    if let Some(grant) = grant {
        store.data_mut().call_state().insert(grant);
    }
    let handler = handler.load(&mut *store, instance)?;
    let handled = handler.wasmcloud_messaging_handler().call_handle_message(&mut *store, &message).await;
    let lost = store.data().backend().is_worth_another_try();
    match handled {
        Ok(Ok(())) => Ok(Handled::Done),
        Ok(Err(reason)) if lost => Ok(Handled::Lost(reason)),
        Err(_) if lost => Ok(Handled::Lost("what the worker computes with was lost".to_owned())),
        Ok(Err(reason)) => Ok(Handled::Failed(reason)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_messages_are_logged_now_and_then() {
        let (mut drops, begin) = (Drops::default(), Instant::now());
        let soon = begin + DROPS_LOGGED_EVERY - Duration::from_millis(1);
        assert_eq!(drops.add(0, begin), None);
        assert_eq!(drops.add(3, begin), Some(3));
        assert_eq!(drops.add(2, soon), None);
        assert_eq!(drops.add(0, begin + DROPS_LOGGED_EVERY), Some(2));
        assert_eq!(drops.add(0, begin + 2 * DROPS_LOGGED_EVERY), None);
    }
}
