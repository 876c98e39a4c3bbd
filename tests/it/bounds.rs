//! Bounds that a user sets and then meets: what the one who goes past gets to hear, and that it is only that one.

use http::StatusCode;

use crate::harness::{
    client::Client,
    eventually,
    host::{Host, Options},
    manifest::trigger,
};

/// The probe with further lines of its component.
fn probe(name: &str, lines: &str) -> String {
    let image = "image: file:probe-gateway.wasm";
    let manifest = trigger(name, &format!("{name}.test"), "probe-gateway").namespace(name).yaml();
    manifest.replacen(image, &format!("{image}\n          {lines}"), 1)
}

async fn answer(client: &Client, path: &str) -> (StatusCode, String) {
    let response = client.get(path).send().await;
    (response.status, response.header("x-roadstead-error").to_owned())
}

fn error(status: StatusCode, kind: &str) -> (StatusCode, String) {
    (status, kind.to_owned())
}

#[tokio::test]
async fn a_manifest_bounds_the_memory_of_its_component() {
    let small = probe("small", "localResources: {memoryLimitMb: 16}");
    let large = probe("large", "localResources: {memoryLimitMb: 256}");
    let host = Host::start(&(small + &large));
    let (small, large) = (host.client("small.test"), host.client("large.test"));
    assert_eq!(answer(&small, "/alloc?mb=8").await, error(StatusCode::OK, ""));
    assert_eq!(answer(&small, "/alloc?mb=32").await, error(StatusCode::BAD_GATEWAY, "memory-limit"));
    // More than the default of 128 MiB.
    assert_eq!(answer(&large, "/alloc?mb=200").await, error(StatusCode::OK, ""));
    assert_eq!(answer(&large, "/alloc?mb=300").await, error(StatusCode::BAD_GATEWAY, "memory-limit"));
}

/// Holds the only place with a sleeping call of `one`; what `two` gets meanwhile, and afterwards.
async fn beside_a_sleeper(host: &Host, one: &str, two: &str) -> [(StatusCode, String); 2] {
    let sleeper = tokio::spawn(host.client(one).get("/sleep?ms=2000").send());
    host.wait_for_metric("roadstead_instances", &[], 1.0).await;
    let client = host.client(two);
    let meanwhile = answer(&client, "/hello").await;
    assert_eq!(sleeper.await.unwrap().status, StatusCode::OK);
    let afterwards = eventually("a free place", async || {
        Some(answer(&client, "/hello").await).filter(|(status, _)| *status == StatusCode::OK)
    })
    .await;
    [meanwhile, afterwards]
}

#[tokio::test]
async fn a_component_with_all_its_instances_busy_refuses() {
    let host = Host::start_with(
        &(probe("one", "") + &probe("two", "")),
        Options::default().flag("--limit", "workload_instances_max=1"),
    );
    let [meanwhile, _] = beside_a_sleeper(&host, "one.test", "one.test").await;
    assert_eq!(meanwhile, error(StatusCode::TOO_MANY_REQUESTS, "workload-busy"));
    // The other component has a place of its own.
    let [meanwhile, _] = beside_a_sleeper(&host, "one.test", "two.test").await;
    assert_eq!(meanwhile, error(StatusCode::OK, ""));
}

#[tokio::test]
async fn a_full_host_refuses() {
    let host = Host::start_with(
        &(probe("one", "") + &probe("two", "")),
        Options::default().flag("--limit", "instances_max=1").flag("--limit", "tenant_instances_max=1"),
    );
    let [meanwhile, _] = beside_a_sleeper(&host, "one.test", "two.test").await;
    assert_eq!(meanwhile, error(StatusCode::SERVICE_UNAVAILABLE, "host-busy"));
    let [meanwhile, _] = beside_a_sleeper(&host, "one.test", "one.test").await;
    assert_eq!(meanwhile, error(StatusCode::TOO_MANY_REQUESTS, "tenant-busy"));
}

#[tokio::test]
async fn a_large_component_is_refused() {
    // The probe is larger than the bound, the smallest component is not.
    let manifest = probe("large", "") + &trigger("small", "small.test", "bare-http").yaml();
    let host = Host::start_with(&manifest, Options::default().flag("--limit", "component_bytes_max=60000"));
    let status = host.workload("large").await;
    assert_eq!(status["state"], "WORKLOAD_STATE_ERROR");
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.contains("may have 60000 (component_bytes_max)"), "{reason}");
    assert_eq!(answer(&host.client("small.test"), "/").await, error(StatusCode::OK, ""));
}

#[tokio::test]
async fn a_host_has_so_many_workloads_and_no_more() {
    let manifest = probe("one", "") + &probe("two", "");
    let host = Host::start_with(&manifest, Options::default().flag("--limit", "workloads_max=1"));
    let mut running = 0;
    for name in ["one", "two"] {
        let client = host.client(&format!("{name}.test"));
        match answer(&client, "/hello").await {
            (StatusCode::OK, _) => running += 1,
            (status, kind) => assert_eq!((status, kind.as_str()), (StatusCode::NOT_FOUND, "no-route"), "{name}"),
        }
    }
    assert_eq!(running, 1);
    assert!(host.log().contains("(workloads_max)"), "{}", host.log());
}

#[tokio::test]
async fn a_guest_writes_no_faster_than_its_client_reads() {
    let host = Host::start(&probe("probe", ""));
    let before = host.resident_bytes();
    // 640 MiB, of which nobody reads more than the first piece.
    let mut response = host.client("probe.test").get("/stream?chunks=10000&bytes=65536").open().await;
    assert!(response.next().await.is_some_and(|piece| piece.is_ok()));
    // Time in which it would write much of it.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let grown = host.resident_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "the host holds {grown} bytes");
    drop(response);
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
}
