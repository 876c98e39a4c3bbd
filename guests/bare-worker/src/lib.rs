//! The smallest worker: it sends each message back to whoever waits for an answer.
//!
//! It exists to measure what the host itself costs per message. It must not know who asks.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

wit_bindgen::generate!({
    path: ["../../wit/wasmcloud-messaging", "wit"],
    world: "roadstead:bare-worker/bare-worker",
    generate_all,
});

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use wasmcloud::messaging::consumer;

struct BareWorker;

impl Guest for BareWorker {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let Some(reply_to) = message.reply_to else { return Ok(()) };
        consumer::publish(&BrokerMessage { subject: reply_to, body: message.body, reply_to: None })
    }
}

export!(BareWorker);
