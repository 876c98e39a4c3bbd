//! A message handler for the tests: it does what the text of the message says.
//!
//! It exists so that a test can drive a pooled worker through every way a call may end. It must not know which test is
//! asking. The commands: `count`, `echo:TEXT`, `err:TEXT`, `trap`, `spin`, `sleep:MS`, `silent`, `reply-twice:TEXT`,
//! `reply-to`, `publish:SUBJECT:TEXT`, `request:SUBJECT:TEXT`, `alloc:MB`, `subject`, `bytes:BYTES`, `print:TEXT`, `flood:MB`,
//! `work:TURNS`.
#![allow(missing_docs, unsafe_code, reason = "the bindings are generated")]

use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use wasip2::clocks::monotonic_clock::subscribe_duration;

wit_bindgen::generate!({
    path: ["../../wit/wasmcloud-messaging", "wit"],
    world: "roadstead:probe-worker/probe-worker",
    generate_all,
});

use exports::wasmcloud::messaging::handler::{BrokerMessage, Guest};
use wasmcloud::messaging::consumer;

const MEBIBYTE: usize = 1024 * 1024;
const PAGE_BYTES: usize = 64 * 1024;
const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
const NESTED_TIMEOUT_MS: u32 = 5_000;

static CALLS: AtomicU64 = AtomicU64::new(0);

struct ProbeWorker;

impl Guest for ProbeWorker {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let text = String::from_utf8_lossy(&message.body).into_owned();
        let (command, argument) = text.split_once(':').unwrap_or((&text, ""));
        match command {
            "count" => reply(&message, calls.to_string()),
            "echo" => reply(&message, argument),
            "err" => Err(argument.to_owned()),
            "trap" => trap(),
            "spin" => spin(),
            "sleep" => {
                let milliseconds = number(argument)?;
                subscribe_duration(milliseconds.saturating_mul(NANOSECONDS_PER_MILLISECOND)).block();
                reply(&message, format!("slept {milliseconds} ms"))
            }
            "silent" => Ok(()),
            "reply-twice" => reply(&message, argument).and_then(|()| reply(&message, argument)),
            "reply-to" => reply(&message, message.reply_to.clone().unwrap_or_default()),
            "publish" => {
                let (subject, body) = two(argument)?;
                publish(subject, body.as_bytes().to_vec())?;
                reply(&message, "published")
            }
            "request" => {
                let (subject, body) = two(argument)?;
                let answer = consumer::request(subject, body.as_bytes(), NESTED_TIMEOUT_MS)?;
                reply(&message, answer.body)
            }
            "alloc" => {
                let mebibytes = number(argument)?;
                touch(usize::try_from(mebibytes).unwrap_or(usize::MAX).saturating_mul(MEBIBYTE));
                reply(&message, format!("allocated {mebibytes} MiB"))
            }
            "print" => {
                print(argument.as_bytes());
                reply(&message, "printed")
            }
            "flood" => {
                let mebibytes = usize::try_from(number(argument)?).unwrap_or(usize::MAX);
                print(&vec![b'f'; mebibytes.saturating_mul(MEBIBYTE)]);
                reply(&message, "printed")
            }
            "bytes" => reply(&message, vec![b'x'; usize::try_from(number(argument)?).unwrap_or(usize::MAX)]),
            "subject" => reply(&message, message.subject.clone()),
            "work" => {
                work(number(argument)?);
                reply(&message, "worked")
            }
            other => Err(format!("the probe knows no command {other:?}")),
        }
    }
}

export!(ProbeWorker);

/// Answers, when an answer is waited for.
fn reply(message: &BrokerMessage, body: impl Into<Vec<u8>>) -> Result<(), String> {
    match &message.reply_to {
        Some(reply_to) => publish(reply_to, body.into()),
        None => Ok(()),
    }
}

fn publish(subject: &str, body: Vec<u8>) -> Result<(), String> {
    consumer::publish(&BrokerMessage { subject: subject.to_owned(), body, reply_to: None })
}

/// Writes to standard output, without a line break; what the host does not take is lost.
fn print(bytes: &[u8]) {
    let mut output = std::io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).ok();
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{text:?} is no number: {error}"))
}

fn two(argument: &str) -> Result<(&str, &str), String> {
    argument.split_once(':').ok_or_else(|| format!("{argument:?} is not SUBJECT:TEXT"))
}

#[allow(clippy::panic, reason = "panicking is the point")]
fn trap() -> ! {
    panic!("asked to trap")
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Uses the processor for so many turns of a loop, and then for no more.
fn work(turns: u64) {
    for turn in 0..turns {
        black_box(turn);
    }
}

/// Takes `length_bytes` of memory and writes to every page of it.
fn touch(length_bytes: usize) {
    let mut memory = vec![0_u8; length_bytes];
    for page in memory.chunks_mut(PAGE_BYTES) {
        if let Some(first) = page.first_mut() {
            *first = 1;
        }
    }
    drop(black_box(memory));
}
