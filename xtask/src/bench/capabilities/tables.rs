//! The figures of all rounds as tables and as JSON, and whether the goals are met. It does not know how they came about.

use serde_json::{Value, json};

use super::asking::{CallTimes, RequestRate};
use super::{Calls, Requests, p50s};
use crate::bench::figures::{median, shown, table};

/// What the host may add to a call, in microseconds.
const ADDED_US_GOAL: f64 = 15.0;
/// The least part of hyper's requests/s that a component's may be.
const RATE_GOAL: f64 = 0.5;

impl Calls {
    /// What the host adds, in microseconds; not a number where there is nothing to compare with.
    fn added_us(&self) -> f64 {
        median(&p50s(&self.component)) - median(&p50s(&self.native))
    }

    fn name(&self) -> String {
        let size = if self.size < 1_024 { format!("{} B", self.size) } else { format!("{} KiB", self.size / 1_024) };
        format!("{} {size}", self.operation.name())
    }
}

impl Requests {
    fn ratio(&self) -> f64 {
        median(&rates(&self.component)) / median(&rates(&self.native))
    }
}

fn rates(rates: &[RequestRate]) -> Vec<f64> {
    rates.iter().map(|rate| rate.requests_per_s).collect()
}

fn cpu(rates: &[RequestRate]) -> Vec<f64> {
    rates.iter().map(|rate| rate.cpu_us_per_request).collect()
}

fn means(times: &[CallTimes]) -> Vec<f64> {
    times.iter().map(|times| times.mean_us).collect()
}

fn verdict(figure: f64, is_met: bool) -> String {
    match (figure.is_nan(), is_met) {
        (true, _) => "-",
        (false, true) => "yes",
        (false, false) => "no",
    }
    .into()
}

/// Markdown.
pub(super) fn text(calls: &[Calls], requests: &[Requests], rounds: u32, surroundings: &str) -> String {
    let rows: Vec<Vec<String>> = calls
        .iter()
        .map(|calls| {
            let (component, native) = (p50s(&calls.component), p50s(&calls.native));
            let added = calls.added_us();
            let mut row = vec![calls.backend.name().to_owned(), calls.name()];
            row.extend([median(&component), median(&native), added].map(shown));
            row.extend([median(&means(&calls.component)), median(&means(&calls.native))].map(shown));
            row.push(verdict(added, added <= ADDED_US_GOAL));
            row
        })
        .collect();
    let heads =
        ["backend", "call", "component us", "native us", "added us", "component mean us", "native mean us", "met"];
    let stores = table(&heads, 2, &rows);
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|requests| {
            let ratio = requests.ratio();
            let mut row = vec![requests.at_once.to_string()];
            row.extend([median(&rates(&requests.component)), median(&rates(&requests.native)), ratio].map(shown));
            row.extend([median(&cpu(&requests.component)), median(&cpu(&requests.native))].map(shown));
            row.push(verdict(ratio, ratio >= RATE_GOAL));
            row
        })
        .collect();
    let heads = [
        "requests under way",
        "component requests/s",
        "hyper requests/s",
        "ratio",
        "component CPU us/request",
        "hyper CPU us/request",
        "met",
    ];
    format!(
        "{surroundings}. The host and the native clients on core 0, in turn, their servers on core 1; medians of {rounds} \
         rounds, of the median call in each, and of the mean. The goals are at most {} us more than natively for a call, \
         and at least {RATE_GOAL} of hyper's requests/s.\n\n{stores}\nOutgoing HTTP/1.1, 22 bytes in a response:\n\n{}",
        shown(ADDED_US_GOAL),
        table(&heads, 1, &rows),
    )
}

/// Every figure of every round.
pub(super) fn json(calls: &[Calls], requests: &[Requests]) -> Value {
    let times = |times: &[CallTimes]| json!({"p50_us": p50s(times), "mean_us": means(times)});
    let calls = calls.iter().map(|calls| {
        json!({
            "backend": calls.backend.name(),
            "call": calls.operation.name(),
            "size_bytes": calls.size,
            "component": times(&calls.component),
            "native": times(&calls.native),
            "added_us": calls.added_us(),
        })
    });
    let speed = |speed: &[RequestRate]| json!({"requests_per_s": rates(speed), "cpu_us_per_request": cpu(speed)});
    let requests = requests.iter().map(|requests| {
        json!({
            "at_once": requests.at_once,
            "component": speed(&requests.component),
            "native": speed(&requests.native),
            "ratio": requests.ratio(),
        })
    });
    json!({"stores": calls.collect::<Vec<_>>(), "outgoing_http": requests.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::super::parts::{Backend, Operation};
    use super::*;

    fn calls(backend: Backend, component: f64, native: &[f64]) -> Calls {
        let times = |p50_us| CallTimes { mean_us: p50_us, p50_us };
        let native = native.iter().copied().map(times).collect();
        Calls { backend, operation: Operation::Get, size: 64, component: vec![times(component)], native }
    }

    #[test]
    fn goals_are_judged() {
        let all = [
            calls(Backend::Memory, 2.0, &[]),
            calls(Backend::Disk, 20.0, &[8.0]),
            calls(Backend::Nats, 120.0, &[100.0]),
        ];
        let rate = |requests_per_s| vec![RequestRate { requests_per_s, cpu_us_per_request: 10.0 }];
        let requests = [Requests { at_once: 32, component: rate(4_000.0), native: rate(10_000.0) }];
        let text = text(&all, &requests, 1, "here");
        assert!(text.contains("| memory | get 64 B | 2.00 | - | - | 2.00 | - | - |"), "{text}");
        assert!(text.contains("| disk | get 64 B | 20.0 | 8.00 | 12.0 | 20.0 | 8.00 | yes |"), "{text}");
        assert!(text.contains("| nats | get 64 B | 120 | 100 | 20.0 | 120 | 100 | no |"), "{text}");
        assert!(text.contains("| 32 | 4,000 | 10,000 | 0.40 | 10.0 | 10.0 | no |"), "{text}");
        assert_eq!(json(&all, &requests)["outgoing_http"][0]["ratio"], 0.4);
    }
}
