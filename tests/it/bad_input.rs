//! What a workload that cannot run says, and that everything else goes on being served.

use std::fs;

use http::StatusCode;

use crate::harness::{
    guests,
    host::{Host, Options, write_application},
    manifest::{trigger, worker},
};

/// Runs a bad document beside a good one and gives the reason that `/status` shows.
async fn reason_of(bad: &str, prepare: impl FnOnce(&std::path::Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &(trigger("good", "good.test", "bare-http").yaml() + bad));
    prepare(folder.path());
    let host = Host::start_in(folder, Options::default());
    assert_eq!(host.client("good.test").get("/").send().await.status, StatusCode::OK);
    let status = host.workload("bad").await;
    assert_eq!(status["state"], "WORKLOAD_STATE_ERROR", "{status}");
    assert_eq!(host.workload("good").await["state"], "WORKLOAD_STATE_RUNNING");
    // Nothing was bound for what does not run.
    assert_eq!(host.client("bad.test").get("/").send().await.status, StatusCode::NOT_FOUND);
    let folder = format!("{}/", host.folder.path().display());
    status["reason"].as_str().unwrap().replace(&folder, "")
}

fn bad(component: &str) -> String {
    trigger("bad", "bad.test", component).yaml()
}

#[tokio::test]
async fn a_missing_file() {
    let reason = reason_of(&bad("made-missing"), |_| {}).await;
    assert_eq!(
        reason,
        "app.yaml:41:18: the component file made-missing.wasm cannot be read; build it, or correct `image`: No such \
         file or directory (os error 2)"
    );
}

#[tokio::test]
async fn a_core_module() {
    let reason = reason_of(&bad("made-core"), |folder| {
        fs::write(folder.join("made-core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    })
    .await;
    assert_eq!(
        reason,
        "app.yaml:41:18: made-core.wasm is a core WebAssembly module, not a component; build it for wasm32-wasip2, or \
         turn it into a component with `wasm-tools component new`"
    );
}

#[tokio::test]
async fn something_that_is_not_wasm() {
    let reason =
        reason_of(&bad("made-text"), |folder| fs::write(folder.join("made-text.wasm"), "hello").unwrap()).await;
    assert_eq!(reason, "app.yaml:41:18: made-text.wasm is not WebAssembly; `image` must name a component (.wasm)");
}

#[tokio::test]
async fn a_broken_component() {
    let reason = reason_of(&bad("made-cut"), |folder| {
        let whole = fs::read(guests::path("bare-http")).unwrap();
        fs::write(folder.join("made-cut.wasm"), &whole[..whole.len() / 2]).unwrap();
    })
    .await;
    assert!(reason.starts_with("app.yaml:41:18: file:made-cut.wasm cannot be compiled: "), "{reason}");
}

#[tokio::test]
async fn a_link_that_leads_out_of_the_folder() {
    let reason = reason_of(&bad("made-link"), |folder| {
        std::os::unix::fs::symlink(guests::path("bare-http"), folder.join("made-link.wasm")).unwrap();
    })
    .await;
    assert!(reason.ends_with("the path leads out of the manifest's folder"), "{reason}");
}

#[tokio::test]
async fn an_import_that_the_manifest_does_not_declare() {
    let manifest = bad("probe-gateway").replace("interfaces: [consumer, types]", "interfaces: [types]");
    let reason = reason_of(&manifest, |_| {}).await;
    assert_eq!(
        reason,
        "app.yaml:40:11: component probe-gateway imports wasmcloud:messaging/consumer@0.2.0, which its workload does \
         not declare; add to hostInterfaces: {namespace: wasmcloud, package: messaging, version: '0.2.0', interfaces: \
         [consumer]}"
    );
}

#[tokio::test]
async fn an_import_that_no_host_offers() {
    let reason = reason_of(&bad("undeclared"), |_| {}).await;
    assert_eq!(
        reason,
        "app.yaml:40:11: this host does not offer acme:widgets/store@1.2.3; it has nothing of the package acme:widgets"
    );
}

#[tokio::test]
async fn a_declared_interface_that_does_not_exist() {
    let manifest =
        bad("bare-http").replace("package: logging, version: 0.1.0-draft", "package: webgpu, version: 0.0.1");
    let reason = reason_of(&manifest.replace("[logging]", "[webgpu]"), |_| {}).await;
    assert_eq!(
        reason,
        "app.yaml:37:11: this host does not offer wasi:webgpu/webgpu@0.0.1; it has nothing of the package wasi:webgpu; \
         start the host with --wasi-webgpu"
    );
}

#[tokio::test]
async fn a_version_that_is_not_offered() {
    let manifest = bad("bare-http").replace("version: '0.2.0'", "version: '0.9.0'");
    let reason = reason_of(&manifest, |_| {}).await;
    assert_eq!(
        reason,
        "app.yaml:38:11: this host does not offer wasmcloud:messaging/consumer@0.9.0; of wasmcloud:messaging it offers \
         consumer@0.2.0, types@0.2.0, handler@0.2.0"
    );
}

#[tokio::test]
async fn an_interface_that_is_not_offered_of_a_package_that_is() {
    let manifest = bad("bare-http")
        .replace("package: messaging", "package: keyvalue")
        .replace("namespace: wasmcloud", "namespace: wasi")
        .replace("version: '0.2.0'", "version: 0.2.0-draft")
        .replace("[consumer, types]", "[watcher]");
    let reason = reason_of(&manifest, |_| {}).await;
    assert!(
        reason
            .contains("does not offer wasi:keyvalue/watcher@0.2.0-draft; of wasi:keyvalue it offers store@0.2.0-draft"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_trigger_without_an_http_handler() {
    let reason = reason_of(&bad("probe-worker"), |_| {}).await;
    assert!(reason.contains("no component of the workload exports wasi:http/incoming-handler"), "{reason}");
}

#[tokio::test]
async fn what_this_version_does_not_do_is_refused() {
    let volumes = bad("bare-http")
        .replace("      components:\n", "      volumes: [{name: data, ephemeral: {}}]\n      components:\n");
    let reason = reason_of(&volumes, |_| {}).await;
    assert!(reason.contains("volumes cannot be used: this version mounts no volumes"), "{reason}");
}

#[tokio::test]
async fn what_has_no_effect_is_said() {
    let lines = [
        "imagePullPolicy: Always",
        "imagePullSecret: {name: registry}",
        "maxConcurrency: 2",
        "localResources: {allowedHosts: [example.com], allowedHostLoopbackPorts: [5432]}",
    ];
    let manifest = worker("worker", "probe.work", &lines)
        .replace("\nspec:\n", "\nspec:\n  deployPolicy: Recreate\n  kubernetes: {service: {name: worker}}\n")
        .replace(
            "    spec:\n",
            "    spec:\n      hostSelector: {gpu: 'true'}\n      hostId: one\n      environment: test\n",
        );
    let host = Host::start(&manifest);
    let status = host.workload("worker").await;
    assert_eq!(status["state"], "WORKLOAD_STATE_RUNNING");
    assert_eq!(
        status["warnings"],
        serde_json::json!([
            "deployPolicy Recreate has no effect: the old form of a workload always serves until the new one is ready",
            "hostSelector has no effect: a host that runs from files runs all that they ask for",
            "hostId has no effect: a host that runs from files runs all that they ask for",
            "environment has no effect: a host that runs from files runs all that they ask for",
            "kubernetes has no effect: this version makes nothing in a cluster",
            "component probe-worker: imagePullPolicy has no effect: the image is a file",
            "component probe-worker: imagePullSecret has no effect: the image is a file",
            "component probe-worker: maxConcurrency has no effect: an instance has one call at a time",
            "component probe-worker: allowedHostLoopbackPorts has no effect: the host lets nobody reach it from within (--allow-host-loopback)",
        ])
    );
}

#[tokio::test]
async fn a_pool_that_is_too_large() {
    let manifest = worker("bad", "probe.work", &["poolSize: 1001"]);
    let reason = reason_of(&manifest, |_| {}).await;
    assert!(reason.contains("poolSize 1001 times replicas 1 is more than 1000 (pool_size_max)"), "{reason}");
}

#[tokio::test]
async fn a_deployment_without_replicas_answers_503() {
    let manifest =
        trigger("gateway", "probe.test", "bare-http").yaml().replace("  timeout:", "  replicas: 0\n  timeout:");
    let host = Host::start(&manifest);
    let response = host.client("probe.test").get("/").send().await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!response.header("retry-after").is_empty());
}
