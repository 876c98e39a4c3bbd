//! `cargo xtask bench capabilities`: what the host adds to a call of its stores and to a request that a component sends: the
//! calls of a component in a real host beside the same calls of the library's own client, in turn within each round. What
//! runs is in `parts`, who is asked in `asking`, the judgement in `tables`.

mod asking;
mod parts;
mod tables;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

use super::figures::{median, shown};
use super::http::in_turn;
use super::{Bench, Common, programs};
use crate::report::Step;
use asking::{CallTimes, RequestRate};
use parts::{Backend, Operation, Parts};

/// Sizes of the values, in bytes.
const SIZES: [u32; 2] = [64, 64 * 1024];
/// Outgoing requests under way.
const AT_ONCE: [u32; 2] = [1, 32];

/// Measure what the host adds to a call of its stores and to an outgoing request
#[derive(Args)]
#[command(
    long_about = "Prints the time of a get and of a set of 64 B and of 64 KiB by a component, for each place where a host keeps
values: in memory, on disk, in NATS with JetStream, in PostgreSQL; beside the same by the library's own client: redb with the
same durability, async-nats' key-value bucket, tokio-postgres with the host's statements prepared. Then the requests/s of
a component that sends requests, beside hyper's client. Says which goals are met.

The host and the native clients have core 0, in turn; their servers have core 1. A component makes its calls within one
request and times each by its own clock. Figures are medians of the rounds; one of calls is the median of the round's."
)]
#[command(after_help = "Examples:
  cargo xtask bench capabilities                          (some minutes)
  cargo xtask bench capabilities --rounds 3 --calls-percent 10
  cargo xtask bench capabilities --roadstead ./before --native-calls ./target/release/native-calls \\
    --bare-hyper ./target/release/bare-hyper")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Take this program for the native clients and build none
    #[arg(long, value_name = "PATH")]
    native_calls: Option<PathBuf>,
    /// Take this program for the server that answers outgoing requests and build none
    #[arg(long, value_name = "PATH")]
    bare_hyper: Option<PathBuf>,
    /// Rounds of which the median counts
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Calls of each kind in each round, as a part of the usual
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    calls_percent: u32,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A component in the host.
    Component,
    /// The library's own client.
    Native,
}

/// One kind of call of a store: figures of each round.
#[derive(Debug)]
struct Calls {
    backend: Backend,
    operation: Operation,
    size: u32,
    component: Vec<CallTimes>,
    /// None where there is no client but the host.
    native: Vec<CallTimes>,
}

/// Outgoing requests: figures of each round.
#[derive(Debug)]
struct Requests {
    at_once: u32,
    component: Vec<RequestRate>,
    native: Vec<RequestRate>,
}

/// Runs the command.
///
/// # Errors
/// When a part is missing, or a call fails. Goals that are not met are no error.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let given = [
        ("roadstead", arguments.common.roadstead.as_deref()),
        ("native-calls", arguments.native_calls.as_deref()),
        ("bare-hyper", arguments.bare_hyper.as_deref()),
    ];
    programs::build(bench.layout, &given)?;
    let [roadstead, native, hyper] = given.map(|(name, given)| programs::release(bench.layout, name, given));
    let (roadstead, native, hyper) = (roadstead?, native?, hyper?);
    programs::taskset()?;
    let mut parts = Parts::start(bench, &roadstead, &native, &hyper)?;
    let calls = stores(bench, arguments, &parts)?;
    let requests = requests(bench, arguments, &parts)?;
    parts.must_run()?;
    let surroundings = super::surroundings(bench, &roadstead);
    let text = tables::text(&calls, &requests, arguments.rounds, &surroundings);
    let json = json!({
        "surroundings": surroundings,
        "rounds": arguments.rounds,
        "calls_percent": arguments.calls_percent,
        "results": tables::json(&calls, &requests),
    });
    super::print(arguments.common.output, &text, &json);
    Ok(())
}

fn stores(bench: &Bench<'_>, arguments: &Arguments, parts: &Parts) -> Result<Vec<Calls>> {
    let mut all = Vec::new();
    for backend in Backend::ALL {
        let step = Step::begin(backend.name(), format_args!("{} rounds", arguments.rounds));
        for operation in Operation::ALL {
            for size in SIZES {
                let mut calls = Calls { backend, operation, size, component: Vec::new(), native: Vec::new() };
                let what = || format!("{} of {size} bytes, {}", operation.name(), backend.name());
                for round in 0..arguments.rounds {
                    for caller in in_turn(round, [Caller::Component, Caller::Native].into_iter()) {
                        bench.stop.check()?;
                        calls.measure(caller, parts, arguments.calls_percent).with_context(what)?;
                    }
                }
                super::progress(format_args!("{}: {} us", what(), shown(median(&p50s(&calls.component)))));
                all.push(calls);
            }
        }
        step.done("measured");
    }
    Ok(all)
}

impl Calls {
    /// One run.
    fn measure(&mut self, caller: Caller, parts: &Parts, percent: u32) -> Result<()> {
        let count = part(self.backend.calls(self.operation), percent);
        match caller {
            Caller::Component => {
                self.component.push(parts.component_calls(self.backend, self.operation, self.size, count)?);
            }
            Caller::Native => {
                self.native.extend(parts.native_calls(self.backend, self.operation, self.size, count)?);
            }
        }
        Ok(())
    }
}

fn requests(bench: &Bench<'_>, arguments: &Arguments, parts: &Parts) -> Result<Vec<Requests>> {
    let step = Step::begin("outgoing HTTP", format_args!("{} rounds", arguments.rounds));
    let count = part(parts::REQUESTS, arguments.calls_percent);
    let mut all = Vec::new();
    for at_once in AT_ONCE {
        let mut requests = Requests { at_once, component: Vec::new(), native: Vec::new() };
        for round in 0..arguments.rounds {
            for caller in in_turn(round, [Caller::Component, Caller::Native].into_iter()) {
                bench.stop.check()?;
                match caller {
                    Caller::Component => requests.component.push(parts.component_requests(count, at_once)?),
                    Caller::Native => requests.native.push(parts.native_requests(count, at_once)?),
                }
            }
        }
        all.push(requests);
    }
    step.done("measured");
    Ok(all)
}

/// So many per cent of it, and not none.
fn part(count: u32, percent: u32) -> u32 {
    u32::try_from(u64::from(count) * u64::from(percent) / 100).unwrap_or(u32::MAX).max(AT_ONCE[1])
}

fn p50s(times: &[CallTimes]) -> Vec<f64> {
    times.iter().map(|times| times.p50_us).collect()
}

#[cfg(test)]
mod tests {
    use super::part;

    #[test]
    fn a_part_is_never_none() {
        assert_eq!(part(1_000, 100), 1_000);
        assert_eq!(part(1_000, 10), 100);
        assert_eq!(part(1_000, 1), 32);
        assert_eq!(part(u32::MAX, 1_000), u32::MAX);
    }
}
