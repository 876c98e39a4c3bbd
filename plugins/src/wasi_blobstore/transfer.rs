//! Bytes of objects on their way between a guest's streams and a store: a bounded pipe for writing, a stream for reading
//! that asks for a piece only when the guest has used the one before. Which store it is, is not known here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError};

use super::backend::{BlobError, Chunks};

/// What a guest writes until the store takes it.
pub(super) struct Pipe {
    state: Mutex<State>,
    changed: Notify,
    bytes_max: usize,
}

struct State {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    phase: Phase,
    /// Somebody takes the pieces.
    is_placed: bool,
}

enum Phase {
    Open,
    Finished,
    GivenUp,
    Failed(BlobError),
}

impl Pipe {
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        let state = State { pieces: VecDeque::new(), bytes: 0, phase: Phase::Open, is_placed: false };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), bytes_max: bytes_max.max(1) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }

    /// From now on somebody takes the pieces.
    pub(super) fn place(&self) {
        self.change(|state| state.is_placed = true);
    }

    /// All is written.
    pub(super) fn finish(&self) {
        self.end(Phase::Finished);
    }

    /// The object is not to be.
    pub(super) fn give_up(&self) {
        self.end(Phase::GivenUp);
    }

    /// Nobody takes the pieces any more.
    pub(super) fn fail(&self, error: BlobError) {
        self.change(|state| state.pieces.clear());
        self.end(Phase::Failed(error));
    }

    fn end(&self, phase: Phase) {
        self.change(|state| {
            if matches!(state.phase, Phase::Open) {
                state.phase = phase;
            }
        });
    }

    /// How many bytes may be written now.
    fn room(&self) -> Result<usize, StreamError> {
        let state = self.state();
        match &state.phase {
            Phase::Open => {}
            Phase::Finished | Phase::GivenUp => return Err(StreamError::Closed),
            Phase::Failed(error) => return Err(failed(error)),
        }
        let room = self.bytes_max.saturating_sub(state.bytes);
        if room == 0 && !state.is_placed {
            let text = format!(
                "{} bytes were written and nobody has said where the object goes; call container.write-data first \
                 (blobstore_buffer_bytes_max)",
                self.bytes_max
            );
            return Err(StreamError::LastOperationFailed(wasmtime::Error::msg(text)));
        }
        Ok(room)
    }
}

fn failed(error: &BlobError) -> StreamError {
    StreamError::LastOperationFailed(wasmtime::Error::msg(error.to_string()))
}

/// The guest's end of a pipe.
pub(super) struct Writer(pub(super) Arc<Pipe>);

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        loop {
            let changed = self.0.changed.notified();
            if !matches!(self.0.room(), Ok(0)) {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        if bytes.len() > self.0.room()? {
            return Err(StreamError::trap("more bytes were written than check-write allowed"));
        }
        if !bytes.is_empty() {
            self.0.change(|state| {
                state.bytes += bytes.len();
                state.pieces.push_back(bytes);
            });
        }
        Ok(())
    }

    /// What is written is the store's as soon as it asks.
    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        self.0.room()
    }
}

/// The store's end of a pipe.
pub(super) struct Written {
    pub(super) pipe: Arc<Pipe>,
    /// Longest wait for the guest.
    pub(super) idle: Duration,
}

#[async_trait]
impl Chunks for Written {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        loop {
            let changed = self.pipe.changed.notified();
            let (piece, ended) = {
                let mut state = self.pipe.state();
                match &state.phase {
                    Phase::GivenUp => return Err(BlobError::GivenUp),
                    Phase::Failed(error) => return Err(error.clone()),
                    Phase::Open | Phase::Finished => {}
                }
                let piece = state.pieces.pop_front();
                state.bytes -= piece.as_ref().map_or(0, Bytes::len);
                (piece, matches!(state.phase, Phase::Finished))
            };
            if let Some(piece) = piece {
                self.pipe.changed.notify_waiters();
                return Ok(Some(piece));
            }
            if ended {
                return Ok(None);
            }
            let idle_ms = u64::try_from(self.idle.as_millis()).unwrap_or(u64::MAX);
            tokio::time::timeout(self.idle, changed).await.map_err(|_| BlobError::Idle { idle_ms })?;
        }
    }
}

/// A part of an object.
pub(super) struct Range {
    pub(super) inner: Box<dyn Chunks>,
    /// Bytes that come before it.
    pub(super) skip: u64,
    /// Bytes of it that are still to come.
    pub(super) left: u64,
    /// Longest wait for the store.
    pub(super) within: Duration,
}

#[async_trait]
impl Chunks for Range {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        self.skip = self.skip.saturating_sub(self.inner.skip(self.skip));
        while self.left > 0 {
            let asked = tokio::time::timeout(self.within, self.inner.next()).await;
            let idle_ms = u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX);
            let Some(mut piece) = asked.map_err(|_| BlobError::Idle { idle_ms })?? else {
                return Err(BlobError::Gone);
            };
            let skipped = (piece.len() as u64).min(self.skip);
            self.skip -= skipped;
            let _ = piece.split_to(usize::try_from(skipped).unwrap_or(piece.len()));
            let taken = (piece.len() as u64).min(self.left);
            self.left -= taken;
            piece.truncate(usize::try_from(taken).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

type Asked = BoxFuture<'static, (Range, Result<Option<Bytes>, BlobError>)>;

/// An object as a stream for the guest.
pub(super) struct Reader {
    range: Option<Range>,
    /// Kept over a `ready` that nobody waits for any more.
    asked: Option<Asked>,
    piece: Bytes,
    end: Option<Result<(), BlobError>>,
}

impl Reader {
    pub(super) fn new(range: Range) -> Self {
        Self { range: Some(range), asked: None, piece: Bytes::new(), end: None }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if !self.piece.is_empty() || self.end.is_some() {
            return;
        }
        if let Some(mut range) = self.range.take() {
            self.asked = Some(Box::pin(async move {
                let piece = range.next().await;
                (range, piece)
            }));
        }
        let Some(asked) = &mut self.asked else { return };
        let (range, piece) = asked.as_mut().await;
        (self.asked, self.range) = (None, Some(range));
        match piece {
            Ok(Some(piece)) => self.piece = piece,
            Ok(None) => self.end = Some(Ok(())),
            Err(error) => self.end = Some(Err(error)),
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> Result<Bytes, StreamError> {
        match &self.end {
            _ if !self.piece.is_empty() => Ok(self.piece.split_to(size.min(self.piece.len()))),
            None => Ok(Bytes::new()),
            Some(Ok(())) => Err(StreamError::Closed),
            Some(Err(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(20);

    fn written(pipe: &Arc<Pipe>) -> Written {
        Written { pipe: pipe.clone(), idle: IDLE }
    }

    #[tokio::test]
    async fn a_writer_waits_for_the_store() {
        let pipe = Pipe::new(4);
        let (mut writer, mut store) = (Writer(pipe.clone()), written(&pipe));
        pipe.place();
        writer.write("abcd".into()).unwrap();
        assert_eq!(writer.check_write().unwrap(), 0);
        assert!(futures::poll!(writer.ready()).is_pending());
        assert!(matches!(writer.write("e".into()), Err(StreamError::Trap(_))));
        assert_eq!(store.next().await.unwrap().unwrap(), "abcd");
        writer.ready().await;
        assert_eq!(writer.check_write().unwrap(), 4);
        drop(writer);
        // Dropping the stream is no end: the guest says so.
        assert!(futures::poll!(store.next()).is_pending());
        pipe.finish();
        assert!(store.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_has_no_place_is_bounded() {
        let pipe = Pipe::new(4);
        let mut writer = Writer(pipe.clone());
        writer.write("abcd".into()).unwrap();
        let Err(StreamError::LastOperationFailed(error)) = writer.check_write() else { panic!() };
        assert!(error.to_string().contains("write-data"), "{error}");
        pipe.place();
        assert_eq!(writer.check_write().unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_or_lost_writer_is_given_up() {
        let pipe = Pipe::new(4);
        assert!(matches!(written(&pipe).next().await, Err(BlobError::Idle { idle_ms: 20_000 })));
        pipe.give_up();
        pipe.finish();
        assert!(matches!(written(&pipe).next().await, Err(BlobError::GivenUp)));
    }

    #[tokio::test]
    async fn a_failed_store_ends_the_writer() {
        let pipe = Pipe::new(4);
        pipe.fail(BlobError::Disconnected);
        let mut writer = Writer(pipe);
        writer.ready().await;
        assert!(matches!(writer.check_write(), Err(StreamError::LastOperationFailed(_))));
    }

    struct Digits(u8);

    #[async_trait]
    impl Chunks for Digits {
        async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
            self.0 += 1;
            Ok((self.0 <= 3).then(|| Bytes::from(vec![b'0' + self.0; 3])))
        }
    }

    async fn read(skip: u64, left: u64) -> Result<String, StreamError> {
        let mut reader = Reader::new(Range { inner: Box::new(Digits(0)), skip, left, within: IDLE });
        let mut text = String::new();
        loop {
            match reader.blocking_read(2).await {
                Ok(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Err(StreamError::Closed) => return Ok(text),
                Err(error) => return Err(error),
            }
        }
    }

    #[tokio::test]
    async fn ranges_are_exact() {
        assert_eq!(read(0, 9).await.unwrap(), "111222333");
        assert_eq!(read(4, 3).await.unwrap(), "223");
        assert_eq!(read(3, 3).await.unwrap(), "222");
        assert_eq!(read(9, 0).await.unwrap(), "");
        assert!(matches!(read(8, 2).await, Err(StreamError::LastOperationFailed(_))));
    }
}
