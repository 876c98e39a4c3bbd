//! The two bodies of an exchange, which are never held as a whole: a piece is taken when there is room for it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

use super::{
    EgressError,
    exchange::Note,
    metrics::Record,
    pool::Lease,
    quota::{Exceeded, Quota},
};

/// Empty pieces that are looked at in a row. They are left out: behind an HTTP/2 connection they would pile up
/// (GHSA-f8mm-ggr3-89wh).
pub(super) const EMPTY_IN_A_ROW_MAX: usize = 32;

/// Tells a body that the call that wrote it is over.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended(Arc<AtomicBool>);

impl Ended {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A request's body ended before it was whole.
#[derive(Debug, thiserror::Error)]
#[error("the guest gave the body of its request up")]
pub(super) struct BrokenOff;

/// A request's body on its way out.
pub(super) struct OutgoingBody {
    inner: WasiBody,
    ended: Ended,
    /// What is missing of the length that the guest declared.
    left: Option<u64>,
    quota: Quota,
    exceeded: Exceeded,
}

impl OutgoingBody {
    pub(super) fn new(inner: WasiBody, ended: Ended, declared: Option<u64>, quota: Quota) -> Self {
        Self { inner, ended, left: declared, quota, exceeded: Exceeded::default() }
    }

    /// Tells, from now on, whether the body was ended for its size.
    pub(super) fn exceeded(&self) -> Exceeded {
        self.exceeded.clone()
    }
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        for _ in 0..EMPTY_IN_A_ROW_MAX {
            let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
                // The engine's channel ends in the same way when the guest finishes and when its store goes away.
                let whole = self.left.is_none_or(|left| left == 0) && !self.ended.is_set();
                return Poll::Ready(if whole { None } else { Some(Err(BrokenOff)) });
            };
            let frame = frame.map_err(|_| BrokenOff)?;
            let Some(data) = frame.data_ref() else { return Poll::Ready(Some(Ok(frame))) };
            if data.is_empty() {
                continue;
            }
            let bytes = data.remaining();
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(bytes as u64).ok_or(BrokenOff)?;
            }
            if self.quota.take_of_requests(bytes).is_err() {
                self.exceeded.set();
                return Poll::Ready(Some(Err(BrokenOff)));
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Until when the next piece of a response has to be there.
pub(super) struct Patience {
    /// The end of the call.
    pub(super) deadline: Instant,
    /// What the guest asked for.
    pub(super) between_bytes: Option<Duration>,
}

impl Patience {
    fn next(&self) -> Instant {
        self.between_bytes.and_then(|time| Instant::now().checked_add(time)).unwrap_or(self.deadline).min(self.deadline)
    }
}

/// A response's body on its way in. Its connection goes back to the pool at its end, and is closed when the body is
/// dropped before.
pub(super) struct IncomingBody {
    /// `None` after the end, or a failure.
    incoming: Option<Incoming>,
    lease: Option<Lease>,
    record: Record,
    patience: Patience,
    alarm: Pin<Box<Sleep>>,
    note: Note,
    quota: Quota,
}

impl IncomingBody {
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease,
        record: Record,
        patience: Patience,
        note: Note,
        quota: Quota,
    ) -> Self {
        let alarm = Box::pin(tokio::time::sleep_until(patience.next()));
        let mut body = Self { incoming: Some(incoming), lease: Some(lease), record, patience, alarm, note, quota };
        if body.incoming.as_ref().is_some_and(Body::is_end_stream) {
            body.complete();
        }
        body
    }

    fn complete(&mut self) {
        self.incoming = None;
        self.record.complete();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }

    fn fail(&mut self, error: EgressError) -> HttpError {
        self.incoming = None;
        self.lease = None;
        self.record.failed(&error);
        self.note.failed(&error);
        error.into()
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = &mut *self;
        let Some(incoming) = this.incoming.as_mut() else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                if let Err(max) = this.quota.take_of_responses(bytes) {
                    return Poll::Ready(Some(Err(this.fail(EgressError::ResponseTooLarge(max)))));
                }
                // What has no bytes is no sign of life.
                if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                    let next = this.patience.next();
                    this.alarm.as_mut().reset(next);
                }
                if this.incoming.as_ref().is_some_and(Body::is_end_stream) {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = EgressError::of_hyper(&error, this.note.head_bytes_max());
                Poll::Ready(Some(Err(this.fail(error))))
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.alarm.as_mut().poll(cx));
                Poll::Ready(Some(Err(this.fail(EgressError::ReadTimeout))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
