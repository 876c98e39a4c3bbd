//! `cargo xtask bench ingress`: what a request costs before a workload is asked: the host's ingress with a constant answer
//! in place of guests, beside a bare hyper server with the same answer. The two take turns within each round, so that what
//! disturbs the machine disturbs both.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

use super::figures::{median, shown, table};
use super::h2load::{self, H2load};
use super::http::in_turn;
use super::server::Server;
use super::wrk::{self, Wrk};
use super::{Bench, Output, process_stats, programs};
use crate::report::Step;
use crate::setup;

const INGRESS: &str = "bare-ingress";
const HYPER: &str = "bare-hyper";
const WARM_UP_SECONDS: u64 = 1;
/// Processor time of a request over HTTP/1.1, as a multiple of hyper's, that we want to stay below.
const GOAL: f64 = 1.6;

/// Measure the ingress alone beside a bare hyper server
#[derive(Args)]
#[command(
    long_about = "Prints, for the ingress with a constant answer and for a bare hyper server, requests/s and processor time a
request over HTTP/1.1 with keep-alive and over HTTP/2 with 100 streams on a connection. hyper's server has no routes, no
limits and no deadlines; the ingress has its own, and answers within the host's process, without a guest.

Every server has core 0 for itself, its client core 1. Figures are medians of the rounds. Processor time says more than
requests/s where the client is the slower of the two."
)]
#[command(after_help = "Examples:
  cargo xtask bench ingress                               (about 2 minutes)
  cargo xtask bench ingress --rounds 9 --seconds 2
  cargo xtask bench ingress --bare-ingress ./before --bare-hyper ./target/release/bare-hyper")]
pub(crate) struct Arguments {
    /// Measure this build of the ingress and build none
    #[arg(long, value_name = "PATH")]
    bare_ingress: Option<PathBuf>,
    /// Take this program for hyper's server and build none
    #[arg(long, value_name = "PATH")]
    bare_hyper: Option<PathBuf>,
    /// Form of what goes to standard output
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Length of each run, of each server in each round
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// What is asked of both.
#[derive(Debug, Clone, Copy)]
enum Load {
    Http1 { connections: u32 },
    Http2 { connections: u32, streams: u32 },
}

const LOADS: [Load; 4] = [
    Load::Http1 { connections: 32 },
    Load::Http1 { connections: 256 },
    Load::Http2 { connections: 1, streams: 100 },
    Load::Http2 { connections: 8, streams: 100 },
];

impl Load {
    fn name(self) -> String {
        match self {
            Self::Http1 { connections } => format!("HTTP/1.1, {connections} connections"),
            Self::Http2 { connections: 1, streams } => format!("HTTP/2, 1 connection with {streams} streams"),
            Self::Http2 { connections, streams } => format!("HTTP/2, {connections} connections with {streams} streams"),
        }
    }

    /// What hyper's server is told to speak.
    fn protocol(self) -> &'static str {
        match self {
            Self::Http1 { .. } => "http1",
            Self::Http2 { .. } => "http2",
        }
    }
}

struct Clients {
    wrk: Wrk,
    h2load: H2load,
}

/// One server under one load: figures of each round.
#[derive(Debug, Default)]
struct Speed {
    requests_per_s: Vec<f64>,
    cpu_us_per_request: Vec<f64>,
    /// What of it the server spent in its own code, not in the kernel.
    user_us_per_request: Vec<f64>,
}

/// Both servers under one load: the ingress, and hyper.
struct Comparison {
    load: Load,
    speeds: [Speed; 2],
}

impl Comparison {
    fn cpu_ratio(&self) -> f64 {
        let [ingress, hyper] = &self.speeds;
        median(&ingress.cpu_us_per_request) / median(&hyper.cpu_us_per_request)
    }
}

/// Runs the command.
///
/// # Errors
/// When a part is missing, or a server does not answer every request.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let given = [(INGRESS, arguments.bare_ingress.as_deref()), (HYPER, arguments.bare_hyper.as_deref())];
    programs::build(bench.layout, &given)?;
    let [ingress, hyper] = given.map(|(name, given)| programs::release(bench.layout, name, given));
    let (ingress, hyper) = (ingress?, hyper?);
    let clients = Clients {
        wrk: Wrk { program: programs::debian()? },
        h2load: H2load { program: setup::program("h2load", "nghttp2-client")? },
    };
    let mut comparisons = Vec::new();
    for load in LOADS {
        let name = load.name();
        let step = Step::begin(&*name, format_args!("{} rounds of {} s a server", arguments.rounds, arguments.seconds));
        let mut servers =
            [Server::bare(bench, INGRESS, &ingress, &[])?, Server::bare(bench, HYPER, &hyper, &[load.protocol()])?];
        let speeds = clients.compare(bench, arguments, load, &servers).with_context(|| name.clone())?;
        for server in &mut servers {
            server.must_run()?;
        }
        let comparison = Comparison { load, speeds };
        step.done(format_args!("{} times hyper's processor time", shown(comparison.cpu_ratio())));
        comparisons.push(comparison);
    }
    let surroundings = super::surroundings(bench, &ingress);
    let text = text(&comparisons, arguments, &surroundings);
    let json = json!({
        "surroundings": surroundings,
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "results": comparisons.iter().map(as_json).collect::<Vec<_>>(),
    });
    super::print(arguments.output, &text, &json);
    Ok(())
}

impl Clients {
    fn compare(
        &self,
        bench: &Bench<'_>,
        arguments: &Arguments,
        load: Load,
        servers: &[Server; 2],
    ) -> Result<[Speed; 2]> {
        let mut speeds = [Speed::default(), Speed::default()];
        for server in servers {
            self.load(bench, server, load, WARM_UP_SECONDS, &mut Speed::default())?;
        }
        for round in 0..arguments.rounds {
            for (server, speed) in in_turn(round, servers.iter().zip(&mut speeds)) {
                self.load(bench, server, load, arguments.seconds, speed)?;
            }
        }
        Ok(speeds)
    }

    /// One run.
    fn load(&self, bench: &Bench<'_>, server: &Server, load: Load, seconds: u64, speed: &mut Speed) -> Result<()> {
        bench.stop.check()?;
        let before = process_stats::cpu_times(server.pid())?;
        let (requests, requests_per_s) = match load {
            Load::Http1 { connections } => {
                let load =
                    wrk::Load { server: server.http, target: "/", host: None, script: None, connections, seconds };
                let outcome = self.wrk.run(&load)?;
                (outcome.requests, outcome.requests_per_s)
            }
            Load::Http2 { connections, streams } => {
                let outcome = self.h2load.run(&h2load::Load { server: server.http, connections, streams, seconds })?;
                (outcome.requests, outcome.requests_per_s)
            }
        };
        let after = process_stats::cpu_times(server.pid())?;
        let us_per_request = |used: Duration| used.as_secs_f64() * 1e6 / requests as f64;
        let user = after.user.saturating_sub(before.user);
        let system = after.system.saturating_sub(before.system);
        speed.requests_per_s.push(requests_per_s);
        speed.cpu_us_per_request.push(us_per_request(user + system));
        speed.user_us_per_request.push(us_per_request(user));
        bench.stop.check()
    }
}

fn text(comparisons: &[Comparison], arguments: &Arguments, surroundings: &str) -> String {
    let rows: Vec<Vec<String>> = comparisons
        .iter()
        .map(|comparison| {
            let [ingress, hyper] = &comparison.speeds;
            let figures = [
                median(&ingress.requests_per_s),
                median(&hyper.requests_per_s),
                median(&ingress.cpu_us_per_request),
                median(&hyper.cpu_us_per_request),
                comparison.cpu_ratio(),
                median(&ingress.user_us_per_request),
                median(&hyper.user_us_per_request),
            ];
            std::iter::once(comparison.load.name()).chain(figures.map(shown)).collect()
        })
        .collect();
    let heads = [
        "load",
        "ingress requests/s",
        "hyper requests/s",
        "ingress CPU us/request",
        "hyper CPU us/request",
        "ratio",
        "ingress user us",
        "hyper user us",
    ];
    format!(
        "{surroundings}. Server on core 0, client on core 1; medians of {} rounds of {} s. The goal over HTTP/1.1 is a \
         ratio of at most {GOAL}; user is what of the processor time is not the kernel's.\n\n{}",
        arguments.rounds,
        arguments.seconds,
        table(&heads, 1, &rows),
    )
}

/// Every figure of every round.
fn as_json(comparison: &Comparison) -> Value {
    let speed = |speed: &Speed| {
        json!({
            "requests_per_s": speed.requests_per_s,
            "cpu_us_per_request": speed.cpu_us_per_request,
            "user_us_per_request": speed.user_us_per_request,
        })
    };
    let [ingress, hyper] = &comparison.speeds;
    json!({
        "load": comparison.load.name(),
        "ingress": speed(ingress),
        "hyper": speed(hyper),
        "cpu_ratio": comparison.cpu_ratio(),
    })
}
