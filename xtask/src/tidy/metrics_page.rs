//! `docs/metrics.md` is generated from the catalogue of `roadstead-metrics` and checked against it; and whatever names a
//! metric, in documents, the dashboard and the alerts, names one of the catalogue.

use anyhow::{Context, Result};
use roadstead_metrics::catalogue;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Problem;

const PAGE: &str = "docs/metrics.md";
/// Folders whose files may name metrics.
const NAMING: [&str; 3] = ["docs", "deploy/grafana", "deploy/prometheus"];
/// What other names of this project begin with, in the same documents.
const OTHER_NAMES: [&str; 10] = [
    "roadstead_default",
    "roadstead_runtime",
    "roadstead_proxy",
    "roadstead_plugins",
    "roadstead_telemetry",
    "roadstead_config",
    "roadstead_metrics",
    "roadstead_gpu_wire",
    "roadstead_kv",
    "roadstead_objects",
];
const HEAD: &str = "# Metrics

What a host counts, at `/metrics` of its admin listener in Prometheus' text format ([how it is
read](operations.md#metrics)). `roadstead metrics` prints the same without a host. Label values are names from manifests
and the words below; nothing that a client sends is among them.

Series of a workload end when it is removed and its last call has ended; a workload that replaces one of its name goes on
counting where that was. Workloads beyond `metrics_workloads_max` ([limits](limits.md)) are counted together, under
`__overflow__` in place of each name.

This page is generated from the catalogue in `metrics/src/catalogue` by `cargo xtask tidy --write`.
";

/// Writes the page.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(root: &Path) -> Result<()> {
    fs::write(root.join(PAGE), page()).with_context(|| format!("cannot write {PAGE}"))
}

/// Finds out whether the page is as it would be written, and who names a metric that is not there.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(root: &Path, problems: &mut Vec<Problem>) -> Result<()> {
    if fs::read_to_string(root.join(PAGE)).unwrap_or_default() != page() {
        let what = "differs from the catalogue of metrics: run `cargo xtask tidy --write`".into();
        problems.push(Problem { file: PAGE.into(), line: None, what });
    }
    for folder in NAMING {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                let text = fs::read_to_string(entry.path())?;
                problems.extend(unknown(&Path::new(folder).join(entry.file_name()), &text));
            }
        }
    }
    Ok(())
}

fn page() -> String {
    HEAD.to_owned() + &roadstead_metrics::markdown(catalogue::SECTIONS)
}

/// The metrics that `text` names and the catalogue does not have.
fn unknown(file: &Path, text: &str) -> Vec<Problem> {
    let known: BTreeSet<String> = catalogue::all().flat_map(|metric| names(metric.name)).collect();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':' && c != '/' && c != '.');
        for word in words {
            let word = word.split("::").next().unwrap_or_default().trim_end_matches(['.', ':']);
            let is_metric = word.starts_with("roadstead_") && !OTHER_NAMES.iter().any(|other| word.starts_with(other));
            let is_name = word.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !word.ends_with('_');
            if (is_metric || word.starts_with("process_")) && is_name && !known.contains(word) {
                let what = format!("names the metric `{word}`, which the catalogue does not have");
                problems.push(Problem { file: PathBuf::from(file), line: Some(index + 1), what });
            }
        }
    }
    problems
}

/// A metric's name, and those of the series that a histogram has.
fn names(name: &str) -> [String; 4] {
    ["", "_bucket", "_sum", "_count"].map(|ending| format!("{name}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_is_not_there_is_a_problem() {
        let text = "`roadstead_calls_total`, roadstead_call_duration_seconds_bucket and `roadstead_runtime::host`\n\
                    rate(roadstead_cals_total[5m]) by process_foo";
        let found: Vec<String> = unknown(Path::new("docs/a.md"), text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/a.md:2: names the metric `roadstead_cals_total`, which the catalogue does not have",
                "docs/a.md:2: names the metric `process_foo`, which the catalogue does not have",
            ]
        );
    }
}
