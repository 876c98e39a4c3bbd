//! What it costs to find the route of a request, with few routes and with many, which must be alike; and what it costs
//! to bind and unbind one among so many. `cargo bench --package roadstead-bench --bench route`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run ends")]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use roadstead_config::{HostName, HostPattern, PathMatch, PathMatchKind, manifest::RequestLimits};
use roadstead_proxy::{DynamicRouter, HttpServer};
use roadstead_runtime::{HostHandler, TriggerBinding, WorkloadId};
use tokio::runtime::Runtime;

const FEW: usize = 10;
const MANY: usize = 100_000;
/// A canonical path below every route.
const PATH: &str = "/api/v1/path-7/and/more";

/// How routes are spread.
#[derive(Clone, Copy)]
enum Shape {
    /// Each has a host of its own, and a workload.
    Hosts,
    /// A hundred paths to a host.
    HostsAndPaths,
}

impl Shape {
    const ALL: [Self; 2] = [Self::Hosts, Self::HostsAndPaths];

    fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::HostsAndPaths => "hosts with paths",
        }
    }

    fn paths_per_host(self) -> usize {
        match self {
            Self::Hosts => 1,
            Self::HostsAndPaths => 100,
        }
    }

    fn hosts(self, routes: usize) -> usize {
        routes.div_ceil(self.paths_per_host())
    }

    fn binding(self, host: usize, routes: usize) -> TriggerBinding {
        let path = |path: usize| match self {
            Self::Hosts => "/".to_owned(),
            Self::HostsAndPaths => format!("/api/v1/path-{path}"),
        };
        let paths = (0..self.paths_per_host().min(routes))
            .map(|number| PathMatch { path: path(number).parse().unwrap(), kind: PathMatchKind::Prefix });
        TriggerBinding {
            owner: WorkloadId { namespace: "bench".parse().unwrap(), name: format!("app-{host}").parse().unwrap() },
            host: HostPattern::Exact(host_name(host)),
            aliases: Vec::new(),
            is_shared: false,
            paths: paths.collect(),
            timeout: Duration::from_secs(10),
            limits: RequestLimits::default(),
            certificate: None,
            target: None,
        }
    }
}

fn host_name(number: usize) -> HostName {
    HostName::from_authority(&format!("h{number}.example")).unwrap()
}

/// A router with so many routes, and the server that binds them.
fn bound(runtime: &Runtime, shape: Shape, routes: usize) -> (DynamicRouter, HttpServer) {
    let router = DynamicRouter::default();
    let address = "127.0.0.1:0".parse().unwrap();
    let server = runtime.block_on(HttpServer::new(router.clone(), address)).unwrap();
    for host in 0..shape.hosts(routes) {
        server.bind(shape.binding(host, routes)).unwrap();
    }
    (router, server)
}

fn routes(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("route");
    for shape in Shape::ALL {
        for routes in [FEW, MANY] {
            let (router, server) = bound(&runtime, shape, routes);
            let (name, hosts) = (shape.name(), shape.hosts(routes));
            let last = host_name(hosts - 1);
            assert!(router.serves(&last, PATH));
            group.bench_function(format!("{name}: lookup among {routes}"), |bencher| {
                bencher.iter(|| router.serves(black_box(&last), black_box(PATH)));
            });
            // Neighbours in this order are not so in memory: most lookups find a cold cache.
            let in_turn: Vec<HostName> = (0..hosts).map(|number| host_name(number * 7_919 % hosts)).collect();
            let mut turn = in_turn.iter().cycle();
            group.bench_function(format!("{name}: lookup among {routes}, all in turn"), |bencher| {
                bencher.iter(|| router.serves(black_box(turn.next().unwrap()), black_box(PATH)));
            });
            let further = shape.binding(hosts, routes);
            group.bench_function(format!("{name}: bind and unbind beside {routes}"), |bencher| {
                bencher.iter(|| {
                    server.bind(further.clone()).unwrap();
                    server.unbind(&further.owner);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, routes);
criterion_main!(benches);
