//! One exchange with a workload: the request's body goes in while the response comes out, and whatever ends it
//! early, the client's leaving, the deadline or a fault, drops both, which cancels the guest.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    time::Duration,
};

use futures::FutureExt;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;
use pingora_proxy::Session;
use roadstead_config::Limits;
use roadstead_runtime::{Call, CallError, Dispatch, FaultKind, ResponseBody};
use tokio::{
    task::coop::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    body::Pump,
    record::{Record, Step},
    request::Received,
    response::{Asked, Prepared, prepare},
};
use crate::{admit::Entry, lifecycle::Lifecycle, respond::Refusal};

/// What a client gets to take the last bytes of a response that breaks off.
pub(super) const PARTING_TIME: Duration = Duration::from_secs(1);

/// How an exchange fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client has been sent nothing and can be told.
    Refused(Refusal),
    /// The client has part of a response, or is gone; the text names why.
    Broken(&'static str),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Refused(Refusal::Call(error))
    }
}

/// A request and what bounds its answering.
pub(super) struct Exchange<'a> {
    session: &'a mut Session,
    limits: &'a Limits,
    body_bytes_max: u64,
    lifecycle: &'a Lifecycle,
    deadline: Instant,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        session: &'a mut Session,
        limits: &'a Limits,
        body_bytes_max: u64,
        lifecycle: &'a Lifecycle,
        deadline: Instant,
    ) -> Self {
        Self { session, limits, body_bytes_max, lifecycle, deadline }
    }

    /// Runs the exchange to its end, from the request's turn on where it has to wait for one. Meanwhile its body comes
    /// in as far as there is room for it, and a client that leaves gives its turn up. The step of being admitted ends
    /// with the wait.
    pub(super) async fn run(
        mut self,
        (entry, admission): (Option<Entry<'_>>, Step),
        target: &dyn Dispatch,
        received: Received,
        call: Call,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let asked = Asked::new(&received.method, self.session.req_header().version);
        let (mut pump, body) = Pump::new(self.session, received.length, self.body_bytes_max, self.limits);
        let mut request = http::Request::new(body);
        *request.method_mut() = received.method;
        *request.uri_mut() = received.uri;
        *request.headers_mut() = received.headers;
        let mut alarm = pin!(sleep_until(self.deadline));
        let _admitted = match entry {
            None => None,
            Some(Entry::Admitted(admitted)) => Some(admitted),
            Some(Entry::Waits(mut turn)) => {
                let _waiting = record.waits();
                let entered = self.wait(turn.as_mut(), &mut pump, alarm.as_mut()).await?;
                match entered {
                    Ok(admitted) => Some(admitted),
                    Err(over) => return Err(admission.refused(Refusal::OverLimit(over)).into()),
                }
            }
        };
        drop(admission);
        let dispatched = AssertUnwindSafe(target.dispatch(request, received.origin.scheme, call)).catch_unwind();
        let response = self.wait(pin!(dispatched), &mut pump, alarm.as_mut()).await?;
        let response =
            response.unwrap_or_else(|_| Err(CallError::fault(FaultKind::HostPanic, "the dispatch panicked")))?;
        self.respond(response, asked, &mut pump, alarm, record).await
    }

    /// Waits for the workload, moving the request's body meanwhile. What is there at once is taken at once: the other
    /// futures cost a lock or a system call each.
    async fn wait<T>(
        &mut self,
        mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
        pump: &mut Pump,
        mut alarm: Pin<&mut Sleep>,
    ) -> Result<T, Failure> {
        loop {
            tokio::select! {
                biased;
                output = &mut work => return Ok(output),
                () = &mut alarm => return Err(CallError::Deadline.into()),
                () = self.lifecycle.cut.cancelled() => return Err(Failure::Broken("drained")),
                moved = pump.step(self.session) => moved?,
            }
        }
    }

    /// Sends the response as the workload gives it.
    async fn respond(
        &mut self,
        response: Response<ResponseBody>,
        asked: Asked,
        pump: &mut Pump,
        mut alarm: Pin<&mut Sleep>,
        record: &mut Record,
    ) -> Result<(), Failure> {
        let (parts, mut body) = response.into_parts();
        let Prepared { head, bodiless, length, until_close } = prepare(&parts, body.size_hint().exact(), asked)?;
        if until_close || self.lifecycle.draining.is_cancelled() {
            self.session.set_keepalive(None);
        }
        record.status(parts.status);
        self.send(alarm.as_mut(), |session| session.write_response_header(head)).await?;
        let mut left = length;
        loop {
            let frame = match self.wait(pin!(body.frame()), pump, alarm.as_mut()).await.map_err(after_head)? {
                None => break,
                Some(frame) => frame.map_err(|error| Failure::Broken(error.kind()))?,
            };
            if Instant::now() >= self.deadline {
                return Err(Failure::Broken(CallError::Deadline.kind()));
            }
            match frame.into_data() {
                Ok(_) if bodiless => {}
                Ok(data) => {
                    left = take(left, data.len() as u64)?;
                    self.send(alarm.as_mut(), |session| session.write_response_body(data, false)).await?;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers()
                        && asked.h2
                        && left.unwrap_or(0) == 0
                    {
                        return self.send(alarm.as_mut(), |session| session.write_response_trailers(trailers)).await;
                    }
                }
            }
        }
        if !bodiless && left.unwrap_or(0) > 0 {
            return Err(Failure::Broken(FaultKind::GuestError.as_str()));
        }
        self.send(alarm.as_mut(), |session| session.finish_body()).await
    }

    /// One write to the client, within the deadline.
    async fn send<'s, F>(
        &'s mut self,
        alarm: Pin<&mut Sleep>,
        write: impl FnOnce(&'s mut pingora_core::protocols::http::ServerSession) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = pingora_core::Result<()>>,
    {
        tokio::select! {
            biased;
            written = write(self.session.as_downstream_mut()) => {
                written.map_err(|_| Failure::Broken("client-gone"))
            }
            () = unconstrained(alarm) => Err(Failure::Broken(CallError::Deadline.kind())),
        }
    }
}

/// What a failure comes to once part of the response has been sent.
fn after_head(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(refusal) => Failure::Broken(crate::respond::Answer::from(&refusal).kind),
        broken @ Failure::Broken(_) => broken,
    }
}

/// Counts bytes against what the client has been promised.
fn take(left: Option<u64>, bytes: u64) -> Result<Option<u64>, Failure> {
    let Some(left) = left else { return Ok(None) };
    left.checked_sub(bytes).map(Some).ok_or(Failure::Broken(FaultKind::GuestError.as_str()))
}
