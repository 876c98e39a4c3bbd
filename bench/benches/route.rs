//! What it costs to find the route of a request, with few routes and with many: the two must be alike.
//! `cargo bench --package roadstead-bench --bench route`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use roadstead_config::{HostName, HostPattern, PathMatch, PathMatchKind, manifest::RequestLimits};
use roadstead_proxy::{DynamicRouter, HttpServer};
use roadstead_runtime::{HostHandler, TriggerBinding, WorkloadId};
use tokio::runtime::Runtime;

const PATHS_PER_HOST: usize = 100;

/// A router with so many routes, a hundred to a host.
fn router(runtime: &Runtime, routes: usize) -> DynamicRouter {
    let router = DynamicRouter::default();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = runtime.block_on(HttpServer::new(router.clone(), address)).unwrap();
    for host in 0..routes.div_ceil(PATHS_PER_HOST) {
        let paths = (0..PATHS_PER_HOST.min(routes))
            .map(|path| PathMatch {
                path: format!("/api/v1/path-{path}").parse().unwrap(),
                kind: PathMatchKind::Prefix,
            })
            .collect();
        let binding = TriggerBinding {
            owner: WorkloadId { namespace: "bench".parse().unwrap(), name: format!("app-{host}").parse().unwrap() },
            host: HostPattern::Exact(HostName::from_authority(&format!("host-{host}.bench.test")).unwrap()),
            paths,
            timeout: Duration::from_secs(10),
            limits: RequestLimits::default(),
            certificate: None,
            target: None,
        };
        server.bind(binding).unwrap();
    }
    router
}

fn lookups(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("route");
    for routes in [10, 100_000] {
        let router = router(&runtime, routes);
        let last = routes.div_ceil(PATHS_PER_HOST) - 1;
        let host = HostName::from_authority(&format!("host-{last}.bench.test")).unwrap();
        assert!(router.serves(&host, "/api/v1/path-7/and/more"));
        group.bench_function(format!("lookup among {routes}"), |bencher| {
            bencher.iter(|| router.serves(black_box(&host), black_box("/api/v1/path-7/and/more")));
        });
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
