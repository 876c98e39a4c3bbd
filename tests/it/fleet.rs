//! Hosts of a fleet under a scheduler: the whole life of workloads, what heartbeats tell, and one host of several that
//! dies.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use http::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    eventually, guests,
    host::{Host, Options, roadstead},
    nats::NatsServer,
    operator::Operator,
    registry::Registry,
};

const REPLICA: &str = "runtime.wasmcloud.dev/workload-replica-set-generation";

/// A registry with the images of these components.
pub fn registry_with(components: &[&str]) -> Registry {
    let registry = Registry::start();
    for component in components {
        let mut command = roadstead();
        command.arg("push").arg(guests::path(component)).arg(registry.plain(&format!("test/{component}:1")));
        let output = command.arg("--allow-insecure-registries").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    registry
}

pub fn options() -> Options {
    Options::default().switch("--allow-insecure-registries").flag("--registry-pull-timeout", "60s")
}

fn interface(package: &str, version: &str, interfaces: &[&str], config: Value) -> Value {
    let (namespace, package) = package.split_once(':').unwrap();
    let mut entry = json!({"namespace": namespace, "package": package, "version": version, "interfaces": interfaces});
    if config != json!({}) {
        entry["config"] = config;
    }
    entry
}

/// A workload that answers requests to `host` with one component.
pub fn gateway(name: &str, host: &str, image: &str) -> Value {
    json!({
        "namespace": "default",
        "name": name,
        "annotations": {REPLICA: "1"},
        "witWorld": {
            "components": [{"name": "gateway", "image": image, "imagePullPolicy": "IMAGE_PULL_POLICY_IF_NOT_PRESENT"}],
            "hostInterfaces": [
                interface("wasi:http", "0.2.0", &["incoming-handler"], json!({"host": host})),
                interface("wasi:logging", "0.1.0-draft", &["logging"], json!({})),
                interface("wasmcloud:messaging", "0.2.0", &["consumer", "types"], json!({})),
            ],
        },
    })
}

/// A workload that handles the messages of `subscriptions` with one pooled component.
pub fn worker(name: &str, subscriptions: &str, image: &str) -> Value {
    json!({
        "namespace": "default",
        "name": name,
        "annotations": {REPLICA: "1"},
        "witWorld": {
            "components": [{"name": "worker", "image": image, "poolSize": 1, "maxConcurrency": -1}],
            "hostInterfaces": [
                interface("wasi:logging", "0.1.0-draft", &["logging"], json!({})),
                interface("wasmcloud:messaging", "0.2.0", &["handler", "consumer", "types"], json!({"subscriptions": subscriptions})),
            ],
        },
    })
}

const ASKED: &str =
    r#"{"region":"singapore","sar_width":64,"sar_height":64,"num_targets":3,"seed":42,"density":0.5,"force_cpu":true}"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_harbor_watch_pair_lives_a_hundred_lives_at_once() {
    const PAIRS: usize = 100;
    let (server, registry) = (NatsServer::start(), registry_with(&["api-gateway", "sar-processor"]));
    let operator = Arc::new(Operator::connect(&server.url()).await);
    let host = Host::join(&server, options());
    let id = host.fleet_id();
    let first = operator.hears(id, "the first heartbeat", |_| true).await;
    assert_eq!(first.get("workloadCount"), None, "{first}");

    let pairs: Vec<[(String, Value); 2]> = (0..PAIRS)
        .map(|number| {
            let gateway_image = registry.plain("test/api-gateway:1");
            let gateway = gateway(&format!("gateway-{number:03}"), &format!("h{number}.test"), &gateway_image);
            // Replicas of one deployment: each message is for one of them.
            let name = format!("sar-5d9f-{number:03}");
            let worker = worker(&name, "tasks.sar-processor", &registry.plain("test/sar-processor:1"));
            [(format!("gateway/{number}"), gateway), (format!("worker/{number}"), worker)]
        })
        .collect();
    let workloads: Vec<&(String, Value)> = pairs.iter().flatten().collect();
    for started in join_all(workloads.iter().map(|(name, workload)| operator.start(id, name, workload))).await {
        assert_eq!((started.state.as_str(), started.message.as_str()), ("RUNNING", ""), "{started:?}");
    }
    operator.hears_counts(id, 2 * PAIRS as u64, 2 * PAIRS as u64).await;
    assert!(registry.requests("GET", "/blobs/") <= 2, "each component is fetched once");
    for number in [0, 41, PAIRS - 1] {
        let answer = host.client(&format!("h{number}.test")).post("/api/detect").body(ASKED).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let found: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(found["type"], "FeatureCollection");
    }
    for status in join_all(workloads.iter().map(|(name, _)| operator.status(id, name))).await {
        assert_eq!(status.state, "RUNNING", "{status:?}");
    }

    for ((name, _), stopped) in
        workloads.iter().zip(join_all(workloads.iter().map(|(name, _)| operator.stop(id, name))).await)
    {
        stopped.is(name, "STOPPING");
    }
    for (name, _) in &workloads {
        operator.reaches(id, name, "NOT_FOUND").await.is(name, "NOT_FOUND");
    }
    operator.hears_counts(id, 0, 0).await;
    assert_eq!(host.client("h0.test").get("/").send().await.status, StatusCode::NOT_FOUND);
    operator.stop(id, "gateway/0").await.is("gateway/0", "NOT_FOUND");
    host.wait_for_metric("roadstead_control_commands_total", &["\"start\"", "\"done\""], 2.0 * PAIRS as f64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_tell_the_truth() {
    let (server, registry) = (NatsServer::start(), registry_with(&["bare-http"]));
    let operator = Operator::connect(&server.url()).await;
    let options = options().flag("--host-group", "edge").flag("--host-name", "one").flag("--environment", "test");
    let mut host = Host::join(&server, options.clone());
    let id = host.fleet_id().to_owned();
    let first = operator.hears(&id, "the first heartbeat", |_| true).await;
    assert_eq!(first["friendlyName"], "one");
    assert_eq!(first["labels"], json!({"hostgroup": "edge"}));
    assert_eq!(first["environment"], "test");
    assert_eq!(first["httpPort"], host.http_address().port());
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    let memory = |field: &str| first[field].as_str().unwrap().parse::<u64>().unwrap();
    assert!(memory("systemMemoryFree") < memory("systemMemoryTotal"), "{first}");
    let offers = |list: &str, package: &str, version: &str, interface: &str| {
        let (namespace, package) = package.split_once(':').unwrap();
        first[list].as_array().unwrap().iter().any(|entry| {
            entry["namespace"] == namespace
                && entry["package"] == package
                && entry["version"] == version
                && entry["interfaces"].as_array().unwrap().contains(&json!(interface))
        })
    };
    assert!(offers("imports", "wasmcloud:messaging", "0.2.0", "consumer"), "{first}");
    assert!(offers("imports", "wasmcloud:messaging", "0.2.0", "types"), "{first}");
    assert!(offers("exports", "wasmcloud:messaging", "0.2.0", "handler"), "{first}");
    assert!(offers("imports", "wasi:logging", "0.1.0-draft", "logging"), "{first}");
    assert!(offers("exports", "wasi:http", "0.2.12", "incoming-handler"), "{first}");

    // After each change, without waiting for the next regular one.
    let begun = operator.heard(&id).len();
    let workload = gateway("app", "app.test", &registry.plain("test/bare-http:1"));
    operator.start(&id, "a", &workload).await.is("a", "RUNNING");
    operator.hears_counts(&id, 1, 1).await;
    operator.stop(&id, "a").await.is("a", "STOPPING");
    operator.hears_counts(&id, 0, 0).await;
    assert!(operator.heard(&id).len() >= begun + 2);
    let asked = operator.heartbeat(&id).await;
    assert_eq!((&asked["id"], &asked["startedAt"]), (&first["id"], &first["startedAt"]));
    // And regularly: `heartbeat::HEARTBEAT_EVERY`.
    let begun = operator.heard(&id).len();
    eventually("the next regular heartbeat", async || (operator.heard(&id).len() > begun).then_some(())).await;

    // It says goodbye, and comes back as another one of the same name.
    operator.start(&id, "a", &workload).await.is("a", "RUNNING");
    operator.hears_counts(&id, 1, 1).await;
    host.signal(Signal::TERM);
    assert!(host.wait().success(), "{}", host.log());
    eventually("the last heartbeat", async || operator.heard(&id).pop()?.get("workloadCount").is_none().then_some(()))
        .await;
    assert!(!operator.is_heard_by(&id).await);
    let again = Host::join(&server, options);
    let second = operator.hears(again.fleet_id(), "the first heartbeat", |_| true).await;
    assert_eq!(second["friendlyName"], "one");
    assert_ne!(second["id"], first["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_routes_aliases_and_messages() {
    let (server, registry) = (NatsServer::start(), registry_with(&["probe-gateway", "probe-worker"]));
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, options());
    let id = host.fleet_id();
    operator.knows(id).await;
    for replica in ["a", "b"] {
        let mut workload = gateway(&format!("app-{replica}"), "app.test", &registry.plain("test/probe-gateway:1"));
        workload["witWorld"]["hostInterfaces"][0]["config"]["host-aliases"] = json!("svc.ns,svc.ns.svc");
        operator.start(id, replica, &workload).await.is(replica, "RUNNING");
        let worker = worker(&format!("work-{replica}"), "probe.work", &registry.plain("test/probe-worker:1"));
        operator.start(id, &format!("w{replica}"), &worker).await.is(&format!("w{replica}"), "RUNNING");
    }
    for alias in ["app.test", "svc.ns", "svc.ns.svc", "svc.ns"] {
        let client = host.client(alias);
        let answer = client.post("/request?subject=probe.work").body("echo:hello").send().await;
        assert_eq!((answer.status, answer.text().as_str()), (StatusCode::OK, "hello"), "{alias}");
    }
    // One replica of the deployment had each message, and both gateways had requests.
    assert_eq!(host.metric("roadstead_calls_total", &["work-"]).await, 4.0);
    assert!(host.metric("roadstead_calls_total", &["app-a"]).await >= 1.0);
    assert!(host.metric("roadstead_calls_total", &["app-b"]).await >= 1.0);
    operator.stop(id, "a").await.is("a", "STOPPING");
    operator.reaches(id, "a", "NOT_FOUND").await;
    for _ in 0..4 {
        let answer = host.client("svc.ns").post("/request?subject=probe.work").body("echo:x").send().await;
        assert_eq!(answer.status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_host_of_three_is_killed_and_nothing_else_is_lost() {
    let (server, registry) = (NatsServer::start(), registry_with(&["probe-gateway", "probe-worker"]));
    let operator = Operator::connect(&server.url()).await;
    let mut hosts: Vec<Host> = (0..3).map(|_| Host::join(&server, options())).collect();
    for (number, host) in hosts.iter().enumerate() {
        let id = host.fleet_id();
        operator.knows(id).await;
        let gateway = gateway(&format!("app-{number}"), "app.test", &registry.plain("test/probe-gateway:1"));
        let worker = worker(&format!("work-{number}"), "probe.work", &registry.plain("test/probe-worker:1"));
        operator.start(id, "gateway", &gateway).await.is("gateway", "RUNNING");
        operator.start(id, "worker", &worker).await.is("worker", "RUNNING");
    }
    // Two hosts are asked all the while; each message is for one of the three workers.
    let asking: Vec<_> = hosts[..2]
        .iter()
        .map(|host| {
            let client = host.client("app.test");
            tokio::spawn(async move {
                let mut lost = 0;
                for _ in 0..150 {
                    let path = "/request?subject=probe.work&timeout-ms=2000";
                    let answer = client.post(path).body("echo:hello").send().await;
                    // The gateway goes on, and tells what it had no answer to.
                    let text = answer.text();
                    assert!(text == "hello" || text.starts_with("no reply on probe.work within"), "{text}");
                    lost += usize::from(text != "hello");
                }
                lost
            })
        })
        .collect();
    let mut dead = hosts.pop().unwrap();
    eventually("the third worker has work", async || {
        (dead.metric("roadstead_calls_total", &["work-2"]).await >= 5.0).then_some(())
    })
    .await;
    dead.signal(Signal::KILL);
    dead.wait();
    let lost: usize = join_all(asking).await.into_iter().map(|lost| lost.unwrap()).sum();
    // What it had in its hands, one message of each asker at most, was lost with it.
    assert!(lost <= 2, "{lost} answers were lost");
    eventually("its subjects are silent", async || (!operator.is_heard_by(dead.fleet_id()).await).then_some(())).await;
    for host in &hosts {
        operator.status(host.fleet_id(), "gateway").await.is("gateway", "RUNNING");
        operator.status(host.fleet_id(), "worker").await.is("worker", "RUNNING");
    }
    let before = operator.heard(dead.fleet_id()).len();
    let own = operator.heard(hosts[0].fleet_id()).len();
    eventually("a heartbeat of another host", async || (operator.heard(hosts[0].fleet_id()).len() > own).then_some(()))
        .await;
    assert_eq!(operator.heard(dead.fleet_id()).len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_requests_and_refuses_commands() {
    let (server, registry) = (NatsServer::start(), registry_with(&["probe-gateway", "probe-worker"]));
    let operator = Operator::connect(&server.url()).await;
    let mut host = Host::join(&server, options().flag("--drain-timeout", "20s"));
    let id = host.fleet_id().to_owned();
    operator.knows(&id).await;
    let images = ["test/probe-gateway:1", "test/probe-worker:1"].map(|name| registry.plain(name));
    operator.start(&id, "gateway", &gateway("app", "app.test", &images[0])).await.is("gateway", "RUNNING");
    operator.start(&id, "worker", &worker("work", "probe.work", &images[1])).await.is("worker", "RUNNING");
    let client = host.client("app.test");
    let asked = tokio::spawn(async move { client.post("/request?subject=probe.work").body("sleep:3000").send().await });
    eventually("the request is under way", async || {
        (host.metric("roadstead_instances", &["app"]).await >= 1.0).then_some(())
    })
    .await;
    let begun = std::time::Instant::now();
    host.signal(Signal::TERM);
    eventually("commands are refused", async || {
        let asked = operator.command(&id, "status", &json!({"workloadId": "gateway"}), Duration::from_secs(5)).await;
        (asked.state == "RUNNING" && host.log().contains("no more commands")).then_some(())
    })
    .await;
    // Nobody is there for a start, or it is refused.
    let start = json!({"workloadId": "late", "workload": gateway("late", "late.test", &images[0])});
    let late = operator.try_command(&id, "start", &start).await;
    assert!(late.is_none_or(|status| status.state == "ERROR" && status.message.contains("the host is stopping")));
    assert_eq!(asked.await.unwrap().status, StatusCode::OK);
    assert!(host.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
