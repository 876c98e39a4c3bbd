//! The load of the soak that goes wrong on purpose, and the messages: what is sent and what must come back. It knows the
//! paths of `guests/probe-gateway`, the commands of `guests/probe-worker`, and the host's answers as documented.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::client;

pub(super) const FAULTY_HOST: &str = "faulty.test";
pub(super) const ASKING_HOST: &str = "asking.test";
pub(super) const WORKER_SUBJECT: &str = "soak.work";

/// No answer takes longer: deadlines are half a second, and the machine is busy.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a client that leaves waits for the bytes that it wants to see.
const PATIENCE: Duration = Duration::from_millis(50);
/// Between two faults of a client, so that the rest has its share of a small machine.
const PAUSE: Duration = Duration::from_millis(5);
const UNEXPECTED_KEPT_MAX: usize = 20;

/// The host under load, and whether the load is over.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) http: SocketAddr,
    pub(super) over: Arc<AtomicBool>,
}

/// What clients saw.
#[derive(Default)]
pub(super) struct Told {
    pub(super) hello_requests: u64,
    pub(super) hello_failures: u64,
    pub(super) faults: u64,
    pub(super) messages: u64,
    pub(super) unexpected_count: u64,
    /// The first of them, in words.
    pub(super) unexpected: Vec<String>,
}

impl Told {
    pub(super) fn add(&mut self, other: Self) {
        self.hello_requests += other.hello_requests;
        self.hello_failures += other.hello_failures;
        self.faults += other.faults;
        self.messages += other.messages;
        self.unexpected_count += other.unexpected_count;
        self.unexpected.extend(other.unexpected);
        self.unexpected.truncate(UNEXPECTED_KEPT_MAX);
    }

    fn note(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.unexpected_count += 1;
            if self.unexpected.len() < UNEXPECTED_KEPT_MAX {
                self.unexpected.push(what);
            }
        }
    }

    pub(super) fn shown_unexpected(&self) -> String {
        self.unexpected.iter().map(|what| format!("- {what}\n")).collect()
    }
}

/// One thing that a bad guest or a bad client does.
enum Fault {
    /// A request whose guest ends so.
    Guest { target: &'static str, status: u16 },
    /// Bytes that are no request. Some are answered after a reset, which may overtake the answer.
    Malformed { bytes: Vec<u8>, status: u16 },
    /// A client that sends these bytes, reads so many of what comes, and leaves.
    Leaving { bytes: Vec<u8>, read_bytes: usize },
}

fn faults() -> Vec<Fault> {
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: {FAULTY_HOST}\r\n\r\n").into_bytes();
    let with = |headers: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nhost: {FAULTY_HOST}\r\n{headers}\r\n\r\n{body}").into_bytes()
    };
    let guest = |target, status| Fault::Guest { target, status };
    let malformed = |bytes, status| Fault::Malformed { bytes, status };
    let leaving = |bytes, read_bytes| Fault::Leaving { bytes, read_bytes };
    let long = "x".repeat(80 * 1024);
    vec![
        guest("/trap", 502),
        guest("/hello", 200),
        guest("/alloc?mb=500", 502),
        guest("/alloc?mb=20", 200),
        guest("/recurse", 502),
        guest("/exit", 502),
        guest("/no-response", 502),
        guest("/error-code", 502),
        guest("/spin", 504),
        guest("/sleep?ms=60000", 504),
        // The head of these is out before they fail.
        guest("/fail-midbody", 200),
        guest("/short-body", 200),
        guest("/slow-stream?chunks=100&delay-ms=20", 200),
        guest("/stream?chunks=20&bytes=50000", 200),
        malformed(b"NOT HTTP AT ALL\r\n\r\n".to_vec(), 400),
        malformed(b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
        malformed(with("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"), 400),
        malformed(with("content-length: -5", ""), 400),
        malformed(with(&format!("x-long: {long}"), ""), 431),
        malformed(format!("GET /{} HTTP/1.1\r\nhost: {FAULTY_HOST}\r\n\r\n", "x".repeat(20_000)).into(), 414),
        // In the middle of the head, of the body, while the guest works, and in the middle of the response.
        leaving(b"GET /hello HTTP/1.1\r\nhost: fau".to_vec(), 0),
        leaving(with("content-length: 100000", "only the beginning"), 0),
        leaving(with("transfer-encoding: chunked", "5\r\nonly \r\n"), 10),
        leaving(request("/sleep?ms=400"), 1),
        leaving(request("/spin"), 1),
        leaving(request("/slow-stream?chunks=100&delay-ms=5"), 200),
        leaving(request("/stream?chunks=1000&bytes=65536"), 100_000),
    ]
}

/// Goes wrong in every way, again and again, until the load is over.
pub(super) fn misbehave(target: &Target) -> Told {
    let mut told = Told::default();
    let faults = faults();
    while !target.over.load(Ordering::Relaxed) {
        for fault in faults.iter().take_while(|_| !target.over.load(Ordering::Relaxed)) {
            told.faults += 1;
            told.note(fault.carry_out(target.http));
            thread::sleep(PAUSE);
        }
    }
    told
}

impl Fault {
    /// Says what came instead of what had to.
    fn carry_out(&self, http: SocketAddr) -> Result<(), String> {
        match self {
            Self::Guest { target, status } => {
                let answer = client::get(http, FAULTY_HOST, target, TIMEOUT).map(|answer| answer.status);
                expect(&format!("GET {target}"), answer, *status)
            }
            Self::Malformed { bytes, status } => match client::exchange(http, bytes, TIMEOUT) {
                // The refusal went out, and then the reset that answers what we were still sending.
                Err(error) if is_cut_off(&error) => Ok(()),
                answer => {
                    let answer = answer.map(|answer| client::status(&answer).unwrap_or(0));
                    expect(&beginning(bytes), answer, *status)
                }
            },
            Self::Leaving { bytes, read_bytes } => client::leave_after(http, bytes, *read_bytes, PATIENCE)
                .map_err(|error| format!("leaving after {}: {error}", beginning(bytes))),
        }
    }
}

fn is_cut_off(error: &io::Error) -> bool {
    [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind())
}

fn beginning(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
    text.escape_debug().to_string()
}

fn expect(what: &str, answer: io::Result<u16>, status: u16) -> Result<(), String> {
    match answer {
        Ok(answered) if answered == status => Ok(()),
        Ok(answered) => Err(format!("{what}: {answered} instead of {status}")),
        Err(error) => Err(format!("{what}: {error} instead of {status}")),
    }
}

/// What is asked of the worker, the wait in milliseconds, and the status of the asking component's answer.
const MESSAGES: [(&str, u32, u16); 9] = [
    ("echo:hello", 5_000, 200),
    ("count", 5_000, 200),
    ("sleep:5", 5_000, 200),
    ("alloc:20", 5_000, 200),
    ("err:asked for", 5_000, 502),
    ("trap", 5_000, 502),
    ("alloc:500", 5_000, 502),
    ("silent", 50, 502),
    ("spin", 50, 502),
];

/// Asks the worker until the load is over.
pub(super) fn send_messages(target: &Target) -> Told {
    let mut told = Told::default();
    while !target.over.load(Ordering::Relaxed) {
        for (message, timeout_ms, status) in MESSAGES {
            let path = format!("/request?subject={WORKER_SUBJECT}&timeout-ms={timeout_ms}");
            let answer = client::ask(target.http, "POST", ASKING_HOST, &path, message, TIMEOUT);
            told.messages += 1;
            told.note(expect(message, answer.map(|answer| answer.status), status));
            thread::sleep(PAUSE);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_instead_is_told() {
        assert_eq!(expect("GET /trap", Ok(502), 502), Ok(()));
        assert_eq!(expect("GET /trap", Ok(200), 502), Err("GET /trap: 200 instead of 502".into()));
        assert_eq!(beginning(b"GET / HTTP/1.1\r\n"), "GET / HTTP/1.1\\r\\n");
    }

    #[test]
    fn only_the_first_are_kept_but_all_are_counted() {
        let mut told = Told::default();
        for number in 0..100 {
            told.note(Err(number.to_string()));
        }
        let mut both = Told::default();
        both.add(told);
        assert_eq!((both.unexpected_count, both.unexpected.len()), (100, UNEXPECTED_KEPT_MAX));
    }
}
