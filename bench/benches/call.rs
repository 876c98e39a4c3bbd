//! What one call costs: instantiation and call of the engine alone, and the same call through the host's runtime, with
//! its bounds, metrics and log. `cargo bench --package roadstead-bench --bench call`, after `cargo xtask guests`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use criterion::{Criterion, criterion_group, criterion_main};
use http::uri::Scheme;
use http_body_util::{BodyExt, Empty};
use roadstead_bench::Bare;
use roadstead_config::{Limits, SourceFile, load};
use roadstead_runtime::{
    BindError, Call, Dispatch, EngineWithClock, HandlerContext, HandlerError, HostHandler, TriggerBinding, WorkloadId,
    host::{Host, HostBuilder, WorkloadRequest, WorkloadState},
};
use tokio::runtime::Runtime;

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests")
}

/// Keeps the target of the one workload: an ingress without a network.
#[derive(Default)]
struct Capture(Mutex<Option<Arc<dyn Dispatch>>>);

#[async_trait]
impl HostHandler for Capture {
    async fn start(&self, _: HandlerContext) -> Result<(), HandlerError> {
        Ok(())
    }

    fn bind(&self, binding: TriggerBinding) -> Result<(), BindError> {
        *self.0.lock().unwrap() = binding.target;
        Ok(())
    }

    fn unbind(&self, _: &WorkloadId) {}

    async fn drain(&self, _: Duration) -> usize {
        0
    }

    fn address(&self) -> Option<SocketAddr> {
        None
    }
}

const MANIFEST: &str = "\
apiVersion: control.cosmonic.io/v1alpha1
kind: HTTPTrigger
metadata: {name: hello}
spec:
  ingress: {host: hello.test}
  template:
    spec:
      components:
        - {name: hello, image: 'file:bare-http.wasm'}
";

/// A host that has the component, and the seam at which its requests arrive.
async fn host() -> (Arc<Host>, Arc<dyn Dispatch>) {
    let limits = Limits::default();
    let name = guests().join("app.yaml").to_str().unwrap().into();
    let set = load(&[SourceFile { name, bytes: MANIFEST.into() }], &limits).unwrap();
    let handler = Arc::new(Capture::default());
    let host = HostBuilder::new().with_limits(limits).with_http_handler(handler.clone()).start().await.unwrap();
    for request in set.documents.iter().filter_map(WorkloadRequest::from_document) {
        let status = host.workload_apply(request).await;
        assert_eq!(status.state, WorkloadState::Running, "{:?}: run `cargo xtask guests`", status.reason);
    }
    let target = handler.0.lock().unwrap().clone().unwrap();
    (host, target)
}

async fn dispatch(target: &dyn Dispatch) -> usize {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = http::Request::new(body);
    request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("hello.test"));
    let response = target.dispatch(request, Scheme::HTTP, Call::new(Duration::from_secs(10))).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes().len()
}

fn calls(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let engine = EngineWithClock::new(&Limits::default()).unwrap();
    let component = std::fs::read(guests().join("bare-http.wasm")).unwrap();
    let bare = Bare::new(engine.engine(), &component).unwrap();
    let mut group = criterion.benchmark_group("call");
    group.bench_function("engine: instantiate", |bencher| {
        bencher.to_async(&runtime).iter(|| async { bare.instantiate().await.unwrap() });
    });
    group.bench_function("engine: instantiate and call", |bencher| {
        bencher.to_async(&runtime).iter(|| async { bare.call().await.unwrap() });
    });
    let (_host, target) = runtime.block_on(host());
    group.bench_function("host: instantiate and call", |bencher| {
        bencher.to_async(&runtime).iter(|| dispatch(&*target));
    });
    group.finish();
}

criterion_group!(benches, calls);
criterion_main!(benches);
