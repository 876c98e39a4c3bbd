//! `cargo xtask bench observability`: what it costs to be watched. One build of the host with the smallest component, as it
//! is without a collector and access log; scraped and with a part of its traces sent to a collector; and with its access log
//! in a file. All at once on one core, so that what slows the machine slows all of them. It does not know what metrics and
//! spans there are.

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::figures::{largest, median, shown, smallest, table};
use super::http::in_turn;
use super::server::{Roadstead, Server};
use super::wrk::{self, Wrk};
use super::{Bench, Common, manifests, programs};
use crate::client;
use crate::report::Step;

/// The component that answers, and the server that stands in for a collector.
const COMPONENT: &str = "bare-http.wasm";
const COLLECTOR: &str = "bare-hyper";
const CONNECTIONS: u32 = 32;
const WARM_UP_SECONDS: u64 = 2;
/// Part of the traces that is sampled.
const SAMPLING: &str = "0.01";
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the first spans to be sent: they wait 5 s for others.
const TOLD_WITHIN: Duration = Duration::from_secs(20);
/// What being watched may cost of the rate, in percent.
const WATCHED_GOAL: f64 = 5.0;
const LOGGED_GOAL: f64 = 10.0;

/// Measure what metrics, traces and the access log cost
#[derive(Args)]
#[command(
    long_about = "Prints processor time a request of the smallest component, of one build of the host started in three ways:
alone, that is without a collector and without an access log, and not scraped; watched, that is scraped once a second and with
1 % of its traces sent to a collector by HTTP; and logged, that is with its access log in a file. Metrics are counted in all
three: there is no host without.

The hosts share core 0 at the same time, so that whatever slows the machine slows all three; clients and collector share core
1. Each round starts them anew. A core that one of them had for itself would answer requests in inverse proportion to their
processor time: that is the part of the rate that is printed, the median of all rounds with the least and the largest."
)]
#[command(after_help = "Examples:
  cargo xtask bench observability                       (about 2 minutes)
  cargo xtask bench observability --rounds 3 --seconds 2
  cargo xtask bench observability --roadstead ./before --bare-hyper ./target/release/bare-hyper")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Take this program for the collector and build none
    #[arg(long, value_name = "PATH")]
    bare_hyper: Option<PathBuf>,
    /// Length of each round
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of which the median counts
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// How a host is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Watched,
    Logged,
}

impl Way {
    const ALL: [Self; 3] = [Self::Alone, Self::Watched, Self::Logged];

    fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Watched => "watched",
            Self::Logged => "logged",
        }
    }

    /// What it may cost of the rate, in percent.
    fn goal(self) -> Option<f64> {
        match self {
            Self::Alone => None,
            Self::Watched => Some(WATCHED_GOAL),
            Self::Logged => Some(LOGGED_GOAL),
        }
    }
}

/// A host that is watched in one way.
struct Host {
    way: Way,
    server: Server,
}

/// What one way cost, a figure for each round.
struct Cost {
    way: Way,
    requests_per_s: Vec<f64>,
    cpu_us_per_request: Vec<f64>,
}

impl Cost {
    /// The part of the rate of `alone` that a core gives, in each round.
    fn of_rate(&self, alone: &Self) -> Vec<f64> {
        alone.cpu_us_per_request.iter().zip(&self.cpu_us_per_request).map(|(alone, own)| alone / own).collect()
    }
}

/// Runs the command.
///
/// # Errors
/// When a part is missing, or a host does not answer every request, or tells nothing of itself.
pub(crate) fn run(bench: &Bench<'_>, arguments: &Arguments) -> Result<()> {
    let given = [("roadstead", arguments.common.roadstead.as_deref()), (COLLECTOR, arguments.bare_hyper.as_deref())];
    programs::build(bench.layout, &given)?;
    let [roadstead, hyper] = given.map(|(name, given)| programs::release(bench.layout, name, given));
    let (roadstead, hyper) = (roadstead?, hyper?);
    let wrk = Wrk { program: programs::debian()? };
    let collector = Server::bare_on(programs::CLIENT_CORE, bench, COLLECTOR, &hyper, &["http1"])?;
    let access_log = bench.scratch.path().join("access.log");
    let mut costs = Way::ALL.map(|way| Cost { way, requests_per_s: Vec::new(), cpu_us_per_request: Vec::new() });
    let step = Step::begin("hello", format_args!("{} rounds of {} s", arguments.rounds, arguments.seconds));
    for round in 0..arguments.rounds {
        let mut hosts = Vec::new();
        for way in in_turn(round, Way::ALL.into_iter()) {
            let server = start(bench, &roadstead, way, collector.http, &access_log).with_context(|| way.name())?;
            hosts.push(Host { way, server });
        }
        load(bench, &wrk, &hosts, WARM_UP_SECONDS)?;
        let speeds = load(bench, &wrk, &hosts, arguments.seconds)?;
        if round + 1 == arguments.rounds {
            must_have_told(bench, &hosts)?;
        }
        for (host, speed) in hosts.iter().zip(speeds) {
            for cost in costs.iter_mut().filter(|cost| cost.way == host.way) {
                cost.requests_per_s.push(speed.requests_per_s);
                cost.cpu_us_per_request.push(speed.cpu_us_per_request);
            }
        }
        // What a round left is no burden of the next.
        drop(hosts);
        fs::File::create(&access_log).context("cannot empty the access log")?;
    }
    step.done("measured");
    let surroundings = super::surroundings(bench, &roadstead);
    let json = json!({
        "surroundings": surroundings,
        "seconds": arguments.seconds,
        "hosts": costs.iter().map(|cost| json!({
            "way": cost.way.name(),
            "requests_per_s": cost.requests_per_s,
            "cpu_us_per_request": cost.cpu_us_per_request,
        })).collect::<Vec<_>>(),
    });
    super::print(arguments.common.output, &text(&costs, arguments, &surroundings), &json);
    Ok(())
}

fn start(bench: &Bench<'_>, roadstead: &Path, way: Way, collector: SocketAddr, access_log: &Path) -> Result<Server> {
    let folder = bench.scratch.folder(way.name())?;
    fs::copy(bench.layout.test_guests().join(COMPONENT), folder.join(COMPONENT))
        .context("cannot copy the component")?;
    let manifest = folder.join("app.yaml");
    fs::write(&manifest, manifests::trigger("hello", "*", "30s", COMPONENT)).context("cannot write a manifest")?;
    let endpoint = format!("http://{collector}");
    let file = access_log.display().to_string();
    let more: &[&str] = match way {
        Way::Alone => &["--access-log", "off"],
        Way::Watched => &[
            "--access-log",
            "off",
            "--otlp-endpoint",
            &endpoint,
            "--otlp-protocol",
            "http/protobuf",
            "--trace-sampling",
            SAMPLING,
        ],
        Way::Logged => &["--access-log", &file],
    };
    let cache = bench.scratch.path().join("component-cache");
    let start =
        Roadstead { program: roadstead, manifests: &manifest, component_cache: &cache, pinned: true, nats: None, more };
    Server::roadstead(bench, &start)
}

/// Loads all of them at once, each with a wrk of its own.
fn load(bench: &Bench<'_>, wrk: &Wrk, hosts: &[Host], seconds: u64) -> Result<Vec<wrk::Speed>> {
    bench.stop.check()?;
    thread::scope(|scope| {
        let loads: Vec<_> = hosts.iter().map(|host| scope.spawn(|| host.load(wrk, seconds))).collect();
        loads.into_iter().map(|load| load.join().map_err(|_| anyhow!("a client panicked"))?).collect()
    })
}

impl Host {
    fn load(&self, wrk: &Wrk, seconds: u64) -> Result<wrk::Speed> {
        let load = wrk::Load {
            server: self.server.http,
            target: "/",
            host: None,
            script: None,
            connections: CONNECTIONS,
            seconds,
        };
        let scraped = self.server.admin.filter(|_| self.way == Way::Watched);
        let (speed, scrapes) = scraping(scraped, || wrk.measure(self.server.pid(), &load));
        if scraped.is_some() && scrapes == 0 {
            bail!("{}: no scrape was answered; {}", self.way.name(), self.server.last_words());
        }
        speed.with_context(|| format!("{}: {}", self.way.name(), self.server.last_words()))
    }
}

/// Does `work` while somebody scrapes a host, if one is given; with how often that was answered.
fn scraping<T>(admin: Option<SocketAddr>, work: impl FnOnce() -> T) -> (T, u32) {
    let (done, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            while let Some(admin) = admin.filter(|_| !done.load(Ordering::Relaxed)) {
                if Instant::now() >= next {
                    let answer = client::get(admin, &admin.to_string(), "/metrics", SCRAPE_TIMEOUT);
                    answered.fetch_add(answer.is_ok().into(), Ordering::Relaxed);
                    next += SCRAPE_EVERY;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, answered.load(Ordering::Relaxed))
    })
}

/// # Errors
/// When the watched host sends no span: then its figures say nothing.
fn must_have_told(bench: &Bench<'_>, hosts: &[Host]) -> Result<()> {
    let watched = hosts.iter().find(|host| host.way == Way::Watched).context("no host was watched")?;
    let admin = watched.server.admin.context("the host has no admin listener")?;
    let until = Instant::now() + TOLD_WITHIN;
    loop {
        bench.stop.check()?;
        let metrics = client::get(admin, &admin.to_string(), "/metrics", SCRAPE_TIMEOUT)?.body;
        let mut exports = metrics.lines().filter(|line| line.starts_with("roadstead_telemetry_exports_total"));
        if exports.any(|line| line.contains("\"spans\"") && line.contains("\"sent\"") && !line.ends_with(" 0")) {
            return Ok(());
        }
        if Instant::now() >= until {
            bail!("the collector took no span: {}", watched.server.last_words());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn text(costs: &[Cost], arguments: &Arguments, surroundings: &str) -> String {
    let alone = costs.iter().find(|cost| cost.way == Way::Alone);
    let rows: Vec<Vec<String>> = costs
        .iter()
        .map(|cost| {
            let parts = alone.map_or_else(Vec::new, |alone| cost.of_rate(alone));
            let part = median(&parts);
            let goal = cost.way.goal().map_or_else(String::new, |goal| {
                let word = if part >= 1.0 - goal / 100.0 { "met" } else { "missed" };
                format!("at least {:.2}: {word}", 1.0 - goal / 100.0)
            });
            vec![
                cost.way.name().to_owned(),
                shown(median(&cost.requests_per_s)),
                shown(median(&cost.cpu_us_per_request)),
                format!("{part:.3}"),
                format!("{:.3} to {:.3}", smallest(&parts), largest(&parts)),
                goal,
            ]
        })
        .collect();
    let heads = ["host", "requests/s", "CPU a request (us)", "of the rate alone", "least and largest", "goal"];
    format!(
        "{surroundings}\n\n{} rounds of {} s, {CONNECTIONS} connections to each of the three hosts at once, on one core\n\n{}",
        arguments.rounds,
        arguments.seconds,
        table(&heads, 1, &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_costs_twice_the_time_has_half_the_rate() {
        let of = |way, times: &[f64]| Cost { way, requests_per_s: Vec::new(), cpu_us_per_request: times.to_vec() };
        let (alone, logged) = (of(Way::Alone, &[10.0, 30.0]), of(Way::Logged, &[20.0, 30.0]));
        assert_eq!(logged.of_rate(&alone), [0.5, 1.0]);
    }
}
