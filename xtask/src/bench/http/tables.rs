//! The results of `cargo xtask bench http` as Markdown and as JSON. It measures nothing.

use serde_json::{Value, json};

use super::{Arguments, Lag, Results, Speed};
use crate::bench::figures::{largest, median, shown, table};
use crate::bench::oha::Latency;

pub(super) const ROADSTEAD: &str = "Roadstead";
pub(super) const WASMTIME: &str = "wasmtime serve";

pub(super) fn text(results: &Results, arguments: &Arguments, surroundings: &str) -> String {
    let latency_seconds = arguments.latency_seconds.unwrap_or(arguments.seconds);
    let mut text = format!(
        "{surroundings}. Server on core 0, client on core 1; medians of {} rounds of {} s (latency: {latency_seconds} s).\n\n",
        arguments.rounds, arguments.seconds
    );
    text += &speeds(&results.speeds);
    text += "\nLatency at a part of the server's own maximum at 32 connections, in microseconds from when a request was due:\n\n";
    text += &lags(&results.lags);
    let bare = &results.bare_loop;
    if !bare.calls_per_s.is_empty() {
        text += &format!(
            "\nThe bare loop, hello: {} calls/s, {} us a call, {} us of them for the instance.\n",
            shown(median(&bare.calls_per_s)),
            shown(median(&bare.us_per_call)),
            shown(median(&bare.us_per_instantiation)),
        );
    }
    text
}

/// A row for each case and number of connections, the servers side by side.
fn speeds(speeds: &[Speed]) -> String {
    let rows: Vec<Vec<String>> = speeds
        .iter()
        .filter(|speed| speed.server == ROADSTEAD)
        .map(|ours| {
            let is_theirs = |other: &&Speed| {
                other.server == WASMTIME && other.case == ours.case && other.connections == ours.connections
            };
            let theirs = speeds.iter().find(is_theirs);
            let pair = |figure: fn(&Speed) -> f64| {
                let (ours, theirs) = (figure(ours), theirs.map_or(f64::NAN, figure));
                [shown(ours), shown(theirs), shown(ours / theirs)]
            };
            let mut row = vec![ours.case.name().to_owned(), ours.connections.to_string()];
            row.extend(pair(|speed| median(&speed.requests_per_s)));
            row.extend(pair(|speed| median(&speed.cpu_us_per_request)));
            row.extend(pair(|speed| speed.resident_kib_after as f64 / 1024.0).into_iter().take(2));
            row
        })
        .collect();
    let heads = [
        "case",
        "connections",
        "Roadstead requests/s",
        "wasmtime serve requests/s",
        "ratio",
        "Roadstead CPU us/request",
        "wasmtime serve CPU us/request",
        "ratio",
        "Roadstead RSS MiB",
        "wasmtime serve RSS MiB",
    ];
    table(&heads, 1, &rows)
}

fn lags(lags: &[Lag]) -> String {
    let rows: Vec<Vec<String>> = lags
        .iter()
        .map(|lag| {
            let middle = |figure: fn(&Latency) -> f64| median(&of_all(lag, figure));
            let (p50, p99) = (middle(|latency| latency.p50_us), middle(|latency| latency.p99_us));
            vec![
                lag.case.name().to_owned(),
                lag.server.to_owned(),
                format!("{} %", lag.load_percent),
                shown(lag.asked_per_s as f64),
                shown(p50),
                shown(p99),
                shown(middle(|latency| latency.p99_9_us)),
                shown(largest(&of_all(lag, |latency| latency.max_us))),
                shown(p99 / p50),
            ]
        })
        .collect();
    table(&["case", "server", "load", "requests/s", "p50", "p99", "p99.9", "max", "p99/p50"], 2, &rows)
}

fn of_all(lag: &Lag, figure: fn(&Latency) -> f64) -> Vec<f64> {
    lag.rounds.iter().map(figure).collect()
}

/// Every figure of every round.
pub(super) fn json(results: &Results) -> Value {
    let speed = |speed: &Speed| {
        json!({
            "case": speed.case.name(),
            "connections": speed.connections,
            "server": speed.server,
            "requests_per_s": speed.requests_per_s,
            "cpu_us_per_request": speed.cpu_us_per_request,
            "resident_kib_after": speed.resident_kib_after,
        })
    };
    let lag = |lag: &Lag| {
        json!({
            "case": lag.case.name(),
            "load_percent": lag.load_percent,
            "server": lag.server,
            "asked_requests_per_s": lag.asked_per_s,
            "requests_per_s": of_all(lag, |latency| latency.requests_per_s),
            "p50_us": of_all(lag, |latency| latency.p50_us),
            "p99_us": of_all(lag, |latency| latency.p99_us),
            "p99_9_us": of_all(lag, |latency| latency.p99_9_us),
            "max_us": of_all(lag, |latency| latency.max_us),
        })
    };
    let bare = &results.bare_loop;
    json!({
        "speed": results.speeds.iter().map(speed).collect::<Vec<_>>(),
        "latency": results.lags.iter().map(lag).collect::<Vec<_>>(),
        "bare_loop": {
            "calls_per_s": bare.calls_per_s,
            "us_per_call": bare.us_per_call,
            "us_per_instantiation": bare.us_per_instantiation,
        },
    })
}
