//! `cargo xtask bench observability`: what it costs to be watched. One build of the host with the smallest component, as it
//! is without a collector and access log; scraped and with a part of its traces sent to a collector; and with its access log
//! in a file. All in one run, in turn within each round. It does not know what metrics and spans there are.

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::figures::{median, median_ratio, shown, table};
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
/// What being watched may cost of the rate, in percent.
const WATCHED_GOAL: f64 = 5.0;
const LOGGED_GOAL: f64 = 10.0;

/// Measure what metrics, traces and the access log cost
#[derive(Args)]
#[command(
    long_about = "Prints requests/s and processor time a request of the smallest component, of one build of the host started in
three ways: alone, that is without a collector and without an access log, and not scraped; watched, that is scraped once a
second and with 1 % of its traces sent to a collector by HTTP; and logged, that is with its access log in a file. Metrics are
counted in all three: there is no host without.

The hosts have core 0, in turn; the client and the collector have core 1. Figures are medians of the rounds, ratios medians
of those of each round."
)]
#[command(after_help = "Examples:
  cargo xtask bench observability                       (about 4 minutes)
  cargo xtask bench observability --rounds 3 --seconds 2
  cargo xtask bench observability --roadstead ./before --bare-hyper ./target/release/bare-hyper")]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Take this program for the collector and build none
    #[arg(long, value_name = "PATH")]
    bare_hyper: Option<PathBuf>,
    /// Length of each run, of each host in each round
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of which the median counts
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100))]
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

/// A host that is watched in one way, and its figures of each round.
struct Watched {
    way: Way,
    server: Server,
    requests_per_s: Vec<f64>,
    cpu_us_per_request: Vec<f64>,
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
    let mut hosts = Vec::new();
    for way in Way::ALL {
        let server = start(bench, &roadstead, way, collector.http, &access_log).with_context(|| way.name())?;
        hosts.push(Watched { way, server, requests_per_s: Vec::new(), cpu_us_per_request: Vec::new() });
    }
    let step = Step::begin("hello", format_args!("{} rounds of {} s a host", arguments.rounds, arguments.seconds));
    for host in &mut hosts {
        host.load(bench, &wrk, WARM_UP_SECONDS)?;
    }
    for round in 0..arguments.rounds {
        for host in in_turn(round, hosts.iter_mut()) {
            host.server.must_run()?;
            let run = host.load(bench, &wrk, arguments.seconds)?;
            host.requests_per_s.push(run.requests_per_s);
            host.cpu_us_per_request.push(run.cpu_us_per_request);
        }
        // What a round left is no burden of the next.
        fs::File::create(&access_log).context("cannot empty the access log")?;
    }
    must_have_told(&hosts)?;
    step.done("measured");
    let surroundings = super::surroundings(bench, &roadstead);
    let json = json!({
        "surroundings": surroundings,
        "seconds": arguments.seconds,
        "hosts": hosts.iter().map(|host| json!({
            "way": host.way.name(),
            "requests_per_s": host.requests_per_s,
            "cpu_us_per_request": host.cpu_us_per_request,
        })).collect::<Vec<_>>(),
    });
    super::print(arguments.common.output, &text(&hosts, arguments, &surroundings), &json);
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

impl Watched {
    /// One run of wrk.
    fn load(&self, bench: &Bench<'_>, wrk: &Wrk, seconds: u64) -> Result<wrk::Speed> {
        bench.stop.check()?;
        let load = wrk::Load {
            server: self.server.http,
            target: "/",
            host: None,
            script: None,
            connections: CONNECTIONS,
            seconds,
        };
        let scraped = self.server.admin.filter(|_| self.way == Way::Watched);
        scraping(scraped, || wrk.measure(self.server.pid(), &load)).with_context(|| self.way.name())
    }
}

/// Does `work` while somebody scrapes a host, if one is given.
fn scraping<T>(admin: Option<SocketAddr>, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = Instant::now();
            while let Some(admin) = admin.filter(|_| !done.load(Ordering::Relaxed)) {
                if Instant::now() >= next {
                    // One that fails is missed in the end: `must_have_told`.
                    client::get(admin, &admin.to_string(), "/metrics", SCRAPE_TIMEOUT).ok();
                    next += SCRAPE_EVERY;
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// # Errors
/// When the watched host sent no span: then its figures say nothing.
fn must_have_told(hosts: &[Watched]) -> Result<()> {
    let watched = hosts.iter().find(|host| host.way == Way::Watched).context("no host was watched")?;
    let admin = watched.server.admin.context("the host has no admin listener")?;
    let metrics = client::get(admin, &admin.to_string(), "/metrics", SCRAPE_TIMEOUT)?.body;
    let sent = metrics.lines().any(|line| {
        line.starts_with("roadstead_telemetry_exports_total")
            && line.contains("\"spans\"")
            && line.contains("\"sent\"")
            && !line.ends_with(" 0")
    });
    sent.then_some(()).with_context(|| format!("the collector took no span: {}", watched.server.last_words()))
}

fn text(hosts: &[Watched], arguments: &Arguments, surroundings: &str) -> String {
    let alone = hosts.iter().find(|host| host.way == Way::Alone);
    let rows: Vec<Vec<String>> = hosts
        .iter()
        .map(|host| {
            let ratio = alone.map_or(f64::NAN, |alone| median_ratio(&host.requests_per_s, &alone.requests_per_s));
            let of_cpu =
                alone.map_or(f64::NAN, |alone| median_ratio(&host.cpu_us_per_request, &alone.cpu_us_per_request));
            let goal = host.way.goal().map_or_else(String::new, |goal| {
                let word = if ratio >= 1.0 - goal / 100.0 { "met" } else { "missed" };
                format!("at least {:.2}: {word}", 1.0 - goal / 100.0)
            });
            vec![
                host.way.name().to_owned(),
                shown(median(&host.requests_per_s)),
                shown(median(&host.cpu_us_per_request)),
                shown(of_cpu),
                shown(ratio),
                goal,
            ]
        })
        .collect();
    let heads = ["host", "requests/s", "CPU a request (us)", "of the CPU alone", "of the rate alone", "goal"];
    format!(
        "{surroundings}\n\n{} rounds of {} s a host, {CONNECTIONS} connections; ratios are medians of those of each round\n\n{}",
        arguments.rounds,
        arguments.seconds,
        table(&heads, 1, &rows)
    )
}
