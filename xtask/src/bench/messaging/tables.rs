//! The results of `cargo xtask bench messaging` as Markdown and as JSON, beside the goals. It measures nothing.

use serde_json::{Value, json};

use super::parts::Way;
use super::{Arguments, CONNECTIONS, IN_FLIGHT, LATENCY_LOAD_PERCENT, Lag, Speed};
use crate::bench::figures::{largest, median, shown, table};
use crate::bench::oha::Latency;

/// HTTP through NATS, as a part of hello.
const OF_HELLO_MIN: f64 = 0.65;
/// HTTP in process, as a multiple of HTTP through NATS.
const OF_NATS_MIN: f64 = 1.3;
/// Messages a second and core, asked by a client of NATS.
const MESSAGES_PER_S_MIN: f64 = 40_000.0;
/// p99 as a multiple of p50.
const SPREAD_MAX: f64 = 2.0;
/// Where the host had less of its core, its client or others on the machine set the pace.
const CORE_FULL: f64 = 0.9;

/// What was found, and what we want.
struct Goal {
    what: String,
    found: f64,
    wanted: String,
    /// `None` where the figure says nothing.
    met: Option<bool>,
}

impl Goal {
    fn judgement(&self) -> &'static str {
        match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "the host's core was not full",
        }
    }
}

pub(super) fn text(speeds: &[Speed], lags: &[Lag], arguments: &Arguments, surroundings: &str) -> String {
    let goals: Vec<Vec<String>> = goals(speeds, lags)
        .into_iter()
        .map(|goal| {
            let judgement = goal.judgement().to_owned();
            vec![goal.what, shown(goal.found), goal.wanted, judgement]
        })
        .collect();
    format!(
        "{surroundings}. Host on core 0, nats-server and client on core 1; medians of {} rounds of {} s; {CONNECTIONS} \
         connections over HTTP, {IN_FLIGHT} requests under way over NATS.\n\n{}\nLatency at {LATENCY_LOAD_PERCENT} % of each \
         way's own maximum, in microseconds from when a request was due:\n\n{}\n{}",
        arguments.rounds,
        arguments.seconds,
        speed_table(speeds),
        lag_table(lags),
        table(&["goal", "found", "wanted", "met"], 1, &goals),
    )
}

fn speed_table(speeds: &[Speed]) -> String {
    let rows: Vec<Vec<String>> = speeds
        .iter()
        .map(|speed| {
            let (rate, cpu) = (median(&speed.requests_per_s), median(&speed.cpu_us_per_request));
            let figures = [rate, cpu, median(&speed.user_us_per_request), median(&speed.nats_us_per_request)];
            let host_busy = format!("{} %", shown(rate * cpu / 1e4));
            [speed.way.name().to_owned()].into_iter().chain(figures.map(shown)).chain([host_busy]).collect()
        })
        .collect();
    let heads =
        ["way", "requests/s", "host CPU us/request", "of it user us", "nats-server CPU us/request", "host's core busy"];
    table(&heads, 1, &rows)
}

fn lag_table(lags: &[Lag]) -> String {
    let rows: Vec<Vec<String>> = lags
        .iter()
        .map(|lag| {
            let middle = |figure| median(&of_all(lag, figure));
            let figures = [
                lag.asked_per_s as f64,
                middle(|latency| latency.p50_us),
                middle(|latency| latency.p99_us),
                middle(|latency| latency.p99_9_us),
                largest(&of_all(lag, |latency| latency.max_us)),
                lag.spread(),
            ];
            [lag.way.name().to_owned()].into_iter().chain(figures.map(shown)).collect()
        })
        .collect();
    table(&["way", "requests/s", "p50", "p99", "p99.9", "max", "p99/p50"], 1, &rows)
}

fn goals(speeds: &[Speed], lags: &[Lag]) -> Vec<Goal> {
    let figure = |way: Way, figure: fn(&Speed) -> &[f64]| {
        speeds.iter().find(|speed| speed.way == way).map_or(f64::NAN, |speed| median(figure(speed)))
    };
    let rate = |way| figure(way, |speed| &speed.requests_per_s);
    let cpu = |way| figure(way, |speed| &speed.cpu_us_per_request);
    let at_least = |what: &str, found: f64, min: f64| Goal {
        what: what.to_owned(),
        found,
        wanted: format!("at least {}", shown(min)),
        met: Some(found >= min),
    };
    let full = |way| rate(way) * cpu(way) / 1e6 >= CORE_FULL;
    let by_rate = |what: &str, [of, to]: [Way; 2], min| {
        let goal = at_least(what, rate(of) / rate(to), min);
        Goal { met: goal.met.filter(|_| full(of) && full(to)), ..goal }
    };
    let mut goals = vec![
        by_rate("HTTP, NATS of hello, by requests/s", [Way::HttpNats, Way::Hello], OF_HELLO_MIN),
        at_least("HTTP, NATS of hello, by processor time", cpu(Way::Hello) / cpu(Way::HttpNats), OF_HELLO_MIN),
        by_rate("in process of NATS, by requests/s", [Way::HttpInProcess, Way::HttpNats], OF_NATS_MIN),
        at_least("in process of NATS, by processor time", cpu(Way::HttpNats) / cpu(Way::HttpInProcess), OF_NATS_MIN),
        at_least("messages/s over NATS, one core", rate(Way::Nats), MESSAGES_PER_S_MIN),
        at_least("messages over NATS for a second of processor time", 1e6 / cpu(Way::Nats), MESSAGES_PER_S_MIN),
    ];
    let lags = lags.iter().filter(|lag| matches!(lag.way, Way::HttpNats | Way::Nats));
    goals.extend(lags.map(|lag| Goal {
        what: format!("p99/p50 at half load, {}", lag.way.name()),
        found: lag.spread(),
        wanted: format!("less than {}", shown(SPREAD_MAX)),
        met: Some(lag.spread() < SPREAD_MAX),
    }));
    goals
}

impl Lag {
    /// p99 as a multiple of p50.
    fn spread(&self) -> f64 {
        median(&of_all(self, |latency| latency.p99_us)) / median(&of_all(self, |latency| latency.p50_us))
    }
}

fn of_all(lag: &Lag, figure: fn(&Latency) -> f64) -> Vec<f64> {
    lag.rounds.iter().map(figure).collect()
}

/// Every figure of every round.
pub(super) fn json(speeds: &[Speed], lags: &[Lag]) -> Value {
    let speed = |speed: &Speed| {
        json!({
            "way": speed.way.name(),
            "requests_per_s": speed.requests_per_s,
            "cpu_us_per_request": speed.cpu_us_per_request,
            "user_us_per_request": speed.user_us_per_request,
            "nats_us_per_request": speed.nats_us_per_request,
        })
    };
    let lag = |lag: &Lag| {
        json!({
            "way": lag.way.name(),
            "asked_requests_per_s": lag.asked_per_s,
            "requests_per_s": of_all(lag, |latency| latency.requests_per_s),
            "p50_us": of_all(lag, |latency| latency.p50_us),
            "p99_us": of_all(lag, |latency| latency.p99_us),
            "p99_9_us": of_all(lag, |latency| latency.p99_9_us),
            "max_us": of_all(lag, |latency| latency.max_us),
        })
    };
    let goal = |goal: Goal| json!({"goal": goal.what, "found": goal.found, "wanted": goal.wanted, "met": goal.met});
    json!({
        "speed": speeds.iter().map(speed).collect::<Vec<_>>(),
        "latency": lags.iter().map(lag).collect::<Vec<_>>(),
        "goals": goals(speeds, lags).into_iter().map(goal).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(way: Way, requests_per_s: f64, cpu_us: f64) -> Speed {
        let mut speed = Speed::of(way);
        speed.requests_per_s.push(requests_per_s);
        speed.cpu_us_per_request.push(cpu_us);
        speed
    }

    fn lag(way: Way, p50_us: f64, p99_us: f64) -> Lag {
        let latency = Latency { requests_per_s: 1.0, p50_us, p99_us, p99_9_us: p99_us, max_us: p99_us };
        Lag { way, asked_per_s: 1, rounds: vec![latency] }
    }

    #[test]
    fn goals_are_judged_one_by_one() {
        let speeds = [
            speed(Way::Hello, 20_000.0, 50.0),
            speed(Way::HttpNats, 10_000.0, 70.0),
            speed(Way::HttpInProcess, 13_000.0, 60.0),
            speed(Way::Nats, 39_000.0, 24.0),
        ];
        let lags = [lag(Way::Hello, 1.0, 9.0), lag(Way::HttpNats, 100.0, 199.0), lag(Way::Nats, 100.0, 200.0)];
        let met: Vec<&str> = goals(&speeds, &lags).iter().map(Goal::judgement).collect();
        let unknown = "the host's core was not full";
        assert_eq!(met, [unknown, "yes", unknown, "NO", "NO", "yes", "yes", "NO"]);
        assert!(goals(&[], &[]).iter().all(|goal| goal.met != Some(true)), "what was not measured is not met");
    }
}
