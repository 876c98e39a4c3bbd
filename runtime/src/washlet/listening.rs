//! Who listens to a subject until a sign, and then still hears what was sent to it before. What is said is not known here.

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A number of messages after which a subscription of NATS is to end, and never comes to. The server takes one of more than nine
/// digits for none, and ends the subscription at once; the client keeps it, for the messages that are on their way. The client's own
/// ways to end a subscription forget it before the server knows, and with it those messages.
pub const NATS_MESSAGES_WITHOUT_END: u64 = u64::MAX;
/// Time in which the last messages come. The server would say when there are no more, but for that a host needs leave to
/// send to itself, which the published permissions do not give.
const LAST_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody who listens for messages until a sign, and then deals with those that were on their way already.
pub(super) struct Listening<'c> {
    messages: Subscriber,
    until: &'c CancellationToken,
    /// When the last ones must have come; from the sign on.
    last_call: Option<Instant>,
}

impl<'c> Listening<'c> {
    pub(super) fn new(messages: Subscriber, until: &'c CancellationToken) -> Self {
        Self { messages, until, last_call: None }
    }

    /// Whether the sign was given.
    pub(super) fn is_last_call(&self) -> bool {
        self.last_call.is_some()
    }

    /// The next message; `None` once there will be no more.
    pub(super) async fn next(&mut self) -> Option<Message> {
        if self.last_call.is_none() {
            tokio::select! {
                biased;
                () = self.until.cancelled() => {}
                message = self.messages.next() => return message,
            }
            // What fails here is a connection that is gone: then nothing comes any more.
            self.messages.unsubscribe_after(NATS_MESSAGES_WITHOUT_END).await.ok()?;
        }
        let until = *self.last_call.get_or_insert_with(|| Instant::now() + LAST_CALL_TIMEOUT);
        timeout_at(until, self.messages.next()).await.ok()?
    }
}
