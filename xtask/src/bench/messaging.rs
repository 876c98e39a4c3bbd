//! `cargo xtask bench messaging`: what a message costs: an HTTP request that a gateway answers by asking a pooled worker,
//! through a real nats-server and through the broker in the process, beside one that its component answers by itself; and
//! the same worker asked by a client of NATS. All take turns within each round. What is asked is in `parts`, the client
//! of NATS in `nats_load`, the judgement in `tables`.

mod nats_load;
mod parts;
mod tables;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

use super::figures::{median, shown};
use super::http::{in_turn, rate};
use super::oha::{self, Latency, Oha};
use super::server::Server;
use super::wrk::{self, Wrk};
use super::{Bench, Common, process_stats, programs};
use crate::report::Step;
use nats_load::{NatsLoad, Pace};
use parts::{Parts, SUBJECT, Way};

/// Connections of the HTTP clients.
const CONNECTIONS: u32 = 32;
/// Requests that the client of NATS has under way.
const IN_FLIGHT: u32 = 256;
const WARM_UP_SECONDS: u64 = 1;
/// Of the maximum, where latency is measured.
const LATENCY_LOAD_PERCENT: u32 = 50;

/// Measure what a message costs
#[derive(Args)]
#[command(
    long_about = "Prints requests/s and processor time a request of a component that answers by itself (hello), of a gateway
that asks a pooled echo worker through a nats-server (HTTP, NATS) and through the broker in the process (HTTP, in process),
and of the worker asked by a client of NATS (NATS); 64 bytes each. Then latency at half the load of each. Says which goals are
met.

The host has core 0; the nats-server and the client share core 1. Figures are medians of the rounds."
)]
#[command(after_help = "Examples:
  cargo xtask bench messaging                             (about 3 minutes)
  cargo xtask bench messaging --rounds 9 --seconds 2
  cargo xtask bench messaging --roadstead ./before --nats-load ./target/release/nats-load")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Take this program for the client of NATS and build none
    #[arg(long, value_name = "PATH")]
    nats_load: Option<PathBuf>,
    /// Length of each run, of each way in each round
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// One way without a bound on its rate: figures of each round.
#[derive(Debug)]
struct Speed {
    way: Way,
    requests_per_s: Vec<f64>,
    cpu_us_per_request: Vec<f64>,
    /// What of it the host spent in its own code, not in the kernel.
    user_us_per_request: Vec<f64>,
    /// What the nats-server spent.
    nats_us_per_request: Vec<f64>,
}

/// One way at a part of its own maximum.
#[derive(Debug)]
struct Lag {
    way: Way,
    asked_per_s: u64,
    rounds: Vec<Latency>,
}

/// What the measurement works with.
struct Setting<'a> {
    bench: &'a Bench<'a>,
    arguments: &'a Arguments,
    wrk: Wrk,
    oha: Oha,
    nats_load: NatsLoad,
    parts: Parts,
}

/// Runs the command.
///
/// # Errors
/// When a part is missing, or a request is not answered as it should. Goals that are not met are no error.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let given = [("roadstead", arguments.common.roadstead.as_deref()), ("nats-load", arguments.nats_load.as_deref())];
    programs::build(bench.layout, &given)?;
    let [roadstead, nats_load] = given.map(|(name, given)| programs::release(bench.layout, name, given));
    let roadstead = roadstead?;
    let mut setting = Setting {
        bench,
        arguments,
        wrk: Wrk { program: programs::debian()? },
        oha: Oha { program: programs::install(bench.layout, &programs::OHA)? },
        nats_load: NatsLoad { program: nats_load? },
        parts: Parts::start(bench, &roadstead)?,
    };
    let speeds = setting.speeds()?;
    let lags = setting.lags(&speeds)?;
    setting.parts.must_run()?;
    let surroundings = super::surroundings(bench, &roadstead);
    let text = tables::text(&speeds, &lags, arguments, &surroundings);
    let json = json!({
        "surroundings": surroundings,
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "results": tables::json(&speeds, &lags),
    });
    super::print(arguments.common.output, &text, &json);
    Ok(())
}

impl Setting<'_> {
    fn speeds(&self) -> Result<Vec<Speed>> {
        let step = Step::begin(
            "speed",
            format_args!("{} rounds of {} s a way", self.arguments.rounds, self.arguments.seconds),
        );
        let mut speeds: Vec<Speed> = Way::ALL.into_iter().map(Speed::of).collect();
        for way in Way::ALL {
            self.load(WARM_UP_SECONDS, &mut Speed::of(way))?;
        }
        for round in 0..self.arguments.rounds {
            for speed in in_turn(round, speeds.iter_mut()) {
                self.load(self.arguments.seconds, speed)?;
            }
        }
        for speed in &speeds {
            super::progress(format_args!(
                "{}: {} requests/s, {} us",
                speed.way.name(),
                shown(median(&speed.requests_per_s)),
                shown(median(&speed.cpu_us_per_request)),
            ));
        }
        step.done("measured");
        Ok(speeds)
    }

    /// One run.
    fn load(&self, seconds: u64, speed: &mut Speed) -> Result<()> {
        self.bench.stop.check()?;
        let (host, nats) = (self.parts.host(speed.way), &self.parts.nats);
        let before = (process_stats::cpu_times(host.pid())?, process_stats::cpu_time(nats.pid())?);
        let (requests, requests_per_s) = self.ask(speed.way, host, seconds).with_context(|| speed.way.name())?;
        let after = (process_stats::cpu_times(host.pid())?, process_stats::cpu_time(nats.pid())?);
        let us_per_request = |used: Duration| used.as_secs_f64() * 1e6 / requests as f64;
        let user = after.0.user.saturating_sub(before.0.user);
        let system = after.0.system.saturating_sub(before.0.system);
        speed.requests_per_s.push(requests_per_s);
        speed.cpu_us_per_request.push(us_per_request(user + system));
        speed.user_us_per_request.push(us_per_request(user));
        speed.nats_us_per_request.push(us_per_request(after.1.saturating_sub(before.1)));
        self.bench.stop.check()
    }

    /// Requests, and how many a second.
    fn ask(&self, way: Way, host: &Server, seconds: u64) -> Result<(u64, f64)> {
        let Some(name) = way.host_name() else {
            let outcome = self.nats_load.run(self.parts.nats.http, SUBJECT, seconds, Pace::InFlight(IN_FLIGHT))?;
            return Ok((outcome.requests, outcome.latency.requests_per_s));
        };
        let load = wrk::Load {
            server: host.http,
            target: "/",
            host: Some(name),
            script: None,
            connections: CONNECTIONS,
            seconds,
        };
        let outcome = self.wrk.run(&load)?;
        Ok((outcome.requests, outcome.requests_per_s))
    }

    fn lags(&self, speeds: &[Speed]) -> Result<Vec<Lag>> {
        let (rounds, seconds) = (self.arguments.rounds, self.arguments.seconds);
        let step = Step::begin("latency", format_args!("{rounds} rounds of {seconds} s a way"));
        let mut lags: Vec<Lag> = speeds.iter().map(Lag::at_its_part_of).collect();
        for round in 0..rounds {
            for lag in in_turn(round, lags.iter_mut()) {
                self.bench.stop.check()?;
                let latency = self.latency(lag.way, lag.asked_per_s, seconds);
                lag.rounds.push(latency.with_context(|| lag.way.name())?);
            }
        }
        step.done("measured");
        self.bench.stop.check()?;
        Ok(lags)
    }

    fn latency(&self, way: Way, requests_per_s: u64, seconds: u64) -> Result<Latency> {
        let host = self.parts.host(way);
        let Some(name) = way.host_name() else {
            let outcome = self.nats_load.run(self.parts.nats.http, SUBJECT, seconds, Pace::Rate(requests_per_s))?;
            return Ok(outcome.latency);
        };
        self.oha.run(&oha::Load {
            server: host.http,
            target: "/",
            host: Some(name),
            body: None,
            connections: CONNECTIONS,
            seconds,
            requests_per_s,
        })
    }
}

impl Speed {
    fn of(way: Way) -> Self {
        Self {
            way,
            requests_per_s: Vec::new(),
            cpu_us_per_request: Vec::new(),
            user_us_per_request: Vec::new(),
            nats_us_per_request: Vec::new(),
        }
    }
}

impl Lag {
    fn at_its_part_of(speed: &Speed) -> Self {
        let asked_per_s = rate(median(&speed.requests_per_s), LATENCY_LOAD_PERCENT);
        Self { way: speed.way, asked_per_s, rounds: Vec::new() }
    }
}
