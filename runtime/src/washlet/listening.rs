//! Who listens to a subject until a sign, and then still hears all that was sent to it before. What is said is not known
//! here.

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Fuse},
};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

/// A number of messages after which a subscription is to end. The server takes one of more than nine digits for none,
/// and ends it at once; the client keeps it. The client's own ways to end a subscription forget it before the server
/// knows, and with it the messages that are on their way.
const MORE_THAN_ANY: u64 = u64::MAX;
/// Longest wait for the server's word that nothing more comes.
const LAST_CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody who listens for messages until a sign, and then deals with those that were on their way already.
pub(super) struct Listening<'c> {
    messages: Subscriber,
    client: &'c Client,
    until: &'c CancellationToken,
    /// Ends when the last message has come; from the sign on.
    last_call: Option<Fuse<BoxFuture<'c, ()>>>,
}

impl<'c> Listening<'c> {
    pub(super) fn new(messages: Subscriber, client: &'c Client, until: &'c CancellationToken) -> Self {
        Self { messages, client, until, last_call: None }
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
            self.messages.unsubscribe_after(MORE_THAN_ANY).await.ok()?;
        }
        let client = self.client;
        let last_call = self.last_call.get_or_insert_with(|| heard_back(client).boxed().fuse());
        tokio::select! {
            biased;
            message = self.messages.next() => return message,
            () = last_call => {}
        }
        self.messages.drain().await.ok()?;
        self.messages.next().await
    }
}

/// Waits until something that is sent now has come back from the server: all that it sent before has come too.
async fn heard_back(client: &Client) {
    let there_and_back = async {
        let own = client.new_inbox();
        let mut heard = client.subscribe(own.clone()).await.ok()?;
        client.publish(own, Bytes::new()).await.ok()?;
        heard.next().await
    };
    if let Ok(None) | Err(_) = timeout(LAST_CALL_TIMEOUT, there_and_back).await {
        tracing::debug!("the server did not say that nothing more comes");
    }
}
