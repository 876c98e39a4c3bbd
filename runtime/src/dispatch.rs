//! The seam between an HTTP ingress and the workloads behind it. It knows neither pingora nor wasmtime.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use roadstead_config::{
    HostPattern, Limits, PathMatch,
    manifest::{RequestLimits, TriggerCertificate},
};

use roadstead_metrics::Metrics;

use crate::{Call, CallError, Timelines, WorkloadId};

/// The body of a request on its way to a guest. An `Err` frame reaches the guest as a failed read.
pub type RequestBody = UnsyncBoxBody<Bytes, RequestBodyError>;

/// Why a request's body ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestBodyError {
    #[error("the client went away before the end of the request body")]
    Disconnected,
    #[error("the client sent no byte of the request body for too long")]
    Idle,
    #[error("the request body is larger than the {bytes_max} bytes that are allowed")]
    TooLarge { bytes_max: u64 },
}

/// The body of a response on its way from a guest. Dropping it ends the guest's call; an `Err` frame means that the
/// response is not complete and must not look so.
pub struct ResponseBody(Pin<Box<dyn http_body::Body<Data = Bytes, Error = CallError> + Send>>);

impl ResponseBody {
    /// Wraps a body.
    pub fn new(body: impl http_body::Body<Data = Bytes, Error = CallError> + Send + 'static) -> Self {
        Self(Box::pin(body))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = CallError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, CallError>>> {
        self.0.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// Answers the requests of one trigger.
#[async_trait]
pub trait Dispatch: Send + Sync + 'static {
    /// Runs one request. Returns at the response's head; the guest goes on while the body is read. Dropping the
    /// future, or the body, cancels the guest. The call's deadline bounds the whole exchange.
    ///
    /// The request's URI holds the canonical path and the query; its authority is in the URI or in `host`.
    async fn dispatch(
        &self,
        request: http::Request<RequestBody>,
        scheme: http::uri::Scheme,
        call: Call,
    ) -> Result<http::Response<ResponseBody>, CallError>;
}

/// The routes of one workload.
#[derive(Clone)]
pub struct TriggerBinding {
    /// Who claims the routes. A later binding of the same owner replaces this one whole.
    pub owner: WorkloadId,
    pub host: HostPattern,
    /// Further hosts, with the same paths; of its certificate they have nothing.
    pub aliases: Vec<HostPattern>,
    /// Others of the same namespace whose bindings say the same may have the same routes: requests go to each in turn.
    pub is_shared: bool,
    pub paths: Vec<PathMatch>,
    /// Bound of the whole exchange.
    pub timeout: Duration,
    /// How many requests the owner wants at most.
    pub limits: RequestLimits,
    /// The certificate for the host, where the owner brings one; for handlers that speak TLS.
    pub certificate: Option<TriggerCertificate>,
    /// Who answers; `None` while no replica runs (503).
    pub target: Option<Arc<dyn Dispatch>>,
}

/// The requests of one trigger, as many as there have been.
#[derive(Debug, Clone)]
pub struct TriggerTraffic {
    pub owner: WorkloadId,
    /// Ended, by the class of their status: 1xx, 2xx, 3xx, 4xx, 5xx and whatever is beyond.
    pub classes: [u64; 6],
    /// Being answered, or waiting for it.
    pub in_flight: u64,
    /// Time from the head to the end.
    pub latency: LatencyCounts,
}

/// A histogram's counts.
#[derive(Debug, Clone, Default)]
pub struct LatencyCounts {
    /// Upper bounds, in seconds.
    pub bounds_s: &'static [f64],
    /// How many were in each, not added up, and those that were longer than all.
    pub counts: Vec<u64>,
}

/// Why routes cannot be bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error("host {host} is in use by namespace {owner}; choose another host, or ask that namespace to give it up")]
    HostClaimed { host: HostPattern, owner: roadstead_config::Namespace },
    #[error("{path} of host {host} is the route of {owner} already; choose another path or host")]
    RouteTaken { host: HostPattern, path: PathMatch, owner: WorkloadId },
    #[error("the certificate for host {host} cannot be used: {reason}")]
    Certificate { host: HostPattern, reason: String },
}

/// What a host gives its HTTP handler at start.
#[derive(Clone)]
pub struct HandlerContext {
    pub limits: Arc<Limits>,
    pub metrics: Metrics,
    /// Remembers requests, where the host does.
    pub timelines: Option<Arc<Timelines>>,
}

/// Why an HTTP handler does not start.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    #[error("cannot listen on {address}; is another process using it?")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("the HTTP handler cannot be set up")]
    Setup(#[source] std::io::Error),
    #[error("the HTTP handler's metrics cannot be registered")]
    Metrics(#[from] roadstead_metrics::Error),
}

/// Brings HTTP requests to workloads: the ingress of a host.
#[async_trait]
pub trait HostHandler: Send + Sync + 'static {
    /// Begins to answer requests.
    async fn start(&self, context: HandlerContext) -> Result<(), HandlerError>;

    /// Claims routes for a workload and sends their requests to its target, all or nothing. What was bound by
    /// others, and on error also what the same owner had bound before, is left as it was.
    fn bind(&self, binding: TriggerBinding) -> Result<(), BindError>;

    /// Gives up a workload's routes. Requests under way go on.
    fn unbind(&self, owner: &WorkloadId);

    /// Takes no new connection and waits until the requests under way have ended, at most `limit`; returns how
    /// many were cut off.
    async fn drain(&self, limit: Duration) -> usize;

    /// When the certificate ends that clients of `host` are shown; `None` where there is none.
    fn certificate_expires(&self, host: &HostPattern) -> Option<SystemTime> {
        let _ = host;
        None
    }

    /// Why it takes nothing in for the time being; `None` while it does.
    fn refuses(&self) -> Option<&'static str> {
        None
    }

    /// What its triggers have done, in no order.
    fn traffic(&self) -> Vec<TriggerTraffic> {
        Vec::new()
    }

    /// The address that clients reach, once started.
    fn address(&self) -> Option<SocketAddr>;

    /// The address that they reach over TLS, where there is one.
    fn tls_address(&self) -> Option<SocketAddr> {
        None
    }
}
