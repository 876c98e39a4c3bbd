//! `cargo xtask bench density`: what a thousand workloads cost one host: time to start, memory, and speed beside a host
//! with one. All of them have the smallest component, so that the figures are the host's.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::figures::{median, shown, table};
use super::server::{Roadstead, Server};
use super::wrk::{Load, Wrk};
use super::{Bench, Common, components, manifests, programs};
use crate::report::Step;

const WORKLOADS: u32 = 1_000;
/// Components of a host that is started again.
const COMPONENTS: u32 = 100;
const COMPONENT: &str = "bare-http";
const CONNECTIONS: u32 = 32;
const WARM_UP_SECONDS: u64 = 1;
/// Between readiness and a look at memory: compilers and what they used have gone.
const SETTLE: Duration = Duration::from_secs(2);

/// Measure what a thousand workloads cost one host
#[derive(Args)]
#[command(
    long_about = "Starts hosts with 1 and with 1,000 triggers of one component, and with 100 different components,
each with an empty and with a filled component cache. Prints the time from the start of the process to the first 200 of
/readyz, memory, and requests/s with 1,000 triggers, asked in turn, against 1.

Starts use all cores; where speed is measured the server has core 0 and the client core 1."
)]
#[command(after_help = "Examples:
  cargo xtask bench density
  cargo xtask bench density --rounds 5 --seconds 10
  cargo xtask bench density --roadstead ./target/release/roadstead --output json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Length of each run that measures speed
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of which the median counts, of starts with a filled cache and of speed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// How a host with a set of manifests starts.
struct Start {
    cold_ms: f64,
    /// Of each round.
    warm_ms: Vec<f64>,
    /// Of the last start.
    resident_kib: u64,
}

/// Runs the command.
///
/// # Errors
/// When a host cannot be started or does not answer every request.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let given = arguments.common.roadstead.as_deref();
    programs::build(bench.layout, &[("roadstead", given)])?;
    let program = programs::release(bench.layout, "roadstead", given)?;
    let wrk = Wrk { program: programs::debian()? };

    let one = same_component(bench, "one", 1)?;
    let many = same_component(bench, "many", WORKLOADS)?;
    let different = different_components(bench)?;
    let of_one = starts(bench, arguments, &program, &one, "1 trigger")?;
    let of_many = starts(bench, arguments, &program, &many, &format!("{WORKLOADS} triggers of one component"))?;
    let of_different = starts(bench, arguments, &program, &different, &format!("{COMPONENTS} different components"))?;
    let [speed_of_one, speed_of_many] = speeds(bench, arguments, &program, &wrk, [(&one, 1), (&many, WORKLOADS)])?;

    let further = WORKLOADS - 1;
    let per_workload_kib = (of_many.resident_kib as f64 - of_one.resident_kib as f64) / f64::from(further);
    let ratio = median(&speed_of_many) / median(&speed_of_one);
    let row = |what: &str, value: f64, unit: &str| vec![what.to_owned(), shown(value), unit.to_owned()];
    let mib = |kib: u64| kib as f64 / 1024.0;
    let rows = [
        row("ready with 1 trigger, empty cache", of_one.cold_ms, "ms"),
        row("ready with 1 trigger, filled cache", median(&of_one.warm_ms), "ms"),
        row("ready with 1,000 triggers of one component, empty cache", of_many.cold_ms, "ms"),
        row("ready with 1,000 triggers of one component, filled cache", median(&of_many.warm_ms), "ms"),
        row("ready with 100 different components, empty cache", of_different.cold_ms, "ms"),
        row("ready with 100 different components, filled cache", median(&of_different.warm_ms), "ms"),
        row("RSS with 1 trigger", mib(of_one.resident_kib), "MiB"),
        row("RSS with 1,000 triggers of one component", mib(of_many.resident_kib), "MiB"),
        row("RSS per further workload", per_workload_kib, "KiB"),
        row("RSS with 100 different components", mib(of_different.resident_kib), "MiB"),
        row("speed with 1 trigger", median(&speed_of_one), "requests/s"),
        row("speed with 1,000 triggers", median(&speed_of_many), "requests/s"),
        row("1,000 triggers against 1", ratio, "ratio"),
    ];
    let surroundings = super::surroundings(bench, &program);
    let text = format!(
        "{surroundings}. Medians of {} rounds; speed in runs of {} s.\n\n{}",
        arguments.rounds,
        arguments.seconds,
        table(&["measure", "value", "unit"], 1, &rows),
    );
    let start =
        |start: &Start| json!({"cold_ms": start.cold_ms, "warm_ms": start.warm_ms, "resident_kib": start.resident_kib});
    let json = json!({
        "surroundings": surroundings,
        "one_trigger": start(&of_one),
        "thousand_triggers": start(&of_many),
        "hundred_components": start(&of_different),
        "resident_kib_per_further_workload": per_workload_kib,
        "requests_per_s_one": speed_of_one,
        "requests_per_s_thousand": speed_of_many,
        "ratio": ratio,
    });
    super::print(arguments.common.output, &text, &json);
    Ok(())
}

/// A folder with `count` triggers, `h0.test` and on, of one component.
fn same_component(bench: &Bench<'_>, name: &str, count: u32) -> Result<PathBuf> {
    let folder = bench.scratch.folder(name)?;
    write(&folder.join("component.wasm"), &component(bench)?)?;
    for number in 0..count {
        write_trigger(&folder, number, "component.wasm")?;
    }
    Ok(folder)
}

/// A folder with triggers of components that are all different.
fn different_components(bench: &Bench<'_>) -> Result<PathBuf> {
    let folder = bench.scratch.folder("different")?;
    let component = component(bench)?;
    for number in 0..COMPONENTS {
        let file = format!("component-{number}.wasm");
        write(&folder.join(&file), &components::variant(&component, number))?;
        write_trigger(&folder, number, &file)?;
    }
    Ok(folder)
}

fn component(bench: &Bench<'_>) -> Result<Vec<u8>> {
    let path = bench.layout.test_guests().join(format!("{COMPONENT}.wasm"));
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn write_trigger(folder: &Path, number: u32, image: &str) -> Result<()> {
    let manifest = manifests::trigger(&format!("t{number}"), &format!("h{number}.test"), "30s", image);
    write(&folder.join(format!("t{number:04}.yaml")), manifest.as_bytes())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Starts a host with an empty cache, then several times with what the first start left there.
fn starts(bench: &Bench<'_>, arguments: &Arguments, program: &Path, manifests: &Path, what: &str) -> Result<Start> {
    let step = Step::begin("start", what);
    let cache = manifests.with_extension("cache");
    let start = Roadstead { program, manifests, component_cache: &cache, pinned: false, nats: None, more: &[] };
    let once = || -> Result<(f64, u64)> {
        let server = Server::roadstead(bench, &start)?;
        bench.stop.sleep_until(Instant::now() + SETTLE)?;
        Ok((server.ready_after.as_secs_f64() * 1e3, server.resident_kib()?))
    };
    let (cold_ms, _) = once()?;
    let mut warm_ms = Vec::new();
    let mut resident_kib = 0;
    for _ in 0..arguments.rounds {
        let (ready_ms, kib) = once()?;
        warm_ms.push(ready_ms);
        resident_kib = kib;
    }
    let (cold, warm, kib) = (shown(cold_ms), shown(median(&warm_ms)), shown(resident_kib as f64));
    step.done(format_args!("ready after {cold} ms with an empty cache, {warm} ms with a filled one, {kib} KiB"));
    Ok(Start { cold_ms, warm_ms, resident_kib })
}

/// Requests/s of two hosts, each of which is asked for all its triggers in turn.
fn speeds(
    bench: &Bench<'_>,
    arguments: &Arguments,
    program: &Path,
    wrk: &Wrk,
    hosts: [(&PathBuf, u32); 2],
) -> Result<[Vec<f64>; 2]> {
    let step = Step::begin("speed", format_args!("{} rounds of {} s a host", arguments.rounds, arguments.seconds));
    let mut prepared = Vec::new();
    for (manifests, triggers) in hosts {
        let cache = manifests.with_extension("cache");
        let start = Roadstead { program, manifests, component_cache: &cache, pinned: true, nats: None, more: &[] };
        let script = bench.scratch.file(&format!("rotate-{triggers}.lua"), rotation(triggers).as_bytes())?;
        prepared.push((Server::roadstead(bench, &start)?, script));
    }
    let mut speeds = [Vec::new(), Vec::new()];
    for round in 0..=arguments.rounds {
        for ((server, script), speeds) in prepared.iter().zip(&mut speeds) {
            bench.stop.check()?;
            // Round 0 only warms up.
            let seconds = if round == 0 { WARM_UP_SECONDS } else { arguments.seconds };
            let outcome = wrk.run(&Load {
                server: server.http,
                target: "/",
                host: None,
                script: Some(script),
                connections: CONNECTIONS,
                seconds,
            })?;
            if round > 0 {
                speeds.push(outcome.requests_per_s);
            }
        }
    }
    bench.stop.check()?;
    let [one, many] = &speeds;
    step.done(format_args!("{} and {} requests/s", shown(median(one)), shown(median(many))));
    Ok(speeds)
}

/// A script for wrk that asks one host after the other. It makes its requests before the run, so that their number
/// does not change what the client costs.
fn rotation(hosts: u32) -> String {
    format!(
        "local requests, turn = {{}}, 0
function init()
  for number = 0, {hosts} - 1 do
    requests[number] = wrk.format('GET', '/', {{['Host'] = 'h' .. number .. '.test'}})
  end
end
function request()
  turn = (turn + 1) % {hosts}
  return requests[turn]
end
"
    )
}
