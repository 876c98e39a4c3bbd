//! One request and its response, from the guest's words to the last byte. Dropped, it is over: nobody goes on with it.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use roadstead_config::Target;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::{RequestOptions, WasiBody};

use super::{
    CallEgress, ComponentEgress, EgressError,
    body::{IncomingBody, OutgoingBody, Patience},
    connect::connect,
    metrics::Record,
    pool::{Key, Lease, Sender, Taken},
    request::Head,
};
use crate::{Call, CallSpan, call_span};

/// Kept connections that a request tries, of which the server closed each just then, before one is made for it.
const RETRIES_MAX: usize = 3;
/// Methods that spans name; a guest's own are `_OTHER`.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];

impl CallEgress {
    /// Sends a request of the guest; the future is to be polled to its end, or dropped.
    pub(crate) fn send(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> impl Future<Output = Result<Response<WasiBody>, EgressError>> + Send + use<> {
        let max = self.component.workload.host.limits.outgoing_requests_per_call_max;
        let left = self.requests_left.checked_sub(1);
        self.requests_left = left.unwrap_or(0);
        let (component, call, ended) = (self.component.clone(), self.call.clone(), self.ended.clone());
        let quota = self.quota.clone();
        async move {
            let mut record = Record::begin(component.workload.metrics.clone());
            let exchange = async {
                left.ok_or(EgressError::TooManyRequests(max))?;
                let (parts, body) = request.into_parts();
                let declared = parts.headers.get(header::CONTENT_LENGTH);
                let declared = declared.and_then(|length| length.to_str().ok()?.parse().ok());
                let mut head = Head::read(parts, &component.workload.host.limits)?;
                let span = CallSpan::below(&call.trace, || span_of(&head));
                head.continue_trace(span.context());
                let body = OutgoingBody::new(body, ended, declared, quota.clone());
                let exceeded = body.exceeded();
                let note = Note { component: component.clone(), target: head.target.clone(), span };
                match component.exchange(head, body, options.unwrap_or_default(), &call).await {
                    Ok((response, lease, patience)) => {
                        note.answered(response.status());
                        Ok((response, lease, patience, note))
                    }
                    Err(error) => {
                        // Whatever the connection made of it.
                        let too_large = || EgressError::RequestTooLarge(quota.request_bytes_max());
                        let error = if exceeded.is_set() { too_large() } else { error };
                        note.failed(&error);
                        Err(error)
                    }
                }
            };
            match exchange.await {
                Ok((response, lease, patience, note)) => {
                    record.answered();
                    Ok(response.map(|incoming| {
                        IncomingBody::new(incoming, lease, record, patience, note, quota.clone()).boxed_unsync()
                    }))
                }
                Err(error) => {
                    record.failed(&error);
                    Err(error)
                }
            }
        }
    }
}

/// The span of a request, with the attributes of OpenTelemetry's conventions; nothing of its path, its query or its body.
fn span_of(head: &Head) -> tracing::Span {
    let method = if METHODS.contains(&head.method) { head.method.as_str() } else { "_OTHER" };
    call_span!(
        if method == "_OTHER" { "HTTP" } else { method },
        "client",
        http.request.method = method,
        url.scheme = head.target.scheme().as_str(),
        server.address = %head.target.host(),
        server.port = head.target.port(),
        http.response.status_code = tracing::field::Empty,
    )
}

/// What the log and the request's span are told: whom it was to, whose it was and how it ended, nothing else.
pub(super) struct Note {
    component: Arc<ComponentEgress>,
    target: Target,
    /// Ends with the body of the response.
    span: CallSpan,
}

impl Note {
    fn answered(&self, status: StatusCode) {
        self.span.record("http.response.status_code", status.as_u16());
        if status.is_client_error() || status.is_server_error() {
            self.span.fail(status.as_str(), String::new);
        }
    }

    pub(super) fn failed(&self, error: &EgressError) {
        self.span.fail(error.kind(), String::new);
        let id = &self.component.workload.id;
        tracing::debug!(
            namespace = %id.namespace,
            workload = %id.name,
            component = %self.component.name,
            trace_id = %self.span.context().trace_id(),
            target = %self.target,
            kind = error.kind(),
            error = %crate::error_text(error),
            "an outgoing request failed"
        );
    }

    pub(super) fn head_bytes_max(&self) -> usize {
        self.component.workload.pool.bounds().head_bytes_max
    }
}

type Answered = (Response<Incoming>, Lease, Patience);

impl ComponentEgress {
    async fn exchange(
        &self,
        head: Head,
        mut body: OutgoingBody,
        options: RequestOptions,
        call: &Call,
    ) -> Result<Answered, EgressError> {
        let key = self.permit(head.target.clone())?;
        let within = |time: Option<Duration>| {
            let by = time.and_then(|time| Instant::now().checked_add(time));
            by.unwrap_or(call.deadline).min(call.deadline)
        };
        let connect_time = Duration::from_millis(self.workload.host.limits.outgoing_connect_ms);
        let connect_time = options.connect_timeout.unwrap_or(connect_time);
        for attempt in 0..=RETRIES_MAX {
            let taken = timeout_at(call.deadline, self.workload.pool.take(&key));
            let taken = taken.await.map_err(|_| EgressError::ConnectTimeout)??;
            let mut lease = self.connected(taken, &key, within(Some(connect_time))).await?;
            let retries = attempt < RETRIES_MAX && !lease.is_new();
            let sent = timeout_at(within(options.first_byte_timeout), self.send_over(&mut lease, &head, body));
            let Ok(sent) = sent.await else {
                // It may be dead: the next request is to make another.
                lease.discard();
                return Err(EgressError::ResponseTimeout);
            };
            match sent {
                Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(EgressError::Upgrade);
                }
                Ok(response) if head_bytes(&response) > self.workload.pool.bounds().head_bytes_max => {
                    return Err(EgressError::HeadTooLarge(self.workload.pool.bounds().head_bytes_max));
                }
                Ok(response) => {
                    let between_bytes = options.between_bytes_timeout;
                    return Ok((response, lease, Patience { deadline: call.deadline, between_bytes }));
                }
                Err(Unsent { body: Some(unsent), .. }) if retries => {
                    lease.discard();
                    body = unsent;
                }
                Err(Unsent { error, .. }) => return Err(error),
            }
        }
        Err(EgressError::Terminated)
    }

    /// The connection that was taken, or a new one in the place that was.
    async fn connected(&self, taken: Taken, key: &Key, by: Instant) -> Result<Lease, EgressError> {
        let place = match taken {
            Taken::Connection(lease) => return Ok(lease),
            Taken::Place(place) => place,
        };
        // Whoever asks may be in the background: the connection is not.
        let connecting = connect(self.workload.clone(), key.clone(), place, by);
        let connecting = AbortOnDropHandle::new(self.workload.host.threads.spawn(connecting));
        let sender = connecting.await.map_err(|_| EgressError::Terminated)??;
        Ok(self.workload.pool.lend(key, sender))
    }

    async fn send_over(
        &self,
        lease: &mut Lease,
        head: &Head,
        body: OutgoingBody,
    ) -> Result<Response<Incoming>, Unsent> {
        let head_bytes_max = self.workload.pool.bounds().head_bytes_max;
        let failed = |mut error: hyper::client::conn::TrySendError<Request<OutgoingBody>>| Unsent {
            body: error.take_message().map(Request::into_body),
            error: EgressError::of_hyper(error.error(), head_bytes_max),
        };
        let of_head = |error| Unsent { body: None, error };
        match lease.sender() {
            Some(Sender::Http1(sender, _)) => {
                sender.try_send_request(head.request(false, body).map_err(of_head)?).await.map_err(failed)
            }
            Some(Sender::Http2(sender, _)) => {
                sender.try_send_request(head.request(true, body).map_err(of_head)?).await.map_err(failed)
            }
            None => Err(Unsent { body: None, error: EgressError::Terminated }),
        }
    }
}

/// The size of the fields of a head. While it comes, hyper bounds what it reads of it, which may be the double.
fn head_bytes(response: &Response<Incoming>) -> usize {
    response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum()
}

/// What a field has beside its name and value: a colon, a space, and the end of its line.
const FIELD_BYTES: usize = 4;

/// A request that has no response, and its body where nothing of it was sent.
struct Unsent {
    body: Option<OutgoingBody>,
    error: EgressError,
}
