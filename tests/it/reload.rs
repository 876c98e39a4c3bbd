//! `--watch`: what changes is deployed, what is not valid changes nothing, and no request is lost meanwhile, nor at the
//! end of the host.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use http::StatusCode;
use rustix::process::Signal;

use crate::harness::{
    askers::{
        Askers,
        Manner::{H2, Kept, Short},
        Target,
    },
    eventually, guests,
    host::{Host, Options, write_application},
    manifest::{trigger, worker},
};

struct Watched {
    host: Host,
}

impl Watched {
    fn start(manifest: &str) -> Self {
        Self { host: Host::start_with(manifest, Options::default().switch("--watch")) }
    }

    fn write(&self, manifest: &str) {
        write_application(self.host.folder.path(), manifest);
    }

    async fn logged(&self, text: &str, times: usize) {
        eventually(&format!("{text} is logged"), async || {
            (self.host.log().matches(text).count() >= times).then_some(())
        })
        .await;
    }

    async fn status(&self, host: &str) -> StatusCode {
        self.host.client(host).get("/hello").send().await.status
    }
}

#[tokio::test]
async fn workloads_come_change_and_go() {
    let one = trigger("one", "one.test", "probe-gateway");
    let watched = Watched::start(&one.yaml());
    watched.write(&(one.yaml() + &trigger("two", "two.test", "bare-http").yaml()));
    watched.logged("\"reloaded\"", 1).await;
    assert_eq!(watched.status("two.test").await, StatusCode::OK);

    // The route of one passes to two in a single change.
    watched
        .write(&(trigger("one", "new.test", "probe-gateway").yaml() + &trigger("two", "one.test", "bare-http").yaml()));
    watched.logged("\"reloaded\"", 2).await;
    assert_eq!(watched.status("new.test").await, StatusCode::OK);
    assert_eq!(watched.status("one.test").await, StatusCode::OK);
    assert_eq!(watched.status("two.test").await, StatusCode::NOT_FOUND);

    watched.write(&trigger("two", "one.test", "bare-http").yaml());
    watched.logged("\"reloaded\"", 3).await;
    assert_eq!(watched.status("new.test").await, StatusCode::NOT_FOUND);
    assert_eq!(watched.host.workload("one").await, serde_json::Value::Null);
}

#[tokio::test]
async fn a_manifest_that_is_not_valid_changes_nothing() {
    let good = trigger("one", "one.test", "bare-http").yaml();
    let watched = Watched::start(&good);
    watched.write(&good.replace("timeout:", "timeuot:"));
    watched.logged("what was running goes on unchanged", 1).await;
    assert!(watched.host.log().contains("did you mean timeout?"));
    assert_eq!(watched.status("one.test").await, StatusCode::OK);
    watched.write(&good.replace("one.test", "two.test"));
    watched.logged("\"reloaded\"", 1).await;
    assert_eq!(watched.status("two.test").await, StatusCode::OK);
}

#[tokio::test]
async fn a_component_that_cannot_run_leaves_the_old_one_serving() {
    let watched = Watched::start(&trigger("one", "one.test", "bare-http").yaml());
    let component = watched.host.folder.path().join("bare-http.wasm");
    fs::write(&component, "half a file").unwrap();
    watched.logged("\"reloaded\"", 1).await;
    assert_eq!(watched.status("one.test").await, StatusCode::OK);
    let status = watched.host.workload("one").await;
    assert_eq!(status["state"], "WORKLOAD_STATE_RUNNING");
    assert!(status["reason"].as_str().unwrap().contains("is not WebAssembly"), "{status}");

    fs::copy(guests::path("probe-gateway"), &component).unwrap();
    watched.logged("\"reloaded\"", 2).await;
    assert_eq!(watched.host.client("one.test").get("/count").send().await.text(), "1");
    assert!(watched.host.workload("one").await["reason"].is_null());
}

#[tokio::test]
async fn a_change_during_the_start_is_not_lost() {
    const LOOPS: &str = "(component
        (core module $loops (func $start (loop $again (br $again))) (start $start))
        (core instance (instantiate $loops)))";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("made-loops.wasm"), wat::parse_str(LOOPS).unwrap()).unwrap();
    let one = trigger("one", "one.test", "bare-http").yaml();
    let loops = worker("loops", "probe.work", &["poolSize: 1"]).replace("file:probe-worker", "file:made-loops");
    write_application(folder.path(), &(one.clone() + &loops));
    // The host is busy with the start of what loops, for as long as it may.
    let path = folder.path().to_owned();
    let changed = one + &loops + &trigger("two", "two.test", "bare-http").yaml();
    let writing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(600));
        write_application(&path, &changed);
    });
    let options = Options::default().switch("--watch").flag("--limit", "start_timeout_ms=1000");
    let watched = Watched { host: Host::start_in(folder, options) };
    writing.join().unwrap();
    watched.logged("\"reloaded\"", 1).await;
    assert_eq!(watched.status("two.test").await, StatusCode::OK);
}

#[tokio::test]
async fn what_has_not_changed_is_not_replaced() {
    let one = trigger("one", "one.test", "bare-http").yaml();
    let broken = trigger("broken", "broken.test", "made-broken").yaml();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("made-broken.wasm"), "half a file").unwrap();
    write_application(folder.path(), &(one.clone() + &broken));
    let host = Host::start_in(folder, Options::default().switch("--watch"));
    let watched = Watched { host };
    // Every line moves, and a workload comes after the two.
    watched.write(&format!("# A remark.\n\n{one}{broken}{}", trigger("two", "two.test", "bare-http").yaml()));
    watched.logged("\"reloaded\"", 1).await;
    let log = watched.host.log();
    let reloaded = log.lines().find(|line| line.contains("\"reloaded\"")).unwrap();
    assert!(reloaded.contains("\"changed\":1"), "{reloaded}");
    let running = |name: &str| {
        let name = format!("\"{name}\"");
        log.lines().filter(|line| line.contains("workload running") && line.contains(&name)).count()
    };
    assert_eq!((running("one"), running("two")), (1, 1), "{log}");
}

#[tokio::test]
async fn metrics_end_with_their_workload_and_go_on_with_its_successor() {
    let gateway = trigger("gateway", "probe.test", "probe-gateway").yaml();
    let worker = worker("leaving", "probe.work", &["poolSize: 1"]);
    let watched = Watched::start(&(gateway.clone() + &worker));
    let client = watched.host.client("probe.test");
    for (command, status) in [("count", StatusCode::OK), ("trap", StatusCode::BAD_GATEWAY)] {
        assert_eq!(client.post("/request?subject=probe.work").body(command).send().await.status, status);
    }
    watched.write(&(gateway.clone() + &worker.replace("poolSize: 1", "poolSize: 2")));
    watched.logged("\"reloaded\"", 1).await;
    assert_eq!(client.post("/request?subject=probe.work").body("count").send().await.status, StatusCode::OK);
    watched.host.wait_for_metric("roadstead_calls_total", &["\"leaving\"", "\"ok\""], 2.0).await;
    watched.host.wait_for_metric("roadstead_messages_handled_total", &["\"leaving\"", "\"ok\""], 2.0).await;
    watched.host.wait_for_metric("roadstead_calls_total", &["\"leaving\"", "\"trap\""], 1.0).await;

    watched.write(&gateway);
    watched.logged("\"reloaded\"", 2).await;
    eventually("no series of the workload is left", async || {
        (!watched.host.admin("/metrics").await.text().contains("\"leaving\"")).then_some(())
    })
    .await;
    assert!(watched.host.metric("roadstead_calls_total", &["\"gateway\""]).await >= 3.0);
}

/// The pause, `deployment::RETRY_PAUSE`, is longer than the time between two looks.
#[tokio::test]
async fn what_failed_is_tried_again_after_a_pause() {
    let one = trigger("one", "one.test", "probe-gateway").yaml();
    let host = Host::start_with(&one, Options::default().switch("--watch").flag("--limit", "instances_max=1"));
    let watched = Watched { host };
    let busy = tokio::spawn(watched.host.client("one.test").get("/sleep?ms=4000").send());
    watched.host.wait_for_metric("roadstead_instances", &["probe-gateway"], 1.0).await;
    watched.write(&(one + &worker("worker", "probe.work", &["poolSize: 1"])));
    watched.logged("workload failed", 1).await;
    assert_eq!(busy.await.unwrap().status, StatusCode::OK);
    // Nothing is written; the instance that the worker needs is there now.
    eventually("the worker runs", async || {
        (watched.host.workload("worker").await["state"] == "WORKLOAD_STATE_RUNNING").then_some(())
    })
    .await;
    let tries = watched.host.log().matches("workload failed").count();
    assert!(tries <= 4, "{tries} tries within the time of three pauses");
}

#[tokio::test]
async fn no_request_is_lost_while_workloads_are_replaced() {
    let manifest = |version: u32| {
        trigger("gateway", "probe.test", "probe-gateway").timeout(&format!("{}s", 10 + version)).yaml()
            + &worker("worker", "probe.work", &[&format!("poolSize: {}", 2 + version)])
    };
    let watched = Watched::start(&manifest(0));
    let (ended, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (client, ended, asked) = (watched.host.client("probe.test"), ended.clone(), asked.clone());
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    let answer = client.post("/request?subject=probe.work").body("echo:x").send().await;
                    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "x".into()));
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for version in 1..=3 {
        watched.write(&manifest(version));
        watched.logged("\"reloaded\"", version as usize).await;
    }
    ended.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.unwrap();
    }
    assert!(asked.load(Ordering::Relaxed) > 100);
    assert_eq!(watched.host.workload("worker").await["components"][0]["pool"]["size"], 5);
}

/// Reloads, and requests during them, before the host is told to end.
const RELOADS: usize = 20;
const REQUESTS: u64 = 10_000;
/// Requests that are under way when the host is told to end.
const UNDER_WAY: usize = 20;

#[tokio::test]
async fn ten_thousand_requests_are_answered_during_twenty_reloads_and_a_drain() {
    // Routes change, and so does the workload that answers; one comes and goes.
    let manifest = |version: usize| {
        trigger("gateway", "probe.test", "probe-gateway").timeout(&format!("{}s", 10 + version)).yaml()
            + &trigger(&format!("passing-{version}"), &format!("v{version}.test"), "bare-http").yaml()
    };
    let mut watched = Watched::start(&manifest(0));
    let target = Target { address: watched.host.http_address(), host: "probe.test", roots: None };
    let askers = Askers::start(&target, &[Short, Kept, Short, Kept, H2, H2]);
    for version in 1..=RELOADS {
        watched.write(&manifest(version));
        watched.logged("\"reloaded\"", version).await;
        assert_eq!(watched.status(&format!("v{version}.test")).await, StatusCode::OK);
        assert_eq!(watched.status(&format!("v{}.test", version - 1)).await, StatusCode::NOT_FOUND);
    }
    askers.answers(REQUESTS).await;

    let slow = |_| tokio::spawn(watched.host.client("probe.test").get("/sleep?ms=2000").send());
    let under_way: Vec<_> = (0..UNDER_WAY).map(slow).collect();
    eventually("the slow requests are under way", async || {
        (watched.host.metric("roadstead_instances", &["probe-gateway"]).await >= UNDER_WAY as f64).then_some(())
    })
    .await;
    askers.may_be_refused();
    watched.host.signal(Signal::TERM);
    for response in join_all(under_way).await {
        assert_eq!(response.unwrap().text(), "slept 2000 ms\n");
    }
    let told = askers.end().await;
    println!("{told:?}");
    assert!(watched.host.wait().success());
    assert!(told.answered >= REQUESTS && told.crossed == 0, "{told:?}");
}
