//! One HTTP request in one fresh instance of a wasi:http 0.2 component.
//!
//! The guest runs in a task of its own, so that it can go on while the response is read. The response's body owns the
//! task: dropped before its end, it ends the guest.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::Frame;
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use wasmtime::component::{Component, Type, types::ComponentItem};
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
    Call, CallError, FaultKind, InstanceState, RequestBody, RequestBodyError, ResponseBody,
    component::ComponentHandle,
    dispatch::Dispatch,
    instance::{LiveStore, guarded},
};

/// Answers a trigger's requests with fresh instances of one component.
pub(crate) struct HttpTarget {
    component: Arc<ComponentHandle>,
    pre: ProxyPre<InstanceState>,
}

/// How the guest's task ended; set before its store is dropped, so before its body can look finished.
type Outcome = Arc<Mutex<Option<Result<(), CallError>>>>;

type HeadSender = oneshot::Sender<Result<http::Response<HyperOutgoingBody>, ErrorCode>>;

impl HttpTarget {
    /// # Errors
    /// When the component does not export the handler as published.
    pub(crate) fn new(component: Arc<ComponentHandle>) -> wasmtime::Result<Self> {
        let pre = ProxyPre::new(component.plan.pre.clone())?;
        check_handler(component.plan.pre.component())?;
        Ok(Self { component, pre })
    }
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
        let place = self.component.enter_fresh()?;
        let component = &self.component;
        let live = LiveStore::new(&component.shared, &component.plan, &component.metrics.instances, call.clone())?;
        component.metrics.created_fresh.inc();

        let bytes_left = component.shared.limits.response_body_bytes_max;
        let (head_sender, head) = oneshot::channel();
        let outcome = Outcome::default();
        let run = GuestRun {
            component: component.clone(),
            pre: self.pre.clone(),
            live,
            request,
            scheme,
            head_sender,
            deadline: call.deadline,
        };
        let task = tokio::spawn({
            let outcome = outcome.clone();
            async move {
                let _place = place;
                run.finish(&outcome).await;
            }
        });
        let guest = GuestTask { task: Some(task), outcome };
        match head.await {
            Ok(Ok(response)) => {
                Ok(response.map(|body| ResponseBody::new(GuestBody { body: Some(body), guest, bytes_left })))
            }
            Ok(Err(code)) => Err(CallError::fault(FaultKind::GuestError, format!("the guest answered {code:?}"))),
            Err(_) => {
                Err(guest.end().await.err().unwrap_or_else(|| {
                    CallError::fault(FaultKind::NoResponse, "the guest returned without a response")
                }))
            }
        }
    }
}

/// Everything that the guest's task needs.
struct GuestRun {
    component: Arc<ComponentHandle>,
    pre: ProxyPre<InstanceState>,
    live: LiveStore,
    request: http::Request<RequestBody>,
    scheme: http::uri::Scheme,
    head_sender: HeadSender,
    deadline: Instant,
}

impl GuestRun {
    async fn finish(self, outcome: &Outcome) {
        let Self { component, pre, mut live, request, scheme, head_sender, deadline } = self;
        let timer = component.metrics.begin_call(deadline);
        let ended = guarded(deadline, handle(&pre, &mut live, request, scheme, head_sender)).await;
        let result = live.settle(ended).and_then(|()| body_is_finished(&mut live));
        live.store.data_mut().end_call();
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
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }
}

async fn handle(
    pre: &ProxyPre<InstanceState>,
    live: &mut LiveStore,
    request: http::Request<RequestBody>,
    scheme: http::uri::Scheme,
    head_sender: HeadSender,
) -> wasmtime::Result<()> {
    let scheme = if scheme == http::uri::Scheme::HTTPS { Scheme::Https } else { Scheme::Http };
    let store = &mut live.store;
    let request = store.data_mut().http().new_incoming_request(scheme, request)?;
    let response = store.data_mut().http().new_response_outparam(head_sender)?;
    let guest = pre.instantiate_async(&mut *store).await?;
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

/// The running guest; dropped, it is cancelled.
struct GuestTask {
    task: Option<JoinHandle<()>>,
    outcome: Outcome,
}

impl GuestTask {
    /// Waits for the guest's end.
    async fn end(mut self) -> Result<(), CallError> {
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            return Err(CallError::fault(FaultKind::HostPanic, error.to_string()));
        }
        self.result().unwrap_or(Err(CallError::NotRunning))
    }

    /// The outcome, once there is one.
    fn result(&self) -> Option<Result<(), CallError>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the guest go on by itself until it ends or its deadline passes.
    fn detach(&mut self) {
        self.task = None;
    }
}

impl Drop for GuestTask {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// A response's body on its way out.
struct GuestBody {
    body: Option<HyperOutgoingBody>,
    guest: GuestTask,
    /// What the response may still have (`response_body_bytes_max`).
    bytes_left: u64,
}

impl http_body::Body for GuestBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CallError>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.bytes_left.checked_sub(bytes) {
                    Some(left) => self.bytes_left = left,
                    None => {
                        self.body = None;
                        let detail = "the response body is larger than response_body_bytes_max";
                        return Poll::Ready(Some(Err(CallError::fault(FaultKind::GuestError, detail))));
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.body = None;
                let broken = || CallError::fault(FaultKind::GuestError, format!("the response broke off: {error}"));
                Poll::Ready(Some(Err(self.guest.result().and_then(Result::err).unwrap_or_else(broken))))
            }
            // The channel ends in the same way when the guest finishes its body and when its store goes away, so the
            // end counts only while the guest has not failed.
            None => {
                self.body = None;
                match self.guest.result() {
                    Some(Err(error)) => Poll::Ready(Some(Err(error))),
                    _ => {
                        self.guest.detach();
                        Poll::Ready(None)
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn a_response_body_has_a_size() {
        for (bytes_left, whole) in [(5, true), (4, false)] {
            let body = Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {}).boxed_unsync();
            let guest = GuestTask { task: None, outcome: Outcome::default() };
            let collected = GuestBody { body: Some(body), guest, bytes_left }.collect().await;
            assert_eq!(collected.is_ok(), whole, "{bytes_left}");
        }
    }
}
