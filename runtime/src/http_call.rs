//! One HTTP request in one fresh instance of a wasi:http 0.2 component.
//!
//! The guest runs in the task of whoever waits for its response, first for the head, then for each piece of the body:
//! no other task has to be woken, and a small response is there whole when its head is. The response's body owns the
//! guest: dropped before its end, it ends the guest. A guest that goes on after the end of its body gets a task.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime::component::{Component, InstancePre, Type, types::ComponentItem};
use wasmtime_wasi_http::{
    Error as HttpError, WasiHttpView,
    p2::{
        bindings::{
            ProxyPre,
            http::types::{ErrorCode, Scheme},
        },
        body::{HostOutgoingBody, HyperOutgoingBody},
    },
};

use crate::{
    Call, CallError, CallSpan, FaultKind, InstanceState, RequestBody, RequestBodyError, ResponseBody,
    component::{ComponentHandle, note_failure, start_span},
    dispatch::Dispatch,
    fault::one_line,
    gate::Entered,
    instance::{LiveStore, guarded},
    lanes::{InLane, LaneError},
};

/// Answers a trigger's requests with fresh instances of one component.
pub(crate) struct HttpTarget {
    component: Arc<ComponentHandle>,
    proxy: Arc<ProxyPre<InstanceState>>,
}

/// Pieces of a response that are taken before its head is sent; what the engine lets a guest write without being read.
const FRAMES_AHEAD_MAX: usize = 3;

type HeadSender = oneshot::Sender<Result<http::Response<HyperOutgoingBody>, ErrorCode>>;

impl HttpTarget {
    /// # Errors
    /// When the component does not export the handler as published.
    pub(crate) fn new(component: Arc<ComponentHandle>) -> wasmtime::Result<Self> {
        let proxy = component.plan.linked.proxy()?;
        Ok(Self { component, proxy })
    }
}

/// A linked component as one that answers HTTP requests.
///
/// # Errors
/// When it does not export the handler as published.
pub(crate) fn proxy_of(pre: &InstancePre<InstanceState>) -> wasmtime::Result<ProxyPre<InstanceState>> {
    let proxy = ProxyPre::new(pre.clone())?;
    check_handler(pre.component())?;
    Ok(proxy)
}

/// The bindings look at the handler's type in the first instance; a deployment must know it before.
fn check_handler(component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    let of_type = component.component_type();
    let exports = of_type.exports(engine).filter(|(name, _)| name.starts_with("wasi:http/incoming-handler@"));
    for (name, export) in exports {
        let ComponentItem::ComponentInstance(instance) = export.ty else { continue };
        let handle = instance.get_export(engine, "handle").map(|export| export.ty);
        let as_published = match handle {
            Some(ComponentItem::ComponentFunc(handle)) => {
                handle.params().len() == 2
                    && handle.params().all(|(_, ty)| matches!(ty, Type::Own(_)))
                    && handle.results().len() == 0
            }
            _ => false,
        };
        if !as_published {
            return Err(wasmtime::Error::msg(format!(
                "its export {name} is not func(request: incoming-request, response-out: response-outparam)"
            )));
        }
    }
    Ok(())
}

#[async_trait]
impl Dispatch for HttpTarget {
    async fn dispatch(
        &self,
        request: http::Request<RequestBody>,
        scheme: http::uri::Scheme,
        call: Call,
    ) -> Result<http::Response<ResponseBody>, CallError> {
        let component = &self.component;
        let note = |error: &CallError| component.plan.journal.failed(component.name(), error, call.trace.trace_id());
        let place = component.enter_fresh().inspect_err(note)?;
        let (span, own_call) = component.call_span(&call, "fresh");
        let live = LiveStore::new(&component.shared, &component.plan, &component.metrics, own_call);
        let live = live.inspect_err(note)?;
        component.metrics.created_fresh();

        let bytes_left = component.shared.limits.response_body_bytes_max;
        let (head_sender, mut head) = oneshot::channel();
        let run = GuestRun {
            component: component.clone(),
            proxy: self.proxy.clone(),
            live,
            request,
            scheme,
            head_sender,
            span,
            _place: place,
        };
        let mut guest = Guest::Running(component.in_lane(run.finish()));
        let head = poll_fn(|cx| {
            // Whatever becomes of the guest shows in its response's head: a guest that is over has let go of it.
            let _ = guest.poll(cx);
            Pin::new(&mut head).poll(cx)
        });
        match head.await {
            Ok(Ok(response)) => Ok(response.map(|body| ResponseBody::new(GuestBody::new(body, guest, bytes_left)))),
            Ok(Err(code)) => {
                let detail = one_line(format_args!("the guest answered {code:?}"));
                Err(CallError::fault(FaultKind::GuestError, detail)).inspect_err(note)
            }
            Err(_) => Err(guest.end().await.err().unwrap_or_else(|| {
                let error = CallError::fault(FaultKind::NoResponse, "the guest returned without a response");
                note(&error);
                error
            })),
        }
    }
}

/// Everything that a guest's run needs.
struct GuestRun {
    component: Arc<ComponentHandle>,
    proxy: Arc<ProxyPre<InstanceState>>,
    live: LiveStore,
    request: http::Request<RequestBody>,
    scheme: http::uri::Scheme,
    head_sender: HeadSender,
    span: CallSpan,
    _place: Entered,
}

impl GuestRun {
    async fn finish(self) -> Result<(), CallError> {
        let Self { component, proxy, mut live, request, scheme, head_sender, span, _place } = self;
        let deadline = live.store.data().call().deadline;
        let (timer, watch) = (component.metrics.begin_call(deadline), component.watch(live.store.data().call()));
        let ended = guarded(live.bounds(), handle(&component, &proxy, &mut live, request, scheme, head_sender)).await;
        // At the deadline nobody takes the response any more, and how a guest ends that learns of it says nothing.
        let result = match tokio::time::Instant::now() >= deadline {
            true => Err(CallError::Deadline),
            false => live.settle(ended).and_then(|()| body_is_finished(&mut live)),
        };
        live.store.data_mut().end_call();
        note_failure(&span, &result);
        if let Err(error) = &result {
            tracing::warn!(
                namespace = %component.workload().namespace,
                workload = %component.workload().name,
                component = %component.name(),
                trace_id = %live.store.data().call().trace.trace_id(),
                kind = error.kind(),
                error = %error,
                "an HTTP call failed"
            );
        }
        timer.end(&result);
        watch.end(&result);
        result
    }
}

async fn handle(
    component: &ComponentHandle,
    proxy: &ProxyPre<InstanceState>,
    live: &mut LiveStore,
    request: http::Request<RequestBody>,
    scheme: http::uri::Scheme,
    head_sender: HeadSender,
) -> wasmtime::Result<()> {
    let scheme = if scheme == http::uri::Scheme::HTTPS { Scheme::Https } else { Scheme::Http };
    let store = &mut live.store;
    let request = store.data_mut().http().new_incoming_request(scheme, request)?;
    let response = store.data_mut().http().new_response_outparam(head_sender)?;
    let start = start_span(&store.data().call().trace);
    let begun = tokio::time::Instant::now();
    let guest = proxy.instantiate_async(&mut *store).await;
    component.metrics.start.observe(begun.elapsed().as_secs_f64());
    drop(start);
    let guest = guest?;
    guest.wasi_http_incoming_handler().call_handle(store, request, response).await
}

/// A guest that returned must have finished or given up its response body: one that it forgot is not complete.
fn body_is_finished(live: &mut LiveStore) -> Result<(), CallError> {
    let mut entries = live.store.data_mut().table().iter_mut();
    match entries.any(|entry| entry.is::<HostOutgoingBody>()) {
        true => Err(CallError::fault(FaultKind::GuestError, "the guest returned without finishing the response body")),
        false => Ok(()),
    }
}

impl From<RequestBodyError> for HttpError {
    fn from(error: RequestBodyError) -> Self {
        match error {
            RequestBodyError::Disconnected => Self::ConnectionTerminated,
            RequestBodyError::Idle => Self::ConnectionReadTimeout,
            RequestBodyError::TooLarge { bytes_max } => Self::HttpRequestBodySize(Some(bytes_max)),
        }
    }
}

impl From<LaneError> for CallError {
    fn from(error: LaneError) -> Self {
        Self::fault(FaultKind::HostPanic, error.to_string())
    }
}

/// A guest that runs when it is polled; dropped before its end, it is cancelled.
enum Guest {
    Running(InLane<Result<(), CallError>>),
    Over(Result<(), CallError>),
}

impl Guest {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Running(run) = self {
            let ended = ready!(Pin::new(run).poll(cx));
            *self = Self::Over(ended.unwrap_or_else(|error| Err(error.into())));
        }
        Poll::Ready(())
    }

    /// Waits for the guest's end.
    async fn end(self) -> Result<(), CallError> {
        match self {
            Self::Running(run) => run.await.unwrap_or_else(|error| Err(error.into())),
            Self::Over(result) => result,
        }
    }

    /// How the guest failed, when it has.
    fn failure(&self) -> Option<CallError> {
        match self {
            Self::Running(_) | Self::Over(Ok(())) => None,
            Self::Over(Err(error)) => Some(error.clone()),
        }
    }

    /// Lets the guest go on by itself until it ends or its deadline passes.
    fn detach(&mut self) {
        if let Self::Running(run) = std::mem::replace(self, Self::Over(Ok(()))) {
            tokio::spawn(run);
        }
    }
}

/// A response's body on its way out. Reading it is what makes the guest go on.
struct GuestBody {
    /// Pieces that the guest has written already.
    ahead: VecDeque<Frame<Bytes>>,
    /// `None` when nothing more comes than what is ahead.
    body: Option<HyperOutgoingBody>,
    guest: Guest,
    /// What the response may still have (`response_body_bytes_max`).
    bytes_left: u64,
}

impl GuestBody {
    fn new(body: HyperOutgoingBody, guest: Guest, bytes_left: u64) -> Self {
        let mut this = Self { ahead: VecDeque::new(), body: Some(body), guest, bytes_left };
        this.look_ahead();
        this
    }

    /// Takes what a guest that has returned left behind: most responses are small, and their length is known then.
    fn look_ahead(&mut self) {
        let (Some(body), Guest::Over(Ok(()))) = (self.body.as_mut(), &self.guest) else { return };
        let mut cx = Context::from_waker(Waker::noop());
        while self.ahead.len() < FRAMES_AHEAD_MAX {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => self.ahead.push_back(frame),
                Poll::Ready(None) => {
                    self.body = None;
                    return;
                }
                // What is wrong with it is told again to whoever reads it.
                Poll::Ready(Some(Err(_))) | Poll::Pending => return,
            }
        }
    }

    /// The next piece as the guest wrote it. The guest goes on when there is none.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Some(frame) = self.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let written = Pin::new(&mut *body).poll_frame(cx);
        if written.is_ready() || matches!(self.guest, Guest::Over(_)) {
            return written;
        }
        let _ = self.guest.poll(cx);
        Pin::new(body).poll_frame(cx)
    }

    /// Nothing more comes.
    fn give_up(&mut self) {
        self.body = None;
        self.ahead.clear();
    }
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let this = &mut *self;
        match ready!(this.poll_written(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                match this.bytes_left.checked_sub(bytes) {
                    Some(left) => this.bytes_left = left,
                    None => {
                        this.give_up();
                        let detail = "the response body is larger than response_body_bytes_max";
                        return Poll::Ready(Some(Err(CallError::fault(FaultKind::GuestError, detail))));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.give_up();
                let broken = || {
                    CallError::fault(FaultKind::GuestError, one_line(format_args!("the response broke off: {error}")))
                };
                Poll::Ready(Some(Err(this.guest.failure().unwrap_or_else(broken))))
            }
            // The channel ends in the same way when the guest finishes its body and when its store goes away, so the
            // end counts only while the guest has not failed.
            None => {
                this.give_up();
                match this.guest.failure() {
                    Some(error) => {
                        this.guest = Guest::Over(Ok(()));
                        Poll::Ready(Some(Err(error)))
                    }
                    None => {
                        this.guest.detach();
                        Poll::Ready(None)
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none() && self.ahead.is_empty() && matches!(self.guest, Guest::Over(Ok(())))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => {
                SizeHint::with_exact(self.ahead.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    #[tokio::test]
    async fn a_response_body_has_a_size() {
        for (bytes_left, whole) in [(5, true), (4, false)] {
            let body = Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {}).boxed_unsync();
            let collected = GuestBody::new(body, Guest::Over(Ok(())), bytes_left).collect().await;
            assert_eq!(collected.is_ok(), whole, "{bytes_left}");
        }
    }

    #[tokio::test]
    async fn so_many_pieces_are_taken_before_they_are_asked_for() {
        let pieces = (0..=FRAMES_AHEAD_MAX).map(|_| Ok(Frame::data(Bytes::from_static(b"x"))));
        let body = StreamBody::new(futures::stream::iter(pieces)).boxed_unsync();
        let body = GuestBody::new(body, Guest::Over(Ok(())), 1_000);
        assert_eq!((body.ahead.len(), body.is_end_stream()), (FRAMES_AHEAD_MAX, false));
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), FRAMES_AHEAD_MAX + 1);
    }
}
