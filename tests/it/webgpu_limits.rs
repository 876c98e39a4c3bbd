//! What a workload may have of a GPU, each bound tried by a host that has it small.

use serde_json::{Value, json};

use crate::harness::{
    gpu::{self, Played, play, play_with},
    host::Host,
};

/// A host with one worker, which has these limits.
fn host(limits: &[&str]) -> Host {
    let manifest = gpu::gateway("probe") + &gpu::probe("probe", "gpu", &["poolSize: 2"]);
    let options = limits.iter().fold(gpu::options(), |options, limit| options.flag("--limit", limit));
    Host::start_with(&manifest, options)
}

async fn saw(host: &Host, message: Value) -> String {
    match play_with(host, "probe", "gpu", message).await {
        Played::Saw(saw, _) => saw.to_string(),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_workload_has_so_many_devices() {
    let host = host(&["gpu_workload_devices_max=3"]);
    let told = saw(&host, json!({ "scenario": "abuse.many-devices" })).await;
    assert!(told.contains("has 3 devices already (gpu_workload_devices_max)"), "{told}");
    // They were given up with the scenario.
    play(&host, "probe", "gpu", "lifetimes.once").await.saw();
}

#[tokio::test]
async fn the_gpu_has_so_many_devices() {
    let host = host(&["gpu_devices_max=2"]);
    let told = saw(&host, json!({ "scenario": "abuse.many-devices" })).await;
    assert!(told.contains("has 2 devices already (gpu_devices_max)"), "{told}");
}

#[tokio::test]
async fn a_workload_has_so_many_objects() {
    let host = host(&["gpu_objects_max=100"]);
    let told = saw(&host, json!({ "scenario": "abuse.many-objects", "count": 500 })).await;
    assert!(told.contains("has 100 objects already (gpu_objects_max)"), "{told}");
}

#[tokio::test]
async fn a_dispatch_has_so_many_workgroups() {
    let host = host(&["gpu_dispatch_workgroups_max=1000"]);
    let told = saw(&host, json!({ "scenario": "abuse.greatest-dispatch" })).await;
    assert!(told.contains("(gpu_dispatch_workgroups_max)"), "{told}");
}

#[tokio::test]
async fn a_shader_has_so_many_bytes() {
    let host = host(&["gpu_shader_bytes_max=20000"]);
    let told = saw(&host, json!({ "scenario": "abuse.large-source", "bytes": 30_000 })).await;
    assert!(told.contains("longer than 20000 (gpu_shader_bytes_max)"), "{told}");
}

#[tokio::test]
async fn a_shader_is_so_large_with_all_that_it_calls() {
    let host = host(&["gpu_shader_size_max=2000"]);
    let told = saw(&host, json!({ "scenario": "abuse.inlining" })).await;
    assert!(told.contains("more than 2000 expressions and statements"), "{told}");
}

#[tokio::test]
async fn a_shader_has_so_much_private_memory() {
    let host = host(&["gpu_private_bytes_max=1000"]);
    let told = saw(&host, json!({ "scenario": "abuse.private-memory", "words": 1_000 })).await;
    assert!(told.contains("more than 1000 (gpu_private_bytes_max)"), "{told}");
}

#[tokio::test]
async fn a_compilation_takes_so_long_and_then_the_process_begins_anew() {
    let host = host(&["gpu_compile_ms_max=1", "gpu_shader_bytes_max=10000000", "gpu_shader_size_max=10000000"]);
    // The watch looks now and then; a compilation of this size it does not miss for long.
    for _ in 0..20 {
        let message = json!({ "scenario": "abuse.many-functions", "count": 20_000 });
        let _ = play_with(&host, "probe", "gpu", message).await;
        if host.metric("roadstead_gpu_resets_total", &[]).await >= 1.0 {
            return;
        }
    }
    panic!("nothing took too long");
}

#[tokio::test]
async fn a_submit_runs_so_long_and_a_workload_ends_the_process_so_often() {
    let host = host(&["gpu_run_ms_max=20", "gpu_crashes_max=2"]);
    for round in 1..=2 {
        let lost = play_with(&host, "probe", "gpu", json!({ "scenario": "abuse.long-dispatches", "count": 200 })).await;
        host.wait_for_metric("roadstead_gpu_resets_total", &[], f64::from(round)).await;
        drop(lost);
    }
    let refused = play(&host, "probe", "gpu", "lifetimes.once").await;
    assert!(matches!(&refused, Played::Ended(_) | Played::Failed(_)), "{refused:?}");
    let workload = host.workload("gpu").await.to_string();
    assert!(workload.contains("ended the GPU process 2 times (gpu_crashes_max)"), "{workload}");
    assert!(workload.contains("WORKLOAD_STATE_ERROR"), "{workload}");
}

/// `gpu_submits_in_flight_max: 1` and `gpu_queue_ms_max: 1` leave a tenant that is alone as it was; a queue that lets
/// nobody wait refuses the one who came second.
#[tokio::test]
async fn a_tenant_that_is_alone_does_not_wait() {
    let host = host(&["gpu_submits_in_flight_max=1", "gpu_queue_ms_max=1"]);
    for _ in 0..5 {
        play(&host, "probe", "gpu", "lifetimes.warm").await.saw();
    }
}
