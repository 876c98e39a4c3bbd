//! Hosts with a GPU, or with the program that stands in for one, and the worker that plays scenarios on it.

use std::{fs, path::Path, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    client::Response,
    host::{Host, Options},
    manifest::{trigger, worker_in},
};

/// Where drivers of Vulkan are announced to its loader.
const DRIVER_FOLDERS: [&str; 3] = ["/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
/// Longest that a gateway waits for a scenario, below what the test's client waits.
pub const SCENARIO_TIMEOUT: Duration = Duration::from_secs(25);

/// The options that let a host have a GPU.
pub fn options() -> Options {
    let announced = DRIVER_FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().count();
    let named = std::env::var_os("VK_DRIVER_FILES").is_some();
    assert!(named || announced > 0, "there is no Vulkan driver; `cargo xtask setup` installs one that needs no GPU");
    Options::default().switch("--wasi-webgpu").switch("--gpu-allow-software")
}

/// A gateway of `namespace` at `NAMESPACE.test`, through which its workers are asked.
pub fn gateway(namespace: &str) -> String {
    let timeout = format!("{}s", SCENARIO_TIMEOUT.as_secs() + 1);
    trigger("gateway", &format!("{namespace}.test"), "probe-gateway").namespace(namespace).timeout(&timeout).yaml()
}

/// A worker that plays scenarios, on the subject of its name.
pub fn probe(namespace: &str, name: &str, component_lines: &[&str]) -> String {
    let logging = "        - {namespace: wasi, package: logging, version: 0.1.0-draft, interfaces: [logging]}\n";
    let more = "        - {namespace: wasi, package: webgpu, version: 0.0.1, interfaces: [webgpu]}\n        \
                - {namespace: wasi, package: graphics-context, version: 0.0.1, interfaces: [graphics-context]}\n";
    let manifest = worker_in(namespace, name, name, component_lines).replace("probe-worker", "gpu-probe");
    manifest.replace(logging, &format!("{logging}{more}"))
}

/// How a scenario went.
#[derive(Debug)]
pub enum Played {
    /// It ran to its end: what it saw, and which functions it called.
    Saw(Value, Vec<String>),
    /// Something was not as it should be.
    Failed(String),
    /// No reply: what the gateway says instead.
    Ended(String),
}

impl Played {
    /// What it saw.
    pub fn saw(self) -> Value {
        match self {
            Self::Saw(saw, _) => saw,
            other => panic!("{other:?}"),
        }
    }
}

/// Plays a scenario on `namespace`'s worker `name`.
pub async fn play(host: &Host, namespace: &str, name: &str, scenario: &str) -> Played {
    play_with(host, namespace, name, json!({ "scenario": scenario })).await
}

/// The same with more in the message.
pub async fn play_with(host: &Host, namespace: &str, name: &str, message: Value) -> Played {
    let response = ask(host, namespace, name, &message).await;
    if response.status != StatusCode::OK {
        return Played::Ended(format!("{} {}", response.status, response.text()));
    }
    let reply = response.json();
    if let Some(reason) = reply["failed"].as_str() {
        return Played::Failed(reason.to_owned());
    }
    let calls = reply["calls"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Played::Saw(reply["saw"].clone(), calls.collect())
}

/// What the worker replies.
pub async fn ask(host: &Host, namespace: &str, name: &str, message: &Value) -> Response {
    let path = format!("/request?subject={name}&timeout-ms={}", SCENARIO_TIMEOUT.as_millis());
    host.client(&format!("{namespace}.test")).post(&path).body(message.to_string()).send().await
}

/// The names of the scenarios of a kind: `defined`, `traps` or `abuse`.
pub async fn scenarios(host: &Host, namespace: &str, name: &str, kind: &str) -> Vec<String> {
    let list = ask(host, namespace, name, &json!({ "scenario": "list" })).await.json();
    list[kind].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// A process, and what it holds on to.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub threads: usize,
    pub files: usize,
    pub resident_bytes: u64,
}

/// What the process `id` holds on to.
pub fn held(id: u32) -> Held {
    let folder = Path::new("/proc").join(id.to_string());
    let count = |name: &str| fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Held { threads: count("task"), files: count("fd"), resident_bytes: kibibytes * 1024 }
}

/// The processes that the host started.
pub fn children(host: &Host) -> Vec<u32> {
    let parent_of = |id: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in brackets and may have any characters in it.
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let ids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(host.id())).collect()
}

/// The one GPU process of the host.
pub fn gpu_process(host: &Host) -> Option<u32> {
    let is_gpu = |id: &u32| {
        let command = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
        command.split('\0').nth(1).is_some_and(|subcommand| subcommand.starts_with("gpu"))
    };
    children(host).into_iter().find(is_gpu)
}
