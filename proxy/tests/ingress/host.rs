//! An ingress on a free port, with workloads that are closures.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, uri::Scheme};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use roadstead_config::{Limits, Network, PathMatch, PathMatchKind, TrustedProxies, manifest::RequestLimits};
use roadstead_metrics::Metrics;
use roadstead_proxy::{DynamicRouter, HttpServer, TlsFiles};
use roadstead_runtime::{
    BindError, Call, CallError, Dispatch, HandlerContext, HandlerError, HostHandler, RequestBody, ResponseBody,
    TriggerBinding, WorkloadId,
};
use tokio::{sync::mpsc, time::timeout};

pub(crate) type Answer = Result<Response<ResponseBody>, CallError>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for something that must happen.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it took too long")
}

/// A workload that is a closure.
pub(crate) struct Scripted(Box<dyn Fn(Request<RequestBody>, Call) -> Answering + Send + Sync>);

#[async_trait]
impl Dispatch for Scripted {
    async fn dispatch(&self, mut request: Request<RequestBody>, scheme: Scheme, call: Call) -> Answer {
        let told = request.headers().get("x-forwarded-proto").and_then(|told| told.to_str().ok());
        assert_eq!(told, Some(scheme.as_str()));
        request.extensions_mut().insert(scheme);
        (self.0)(request, call).await
    }
}

/// Makes a workload.
pub(crate) fn workload<F>(answer: impl Fn(Request<RequestBody>, Call) -> F + Send + Sync + 'static) -> Arc<dyn Dispatch>
where
    F: Future<Output = Answer> + Send + 'static,
{
    Arc::new(Scripted(Box::new(move |request, call| Box::pin(answer(request, call)))))
}

/// A workload that tells `METHOD URI` of the request and its body.
pub(crate) fn telling() -> Arc<dyn Dispatch> {
    workload(|request, _| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| guest_error(&error.to_string()))?.to_bytes();
        let text = format!("{} {} {}", parts.method, parts.uri, String::from_utf8_lossy(&body));
        Ok(whole(text.trim_end().to_owned()))
    })
}

/// A workload that tells the scheme of the request.
pub(crate) fn telling_the_scheme() -> Arc<dyn Dispatch> {
    workload(|request, _| async move { Ok(whole(request.extensions().get::<Scheme>().unwrap().to_string())) })
}

/// A response with a known body.
pub(crate) fn whole(text: impl Into<Bytes>) -> Response<ResponseBody> {
    Response::new(ResponseBody::new(Full::new(text.into()).map_err(|never| match never {})))
}

/// What a response's body is made of.
pub(crate) type Piece = Result<Frame<Bytes>, CallError>;

/// A response whose body comes through a channel.
pub(crate) fn streamed() -> (mpsc::Sender<Piece>, Response<ResponseBody>) {
    let (sender, receiver) = mpsc::channel(1);
    let frames = futures::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|frame| (frame, receiver))
    });
    (sender, Response::new(ResponseBody::new(StreamBody::new(frames))))
}

/// A frame of data.
pub(crate) fn data(text: impl Into<Bytes>) -> Result<Frame<Bytes>, CallError> {
    Ok(Frame::data(text.into()))
}

pub(crate) fn guest_error(detail: &str) -> CallError {
    CallError::fault(roadstead_runtime::FaultKind::GuestError, detail)
}

/// A started ingress.
pub(crate) struct Host {
    pub(crate) server: HttpServer,
    pub(crate) metrics: Metrics,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// An ingress with other limits.
    pub(crate) async fn with(change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(|server| server, change, None).await.unwrap()
    }

    /// An ingress with TLS as well.
    pub(crate) async fn with_tls(files: TlsFiles, change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(|server| server, change, Some(files)).await.unwrap()
    }

    /// Why an ingress with these files does not start: the causes of the error, joined.
    pub(crate) async fn tls_error(files: TlsFiles, change: impl FnOnce(&mut Limits)) -> String {
        let error = Self::start_with(|server| server, change, Some(files)).await.err().expect("it started");
        let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// An ingress behind proxies of these networks.
    pub(crate) async fn behind(proxies: &str, change: impl FnOnce(&mut Limits)) -> Self {
        let networks = proxies.split_whitespace().map(|network| network.parse::<Network>().unwrap());
        let proxies = networks.collect::<TrustedProxies>();
        Self::made(|server| server.with_trusted_proxies(proxies), change).await
    }

    /// An ingress that is made in some way, with other limits.
    pub(crate) async fn made(make: impl FnOnce(HttpServer) -> HttpServer, change: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(make, change, None).await.unwrap()
    }

    async fn start_with(
        make: impl FnOnce(HttpServer) -> HttpServer,
        change: impl FnOnce(&mut Limits),
        tls: Option<TlsFiles>,
    ) -> Result<Self, HandlerError> {
        LazyLock::force(&crate::access_log::LINES);
        let mut limits = Limits::default();
        change(&mut limits);
        let any_port = "127.0.0.1:0".parse().unwrap();
        let mut server = make(HttpServer::new(DynamicRouter::default(), any_port).await?);
        if let Some(files) = tls {
            server = server.with_tls(any_port, files).await?;
        }
        let metrics = Metrics::default();
        let context = HandlerContext { limits: Arc::new(limits), metrics: metrics.clone(), timelines: None };
        server.start(context).await?;
        Ok(Self { server, metrics })
    }

    /// An ingress whose host `a.test` is one workload.
    pub(crate) async fn serving(target: Arc<dyn Dispatch>) -> Self {
        let host = Self::start().await;
        host.bind("team/app", "a.test", "/", target);
        host
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address().unwrap()
    }

    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.server.tls_address().unwrap()
    }

    /// Binds `namespace/name` to a host and a path prefix.
    pub(crate) fn bind(&self, owner: &str, host: &str, path: &str, target: Arc<dyn Dispatch>) {
        self.try_bind(binding(owner, host, path, Some(target))).unwrap();
    }

    pub(crate) fn try_bind(&self, binding: TriggerBinding) -> Result<(), BindError> {
        self.server.bind(binding)
    }

    /// The value of a metric's series, whose labels are written as in the text format.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let text = String::from_utf8(self.metrics.text().unwrap()).unwrap();
        let line = text.lines().find(|line| line.starts_with(series))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// The sum of a metric over all its series.
    pub(crate) fn metric_sum(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.metrics.text().unwrap()).unwrap();
        let lines =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits for a metric to have a value.
    pub(crate) async fn metric_becomes(&self, series: &str, value: f64) {
        soon(async {
            while self.metric(series) != Some(value) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// A binding with a time limit that no test reaches.
pub(crate) fn binding(owner: &str, host: &str, path: &str, target: Option<Arc<dyn Dispatch>>) -> TriggerBinding {
    let (namespace, name) = owner.split_once('/').unwrap();
    TriggerBinding {
        owner: WorkloadId { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() },
        host: host.parse().unwrap(),
        aliases: Vec::new(),
        is_shared: false,
        paths: vec![PathMatch { path: path.parse().unwrap(), kind: PathMatchKind::Prefix }],
        timeout: Duration::from_secs(60),
        limits: RequestLimits::default(),
        certificate: None,
        target,
    }
}
