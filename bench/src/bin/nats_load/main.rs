//! `nats-load ADDRESS SUBJECT SECONDS in-flight|rate NUMBER`: requests of 64 bytes to whoever subscribes to SUBJECT: as many
//! under way as NUMBER says, or so many a second, each due at its own time. `cargo xtask bench messaging` reads what it
//! prints: a name and a number on each line. It knows no host: a thread, a socket and the text of the protocol, so that
//! the client is not what is measured.

mod wire;

use std::{
    env,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::Said;

const BODY: [u8; 64] = [b'r'; 64];
/// Requests under way where their rate is given; further ones that are due wait, and their time runs.
const SLOTS_AT_A_RATE: usize = 1_024;
/// Time for the last answers.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 * 1024;

type AnyError = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), AnyError> {
    let usage = "usage: nats-load ADDRESS SUBJECT SECONDS in-flight|rate NUMBER";
    let [address, subject, seconds, kind, number] = arguments else { return Err(usage.into()) };
    let number: u32 = number.parse()?;
    let (slots, interval) = match (kind.as_str(), number) {
        (_, 0) => return Err("NUMBER must not be 0".into()),
        ("in-flight", _) => (usize::try_from(number)?, None),
        ("rate", _) => (SLOTS_AT_A_RATE, Some(Duration::from_secs(1) / number)),
        _ => return Err(usage.into()),
    };
    let span = Duration::from_secs(seconds.parse()?);
    let mut load = Load::new(Connection::open(address)?, subject, slots);
    load.run(span, interval)?;
    load.print(span);
    Ok(())
}

/// A socket that never blocks, and what goes through it.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, input: Vec::new(), output: wire::CONNECT.to_vec() })
    }

    /// Sends what can be sent, then waits for more to read, at most for `wait`, and reads it.
    fn exchange(&mut self, wait: Duration) -> io::Result<()> {
        if !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let wanted = if self.output.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let wait = Timespec::try_from(wait).map_err(|_| ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(&self.stream, wanted)], Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let held = self.input.len();
        self.input.resize(held + READ_BYTES, 0);
        let read = self.stream.read(self.input.get_mut(held..).unwrap_or_default());
        self.input.truncate(held + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// Requests and their answers.
struct Load {
    connection: Connection,
    subject: String,
    inbox: String,
    /// When the request of each slot was due.
    due: Vec<Instant>,
    free: Vec<usize>,
    answered_after: Vec<Duration>,
    failures: u64,
}

impl Load {
    fn new(mut connection: Connection, subject: &str, slots: usize) -> Self {
        let inbox = format!("_INBOX.load{}", std::process::id());
        connection.output.extend_from_slice(format!("SUB {inbox}.* 1\r\n").as_bytes());
        Self {
            connection,
            subject: subject.to_owned(),
            inbox,
            due: vec![Instant::now(); slots],
            free: (0..slots).collect(),
            answered_after: Vec::new(),
            failures: 0,
        }
    }

    /// Asks for `span`: in each free slot at once, or at every `interval`.
    fn run(&mut self, span: Duration, interval: Option<Duration>) -> Result<(), AnyError> {
        let begun = Instant::now();
        let (end, mut next) = (begun + span, begun);
        loop {
            let now = Instant::now();
            let over = now >= end;
            while !over && (interval.is_none() || next <= now) {
                let Some(slot) = self.free.pop() else { break };
                self.ask(slot, if interval.is_some() { next } else { now });
                next += interval.unwrap_or_default();
            }
            if over && self.free.len() == self.due.len() {
                return Ok(());
            }
            if now > end + LAST_ANSWERS {
                let missing = self.due.len() - self.free.len();
                return Err(format!("{missing} requests have no answer after {} s", LAST_ANSWERS.as_secs()).into());
            }
            let wait = match interval {
                Some(_) if !over && !self.free.is_empty() => next.saturating_duration_since(now),
                _ => LAST_ANSWERS,
            };
            self.connection.exchange(wait)?;
            self.take()?;
        }
    }

    fn ask(&mut self, slot: usize, due: Instant) {
        if let Some(entry) = self.due.get_mut(slot) {
            *entry = due;
        }
        wire::request(&mut self.connection.output, &self.subject, &self.inbox, slot, &BODY);
    }

    /// Takes what has been read.
    fn take(&mut self) -> Result<(), AnyError> {
        let now = Instant::now();
        let mut taken = 0;
        while let Some(rest) = self.connection.input.get(taken..)
            && let Some((said, length)) = wire::read(rest).map_err(|_| "the server does not speak NATS")?
        {
            taken += length;
            match said {
                Said::Ping => self.connection.output.extend_from_slice(wire::PONG),
                Said::Error(text) => return Err(text.into()),
                Said::Other => {}
                Said::Message { subject, body_bytes } => {
                    let slot = wire::slot_of(subject).ok_or("an answer to nobody")?;
                    let due = self.due.get(slot).ok_or("an answer to nobody")?;
                    self.answered_after.push(now.saturating_duration_since(*due));
                    self.failures += u64::from(body_bytes != BODY.len());
                    self.free.push(slot);
                }
            }
        }
        self.connection.input.drain(..taken);
        Ok(())
    }

    fn print(&mut self, span: Duration) {
        self.answered_after.sort_unstable();
        let answers = self.answered_after.len();
        let at = |part: f64| {
            let index = (answers as f64 * part) as usize;
            self.answered_after
                .get(index.min(answers.saturating_sub(1)))
                .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        println!("requests {answers}");
        println!("failures {}", self.failures);
        println!("requests/s {:.1}", answers as f64 / span.as_secs_f64());
        for (name, part) in [("p50_us", 0.5), ("p99_us", 0.99), ("p99.9_us", 0.999), ("max_us", 1.0)] {
            println!("{name} {:.1}", at(part));
        }
    }
}
