//! `cargo xtask bench soak`: minutes of mixed load with faults on one host, and what is left behind when it is over. The
//! load is in `faults`, what is looked at in `samples`; this file says when, and judges.

mod faults;
mod samples;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::figures::{shown, table};
use super::server::{Roadstead, Server};
use super::wrk::{self, Load, Wrk};
use super::{Bench, Common, manifests, programs};
use crate::report::Step;
use faults::{Target, Told};
use samples::{POOL_SIZE, Sample};

/// The hosts that the triggers match.
const HELLO_HOST: &str = "hello.test";
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// The first look at memory at rest; half of the whole where that is shorter.
const FIRST_PHASE: Duration = Duration::from_secs(60);
/// Time in which the gauges must come to rest after the load.
const REST_TIMEOUT: Duration = Duration::from_secs(30);
/// Between rest and a look at memory.
const SETTLE: Duration = Duration::from_secs(3);
const GROWTH_MAX: f64 = 1.05;
/// What a connection of our own, or a thread for blocking work, may add at either look.
const FILES_SLACK: u64 = 4;
const THREADS_SLACK: u64 = 8;
const HELLO_CONNECTIONS: u32 = 16;
/// Each connection waits so long between two requests: at most 800 requests/s.
const HELLO_DELAY_MS: u32 = 20;
const FAULT_CLIENTS: usize = 2;
const MESSAGE_CLIENTS: usize = 2;

/// Load a host with faults for minutes and see what stays behind
#[derive(Args)]
#[command(long_about = "Runs a host with a small component, one that misbehaves in many ways, and a worker behind
messages. For the given time it asks the first moderately, the second without pause for traps, loops, memory and stack
without end, requests and responses that their client leaves, and requests that are no HTTP, and the worker for good
and bad answers.

After the first minute and at the end the load pauses until the gauges are at rest. Fails when memory has grown by more
than 5 % between the two, or anything else stayed behind, or a request was answered otherwise than documented.")]
#[command(after_help = "Examples:
  cargo xtask bench soak                      10 minutes
  cargo xtask bench soak --minutes 0.5        a quick look
  cargo xtask bench soak --roadstead ./target/release/roadstead --output json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Length of the load
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = minutes)]
    minutes: f64,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.05..=10_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("write a number of minutes, at least 0.05".into()),
    }
}

/// One condition of the verdict.
struct Check {
    what: String,
    found: String,
    bound: String,
    met: bool,
}

/// Runs the command.
///
/// # Errors
/// When the host cannot be started or ends, or a condition is not met; the table is printed before.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let given = arguments.common.roadstead.as_deref();
    programs::build(bench.layout, &[("roadstead", given)])?;
    let program = programs::release(bench.layout, "roadstead", given)?;
    let wrk = Wrk { program: programs::debian()? };
    let folder = prepare(bench)?;
    let cache = bench.scratch.path().join("component-cache");
    let start = Roadstead {
        program: &program,
        manifests: &folder.join("app.yaml"),
        component_cache: &cache,
        pinned: false,
        nats: None,
        more: &[],
    };
    let mut server = Server::roadstead(bench, &start)?;

    let whole = Duration::from_secs_f64(arguments.minutes * 60.0);
    let first = FIRST_PHASE.min(whole / 2);
    let step = Step::begin("soak", format_args!("mixed load with faults for {} minutes", arguments.minutes));
    let began = Instant::now();
    let mut told = Told::default();
    let mut looks = Vec::new();
    let mut at_rest = Vec::new();
    for (name, length) in [("after minute one", first), ("at the end", whole.saturating_sub(first))] {
        let (of_phase, samples) = phase(bench, &wrk, &mut server, length, began)?;
        told.add(of_phase);
        looks.extend(samples);
        let sample = rest(bench, &server, began).with_context(|| name)?;
        super::progress(format_args!("{sample}, at rest {name}"));
        at_rest.push(sample);
    }
    server.must_run()?;
    step.done("the load is over");

    let [first, last] = at_rest.as_slice() else { bail!("there must be two looks at rest") };
    let checks = checks(first, last, &told);
    let met = checks.iter().all(|check| check.met);
    let surroundings = super::surroundings(bench, &program);
    let rows: Vec<Vec<String>> = checks.iter().map(Check::row).collect();
    let text = format!(
        "{surroundings}. {} minutes of load: {} requests of hello, {} faults, {} messages.\n\n{}\n{}",
        arguments.minutes,
        told.hello_requests,
        told.faults,
        told.messages,
        table(&["condition", "found", "bound", "met"], 1, &rows),
        told.shown_unexpected(),
    );
    let json = json!({
        "surroundings": surroundings,
        "minutes": arguments.minutes,
        "met": met,
        "conditions": checks.iter().map(Check::json).collect::<Vec<_>>(),
        "hello_requests": told.hello_requests,
        "faults": told.faults,
        "messages": told.messages,
        "unexpected": told.unexpected,
        "samples": looks.iter().chain(&at_rest).map(Sample::json).collect::<Vec<_>>(),
    });
    super::print(arguments.common.output, &text, &json);
    if !met {
        bail!("not every condition is met");
    }
    Ok(())
}

/// A folder with the components and one manifest.
fn prepare(bench: &Bench<'_>) -> Result<PathBuf> {
    let folder = bench.scratch.folder("soak")?;
    for component in ["bare-http", "probe-gateway", "probe-worker"] {
        let file = format!("{component}.wasm");
        let original = bench.layout.test_guests().join(&file);
        fs::copy(&original, folder.join(&file)).with_context(|| format!("cannot copy {}", original.display()))?;
    }
    let manifest = manifests::trigger("hello", HELLO_HOST, "10s", "bare-http.wasm")
        + &manifests::trigger("faulty", faults::FAULTY_HOST, "500ms", "probe-gateway.wasm")
        + &manifests::trigger("asking", faults::ASKING_HOST, "10s", "probe-gateway.wasm")
        + &manifests::worker("worker", faults::WORKER_SUBJECT, POOL_SIZE, "probe-worker.wasm");
    fs::write(folder.join("app.yaml"), manifest).context("cannot write the manifest")?;
    Ok(folder)
}

/// All kinds of load at once for some time, with a look at the host every 10 s.
fn phase(
    bench: &Bench<'_>,
    wrk: &Wrk,
    server: &mut Server,
    length: Duration,
    began: Instant,
) -> Result<(Told, Vec<Sample>)> {
    let end = Instant::now() + length;
    let over = Arc::new(AtomicBool::new(false));
    let clients = Clients { hello: hello(bench, wrk, server, length)?, over: over.clone(), threads: Vec::new() };
    let mut clients = clients;
    let target = Target { http: server.http, over };
    for _ in 0..FAULT_CLIENTS {
        let target = target.clone();
        clients.threads.push(thread::spawn(move || faults::misbehave(&target)));
    }
    for _ in 0..MESSAGE_CLIENTS {
        let target = target.clone();
        clients.threads.push(thread::spawn(move || faults::send_messages(&target)));
    }
    let mut samples = Vec::new();
    while Instant::now() < end {
        bench.stop.sleep_until(end.min(Instant::now() + SAMPLE_INTERVAL))?;
        server.must_run()?;
        let sample = Sample::of(server, began)?;
        super::progress(&sample);
        samples.push(sample);
    }
    Ok((clients.finish()?, samples))
}

/// The load of one phase; it ends when the value is dropped.
struct Clients {
    hello: Child,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Told>>,
}

impl Clients {
    /// Waits for all of them and adds up what they saw.
    fn finish(mut self) -> Result<Told> {
        self.over.store(true, Ordering::Relaxed);
        let mut told = Told::default();
        for thread in self.threads.drain(..) {
            let Ok(of_thread) = thread.join() else { bail!("a client of the soak failed") };
            told.add(of_thread);
        }
        let mut output = String::new();
        if let Some(mut stdout) = self.hello.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut output).context("cannot read what wrk prints")?;
        }
        self.hello.wait()?;
        let hello = wrk::parse(&output)?;
        told.hello_requests = hello.requests;
        told.hello_failures = hello.bad_answers + hello.socket_errors;
        Ok(told)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.hello.kill().ok();
        self.hello.wait().ok();
    }
}

/// wrk in the background at a moderate rate.
fn hello(bench: &Bench<'_>, wrk: &Wrk, server: &Server, length: Duration) -> Result<Child> {
    let script = format!("function delay() return {HELLO_DELAY_MS} end\n");
    let script = bench.scratch.file("delay.lua", script.as_bytes())?;
    let mut command = wrk.command(&Load {
        server: server.http,
        target: "/",
        host: Some(HELLO_HOST),
        script: Some(&script),
        connections: HELLO_CONNECTIONS,
        seconds: length.as_secs().max(1),
    });
    command.stdout(Stdio::piped()).spawn().context("wrk could not be started")
}

/// Waits until nothing is under way any more, and a little longer, and looks. What does not come to rest shows there.
fn rest(bench: &Bench<'_>, server: &Server, began: Instant) -> Result<Sample> {
    let deadline = Instant::now() + REST_TIMEOUT;
    while !Sample::of(server, began)?.is_at_rest() && Instant::now() < deadline {
        bench.stop.sleep_until(Instant::now() + Duration::from_millis(200))?;
    }
    bench.stop.sleep_until(Instant::now() + SETTLE)?;
    Sample::of(server, began)
}

fn checks(first: &Sample, last: &Sample, told: &Told) -> Vec<Check> {
    let growth = last.usage.resident_kib as f64 / first.usage.resident_kib as f64;
    let mib = |kib: u64| shown(kib as f64 / 1024.0);
    let mut checks = vec![
        Check {
            what: format!("RSS at the end, {} MiB after minute one", mib(first.usage.resident_kib)),
            found: format!("{} MiB ({:+.1} %)", mib(last.usage.resident_kib), (growth - 1.0) * 100.0),
            bound: "+5 %".into(),
            met: growth <= GROWTH_MAX,
        },
        at_most("open files", last.usage.open_files, first.usage.open_files + FILES_SLACK),
        at_most("threads", last.usage.threads, first.usage.threads + THREADS_SLACK),
        at_most("answers and ends other than documented", told.unexpected_count, 0),
        at_most("failures of hello", told.hello_failures, 0),
    ];
    checks.extend(last.gauges.iter().map(|gauge| Check {
        what: format!("{} at rest", gauge.name),
        found: shown_count(gauge.value),
        bound: shown_count(gauge.at_rest_max),
        met: gauge.value <= gauge.at_rest_max,
    }));
    checks
}

fn shown_count(value: f64) -> String {
    format!("{value:.0}")
}

fn at_most(what: &str, found: u64, bound: u64) -> Check {
    Check { what: what.into(), found: found.to_string(), bound: bound.to_string(), met: found <= bound }
}

impl Check {
    fn row(&self) -> Vec<String> {
        let met = if self.met { "yes" } else { "NO" };
        vec![self.what.clone(), self.found.clone(), self.bound.clone(), met.into()]
    }

    fn json(&self) -> serde_json::Value {
        json!({"condition": self.what, "found": self.found, "bound": self.bound, "met": self.met})
    }
}

#[cfg(test)]
mod tests {
    use super::super::process_stats::Usage;
    use super::*;

    fn sample(resident_kib: u64, open_files: u64) -> Sample {
        Sample { seconds: 0, usage: Usage { resident_kib, threads: 10, open_files }, gauges: Vec::new() }
    }

    #[test]
    fn growth_beyond_five_percent_fails() {
        let met = |first: &Sample, last: &Sample| checks(first, last, &Told::default()).iter().all(|check| check.met);
        assert!(met(&sample(100_000, 20), &sample(105_000, 24)));
        assert!(met(&sample(100_000, 20), &sample(50_000, 20)));
        assert!(!met(&sample(100_000, 20), &sample(105_001, 20)));
        assert!(!met(&sample(100_000, 20), &sample(100_000, 25)));
    }

    #[test]
    fn minutes_may_be_parts() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        assert!(minutes("0").is_err() && minutes("-1").is_err() && minutes("x").is_err() && minutes("NaN").is_err());
    }
}
