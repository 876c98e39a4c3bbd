//! Lines on their way to a slow place. Whoever has one adds it to those that wait, in memory; a thread takes all of them
//! together now and then. What it cannot take in time is dropped and counted. It does not know how a place is written to.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{AccessLogError, Batch, LogFile};

/// Bytes of lines that may wait.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// How long lines are collected that are then written together. To wake the thread for each line cost a request more than
/// the line.
const COLLECT_FOR: Duration = Duration::from_millis(100);
/// Bytes of lines that are not made to wait for more.
const COLLECTED_BYTES: usize = 128 << 10;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 << 10;
/// Lines for which memory is kept.
const LINES_KEPT: usize = 1_024;
/// How often it is told that lines are missing.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How long the end waits for the last lines.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// A place for lines.
pub(super) trait Sink: Send {
    /// Takes lines.
    ///
    /// # Errors
    /// With those that it could not take.
    fn take<'a>(&mut self, lines: &'a [u8]) -> Result<(), NotTaken<'a>>;
}

/// The end of some lines that a place did not take.
#[derive(Debug)]
pub(super) struct NotTaken<'a> {
    pub(super) rest: &'a [u8],
    pub(super) error: io::Error,
}

/// The access log's file.
#[derive(Clone)]
pub(in crate::cli) struct AccessLog(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Batch,
    /// Lines that the thread has in its hands.
    under_way: usize,
    /// Where the lines go, until the first of them. The thread is started there, because the process has to have one thread
    /// until it has read its arguments.
    sink: Option<Box<dyn Sink>>,
    missing: Missing,
    is_last: bool,
    /// Nothing more is written, or it is not waited for.
    is_done: bool,
}

/// Lines that the file does not have.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Missing {
    pub(in crate::cli) lines: u64,
    /// Why the last of them is missing.
    pub(in crate::cli) reason: String,
}

impl Missing {
    fn add(&mut self, lines: usize, reason: &str) {
        if lines > 0 {
            self.lines += lines as u64;
            if self.reason != reason {
                reason.clone_into(&mut self.reason);
            }
        }
    }
}

impl AccessLog {
    /// Opens the file, which is made where there is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(in crate::cli) fn open(path: &Path) -> Result<Self, AccessLogError> {
        let file = LogFile::open(path).map_err(|source| AccessLogError { path: path.to_owned(), source })?;
        Ok(Self::over(Box::new(file)))
    }

    pub(super) fn over(sink: Box<dyn Sink>) -> Self {
        let waiting = Mutex::new(Waiting { sink: Some(sink), ..Waiting::default() });
        Self(Arc::new(Shared { waiting, changed: Condvar::new() }))
    }

    /// Takes lines, or drops them; `lines` is empty afterwards.
    pub(super) fn add(&self, lines: &mut Batch) {
        let mut waiting = self.0.waiting();
        if let Some(sink) = waiting.sink.take() {
            let shared = self.0.clone();
            let started = thread::Builder::new().name("access-log".into()).spawn(move || shared.run(sink));
            // A process that gets no thread has no access log. It cannot be told here, where an event is being told.
            waiting.is_done = started.is_err();
        }
        let before = waiting.lines.bytes();
        let reason = match &*waiting {
            Waiting { is_last: true, .. } => Some("the host was stopping"),
            Waiting { is_done: true, .. } => Some("there is no thread to write it"),
            _ if before + lines.bytes() > WAITING_BYTES_MAX => Some("the disk did not take the lines before in time"),
            _ => None,
        };
        if let Some(reason) = reason {
            waiting.missing.add(lines.len(), reason);
            lines.clear(LINES_KEPT);
            return;
        }
        waiting.lines.append(lines);
        let is_enough = before < COLLECTED_BYTES && waiting.lines.bytes() >= COLLECTED_BYTES;
        drop(waiting);
        if before == 0 || is_enough {
            self.0.changed.notify_all();
        }
    }

    /// Lines that were dropped because they could not be taken in time, or not at all.
    pub(in crate::cli) fn missing(&self) -> Missing {
        self.0.waiting().missing.clone()
    }

    /// Waits a bounded time until what waits is written. What is not by then counts as missing, although the last of it may
    /// still be under way to the disk.
    pub(in crate::cli) fn finish(&self) {
        let mut waiting = self.0.waiting();
        waiting.is_last = true;
        if waiting.sink.take().is_some() {
            return;
        }
        self.0.changed.notify_all();
        let ended = self.0.changed.wait_timeout_while(waiting, FINISH_TIMEOUT, |waiting| !waiting.is_done);
        let mut waiting = ended.unwrap_or_else(PoisonError::into_inner).0;
        if !waiting.is_done {
            waiting.is_done = true;
            let lost = waiting.lines.len() + std::mem::take(&mut waiting.under_way);
            waiting.lines = Batch::default();
            waiting.missing.add(lost, "the disk did not take the last lines in time");
        }
    }
}

impl Shared {
    /// Takes what waits to `sink`, until the last.
    fn run(&self, mut sink: Box<dyn Sink>) {
        let (mut lines, mut piece, mut is_last) = (Batch::default(), Vec::new(), false);
        let mut gaps = Gaps::default();
        while !is_last {
            is_last = self.take(&mut lines);
            let (lost, reason) = write(&lines, &mut piece, &mut *sink);
            lines.clear(LINES_KEPT);
            let mut waiting = self.waiting();
            waiting.under_way = 0;
            if !waiting.is_done {
                waiting.missing.add(lost, &reason);
            }
            let missing = (waiting.missing.lines > gaps.told).then(|| waiting.missing.clone());
            drop(waiting);
            if let Some(missing) = missing {
                gaps.tell(&missing);
            }
        }
        self.waiting().is_done = true;
        self.changed.notify_all();
    }

    /// Waits for lines; whether they are the last.
    fn take(&self, lines: &mut Batch) -> bool {
        let is_idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.is_last;
        let waiting = self.changed.wait_while(self.waiting(), is_idle).unwrap_or_else(PoisonError::into_inner);
        let is_little = |waiting: &mut Waiting| waiting.lines.bytes() < COLLECTED_BYTES && !waiting.is_last;
        let collected = self.changed.wait_timeout_while(waiting, COLLECT_FOR, is_little);
        let mut waiting = collected.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut waiting.lines, lines);
        waiting.under_way = lines.len();
        waiting.is_last
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was told of lines that are missing.
#[derive(Default)]
struct Gaps {
    told: u64,
    at: Option<Instant>,
}

impl Gaps {
    /// Tells, now and then, of lines that are missing since.
    fn tell(&mut self, missing: &Missing) {
        if missing.lines > self.told && self.at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            *self = Self { told: missing.lines, at: Some(Instant::now()) };
            tracing::warn!(lines = missing.lines, reason = missing.reason, "the access log has gaps");
        }
    }
}

/// Writes lines, by way of `piece`, which is empty before and after; how many could not be written, and why.
fn write(lines: &Batch, piece: &mut Vec<u8>, sink: &mut dyn Sink) -> (usize, String) {
    let (mut lost, mut reason) = (0, String::new());
    let mut take = |piece: &mut Vec<u8>| {
        if piece.is_empty() {
            return;
        }
        if let Err(NotTaken { rest, error }) = sink.take(piece) {
            lost += rest.iter().filter(|byte| **byte == b'\n').count();
            reason = error.to_string();
        }
        piece.clear();
    };
    let failed = lines.write_out(piece, |piece| {
        if piece.len() >= WRITE_BYTES {
            take(piece);
        }
    });
    take(piece);
    (lost + failed, reason)
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::cli::access_log::Events;

    /// The same event so many times.
    fn log(log: &AccessLog, times: usize) {
        let subscriber = tracing_subscriber::registry().with(Events::to(log.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..times {
                tracing::info!(target: "test", path = "/a\"b", status = 200_u16, length = -1, late = true, ms = 0.5,
                    address = %"::1", absent = None::<u64>);
            }
        });
    }

    fn opened(path: &Path) -> AccessLog {
        fs::write(path, "").unwrap();
        AccessLog::open(path).unwrap()
    }

    #[test]
    fn what_waits_is_written_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "before\n").unwrap();
        let file = AccessLog::open(&path).unwrap();
        log(&file, 2);
        file.finish();
        log(&file, 1);
        let text = fs::read_to_string(&path).unwrap();
        let [before, line, same] = text.lines().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((before, file.missing().lines), ("before", 1));
        let at = |line: &str| line.split('"').nth(3).unwrap().to_owned();
        let expected = r#","level":"INFO","target":"test","path":"/a\"b","status":200,"length":-1,"late":true,"ms":0.5,"address":"::1"}"#;
        assert_eq!(line, format!(r#"{{"timestamp":"{}"{expected}"#, at(line)));
        assert_eq!(same, format!(r#"{{"timestamp":"{}"{expected}"#, at(same)));
        let pattern: String = at(line).chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
        assert_eq!(pattern, "0000-00-00T00:00:00.000000Z");
    }

    #[test]
    fn lines_are_written_soon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let file = opened(&path);
        for number in 1..=3 {
            log(&file, 1);
            let since = Instant::now();
            while fs::read_to_string(&path).unwrap().lines().count() < number {
                assert!(since.elapsed() < Duration::from_secs(30), "the line is not written");
                thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn what_cannot_be_taken_in_time_is_dropped_and_counted() {
        /// Takes nothing until it is told to.
        struct Stuck(mpsc::Sender<()>, mpsc::Receiver<()>, mpsc::Sender<usize>);
        impl Sink for Stuck {
            fn take<'a>(&mut self, lines: &'a [u8]) -> Result<(), NotTaken<'a>> {
                self.0.send(()).ok();
                self.1.recv().ok();
                self.2.send(lines.iter().filter(|byte| **byte == b'\n').count()).ok();
                Ok(())
            }
        }
        let ((stuck, is_stuck), (release, released), (taken, all_taken)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let file = AccessLog::over(Box::new(Stuck(stuck, released, taken)));
        log(&file, 1);
        is_stuck.recv().unwrap();
        let many = WAITING_BYTES_MAX / 100;
        log(&file, many);
        let waiting = file.0.waiting().lines.bytes();
        assert!(waiting <= WAITING_BYTES_MAX && waiting > WAITING_BYTES_MAX - 1_000, "{waiting}");
        drop(release);
        let missing = file.missing();
        assert!(missing.reason.contains("in time"), "{missing:?}");
        let mut written = 0;
        while written + missing.lines < 1 + many as u64 {
            written += all_taken.recv_timeout(Duration::from_secs(60)).unwrap() as u64;
        }
        assert_eq!(written + missing.lines, 1 + many as u64);
        file.finish();
        assert_eq!(file.missing().lines, missing.lines);
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_counted() {
        /// Takes the first line, and a part of the next where that comes with it.
        struct Full(bool);
        impl Sink for Full {
            fn take<'a>(&mut self, lines: &'a [u8]) -> Result<(), NotTaken<'a>> {
                let first = lines.iter().position(|byte| *byte == b'\n').unwrap_or(0);
                let taken = if std::mem::replace(&mut self.0, true) { 0 } else { first + 2 };
                let rest = lines.get(taken..).unwrap_or_default();
                if rest.is_empty() { Ok(()) } else { Err(NotTaken { rest, error: io::ErrorKind::StorageFull.into() }) }
            }
        }
        let file = AccessLog::over(Box::new(Full(false)));
        log(&file, 3);
        file.finish();
        let missing = file.missing();
        assert_eq!((missing.lines, missing.reason.as_str()), (2, "no storage space"));
    }

    /// [`TOLD_EVERY`].
    #[test]
    fn gaps_are_told_of_now_and_then() {
        let mut gaps = Gaps::default();
        let of = |lines| Missing { lines, reason: String::new() };
        gaps.tell(&of(0));
        assert!(gaps.at.is_none());
        gaps.tell(&of(1));
        gaps.tell(&of(2));
        assert_eq!(gaps.told, 1);
        gaps.at = Instant::now().checked_sub(TOLD_EVERY);
        gaps.tell(&of(2));
        assert_eq!(gaps.told, 2);
    }

    #[test]
    fn a_disk_that_never_answers_does_not_hold_up_the_end() {
        struct Never(mpsc::Sender<()>);
        impl Sink for Never {
            fn take<'a>(&mut self, _: &'a [u8]) -> Result<(), NotTaken<'a>> {
                self.0.send(()).ok();
                loop {
                    thread::park();
                }
            }
        }
        let (stuck, is_stuck) = mpsc::channel();
        let file = AccessLog::over(Box::new(Never(stuck)));
        log(&file, 1);
        is_stuck.recv().unwrap();
        log(&file, 1);
        let begun = Instant::now();
        file.finish();
        assert!(begun.elapsed() >= FINISH_TIMEOUT, "given up after {:?}", begun.elapsed());
        assert_eq!(file.missing().lines, 2);
    }
}
