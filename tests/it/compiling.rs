//! Compilation: bounded in a process of its own, kept on disk, and never a reason for a neighbour to wait or a host to
//! end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use http::StatusCode;
use serde_json::Value;

use crate::harness::{
    eventually, guests,
    host::{Host, Options, roadstead, write_application},
    manifest::{trigger, worker},
};

/// Nesting of `if` in sequence that keeps an optimizing compiler busy: about a second and 100 MiB for each 50 KB.
fn bomb(bytes: usize) -> Vec<u8> {
    const LOCALS: u8 = 100;
    let mut body = vec![1, LOCALS, 0x7f];
    for step in (0u32..).take(bytes / 9) {
        let local = |factor: u32| u8::try_from(step.wrapping_mul(factor) % u32::from(LOCALS)).unwrap();
        // local.get a; if; local.get b; local.set c; end
        body.extend([0x20, local(1), 0x04, 0x40, 0x20, local(7), 0x21, local(3), 0x0b]);
    }
    body.push(0x0b);
    let mut code = vec![1];
    code.extend(leb(body.len()));
    code.extend(body);
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    section(&mut module, 3, &[1, 0]);
    section(&mut module, 10, &code);
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(&mut component, 1, &module);
    component
}

fn section(out: &mut Vec<u8>, id: u8, contents: &[u8]) {
    out.push(id);
    out.extend(leb(contents.len()));
    out.extend(contents);
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// A cache directory of the test's own.
struct Cache {
    folder: tempfile::TempDir,
}

impl Cache {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn options(&self) -> Options {
        Options::default().flag("--component-cache-dir", self.path().to_str().unwrap())
    }

    fn compiled(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|e| e == "compiled")).collect()
    }
}

async fn count(host: &Host, source: &str, outcome: &str) -> f64 {
    let labels = [format!("source=\"{source}\""), format!("outcome=\"{outcome}\"")];
    host.metric("roadstead_compile_total", &labels.each_ref().map(String::as_str)).await
}

async fn serves(host: &Host) {
    assert_eq!(host.client("good.test").get("/").send().await.status, StatusCode::OK);
}

fn good() -> String {
    trigger("good", "good.test", "bare-http").yaml()
}

fn compile(paths: &[&Path], cache: &Cache, more: &[&str]) -> Output {
    let mut command = roadstead();
    command.arg("compile").args(paths).arg("--component-cache-dir").arg(cache.path()).args(more);
    command.output().unwrap()
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let cache = Cache::new();
    let first = Host::start_with(&good(), cache.options());
    assert_eq!((count(&first, "child", "ok").await, count(&first, "disk", "ok").await), (1.0, 0.0));
    let second = Host::start_with(&good(), cache.options());
    assert_eq!((count(&second, "child", "ok").await, count(&second, "disk", "ok").await), (0.0, 1.0));
    serves(&second).await;
    let without = Host::start_with(&good(), cache.options().switch("--no-component-cache"));
    assert_eq!((count(&without, "child", "ok").await, count(&without, "disk", "ok").await), (1.0, 0.0));
}

#[tokio::test]
async fn a_flipped_bit_is_noticed_and_the_component_compiled_again() {
    let cache = Cache::new();
    drop(Host::start_with(&good(), cache.options()));
    let file = cache.compiled().pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&file, bytes).unwrap();
    let host = Host::start_with(&good(), cache.options());
    serves(&host).await;
    assert_eq!((count(&host, "disk", "refused").await, count(&host, "child", "ok").await), (1.0, 1.0));
    assert!(host.log().contains("was changed, or was written with another secret"), "{}", host.log());
    let again = Host::start_with(&good(), cache.options());
    assert_eq!(count(&again, "disk", "ok").await, 1.0);
}

#[tokio::test]
async fn a_cache_that_others_can_read_is_warned_of_and_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let cache = Cache::new();
    fs::create_dir(cache.path()).unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let host = Host::start_with(&good(), cache.options());
    serves(&host).await;
    assert!(host.log().contains("is open to other users (mode 0755)"), "{}", host.log());
    assert_eq!(count(&host, "disk", "unusable").await, 1.0);
    assert!(cache.compiled().is_empty());
    let output = compile(&[&guests::path("bare-http")], &cache, &[]);
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test]
async fn a_component_deployed_twice_is_compiled_once() {
    let cache = Cache::new();
    let manifest = good() + &trigger("same", "same.test", "bare-http").yaml();
    let host = Host::start_with(&manifest, cache.options());
    assert_eq!((count(&host, "child", "ok").await, count(&host, "memory", "ok").await), (1.0, 1.0));
    serves(&host).await;
}

/// Deploys a component that asks too much of the compiler beside a workload that serves, and gives the reason.
async fn reason_of_bomb(bytes: usize, limit: &str) -> String {
    let cache = Cache::new();
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &good());
    let options = cache.options().flag("--limit", limit).switch("--watch");
    let host = Host::start_in(folder, options);
    fs::write(host.folder.path().join("made-bomb.wasm"), bomb(bytes)).unwrap();
    let bad = worker("bad", "probe.work", &[]).replace("probe-worker.wasm", "made-bomb.wasm");
    write_application(host.folder.path(), &(good() + &bad));
    eventually("the workload is being started", async || (!host.workload("bad").await.is_null()).then_some(())).await;
    let status = eventually("the workload has failed", async || {
        serves(&host).await;
        let status = host.workload("bad").await;
        (status["state"] == "WORKLOAD_STATE_ERROR").then_some(status)
    })
    .await;
    assert_eq!(host.workload("good").await["state"], "WORKLOAD_STATE_RUNNING");
    serves(&host).await;
    let reason = status["reason"].as_str().unwrap().to_owned();
    reason.split_once("made-bomb.wasm ").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_component_that_compiles_too_long_is_an_error_of_its_workload() {
    let reason = reason_of_bomb(400_000, "compile_time_ms=3000").await;
    assert_eq!(reason, "cannot be compiled: it takes longer than 3000 ms to compile (compile_time_ms)");
}

#[tokio::test]
async fn a_component_that_needs_too_much_memory_to_compile_is_an_error_of_its_workload() {
    let reason = reason_of_bomb(2_000_000, "compile_memory_bytes_max=300000000").await;
    assert_eq!(
        reason,
        "cannot be compiled: the compiler needs more than 300000000 bytes of memory for it (compile_memory_bytes_max)"
    );
}

#[test]
fn compile_fills_the_cache_and_says_what_it_did() {
    let (cache, folder) = (Cache::new(), tempfile::tempdir().unwrap());
    write_application(folder.path(), &(good() + &worker("worker", "probe.work", &[])));
    let manifest = folder.path().join("app.yaml");
    let output = compile(&[&manifest], &cache, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("default/good/bare-http sha256:") && lines[0].ends_with(" s compiled"), "{text}");
    assert_eq!(cache.compiled().len(), 2);

    let output = compile(&[&guests::path("bare-http"), &manifest], &cache, &["--output", "json"]);
    assert!(output.status.success());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let components = json["components"].as_array().unwrap();
    assert!(components.iter().all(|component| component["source"] == "cached"), "{json}");
    assert_eq!(components[0]["digest"], components[1]["digest"]);
}

#[test]
fn compile_fails_when_one_component_does() {
    let (cache, folder) = (Cache::new(), tempfile::tempdir().unwrap());
    let broken = folder.path().join("broken.wasm");
    let whole = fs::read(guests::path("bare-http")).unwrap();
    fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let output = compile(&[&broken, &guests::path("bare-http")], &cache, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.wasm cannot be compiled: "));
    assert!(String::from_utf8_lossy(&output.stdout).contains("bare-http.wasm sha256:"));
    assert_eq!(cache.compiled().len(), 1);
}

#[test]
fn a_limit_that_does_not_exist_is_wrong_usage() {
    let output = compile(&[Path::new("x.wasm")], &Cache::new(), &["--limit", "compile_time=5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean compile_time_ms?"));
}

/// A limit of a process as the system tells it: most now, most ever.
fn limit_of(process: u32, name: &str) -> Option<(String, String)> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let mut values = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    Some((values.next()?.to_owned(), values.next()?.to_owned()))
}

/// What it may open is `child::FILES_MAX`.
#[tokio::test]
async fn the_compilers_child_has_few_possibilities_and_ends_with_its_host() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = [
        ("Max core file size", "0".to_owned()),
        ("Max file size", "0".to_owned()),
        ("Max open files", "32".to_owned()),
        // A second more than all its threads can take until its host ends it.
        ("Max cpu time", (7 * threads + 1).to_string()),
        ("Max address space", "1000000000".to_owned()),
    ];
    let mut command = roadstead();
    command.args(["compile-child", "--limit", "compile_time_ms=7000"]);
    command.args(["--limit", "compile_memory_bytes_max=1000000000"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It has them when it begins to read; the component does not come yet.
    for (name, most) in &wanted {
        eventually(&format!("{name} = {most}"), async || {
            (limit_of(child.id(), name)? == (most.clone(), most.clone())).then_some(())
        })
        .await;
    }
    assert_eq!(child.try_wait().unwrap(), None);
    // A host that ends closes its end, whatever it had still to say.
    drop(child.stdin.take());
    eventually("the child's end", || std::future::ready(child.try_wait().unwrap())).await;
}
