//! Ten planted faults, and that `roadstead describe` alone names the cause of each and what to do. The page
//! docs/troubleshooting.md lists the same ten.

use std::fs;

use futures::future::join_all;
use serde_json::json;

use crate::{
    fleet::{self, registry_with},
    harness::{
        certificates::Authority,
        eventually,
        host::{Host, Options, write_application},
        manifest::{trigger, worker},
        nats::NatsServer,
        operator::Operator,
    },
};

/// A workload that is well, so that the host has something to run.
fn well() -> String {
    trigger("well", "well.test", "bare-http").yaml()
}

/// Waits until what `describe` prints of a workload has all of `wanted` in it.
async fn says(host: &Host, name: &str, wanted: &[&str]) {
    describes(host, &["describe", name], wanted).await;
}

async fn describes(host: &Host, arguments: &[&str], wanted: &[&str]) {
    let mut last = String::new();
    let found = tokio::time::timeout(crate::harness::PATIENCE, async {
        loop {
            let output = host.ask(arguments).await;
            last = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            if output.status.success() && wanted.iter().all(|text| last.contains(text)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    if found.await.is_err() {
        panic!("{arguments:?} does not say all of {wanted:#?}:\n{last}");
    }
}

#[tokio::test]
async fn a_missing_image() {
    let host = Host::start(&(well() + &trigger("broken", "broken.test", "made-missing").yaml()));
    says(&host, "broken", &["Ready", "False", "ImageMissing", "made-missing.wasm cannot be read", "To do: build the"])
        .await;
    says(&host, "well", &["Nothing is wrong", "AsAsked", "OnHost"]).await;
}

#[tokio::test]
async fn a_wrong_version_of_an_interface() {
    let broken = trigger("broken", "broken.test", "probe-gateway").yaml().replace("'0.2.0'", "'0.9.0'");
    let host = Host::start(&(well() + &broken));
    let wanted = ["InterfaceVersion", "does not offer wasmcloud:messaging", "0.2.0", "To do: declare a version"];
    says(&host, "broken", &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_another_namespace_has() {
    let (registry, nats) = (registry_with(&["probe-gateway"]), NatsServer::start());
    let host = Host::join(&nats, fleet::options());
    let operator = Operator::connect(&nats.url()).await;
    operator.knows(host.fleet_id()).await;
    let image = registry.plain("test/probe-gateway:1");
    let first = fleet::gateway("first", "taken.test", &image);
    operator.start(host.fleet_id(), "first", &first).await;
    operator.reaches(host.fleet_id(), "first", "RUNNING").await;
    let mut second = fleet::gateway("second", "taken.test", &image);
    second["namespace"] = json!("others");
    operator.start(host.fleet_id(), "second", &second).await;
    operator.reaches(host.fleet_id(), "second", "ERROR").await;
    let list = host.told(&["get", "workloads", "-n", "others", "-o", "json"]).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let name = list["items"][0]["name"].as_str().unwrap_or_else(|| panic!("{list:#}")).to_owned();
    let wanted = ["HostTaken", "host taken.test is in use by namespace default", "To do: choose another host"];
    describes(&host, &["describe", &name, "-n", "others"], &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_nats() {
    let mut server = NatsServer::start();
    server.kill();
    let manifest = trigger("gateway", "probe.test", "probe-gateway").yaml() + &worker("worker", "probe.work", &[]);
    let host = Host::start_with(&manifest, Options::default().nats(&server));
    let remedy = "To do: see that the NATS server runs and that --data-nats-url leads to it";
    for name in ["gateway", "worker"] {
        says(&host, name, &["BackendUnavailable", "wasmcloud-messaging", remedy]).await;
    }
}

#[tokio::test]
async fn no_gpu() {
    let broken = trigger("broken", "broken.test", "bare-http").yaml().replace(
        "      components:\n",
        "        - {namespace: wasi, package: webgpu, version: 0.0.1, interfaces: [webgpu]}\n      components:\n",
    );
    let host = Host::start(&(well() + &broken));
    says(&host, "broken", &["NoGpu", "does not offer wasi:webgpu", "To do: run it on a host with a GPU"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool() {
    let manifest =
        trigger("gateway", "probe.test", "probe-gateway").yaml() + &worker("worker", "probe.work", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, Options::default().flag("--limit", "admission_wait_ms=200"));
    let client = host.client("probe.test");
    let ask = || client.post("/request?subject=probe.work&timeout-ms=9000").body("sleep:2000").send();
    join_all((0..3).map(|_| ask())).await;
    let wanted = ["admission-timeout", "no instance became free in time", "To do: all instances of the pool were busy"];
    says(&host, "worker", &wanted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_worker() {
    let manifest =
        trigger("gateway", "probe.test", "probe-gateway").yaml() + &worker("worker", "probe.work", &["poolSize: 1"]);
    let host = Host::start(&manifest);
    let client = host.client("probe.test");
    client.post("/request?subject=probe.work&timeout-ms=300").body("sleep:5000").send().await;
    says(&host, "worker", &["deadline", "did not answer in time", "slower than the time it is given"]).await;
    // Its own host's word or the worker's: whose is first is chance.
    let wanted = ["on probe.work", "To do: ", "of the worker"];
    says(&host, "gateway", &wanted).await;
}

#[tokio::test]
async fn a_trapping_gateway() {
    let host = Host::start(&trigger("gateway", "probe.test", "probe-gateway").yaml());
    host.client("probe.test").get("/trap").send().await;
    host.client("probe.test").get("/trap").send().await;
    let wanted = ["the component failed (trap) (trap, 2 times)", "To do: the component's own code ended the call"];
    says(&host, "gateway", &wanted).await;
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    let authority = Authority::new("authority");
    authority.issue_until(&["old.test"], "old", 2020).write(&folder.path().join("tls"), "old");
    let old = trigger("old", "old.test", "bare-http").certificate("tls/old");
    write_application(folder.path(), &(well() + &old.yaml()));
    let host = Host::start_in(folder, Options::default().flag("--https-addr", "127.0.0.1:0"));
    let wanted = ["CertificateExpired", "old.test expired on 2020-01-01", "To do: renew the certificate (tls/old.crt"];
    says(&host, "old", &wanted).await;
    // It is read again by itself.
    authority.issue(&["old.test"], "new").write(&host.folder.path().join("tls"), "old");
    says(&host, "old", &["Nothing is wrong"]).await;
}

#[tokio::test]
async fn a_secret_that_is_not_there() {
    let broken = trigger("broken", "broken.test", "bare-http").yaml().replace(
        "image: file:bare-http.wasm\n",
        "image: file:bare-http.wasm\n          localResources: {environment: {secretFrom: [{name: database}]}}\n",
    );
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    write_application(folder.path(), &(well() + &broken));
    let secrets = folder.path().join("secrets");
    let host = Host::start_in(folder, Options::default().flag("--secret-dir", secrets.to_str().unwrap()));
    let wanted = ["SecretUnavailable", "secretFrom database cannot be used", "To do: make that folder with a file"];
    says(&host, "broken", &wanted).await;
    fs::create_dir(host.folder.path().join("secrets/database")).unwrap();
    fs::write(host.folder.path().join("secrets/database/PASSWORD"), "hunter2").unwrap();
    says(&host, "broken", &["Nothing is wrong"]).await;
    let everything = host.told(&["describe", "broken"]).await + &host.told(&["get", "-o", "json"]).await;
    assert!(!everything.contains("hunter2"));
    eventually("the workload's events", async || {
        host.told(&["describe", "broken"]).await.contains("Running").then_some(())
    })
    .await;
}
