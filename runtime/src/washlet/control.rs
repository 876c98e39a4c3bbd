//! The commands of a scheduler: each is read, done or refused, and answered. Starts and stops go on in tasks of their own,
//! bounded in number, so that no command waits for another one's work. How a message is written is not known here.

use std::sync::Arc;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Duration, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    json::{self, Json},
    ledger::{Ledger, WireId},
    listening::Listening,
    messages::{
        WorkloadStartRequest, WorkloadStartResponse, WorkloadState, WorkloadStatus, WorkloadStatusRequest,
        WorkloadStatusResponse, WorkloadStopRequest, WorkloadStopResponse,
    },
    metrics::{ControlMetrics, Outcome},
    translate,
};
use crate::{
    WorkloadId,
    host::{self, Host, HostApi, deploy::Begun},
};

/// Longest text of a reply, in bytes.
const REPLY_TEXT_BYTES_MAX: usize = 4_096;
/// Time in which a reply must have been taken by the connection. One that is lost keeps a few and then no more.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// A host under its scheduler.
pub(super) struct Control {
    pub(super) host: Arc<Host>,
    /// The host's id, made anew at each start.
    pub(super) id: String,
    pub(super) client: Arc<async_nats::Client>,
    pub(super) metrics: ControlMetrics,
    /// Something happened that a heartbeat tells.
    pub(super) changed: Notify,
    /// Commands whose work goes on.
    pub(super) tasks: TaskTracker,
    /// Those who listen for commands.
    pub(super) listeners: TaskTracker,
    /// Nothing is started or stopped any more.
    pub(super) refusing: CancellationToken,
    /// Nothing is answered any more.
    pub(super) ended: CancellationToken,
    ledger: Ledger,
    starts: Arc<Semaphore>,
    stops: Arc<Semaphore>,
}

/// What a command leads to.
struct Answer {
    status: WorkloadStatus,
    outcome: Outcome,
}

impl Answer {
    fn new(id: &str, state: WorkloadState, message: impl Into<String>, outcome: Outcome) -> Self {
        let message = shortened(message.into());
        Self { status: WorkloadStatus { workload_id: id.to_owned(), workload_state: state, message }, outcome }
    }

    fn error(id: &str, message: impl Into<String>, outcome: Outcome) -> Self {
        Self::new(id, WorkloadState::Error, message, outcome)
    }

    /// How the host says that a workload is.
    fn of(id: &WireId, status: host::WorkloadStatus) -> Self {
        use host::WorkloadState as State;
        let (state, outcome) = match status.state {
            State::Starting => (WorkloadState::Starting, Outcome::Done),
            State::Running => (WorkloadState::Running, Outcome::Done),
            State::Completed => (WorkloadState::Completed, Outcome::Done),
            State::Stopping => (WorkloadState::Stopping, Outcome::Done),
            State::Error => (WorkloadState::Error, Outcome::Failed),
            State::NotFound => (WorkloadState::NotFound, Outcome::Done),
        };
        Self::new(id.as_str(), state, status.reason.unwrap_or_default(), outcome)
    }
}

/// What a command asks for, before anything of it is done.
trait Command: Json {
    const NAME: &'static str;
    fn workload_id(&self) -> &str;
    fn response(status: WorkloadStatus) -> Vec<u8>;
}

macro_rules! command {
    ($request:ty, $name:literal, $response:ident) => {
        impl Command for $request {
            const NAME: &'static str = $name;

            fn workload_id(&self) -> &str {
                &self.workload_id
            }

            fn response(status: WorkloadStatus) -> Vec<u8> {
                json::encode(&$response { workload_status: Some(status) })
            }
        }
    };
}

command!(WorkloadStartRequest, "start", WorkloadStartResponse);
command!(WorkloadStopRequest, "stop", WorkloadStopResponse);
command!(WorkloadStatusRequest, "status", WorkloadStatusResponse);

impl Control {
    pub(super) fn new(
        host: Arc<Host>,
        id: String,
        client: Arc<async_nats::Client>,
    ) -> Result<Self, roadstead_metrics::Error> {
        let most = usize::try_from(host.limits().control_commands_max).unwrap_or(usize::MAX);
        let places = || Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Ok(Self {
            metrics: ControlMetrics::new(host.metrics())?,
            host,
            id,
            client,
            changed: Notify::new(),
            tasks: TaskTracker::new(),
            listeners: TaskTracker::new(),
            refusing: CancellationToken::new(),
            ended: CancellationToken::new(),
            ledger: Ledger::default(),
            starts: places(),
            stops: places(),
        })
    }

    /// Answers starts until the host stops; then says so to those that were under way to it.
    pub(super) async fn serve_starts(self: Arc<Self>, commands: Subscriber) {
        let mut commands = Listening::new(commands, &self.refusing);
        while let Some(message) = commands.next().await {
            match commands.is_last_call() {
                false => self.start(message).await,
                true => self.refuse::<WorkloadStartRequest>(message).await,
            }
        }
    }

    /// The same for stops.
    pub(super) async fn serve_stops(self: Arc<Self>, commands: Subscriber) {
        let mut commands = Listening::new(commands, &self.refusing);
        while let Some(message) = commands.next().await {
            match commands.is_last_call() {
                false => self.stop(message).await,
                true => self.refuse::<WorkloadStopRequest>(message).await,
            }
        }
    }

    /// Answers questions for a status, to the very end.
    pub(super) async fn serve_statuses(self: Arc<Self>, commands: Subscriber) {
        let mut commands = Listening::new(commands, &self.ended);
        while let Some(message) = commands.next().await {
            self.tell_status(message).await;
        }
    }

    async fn tell_status(&self, message: Message) {
        let answer = match self.read::<WorkloadStatusRequest>(&message) {
            Err(answer) => answer,
            Ok((id, _)) => match self.ledger.find(&id) {
                Some(workload) => Answer { outcome: Outcome::Done, ..self.status(&id, &workload).await },
                None => Answer::new(id.as_str(), WorkloadState::NotFound, "", Outcome::Done),
            },
        };
        self.answer::<WorkloadStatusRequest>(message, answer).await;
    }

    async fn status(&self, id: &WireId, workload: &WorkloadId) -> Answer {
        Answer::of(id, self.host.workload_status(workload).await)
    }

    async fn start(self: &Arc<Self>, message: Message) {
        let (id, request) = match self.read::<WorkloadStartRequest>(&message) {
            Ok(read) => read,
            Err(answer) => return self.answer::<WorkloadStartRequest>(message, answer).await,
        };
        if let Err(answer) = self.begin_start(&id, request, &message) {
            self.answer::<WorkloadStartRequest>(message, answer).await;
        }
    }

    /// Begins a start whose answer comes later, or says why not.
    fn begin_start(
        self: &Arc<Self>,
        id: &WireId,
        request: WorkloadStartRequest,
        message: &Message,
    ) -> Result<(), Answer> {
        let failed = |text: String| Answer::error(id.as_str(), text, Outcome::Failed);
        if self.ledger.find(id).is_some_and(|workload| self.host.holds(&workload)) {
            return Err(failed(format!("workload {id} already exists")));
        }
        let malformed = |text: String| Answer::error(id.as_str(), text, Outcome::Malformed);
        let workload =
            request.workload.ok_or_else(|| malformed("workload: found nothing, expected a workload".to_owned()))?;
        let request = translate::request(workload, self.host.limits()).map_err(|error| malformed(error.to_string()))?;
        let place = self.starts.clone().try_acquire_owned().map_err(|_| self.busy(id))?;
        let workload = request.id.clone();
        let attempt = self.host.begin_start(&request).map_err(|error| {
            let under = self.ledger.id_of(&workload).filter(|other| other != id);
            failed(under.map_or_else(|| error.to_string(), |other| format!("{error}, under the id {other}")))
        })?;
        self.ledger.enter(id.clone(), workload.clone());
        tracing::info!(id = %id, namespace = %workload.namespace, workload = %workload.name, "start of a workload");
        let (control, id, message) = (self.clone(), id.clone(), message.clone());
        self.tasks.spawn(async move {
            control.changed.notify_one();
            let status = control.host.finish_start(request, attempt).await;
            control.ledger.forget(&id, &workload, &control.host);
            control.changed.notify_one();
            drop(place);
            control.answer::<WorkloadStartRequest>(message, Answer::of(&id, status)).await;
        });
        Ok(())
    }

    async fn stop(self: &Arc<Self>, message: Message) {
        let answer = match self.read::<WorkloadStopRequest>(&message) {
            Ok((id, _)) => self.begin_stop(&id),
            Err(answer) => answer,
        };
        self.answer::<WorkloadStopRequest>(message, answer).await;
    }

    /// Begins a stop. It is answered at once: what is under way may take longer than the scheduler waits.
    fn begin_stop(self: &Arc<Self>, id: &WireId) -> Answer {
        let not_found = || Answer::new(id.as_str(), WorkloadState::NotFound, "", Outcome::Done);
        let Some(workload) = self.ledger.find(id) else { return not_found() };
        let Ok(place) = self.stops.clone().try_acquire_owned() else { return self.busy(id) };
        let attempt = match self.host.begin_stop(&workload) {
            Begun::Nothing => return not_found(),
            Begun::Already => return Answer::new(id.as_str(), WorkloadState::Stopping, "", Outcome::Done),
            Begun::Now(attempt) => attempt,
        };
        let (control, own) = (self.clone(), id.clone());
        self.tasks.spawn(async move {
            control.changed.notify_one();
            control.host.finish_stop(&workload, &attempt).await;
            control.ledger.forget(&own, &workload, &control.host);
            control.changed.notify_one();
            drop(place);
        });
        Answer::new(id.as_str(), WorkloadState::Stopping, "", Outcome::Done)
    }

    fn busy(&self, id: &WireId) -> Answer {
        let max = self.host.limits().control_commands_max;
        let text = format!("the host has {max} such commands under way, as many as it may (control_commands_max)");
        Answer::error(id.as_str(), text, Outcome::Busy)
    }

    /// The command of a message, or what is to be answered to it.
    fn read<C: Command>(&self, message: &Message) -> Result<(WireId, C), Answer> {
        let malformed = |id: &str, text: String| Answer::error(id, text, Outcome::Malformed);
        let command: C = json::decode(&message.payload, self.host.limits().control_bytes_max).map_err(|error| {
            let id = peeked_id(&message.payload, self.host.limits().control_bytes_max);
            malformed(id.as_ref().map_or("", WireId::as_str), format!("the {} command is not valid: {error}", C::NAME))
        })?;
        match WireId::new(command.workload_id()) {
            Some(id) => Ok((id, command)),
            None => Err(malformed("", "workloadId: expected text of 1 to 256 bytes without control characters".into())),
        }
    }

    async fn refuse<C: Command>(&self, message: Message) {
        let answer = match self.read::<C>(&message) {
            Ok((id, _)) => Answer::error(id.as_str(), "the host is stopping", Outcome::Failed),
            Err(answer) => answer,
        };
        self.answer::<C>(message, answer).await;
    }

    async fn answer<C: Command>(&self, message: Message, answer: Answer) {
        let Answer { status, outcome } = answer;
        self.metrics.command(C::NAME, outcome);
        if outcome != Outcome::Done {
            let text = json::cut(&status.message);
            tracing::warn!(id = status.workload_id, command = C::NAME, reason = text, "a command was not done");
        }
        self.reply(message, C::response(status)).await;
    }

    /// Replies to whoever waits for it.
    pub(super) async fn reply(&self, message: Message, payload: Vec<u8>) {
        let Some(reply) = message.reply else { return };
        let sent = timeout(REPLY_TIMEOUT, self.client.publish(reply, Bytes::from(payload))).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("a reply to the scheduler could not be sent");
        }
    }
}

/// The id of a command that is not valid otherwise: whoever sent it is to know which of its commands it was.
fn peeked_id(payload: &[u8], bytes_max: u64) -> Option<WireId> {
    if payload.len() as u64 > bytes_max {
        return None;
    }
    let value: Value = serde_json::from_slice(payload).ok()?;
    WireId::new(value.get("workloadId").or_else(|| value.get("workload_id"))?.as_str()?)
}

fn shortened(mut text: String) -> String {
    if text.len() > REPLY_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REPLY_TEXT_BYTES_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_a_length() {
        let text = shortened("ä".repeat(REPLY_TEXT_BYTES_MAX));
        assert_eq!(text.len(), REPLY_TEXT_BYTES_MAX);
        assert_eq!(shortened("short".to_owned()), "short");
        assert_eq!(shortened(format!("x{}", "ä".repeat(REPLY_TEXT_BYTES_MAX))).len(), REPLY_TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn the_id_of_a_command_that_is_not_valid_is_found_where_it_can_be() {
        let id = |payload: &str| peeked_id(payload.as_bytes(), 100).map(|id| id.to_string());
        assert_eq!(id(r#"{"workloadId":"a","other":1}"#).as_deref(), Some("a"));
        assert_eq!(id(r#"{"workload_id":"a"}"#).as_deref(), Some("a"));
        for none in [
            "",
            "{",
            r#"{"workloadId":5}"#,
            r#"["workloadId"]"#,
            &format!("{{\"workloadId\":\"{}\"}}", "x".repeat(100)),
        ] {
            assert_eq!(id(none), None, "{none}");
        }
    }
}
