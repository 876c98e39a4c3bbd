//! Waiting for a request: which protocol it speaks, whether its head came in time and is fit for pingora. Nothing of
//! a tenant has been touched before this says yes.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use bytes::Buf;
use roadstead_config::Limits;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Connection, Phase,
    head::{self, HeadScanner},
};
use crate::{clock, facts::ConnectionFacts, respond::Refusal};

/// How an HTTP/2 client begins (RFC 9113, section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for the head of a common request, read at once. A connection that says little has this and little more.
const READ_BYTES: usize = 2048;

/// How long a draining host waits for a request on a connection that says nothing: it may be on its way since before
/// the client could know.
const LAST_REQUEST_TIME: Duration = Duration::from_millis(250);

/// What a connection may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocols {
    /// The client shows by its first bytes which it is.
    Either,
    /// TLS has settled it (RFC 9113, section 3.2).
    H1,
    H2,
}

impl Protocols {
    pub(super) fn of(facts: &ConnectionFacts) -> Self {
        match &facts.tls {
            None => Self::Either,
            Some(tls) if tls.h2 => Self::H2,
            Some(_) => Self::H1,
        }
    }
}

/// What a client came with.
#[derive(Debug)]
pub(crate) enum Next {
    /// The whole head of an HTTP/1 request, ready for pingora.
    H1,
    /// An HTTP/2 connection.
    H2,
    /// Nothing: the client left or said nothing for too long, or the host drains.
    Closed,
    /// Something that must not reach pingora. The connection's last message is the answer to it.
    Refused(Refusal),
}

/// Ends when a draining host waits no longer for a connection that says nothing.
async fn given_up(draining: &CancellationToken) {
    draining.cancelled().await;
    sleep(LAST_REQUEST_TIME).await;
}

impl Connection {
    /// Waits for the next request. `first` says that none has come before, so it may be the preface of HTTP/2.
    pub(crate) async fn next(&mut self, first: bool, limits: &Limits, draining: &CancellationToken) -> Next {
        self.phase = Phase::Gate;
        let mut idle = None;
        while self.inbound.is_empty() {
            let idle = *idle.get_or_insert_with(|| clock::from_now(Duration::from_millis(limits.keepalive_idle_ms)));
            let read = tokio::select! {
                biased;
                read = self.read_more(idle) => read,
                () = given_up(draining) => return Next::Closed,
            };
            match read {
                Some(1..) => _ = self.skip_blank_lines(),
                _ => return Next::Closed,
            }
        }
        let mut deadline = None;
        let mut scanner = HeadScanner::default();
        let may_be_h2 = first && self.protocols != Protocols::H1;
        loop {
            if self.skip_blank_lines() {
                // The beginning of one may have been looked at already: it need not come in one piece.
                scanner = HeadScanner::default();
            }
            if may_be_h2 && H2_PREFACE.starts_with(self.inbound.get(..H2_PREFACE.len()).unwrap_or(&self.inbound)) {
                if self.inbound.len() >= H2_PREFACE.len() {
                    self.phase = Phase::Whole;
                    return Next::H2;
                }
            } else if self.protocols == Protocols::H2 {
                return Next::Closed;
            } else {
                match self.advance(&mut scanner, limits) {
                    Ok(true) => return Next::H1,
                    Ok(false) => {}
                    Err(refusal) => return Next::Refused(refusal),
                }
            }
            // Most heads come whole, and need no look at the clock.
            let limit = Duration::from_millis(limits.header_timeout_ms);
            let deadline = *deadline.get_or_insert_with(|| clock::from_now(limit));
            match self.read_more(deadline).await {
                Some(1..) => {}
                Some(0) => return Next::Closed,
                None if self.protocols == Protocols::H2 => return Next::Closed,
                None => return Next::Refused(Refusal::HeadTimeout),
            }
        }
    }

    /// Reads what comes until `deadline`, and says how much; nothing is an end. `None` when the time is over.
    async fn read_more(&mut self, deadline: Instant) -> Option<usize> {
        if self.inbound.spare_capacity_mut().len() < READ_BYTES / 4 {
            self.inbound.reserve(READ_BYTES);
        }
        let mut read = pin!(self.transport.get_mut().read_buf(&mut self.inbound));
        let kept = &mut self.patience;
        let mut is_set = false;
        poll_fn(|cx| {
            if let Poll::Ready(read) = read.as_mut().poll(cx) {
                return Poll::Ready(Some(read.unwrap_or(0)));
            }
            let timer = kept.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if !is_set {
                timer.as_mut().reset(deadline);
                is_set = true;
            }
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    /// Drops empty lines before a request line (RFC 9112, section 2.2); whether there were any.
    fn skip_blank_lines(&mut self) -> bool {
        let before = self.inbound.len();
        while self.inbound.starts_with(b"\r\n") {
            self.inbound.advance(2);
        }
        self.inbound.len() < before
    }

    /// Whether the head is whole; if so it is released to pingora.
    fn advance(&mut self, scanner: &mut HeadScanner, limits: &Limits) -> Result<bool, Refusal> {
        let Some(left) = scanner.advance(&self.inbound, limits)? else { return Ok(false) };
        let body = head::check(self.inbound.get(..left).unwrap_or_default(), limits)?;
        self.phase = Phase::Head { left, body };
        Ok(true)
    }
}
