//! The worker: takes a message, does the work, replies.
//!
//! Its instances stay warm and any of them may take any message, one at a time. The work itself is in
//! `count`, which knows no component and is tested natively.

mod count;

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use wasi::logging::logging::{Level, log};
use wasmcloud::messaging::consumer;

wit_bindgen::generate!({
    path: ["../wit/wasi-logging", "../wit/wasmcloud-messaging", "wit"],
    world: "project:worker/worker",
    generate_all,
});

struct Worker;

impl Guest for Worker {
    /// An `Err` is told to whoever waits for the reply, at once.
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let Some(reply_to) = message.reply_to else {
            log(
                Level::Warn,
                "worker",
                "a message without reply-to: nobody waits for the reply",
            );
            return Ok(());
        };
        let body = count::reply(&message.body).map_err(|error| error.to_string())?;
        consumer::publish(&BrokerMessage {
            subject: reply_to,
            body,
            reply_to: None,
        })
    }
}

export!(Worker);
