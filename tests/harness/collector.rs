//! A collector of OpenTelemetry: a real gRPC server of the published services, or one that takes the same messages over
//! HTTP. It keeps what it is sent.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use roadstead_telemetry::proto::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::ResourceLogs,
    metrics::v1::ResourceMetrics,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, Span},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::{eventually, host::Options};

/// What came, and how.
#[derive(Default)]
pub struct Kept {
    pub spans: Vec<ResourceSpans>,
    pub logs: Vec<ResourceLogs>,
    pub metrics: Vec<ResourceMetrics>,
    /// `authorization` of each export.
    pub authorizations: Vec<Option<String>>,
}

/// A collector that listens; it ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    protocol: &'static str,
    kept: Arc<Mutex<Kept>>,
    serving: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Clone)]
struct Keeper(Arc<Mutex<Kept>>);

impl Keeper {
    fn keep<T>(&self, request: Request<T>, keep: impl FnOnce(&mut Kept, T)) {
        let given = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let mut kept = self.0.lock().unwrap();
        kept.authorizations.push(given);
        keep(&mut kept, request.into_inner());
    }
}

#[tonic::async_trait]
impl TraceService for Keeper {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep(request, |kept, sent| kept.spans.extend(sent.resource_spans));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Keeper {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.keep(request, |kept, sent| kept.logs.extend(sent.resource_logs));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Keeper {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.keep(request, |kept, sent| kept.metrics.extend(sent.resource_metrics));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    /// One that speaks gRPC.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let keeper = Keeper(Arc::default());
        let kept = keeper.0.clone();
        let serving = tokio::spawn(async move {
            let server = Server::builder()
                .add_service(TraceServiceServer::new(keeper.clone()))
                .add_service(LogsServiceServer::new(keeper.clone()))
                .add_service(MetricsServiceServer::new(keeper));
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, protocol: "grpc", kept, serving }
    }

    /// One that takes protocol buffers over HTTP.
    pub async fn start_http() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let keeper = Keeper(Arc::default());
        let kept = keeper.0.clone();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let keeper = keeper.clone();
                let service = service_fn(move |request| take(keeper.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, protocol: "http/protobuf", kept, serving }
    }

    /// The options of a host that sends here, soon.
    pub fn tell(&self, options: Options) -> Options {
        let endpoint = format!("http://{}", self.address);
        let options = options.flag("--otlp-endpoint", &endpoint).flag("--otlp-protocol", self.protocol);
        options.flag("--otlp-delay", "50")
    }

    /// What has come so far.
    pub fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// The spans that have come of a trace, each with its resource.
    pub fn trace(&self, id: &str) -> Vec<(Span, Resource)> {
        let kept = self.kept();
        let all = kept.spans.iter().flat_map(|resource| {
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(|span| (span.clone(), resource.resource.clone().unwrap_or_default()))
        });
        all.filter(|(span, _)| hex::encode(&span.trace_id) == id).collect()
    }

    /// The spans of a trace once there are `count` of them.
    pub async fn whole_trace(&self, id: &str, count: usize) -> Vec<(Span, Resource)> {
        eventually(&format!("{count} spans of the trace {id}"), async || {
            let spans = self.trace(id);
            (spans.len() >= count).then_some(spans)
        })
        .await
    }
}

async fn take(
    keeper: Keeper,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<bytes::Bytes>>, hyper::Error> {
    use prost::Message as _;
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let given = parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let mut kept = keeper.0.lock().unwrap();
    kept.authorizations.push(given);
    match parts.uri.path() {
        "/v1/traces" => kept.spans.extend(ExportTraceServiceRequest::decode(body).unwrap().resource_spans),
        "/v1/logs" => kept.logs.extend(ExportLogsServiceRequest::decode(body).unwrap().resource_logs),
        "/v1/metrics" => kept.metrics.extend(ExportMetricsServiceRequest::decode(body).unwrap().resource_metrics),
        other => panic!("{other}"),
    }
    Ok(http::Response::new(Full::default()))
}

/// The attribute of a name, as it would be read.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let mut named = attributes.iter().filter(|attribute| attribute.key == name);
    let found = named.next()?;
    assert!(named.next().is_none(), "{name} twice");
    Some(shown(found.value.as_ref()?))
}

fn shown(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        Value::ArrayValue(values) => format!("[{}]", values.values.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::KvlistValue(list) => {
            let pairs = list.values.iter().map(|pair| format!("{}:{}", pair.key, shown(pair.value.as_ref().unwrap())));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        other => format!("{other:?}"),
    }
}
