//! What is started and what is asked: a host with the probe that runs the detector, the program that does the same by
//! itself, and a host with the example. It does not know what the figures are compared with.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::server::{Roadstead, Server};
use crate::bench::{Bench, manifests, programs};
use crate::client;
use crate::process;

const PROBE_HOST: &str = "gpu.test";
const PROBE_SUBJECT: &str = "gpu.probe";
const EXAMPLE: &str = "harbor-watch";
const EXAMPLE_HOST: &str = "harborwatch.localhost";
/// What the triggers wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest that a client waits: more than the triggers do, which say more of what went wrong.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(40);

/// The way of the detector's commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A program with wgpu in it.
    InProcess,
    /// A component, the host, the GPU process.
    InGpuProcess,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in one process",
            Self::InGpuProcess => "through the GPU process",
        }
    }
}

/// Who detects in the example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Gpu,
    Cpu,
}

impl Backend {
    pub(super) const ALL: [Self; 2] = [Self::Gpu, Self::Cpu];

    /// The answer's `compute_backend`.
    fn told(self) -> &'static str {
        match self {
            Self::Gpu => r#""compute_backend":"WebGPU""#,
            Self::Cpu => r#""compute_backend":"CPU""#,
        }
    }
}

/// What one turn of the detector found, and how long a round took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figures {
    pub(super) adapter: String,
    pub(super) candidates: u64,
    /// Of all that is told about the candidates.
    pub(super) sum: u64,
    /// The shortest round.
    pub(super) least_us: f64,
    pub(super) median_us: f64,
    pub(super) p90_us: f64,
}

/// Starts a host with a gateway and the probe.
///
/// # Errors
/// When a component is missing or the host does not start.
pub(super) fn probe(bench: &Bench<'_>, roadstead: &Path, adapter: Option<&str>) -> Result<Server> {
    let folder = bench.scratch.folder("gpu")?;
    for component in ["probe-gateway.wasm", "gpu-probe.wasm"] {
        let original = bench.layout.test_guests().join(component);
        fs::copy(&original, folder.join(component)).with_context(|| format!("cannot copy {}", original.display()))?;
    }
    let timeout = format!("{}s", ANSWER_TIMEOUT.as_secs());
    let manifest = manifests::trigger("gateway", PROBE_HOST, &timeout, "probe-gateway.wasm")
        + &manifests::gpu_worker("probe", PROBE_SUBJECT, "gpu-probe.wasm");
    let manifests = folder.join("app.yaml");
    fs::write(&manifests, manifest).context("cannot write a manifest")?;
    host(bench, roadstead, &manifests, adapter)
}

/// Starts a host with the example.
///
/// # Errors
/// When the host does not start.
pub(super) fn example(bench: &Bench<'_>, roadstead: &Path, adapter: Option<&str>) -> Result<Server> {
    host(bench, roadstead, &bench.layout.example(EXAMPLE).join("app-gpu.yaml"), adapter)
}

fn host(bench: &Bench<'_>, program: &Path, manifests: &Path, adapter: Option<&str>) -> Result<Server> {
    let component_cache = &bench.scratch.path().join("component-cache");
    let chosen = adapter.map(|adapter| ["--gpu-adapter", adapter]);
    let more: Vec<&str> =
        ["--wasi-webgpu=require", "--gpu-allow-software"].into_iter().chain(chosen.into_iter().flatten()).collect();
    let start = Roadstead { program, manifests, component_cache, pinned: false, nats: None, more: &more };
    Server::roadstead(bench, &start)
}

/// One turn of the component.
///
/// # Errors
/// When it does not answer, or says that something is not as it should be.
pub(super) fn ask_probe(host: &Server, side: u32, rounds: u32) -> Result<Figures> {
    let target = format!("/request?subject={PROBE_SUBJECT}&timeout-ms={}", ANSWER_TIMEOUT.as_millis());
    let message = json!({ "scenario": "lifetimes.detector", "side": side, "rounds": rounds }).to_string();
    let answer = client::ask(host.http, "POST", PROBE_HOST, &target, &message, CLIENT_TIMEOUT)?;
    if answer.status != 200 {
        bail!("the probe is answered with {}: {}; {}", answer.status, answer.body.trim(), host.last_words());
    }
    parse_answer(&answer.body)
}

fn parse_answer(body: &str) -> Result<Figures> {
    let answer: Value = serde_json::from_str(body).with_context(|| format!("the probe's answer is no JSON: {body}"))?;
    let field = |name: &str| {
        let value = answer.get("saw").and_then(|saw| saw.get(name));
        value.with_context(|| format!("the probe's answer has no {name}: {body}"))
    };
    Ok(Figures {
        adapter: field("adapter")?.as_str().unwrap_or_default().to_owned(),
        candidates: field("candidates")?.as_u64().context("candidates is no number")?,
        sum: field("sum")?.as_u64().context("sum is no number")?,
        least_us: field("least_us")?.as_f64().context("least_us is no number")?,
        median_us: field("median_us")?.as_f64().context("median_us is no number")?,
        p90_us: field("p90_us")?.as_f64().context("p90_us is no number")?,
    })
}

/// One turn of the program.
///
/// # Errors
/// When it fails, or prints something else than it should.
pub(super) fn run_in_process(program: &Path, side: u32, rounds: u32, adapter: Option<&str>) -> Result<Figures> {
    let mut command = programs::measured(program);
    command.args([side.to_string(), rounds.to_string()]).args(adapter);
    parse_output(&process::output(&mut command)?)
}

fn parse_output(output: &str) -> Result<Figures> {
    let field = |name: &str| {
        let mut fields = output.lines().filter_map(|line| line.split_once(' '));
        let found = fields.find_map(|(own, value)| (own == name).then_some(value));
        found.with_context(|| format!("gpu-in-process printed no {name}"))
    };
    Ok(Figures {
        adapter: field("adapter")?.to_owned(),
        candidates: field("candidates")?.parse()?,
        sum: field("sum")?.parse()?,
        least_us: field("least_us")?.parse()?,
        median_us: field("median_us")?.parse()?,
        p90_us: field("p90_us")?.parse()?,
    })
}

/// One request to the example: how long it took, and the answer without who detected.
///
/// # Errors
/// When it is answered otherwise than by that backend.
pub(super) fn detect(host: &Server, side: u32, backend: Backend) -> Result<(Duration, String)> {
    let request = json!({
        "region": "singapore",
        "sar_width": side,
        "sar_height": side,
        "num_targets": 0,
        "seed": 42,
        "density": 0.5,
        "force_cpu": backend == Backend::Cpu,
    });
    let began = Instant::now();
    let answer = client::ask(host.http, "POST", EXAMPLE_HOST, "/api/detect", &request.to_string(), CLIENT_TIMEOUT)?;
    let took = began.elapsed();
    if answer.status != 200 || !answer.body.contains(backend.told()) {
        let start: String = answer.body.chars().take(200).collect();
        bail!("{side} by {backend:?}: {} {start}; {}", answer.status, host.last_words());
    }
    Ok((took, answer.body.replace(backend.told(), "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            adapter: "llvmpipe (LLVM 15)".to_owned(),
            candidates: 7,
            sum: 99,
            least_us: 0.5,
            median_us: 1.5,
            p90_us: 2.5,
        }
    }

    #[test]
    fn both_tell_the_same_figures() {
        let output = "adapter llvmpipe (LLVM 15)\ncandidates 7\nsum 99\nleast_us 0.5\nmedian_us 1.5\np90_us 2.5";
        assert_eq!(parse_output(output).unwrap(), figures());
        let answer = r#"{"saw":{"adapter":"llvmpipe (LLVM 15)","candidates":7,"sum":99,"least_us":0.5,"median_us":1.5,"p90_us":2.5}}"#;
        assert_eq!(parse_answer(answer).unwrap(), figures());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(parse_output("adapter x\ncandidates 7").unwrap_err().to_string(), "gpu-in-process printed no sum");
        let error = parse_answer(r#"{"failed":"no device"}"#).unwrap_err().to_string();
        assert!(error.contains("no device"), "{error}");
    }
}
