//! Where the access log goes: into the host's own log, into a file of its own, or nowhere. A file is written by a thread of
//! its own, so that a slow disk costs no request anything; what it cannot take in time is dropped and counted. What a line
//! says is the ingress's business.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

/// Target of the access log's lines.
pub(super) const TARGET: &str = "roadstead::access";
/// Lines that may wait for the disk.
const LINES_MAX: usize = 16_384;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// How often it is looked whether the file has been moved away, as programs that rotate logs do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The log tells of clients: it is for its owner and group.
const MODE: u32 = 0o640;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// Into the host's log.
    Log,
    /// Nowhere.
    Off,
    /// At the end of a file, a JSON object a line.
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "log" => Self::Log,
            "off" => Self::Off,
            path => Self::File(path.into()),
        })
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the access log cannot be written to {}; name a file in a folder that this user may write to, or off, or log (--access-log)",
    path.display()
)]
pub(super) struct AccessLogError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A file that takes the access log.
#[derive(Clone)]
pub(super) struct AccessLog(Arc<Shared>);

struct Shared {
    /// Until the first line.
    sink: Mutex<Option<Box<dyn Write + Send>>>,
    /// From the first line on. Its thread is started there, because the process has to have one thread until it has read
    /// its arguments.
    writer: OnceLock<NonBlocking>,
    guard: Mutex<Option<WorkerGuard>>,
}

impl AccessLog {
    /// Opens the file, which is made where there is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self, AccessLogError> {
        let file = LogFile::open(path).map_err(|source| AccessLogError { path: path.to_owned(), source })?;
        Ok(Self::over(Box::new(file)))
    }

    fn over(sink: Box<dyn Write + Send>) -> Self {
        let shared = Shared { sink: Mutex::new(Some(sink)), writer: OnceLock::new(), guard: Mutex::default() };
        Self(Arc::new(shared))
    }

    /// Lines that were dropped because the disk could not take them in time.
    pub(super) fn dropped(&self) -> u64 {
        self.0
            .writer
            .get()
            .map_or(0, |writer| u64::try_from(writer.error_counter().dropped_lines()).unwrap_or(u64::MAX))
    }

    /// Writes what waits. Nothing is written after it.
    pub(super) fn finish(&self) {
        drop(self.0.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn writer(&self) -> NonBlocking {
        let start = || {
            let sink = self.0.sink.lock().unwrap_or_else(PoisonError::into_inner).take();
            let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
            let (writer, guard) =
                builder.thread_name("access-log").finish(sink.unwrap_or_else(|| Box::new(io::sink())));
            *self.0.guard.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
            writer
        };
        self.0.writer.get_or_init(start).clone()
    }
}

impl<'a> MakeWriter<'a> for AccessLog {
    type Writer = NonBlocking;

    fn make_writer(&'a self) -> Self::Writer {
        self.writer()
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// The file. When it was moved or removed, another one is made at its place.
struct LogFile {
    path: PathBuf,
    file: BufWriter<File>,
    looked: Instant,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        Ok(Self { path: path.to_owned(), file: BufWriter::with_capacity(WRITE_BYTES, file), looked: Instant::now() })
    }

    /// Whether the path still leads to the file that is open.
    fn is_in_place(&self) -> bool {
        let of_path = std::fs::metadata(&self.path);
        let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        matches!((of_path, self.file.get_ref().metadata()), (Ok(of_path), Ok(own)) if same(&of_path, &own))
    }

    fn follow_the_path(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        if !self.is_in_place()
            && let Ok(other) = Self::open(&self.path)
        {
            // What could not be written to the one before is lost with it.
            let _ = self.file.flush();
            *self = other;
        }
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow_the_path();
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_written_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let log = AccessLog::open(&path).unwrap();
        for line in ["one\n", "two\n"] {
            log.make_writer().write_all(line.as_bytes()).unwrap();
        }
        log.finish();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\none\ntwo\n");
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn what_the_disk_cannot_take_in_time_is_dropped_and_counted() {
        /// Takes nothing until it is told to.
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.recv().ok();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let log = AccessLog::over(Box::new(Stuck(stuck)));
        for _ in 0..LINES_MAX + 10 {
            log.make_writer().write_all(b"line\n").unwrap();
        }
        // One may be at the disk.
        assert!((9..=10).contains(&log.dropped()), "{}", log.dropped());
        drop(release);
        log.finish();
    }

    #[test]
    fn a_file_that_was_moved_gets_a_successor() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut file = LogFile::open(&path).unwrap();
        file.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        file.write_all(b"two\n").unwrap();
        file.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        file.write_all(b"three\n").unwrap();
        file.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = AccessLog::open(Path::new("/nowhere/at/all.log")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.log") && error.contains("--access-log"), "{error}");
    }
}
