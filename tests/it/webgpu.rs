//! A GPU for workers: the example's detector on it, devices that stay and devices that are lost, and what becomes of a
//! thousand instances. The GPU is whatever Vulkan finds; on a machine without one it is Mesa's, which computes on the
//! processor.

use std::path::{Path, PathBuf};

use futures::{StreamExt, stream};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{
    eventually,
    gpu::{self, Held, Played, held, play, play_with},
    host::{Host, Options},
};

fn example(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/harbor-watch");
    let component = folder.join("components/sar-processor-gpu.wasm");
    assert!(component.is_file(), "build the components with `cargo xtask guests`");
    folder.join(name)
}

fn demo() -> Host {
    Host::start_file(&example("app-gpu.yaml"), tempfile::tempdir().unwrap(), &gpu::options())
}

fn request(region: &str, width: u32, height: u32, force_cpu: bool) -> Value {
    json!({
        "region": region, "sar_width": width, "sar_height": height, "num_targets": 0, "seed": 42, "density": 0.5,
        "force_cpu": force_cpu
    })
}

async fn detect(host: &Host, request: &Value) -> (StatusCode, Value) {
    let client = host.client("harborwatch.localhost");
    let request = client.post("/api/detect").header("content-type", "application/json").body(request.to_string());
    let response = request.send().await;
    (response.status, response.json())
}

/// The answer's `compute_backend`, which is taken out of it.
fn backend(answer: &mut Value) -> Value {
    answer["stats"].as_object_mut().unwrap().remove("compute_backend").unwrap()
}

#[tokio::test]
async fn the_gpu_detects_what_the_processor_detects() {
    let host = demo();
    // Squares as in the documentation, a scene whose sides fit no workgroup, and one of two tiles.
    for (region, width, height) in
        [("singapore", 512, 512), ("singapore", 1024, 1024), ("rotterdam", 777, 333), ("balboa", 64, 4096)]
    {
        let (status, mut on_gpu) = detect(&host, &request(region, width, height, false)).await;
        assert_eq!(status, StatusCode::OK, "{on_gpu}");
        let (status, mut on_cpu) = detect(&host, &request(region, width, height, true)).await;
        assert_eq!(status, StatusCode::OK, "{on_cpu}");
        assert_eq!((backend(&mut on_gpu), backend(&mut on_cpu)), (json!("WebGPU"), json!("CPU")));
        assert!(on_cpu["stats"]["detections"].as_u64().unwrap() > 0 || height == 4096, "{on_cpu}");
        assert_eq!(on_gpu, on_cpu, "{region} {width}x{height}");
    }
}

#[tokio::test]
async fn a_gpu_process_that_dies_is_replaced_and_the_next_request_is_answered() {
    let host = demo();
    let request = request("gibraltar", 512, 512, false);
    let (status, first) = detect(&host, &request).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    for round in 0..2 {
        let process = gpu::gpu_process(&host).expect("there is a GPU process");
        kill_process(Pid::from_raw(process.cast_signed()).unwrap(), Signal::KILL).unwrap();
        // The instance's device is gone: that may cost a request, but no more than one, and the host takes others.
        let answered = eventually("an answer by the GPU", async || {
            let (status, answer) = detect(&host, &request).await;
            assert!(status == StatusCode::OK || status == StatusCode::BAD_GATEWAY, "{status} {answer}");
            (status == StatusCode::OK).then_some(answer)
        });
        assert_eq!(answered.await, first, "round {round}");
        assert_ne!(gpu::gpu_process(&host), Some(process));
    }
    let resets = host.metric("roadstead_gpu_resets_total", &[]).await;
    assert!(resets >= 2.0, "{resets}");
}

#[tokio::test]
async fn without_the_flag_the_worker_ends_in_an_error_that_names_it() {
    let host = Host::start_file(&example("app-gpu.yaml"), tempfile::tempdir().unwrap(), &Options::default());
    let worker = host.workload("harbor-watch-sar-processor").await;
    let text = worker.to_string();
    for part in ["wasi:webgpu", "0.0.1", "--wasi-webgpu"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // The gateway serves.
    let response = host.client("harborwatch.localhost").get("/api/regions").send().await;
    assert_eq!(response.status, StatusCode::OK);
}

#[tokio::test]
async fn a_warm_instance_keeps_its_device() {
    let manifest = gpu::gateway("probe") + &gpu::probe("probe", "gpu", &["poolSize: 1"]);
    let host = Host::start_with(&manifest, gpu::options());
    for _ in 0..5 {
        play(&host, "probe", "gpu", "lifetimes.warm").await.saw();
        assert_eq!(host.metric("roadstead_gpu_devices", &[]).await, 1.0);
    }
    // A trap ends the instance, and its device with it.
    assert!(matches!(play(&host, "probe", "gpu", "surfaces.present").await, Played::Ended(_)));
    host.wait_for_metric("roadstead_gpu_devices", &[], 0.0).await;
    play(&host, "probe", "gpu", "lifetimes.warm").await.saw();
}

#[tokio::test]
async fn a_workload_has_its_share_of_the_memory_and_no_more() {
    let manifest = gpu::gateway("probe")
        + &gpu::probe("probe", "greedy", &["poolSize: 1"])
        + &gpu::probe("probe", "modest", &["poolSize: 1"]);
    let limit = 64 << 20;
    let host = Host::start_with(&manifest, gpu::options().flag("--limit", &format!("gpu_memory_bytes_max={limit}")));
    let each = 16 << 20;
    let saw =
        play_with(&host, "probe", "greedy", json!({ "scenario": "abuse.large-buffers", "each": each })).await.saw();
    assert!(saw["refused"]["out-of-memory"].is_string(), "{saw}");
    let kept = saw["bytes"].as_u64().unwrap();
    assert!(kept <= limit && kept + each >= limit / 2, "{saw}");
    // What the scenario kept, it dropped at its end; another workload has a share of its own all the while.
    for _ in 0..3 {
        let message = json!({ "scenario": "lifetimes.hold", "bytes": limit / 4 });
        play_with(&host, "probe", "modest", message.clone()).await.saw();
        play_with(&host, "probe", "greedy", message).await.saw();
    }
    // The process tells now and then what it holds.
    eventually("all that was taken", async || {
        let taken = host.metric("roadstead_gpu_memory_bytes", &[]).await;
        (taken >= (limit / 4 * 6) as f64).then_some(())
    })
    .await;
}

/// Instances that come and go.
const INSTANCES: usize = 1_000;
const AT_A_TIME: usize = 4;
/// Instances before the first look: threads and caches that stay are there then.
const FIRST_INSTANCES: usize = 60;
/// What may be more after all of them than after the first, in each of both processes.
const MORE_THREADS_MAX: usize = 8;
const MORE_FILES_MAX: usize = 8;
const MORE_BYTES_MAX: u64 = 64 << 20;

#[tokio::test]
async fn a_thousand_instances_leave_nothing_behind() {
    // Without a pool, each call has an instance of its own.
    let manifest = gpu::gateway("probe") + &gpu::probe("probe", "gpu", &[]);
    let host = Host::start_with(&manifest, gpu::options());
    let come_and_go = async |count: usize| {
        let calls = stream::iter(0..count).map(|_| play(&host, "probe", "gpu", "lifetimes.once"));
        calls.buffer_unordered(AT_A_TIME).for_each(async |played| drop(played.saw())).await;
        for metric in ["roadstead_gpu_devices", "roadstead_gpu_memory_bytes", "roadstead_gpu_objects"] {
            host.wait_for_metric(metric, &[], 0.0).await;
        }
    };
    come_and_go(FIRST_INSTANCES).await;
    let process = gpu::gpu_process(&host).expect("there is a GPU process");
    let before = [held(host.id()), held(process)];
    come_and_go(INSTANCES).await;
    assert_eq!(gpu::gpu_process(&host), Some(process), "the GPU process is the same");
    let returned = |before: Held, now: Held| {
        now.threads <= before.threads + MORE_THREADS_MAX
            && now.files <= before.files + MORE_FILES_MAX
            && now.resident_bytes <= before.resident_bytes + MORE_BYTES_MAX
    };
    let now = eventually("both processes at rest", async || {
        let now = [held(host.id()), held(process)];
        before.iter().zip(now).all(|(before, now)| returned(*before, now)).then_some(now)
    });
    println!("before {before:?}\nafter  {:?}", now.await);
}
