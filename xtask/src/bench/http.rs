//! `cargo xtask bench http`: requests a second, processor time a request, latency and memory, beside `wasmtime serve` and
//! the bare loop, all in one run. The servers take turns within each round, so that what disturbs the machine disturbs
//! both. What is asked of them is in `cases`, how it is shown in `tables`.

mod cases;
mod tables;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

use super::figures::{median, shown};
use super::oha::{self, Latency, Oha};
use super::server::{Roadstead, Server};
use super::wrk::{self, Wrk};
use super::{Bench, Common, programs};
use crate::process;
use crate::report::Step;
use cases::{Case, Prepared};

/// Connections at which the own maximum of a server is taken, and at which latency is measured.
const CONNECTIONS: u32 = 32;
/// Parts of the own maximum at which latency is measured.
const LOADS_PERCENT: [u32; 3] = [30, 60, 90];
const WARM_UP_SECONDS: u64 = 1;

/// Measure speed and latency beside `wasmtime serve`
#[derive(Args)]
#[command(
    long_about = "Prints, for Roadstead and `wasmtime serve` in one run, requests/s, processor time a request and
memory; then latency at 30, 60 and 90 % of each server's own maximum at 32 connections, counted from when a request was
due. The bare loop is the engine alone: one thread that makes and calls instances. Its figures are the limit of both.

Every server has core 0 for itself, its client core 1. Figures are medians of the rounds, max the largest of all. A
request that is answered otherwise than with 2xx, or not at all, ends the command: such a run says nothing."
)]
#[command(after_help = "Examples:
  cargo xtask bench http                                        all cases (about 9 minutes)
  cargo xtask bench http --only hello --latency-seconds 60      long enough to see rare delays
  cargo xtask bench http --only hello --only echo --output json
  cargo xtask bench http --roadstead ./other --bare-loop ./target/release/bare-loop")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Length of each run, of each server in each round
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of each run that measures latency; as --seconds where it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    latency_seconds: Option<u64>,
    /// Rounds of which the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Measure only this case; may be given several times
    #[arg(long, value_name = "CASE", value_enum)]
    only: Vec<Case>,
    /// Take this program for the bare loop and build none
    #[arg(long, value_name = "PATH")]
    bare_loop: Option<PathBuf>,
}

/// Everything that takes part.
struct Setting<'a> {
    bench: &'a Bench<'a>,
    arguments: &'a Arguments,
    roadstead: PathBuf,
    bare_loop: PathBuf,
    wasmtime: PathBuf,
    wrk: Wrk,
    oha: Oha,
}

/// A server with the name that the tables have for it.
struct Contestant {
    name: &'static str,
    server: Server,
}

/// Requests without a bound on their rate, on one server.
struct Speed {
    case: Case,
    connections: u32,
    server: &'static str,
    /// Of each round.
    requests_per_s: Vec<f64>,
    cpu_us_per_request: Vec<f64>,
    resident_kib_after: u64,
}

/// Requests at a fixed rate, on one server.
struct Lag {
    case: Case,
    load_percent: u32,
    server: &'static str,
    asked_per_s: u64,
    rounds: Vec<Latency>,
}

/// What the engine alone does.
#[derive(Default)]
struct BareLoop {
    calls_per_s: Vec<f64>,
    us_per_call: Vec<f64>,
    us_per_instantiation: Vec<f64>,
}

/// All that was measured.
#[derive(Default)]
struct Results {
    speeds: Vec<Speed>,
    lags: Vec<Lag>,
    bare_loop: BareLoop,
}

/// Runs the command.
///
/// # Errors
/// When a part is missing, or a server does not answer every request.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let layout = bench.layout;
    let given = [("roadstead", arguments.common.roadstead.as_deref()), ("bare-loop", arguments.bare_loop.as_deref())];
    programs::build(layout, &given)?;
    let [roadstead, bare_loop] = given.map(|(name, given)| programs::release(layout, name, given));
    let setting = Setting {
        bench,
        arguments,
        roadstead: roadstead?,
        bare_loop: bare_loop?,
        wasmtime: programs::install(layout, &programs::WASMTIME)?,
        oha: Oha { program: programs::install(layout, &programs::OHA)? },
        wrk: Wrk { program: programs::debian()? },
    };
    let mut results = Results::default();
    for case in Case::ALL {
        if arguments.only.is_empty() || arguments.only.contains(&case) {
            setting.measure(case, &mut results).with_context(|| format!("{}: no result", case.name()))?;
        }
    }
    let surroundings = super::surroundings(bench, &setting.roadstead);
    let text = tables::text(&results, arguments, &surroundings);
    let json = json!({
        "surroundings": surroundings,
        "seconds": arguments.seconds,
        "latency_seconds": arguments.latency_seconds.unwrap_or(arguments.seconds),
        "rounds": arguments.rounds,
        "results": tables::json(&results),
    });
    super::print(arguments.common.output, &text, &json);
    Ok(())
}

impl Setting<'_> {
    fn measure(&self, case: Case, results: &mut Results) -> Result<()> {
        let prepared = case.prepare(self.bench)?;
        let mut contestants = self.start(&prepared)?;
        let took = format!("{} rounds of {} s a server and load", self.arguments.rounds, self.arguments.seconds);
        let step = Step::begin(case.name(), format_args!("{}: {took}", case.what()));
        for contestant in &contestants {
            let name = contestant.name;
            self.load(contestant, &prepared, CONNECTIONS, WARM_UP_SECONDS).with_context(|| name)?;
        }
        for connections in case.connections() {
            self.speed(case, &prepared, *connections, &contestants, results)?;
        }
        for load_percent in LOADS_PERCENT {
            self.latency(case, &prepared, load_percent, &contestants, results)?;
        }
        for contestant in &mut contestants {
            contestant.server.must_run()?;
        }
        step.done("measured");
        Ok(())
    }

    fn start(&self, prepared: &Prepared) -> Result<Vec<Contestant>> {
        let cache = self.bench.scratch.path().join("component-cache");
        let start = Roadstead {
            program: &self.roadstead,
            manifests: &prepared.manifest,
            component_cache: &cache,
            pinned: true,
            nats: None,
            more: &[],
        };
        let roadstead = Server::roadstead(self.bench, &start).context("Roadstead")?;
        let mut contestants = vec![Contestant { name: tables::ROADSTEAD, server: roadstead }];
        if let Some(component) = &prepared.for_wasmtime {
            let server = Server::wasmtime(self.bench, &self.wasmtime, component).context("wasmtime serve")?;
            contestants.push(Contestant { name: tables::WASMTIME, server });
        }
        Ok(contestants)
    }

    /// Each server in each round, and with the small case at its usual number of connections the bare loop too.
    fn speed(
        &self,
        case: Case,
        prepared: &Prepared,
        connections: u32,
        contestants: &[Contestant],
        results: &mut Results,
    ) -> Result<()> {
        let mut speeds: Vec<Speed> = contestants
            .iter()
            .map(|contestant| Speed {
                case,
                connections,
                server: contestant.name,
                requests_per_s: Vec::new(),
                cpu_us_per_request: Vec::new(),
                resident_kib_after: 0,
            })
            .collect();
        for round in 0..self.arguments.rounds {
            for (contestant, speed) in in_turn(round, contestants.iter().zip(&mut speeds)) {
                let run = self
                    .load(contestant, prepared, connections, self.arguments.seconds)
                    .with_context(|| contestant.name)?;
                speed.requests_per_s.push(run.requests_per_s);
                speed.cpu_us_per_request.push(run.cpu_us_per_request);
                speed.resident_kib_after = contestant.server.resident_kib()?;
            }
            if case == Case::Hello && connections == CONNECTIONS {
                self.bare_loop(prepared, &mut results.bare_loop)?;
            }
        }
        for speed in &speeds {
            super::progress(format_args!(
                "{connections} connections: {} {} requests/s, {} us",
                speed.server,
                shown(median(&speed.requests_per_s)),
                shown(median(&speed.cpu_us_per_request)),
            ));
        }
        results.speeds.extend(speeds);
        Ok(())
    }

    /// One run of wrk.
    fn load(&self, contestant: &Contestant, prepared: &Prepared, connections: u32, seconds: u64) -> Result<wrk::Speed> {
        self.bench.stop.check()?;
        let load = wrk::Load {
            server: contestant.server.http,
            target: prepared.target,
            host: prepared.host,
            script: prepared.script.as_deref(),
            connections,
            seconds,
        };
        let speed = self.wrk.measure(contestant.server.pid(), &load)?;
        self.bench.stop.check()?;
        Ok(speed)
    }

    fn bare_loop(&self, prepared: &Prepared, results: &mut BareLoop) -> Result<()> {
        let Some(component) = &prepared.for_wasmtime else { return Ok(()) };
        let told = bare_loop_output(&self.bare_loop, component, self.arguments.seconds)?;
        let value = |name| {
            let value = told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
            value.with_context(|| format!("the bare loop printed no {name}"))
        };
        results.calls_per_s.push(value("calls/s")?);
        results.us_per_call.push(value("us/call")?);
        results.us_per_instantiation.push(value("us/instantiation")?);
        self.bench.stop.check()
    }

    fn latency(
        &self,
        case: Case,
        prepared: &Prepared,
        load_percent: u32,
        contestants: &[Contestant],
        results: &mut Results,
    ) -> Result<()> {
        let mut lags = Vec::new();
        for contestant in contestants {
            let own = results.speeds.iter().find(|speed| {
                speed.case == case && speed.connections == CONNECTIONS && speed.server == contestant.name
            });
            let maximum = median(&own.context("there is no maximum to take a part of")?.requests_per_s);
            let asked_per_s = rate(maximum, load_percent);
            lags.push(Lag { case, load_percent, server: contestant.name, asked_per_s, rounds: Vec::new() });
        }
        for round in 0..self.arguments.rounds {
            for (contestant, lag) in in_turn(round, contestants.iter().zip(&mut lags)) {
                self.bench.stop.check()?;
                let latency = self.oha.run(&oha::Load {
                    server: contestant.server.http,
                    target: prepared.target,
                    host: prepared.host,
                    body: prepared.body.as_deref(),
                    connections: CONNECTIONS,
                    seconds: self.arguments.latency_seconds.unwrap_or(self.arguments.seconds),
                    requests_per_s: lag.asked_per_s,
                });
                lag.rounds.push(latency.with_context(|| contestant.name)?);
            }
        }
        for lag in &lags {
            let p99: Vec<f64> = lag.rounds.iter().map(|latency| latency.p99_us).collect();
            super::progress(format_args!("{load_percent} %: {} p99 {} us", lag.server, shown(median(&p99))));
        }
        results.lags.extend(lags);
        self.bench.stop.check()
    }
}

/// Who goes first changes from round to round.
pub(super) fn in_turn<T>(round: u32, all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    if round % 2 == 1 {
        all.reverse();
    }
    all
}

fn bare_loop_output(program: &Path, component: &Path, seconds: u64) -> Result<String> {
    let mut command = programs::pinned(program, programs::SERVER_CORE);
    process::output(command.arg(component).arg(seconds.to_string()))
}

/// A part of a rate, at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float that is cast saturates")]
pub(super) fn rate(maximum: f64, percent: u32) -> u64 {
    ((maximum * f64::from(percent) / 100.0).round() as u64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns_in_going_first() {
        assert_eq!(in_turn(0, [1, 2].into_iter()), [1, 2]);
        assert_eq!(in_turn(1, [1, 2].into_iter()), [2, 1]);
    }

    #[test]
    fn a_rate_is_a_part_of_the_maximum() {
        assert_eq!(rate(10_000.0, 60), 6_000);
        assert_eq!(rate(0.5, 30), 1);
        assert_eq!(rate(f64::NAN, 30), 1);
    }
}
