//! `roadstead top`: what is busy on a running host: calls a second between two looks, pools, memory.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use roadstead_config::parse_duration;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    asking::{self, AskArguments, AskError, Asking},
    shown::{clean, list, print, table, text},
};

/// The metric of calls, by workload and outcome.
const CALLS: &str = "roadstead_calls_total";
/// The host's memory, where the host tells of it.
const MEMORY: &str = "process_resident_memory_bytes";
/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Flags of `roadstead top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead top
  roadstead top --once --every 5s         one round, over five seconds

On a terminal it goes on until it is interrupted; elsewhere, or with --once, it ends after one round.

Exit codes:
  0  done        1  no host answers, or it refuses        2  wrong usage of the command line")]
pub(super) struct TopArguments {
    /// End after one round.
    #[arg(long)]
    once: bool,
    /// Time between two looks.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    every: Duration,
    #[command(flatten)]
    ask: AskArguments,
}

/// Calls of a workload so far: all, and those that failed.
type Calls = BTreeMap<(String, String), (f64, f64)>;

/// One look.
struct Look {
    at: Instant,
    calls: Calls,
    memory: Option<f64>,
}

/// Runs the command.
pub(super) fn main(arguments: &TopArguments) -> ExitCode {
    asking::run(top(arguments))
}

async fn top(arguments: &TopArguments) -> Result<(), AskError> {
    let asking = arguments.ask.asking()?;
    let goes_on = !arguments.once && io::stdout().is_terminal();
    let mut before = look(&asking).await?;
    loop {
        tokio::time::sleep(arguments.every).await;
        let now = look(&asking).await?;
        let workloads = asking.get("/v1/workloads").await?;
        let page = written(&before, &now, &workloads);
        if !goes_on {
            return print(&page);
        }
        print(&format!("{CLEAR}{page}"))?;
        before = now;
    }
}

async fn look(asking: &Asking) -> Result<Look, AskError> {
    let metrics = asking.text("/metrics").await?;
    Ok(Look { at: Instant::now(), calls: calls(&metrics), memory: samples(&metrics, MEMORY).next().map(|(_, v)| v) })
}

fn calls(metrics: &str) -> Calls {
    let mut calls = Calls::new();
    for (labels, value) in samples(metrics, CALLS) {
        let label = |name: &str| label(labels, name).unwrap_or_default().to_owned();
        let (all, failed) = calls.entry((label("namespace"), label("workload"))).or_default();
        *all += value;
        if label("outcome") != "ok" {
            *failed += value;
        }
    }
    calls
}

/// The labels and values of a metric in Prometheus' text format.
fn samples<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.trim().parse().ok()?))
    })
}

/// The value of a label: names of namespaces and workloads have nothing that is escaped.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let labels = labels.split(',');
    labels.filter_map(|label| label.split_once('=')).find(|(found, _)| *found == name).map(|(_, v)| v.trim_matches('"'))
}

fn written(before: &Look, now: &Look, workloads: &Value) -> String {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
    let mut rows: Vec<(f64, Vec<String>)> =
        list(workloads, "items").iter().map(|item| row(item, before, now, seconds)).collect();
    rows.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let memory = now.memory.map_or_else(|| "-".into(), |bytes| format!("{:.0} MiB", bytes / f64::from(1 << 20)));
    let all: f64 = rows.iter().map(|(rate, _)| rate).sum();
    let head = ["NAMESPACE", "NAME", "READY", "CALLS/S", "FAILED/S", "BUSY", "SIZE", "WAITING"];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    format!("memory {memory}  workloads {}  calls/s {all:.1}\n\n{}", rows.len(), table(&head, &rows, ""))
}

fn row(item: &Value, before: &Look, now: &Look, seconds: f64) -> (f64, Vec<String>) {
    let of = |field: &str| item.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let id = (of("namespace"), of("name"));
    let (all, failed) = now.calls.get(&id).copied().unwrap_or_default();
    let (all_before, failed_before) = before.calls.get(&id).copied().unwrap_or_default();
    // A workload that was replaced counts anew.
    let rate = |now: f64, before: f64| if now >= before { (now - before) / seconds } else { now / seconds };
    let (calls, failures) = (rate(all, all_before), rate(failed, failed_before));
    let pool = |field: &str| -> String {
        let pools =
            list(item, "components").iter().filter_map(|component| component.pointer(&format!("/pool/{field}")));
        let values: Vec<u64> = pools.filter_map(Value::as_u64).collect();
        if values.is_empty() { "-".into() } else { values.iter().sum::<u64>().to_string() }
    };
    let cells = vec![
        clean(&id.0),
        clean(&id.1),
        text(item, "conditions/0/status"),
        format!("{calls:.1}"),
        format!("{failures:.1}"),
        pool("busy"),
        pool("size"),
        pool("waiting"),
    ];
    (calls, cells)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const METRICS: &str = "\
# HELP roadstead_calls_total Calls.
roadstead_calls_total{component=\"c\",namespace=\"a\",outcome=\"ok\",workload=\"w\"} 10
roadstead_calls_total{component=\"c\",namespace=\"a\",outcome=\"trap\",workload=\"w\"} 2
roadstead_calls_total_other 7
process_resident_memory_bytes 1048576
";

    #[test]
    fn rates_are_of_the_time_between_two_looks() {
        let at = Instant::now();
        let before = Look { at, calls: Calls::new(), memory: None };
        let memory = samples(METRICS, MEMORY).next().map(|(_, value)| value);
        let now = Look { at: at + Duration::from_secs(2), calls: calls(METRICS), memory };
        let workloads = json!({"items": [{
            "namespace": "a", "name": "w", "conditions": [{"status": "True"}],
            "components": [{"pool": {"busy": 1, "size": 4, "waiting": 0}}, {"pool": {"busy": 2, "size": 4, "waiting": 1}}],
        }]});
        let page = written(&before, &now, &workloads);
        assert!(page.starts_with("memory 1 MiB  workloads 1  calls/s 6.0\n"), "{page}");
        assert!(page.contains("a          w     True   6.0      1.0       3     8     1\n"), "{page}");
    }
}
