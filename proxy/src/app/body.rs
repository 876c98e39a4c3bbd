//! A request's body on its way from the client to the workload: one piece at a time, no faster than it is read,
//! watched for size, silence and the client's leaving.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use pingora_proxy::Session;
use roadstead_config::Limits;
use roadstead_runtime::{RequestBody, RequestBodyError};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::exchange::Failure;
use crate::{clock, io::Connection, respond::Refusal};

/// Pieces on their way to a workload that has not read them yet, beside the one that the pump holds.
const PIECES_MAX: usize = 1;

type Piece = Result<Option<Bytes>, RequestBodyError>;

/// Moves a body from the client to the workload.
#[derive(Debug)]
pub(super) struct Pump {
    /// `None` when there is no body.
    pieces: Option<mpsc::Sender<Piece>>,
    /// Room for the body's end, whatever else is waiting; `None` when it has been used.
    end: Option<mpsc::OwnedPermit<Piece>>,
    /// Read from the client, not yet on its way.
    held: Option<Bytes>,
    bytes: u64,
    bytes_max: u64,
    idle: Duration,
    /// Since when the client is being waited for.
    waiting_since: Option<Instant>,
}

impl Pump {
    /// The two ends of the body of the session's request. `length` is what the client declared.
    pub(super) fn new(
        session: &mut Session,
        length: Option<u64>,
        bytes_max: u64,
        limits: &Limits,
    ) -> (Self, RequestBody) {
        let mut pump = Self {
            end: None,
            pieces: None,
            held: None,
            bytes: 0,
            bytes_max,
            idle: Duration::from_millis(limits.body_idle_ms),
            waiting_since: None,
        };
        if session.is_body_empty() {
            return (pump, Empty::new().map_err(|never| match never {}).boxed_unsync());
        }
        let (sender, pieces) = mpsc::channel(PIECES_MAX + 1);
        pump.end = sender.clone().try_reserve_owned().ok();
        pump.pieces = Some(sender);
        (pump, Incoming { pieces, left: length, done: false }.boxed_unsync())
    }

    /// Moves one piece one step, or waits for the client to leave when there are no more. May be dropped at any
    /// point without losing a byte.
    pub(super) async fn step(&mut self, session: &mut Session) -> Result<(), Failure> {
        if self.held.is_some() {
            return self.hand_over(session).await;
        }
        if self.end.is_none() {
            // Whatever comes of it, the client is not waiting for its answer any more.
            let _ = session.read_body_or_idle(true).await;
            return Err(Failure::Broken("client-gone"));
        }
        // What is read after the last byte would be the client's next move.
        let piece = if session.is_body_done() { None } else { self.read(session).await? };
        match piece {
            None => self.end_with(Ok(None)),
            Some(bytes) => self.held = Some(bytes).filter(|bytes| !bytes.is_empty()),
        }
        Ok(())
    }

    async fn read(&mut self, session: &mut Session) -> Result<Option<Bytes>, Failure> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let read = timeout_at(clock::after(since, self.idle), session.read_body_or_idle(false)).await;
        self.waiting_since = None;
        let (error, failure) = match read {
            Ok(Ok(piece)) => {
                self.bytes += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
                if self.bytes <= self.bytes_max {
                    return Ok(piece);
                }
                (RequestBodyError::TooLarge { bytes_max: self.bytes_max }, Refusal::BodyTooLarge.into())
            }
            Ok(Err(_)) if is_broken(session) => {
                let refusal = Refusal::Malformed("the body breaks the chunked coding");
                (RequestBodyError::Disconnected, refusal.into())
            }
            Ok(Err(_)) => (RequestBodyError::Disconnected, Failure::Broken("client-gone")),
            Err(_) => (RequestBodyError::Idle, Refusal::BodyTimeout.into()),
        };
        self.end_with(Err(error));
        Err(failure)
    }

    /// Waits until the workload takes what is held.
    async fn hand_over(&mut self, session: &mut Session) -> Result<(), Failure> {
        let Some(pieces) = &self.pieces else { return Ok(()) };
        let room = if session.is_http2() {
            tokio::select! {
                biased;
                room = pieces.reserve() => room,
                // On HTTP/2 the client's reset shows even while nobody reads its body.
                _ = session.read_body_or_idle(true) => return Err(Failure::Broken("client-gone")),
            }
        } else {
            pieces.reserve().await
        };
        let held = self.held.take();
        // Without room the workload has dropped the body. The rest is read all the same, so that the client comes
        // to read its response.
        if let Ok(room) = room {
            room.send(Ok(held));
        }
        Ok(())
    }

    fn end_with(&mut self, last: Piece) {
        if let Some(end) = self.end.take() {
            end.send(last);
        }
    }
}

/// Whether the body could not be read because of its framing.
fn is_broken(session: &Session) -> bool {
    let connection = session.as_downstream().stream().and_then(|stream| stream.as_any().downcast_ref::<Connection>());
    connection.is_some_and(Connection::is_broken)
}

/// The workload's end.
struct Incoming {
    pieces: mpsc::Receiver<Piece>,
    /// What is still to come, where the client declared it.
    left: Option<u64>,
    done: bool,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if self.done {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        let frame = match piece {
            Some(Ok(Some(bytes))) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(RequestBodyError::Disconnected)),
        };
        self.done = true;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
