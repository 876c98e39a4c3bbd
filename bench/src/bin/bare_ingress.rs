//! `bare-ingress ADDRESS`: the ingress of the host with one constant answer in place of a guest: what a request costs
//! before a workload is asked. `cargo xtask bench ingress` measures it. It knows no engine.

use std::{env, future::pending, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, uri::Scheme};
use http_body_util::{BodyExt, Full};
use roadstead_config::{HostPattern, Limits, PathMatch, PathMatchKind, manifest::RequestLimits};
use roadstead_metrics::Metrics;
use roadstead_proxy::{DynamicRouter, HttpServer};
use roadstead_runtime::{
    Call, CallError, Dispatch, HandlerContext, HostHandler, RequestBody, ResponseBody, TriggerBinding, WorkloadId,
};

/// What it answers: the same as `bare-hyper`.
const ANSWER: &[u8] = b"hello from a constant\n";
/// A client of HTTP/2 that measures does not come back after a connection's last request.
const REQUESTS_PER_CONNECTION: u64 = 1_000_000_000;

/// A workload that has its answer.
struct Constant;

#[async_trait]
impl Dispatch for Constant {
    async fn dispatch(&self, _: Request<RequestBody>, _: Scheme, _: Call) -> Result<Response<ResponseBody>, CallError> {
        let body = Full::new(Bytes::from_static(ANSWER));
        Ok(Response::new(ResponseBody::new(body.map_err(|never| match never {}))))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [address] = arguments else { return Err("usage: bare-ingress ADDRESS".into()) };
    let address: SocketAddr = address.parse()?;
    let limits = Limits { requests_per_connection_max: REQUESTS_PER_CONNECTION, ..Limits::default() };
    let binding = TriggerBinding {
        owner: WorkloadId { namespace: "bench".parse()?, name: "constant".parse()? },
        host: HostPattern::Any,
        aliases: Vec::new(),
        is_shared: false,
        paths: vec![PathMatch { path: "/".parse()?, kind: PathMatchKind::Prefix }],
        timeout: Duration::from_secs(30),
        limits: RequestLimits::default(),
        certificate: None,
        target: Some(Arc::new(Constant)),
    };
    // As the host has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = HttpServer::new(DynamicRouter::default(), address).await?;
        server.start(HandlerContext { limits: Arc::new(limits), metrics: Metrics::default(), timelines: None }).await?;
        server.bind(binding)?;
        pending().await
    })
}
