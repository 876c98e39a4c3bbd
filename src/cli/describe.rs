//! `roadstead describe`: one workload with all that a host knows of it, and what to do where something is wrong.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use serde_json::Value;

use super::{
    asking::{self, AskArguments},
    named_workload::NamedWorkload,
    shown::{age, coloured, list, print, table, text},
};

/// Flags of `roadstead describe`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead describe gateway
  roadstead describe worker -n team-a

Exit codes:
  0  done        1  there is no such workload, or no host answers        2  wrong usage of the command line
  What each reason means: docs/troubleshooting.md")]
pub(super) struct DescribeArguments {
    #[command(flatten)]
    workload: NamedWorkload,
    #[command(flatten)]
    ask: AskArguments,
}

/// Runs the command.
pub(super) fn main(arguments: &DescribeArguments) -> ExitCode {
    asking::run(async {
        let asking = arguments.ask.asking()?;
        let (namespace, name) = arguments.workload.find(&asking).await?;
        let report = asking.get(&format!("/v1/workloads/{namespace}/{name}")).await?;
        print(&coloured(&written(&report)))
    })
}

fn written(report: &Value) -> String {
    let mut page = String::new();
    let state = text(report, "state").trim_start_matches("WORKLOAD_STATE_").to_lowercase();
    for (name, value) in [
        ("Name", text(report, "name")),
        ("Namespace", text(report, "namespace")),
        ("State", state),
        ("Replicas", text(report, "replicas")),
    ] {
        let _ = writeln!(page, "{:<11}{value}", format!("{name}:"));
    }
    if report.get("trigger").is_some() {
        let paths: Vec<String> = list(report, "trigger/paths").iter().map(|path| text(path, "")).collect();
        let (host, timeout) = (text(report, "trigger/host"), text(report, "trigger/timeout_ms"));
        let _ = writeln!(page, "{:<11}{host}  paths {}  timeout {timeout} ms", "Trigger:", paths.join(", "));
    }
    for warning in list(report, "warnings") {
        let _ = writeln!(page, "{:<11}{}", "Warning:", text(warning, ""));
    }
    section(
        &mut page,
        "Components",
        &["NAME", "POOL", "BUSY", "IDLE", "WAITING", "IMAGE"],
        report,
        "components",
        |item| {
            let pool = |field: &str| text(item, &format!("pool/{field}"));
            vec![text(item, "name"), pool("size"), pool("busy"), pool("idle"), pool("waiting"), text(item, "image")]
        },
    );
    section(&mut page, "Subscriptions", &["COMPONENT", "SUBJECT"], report, "subscriptions", |item| {
        vec![text(item, "component"), text(item, "subject")]
    });
    section(&mut page, "Conditions", &["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], report, "conditions", |item| {
        let since = age(item, "lastTransitionTime");
        vec![text(item, "type"), text(item, "status"), text(item, "reason"), since, text(item, "message")]
    });
    page += &findings(report);
    let head = ["COMPONENT", "KIND", "COUNT", "LAST", "TRACE", "MESSAGE"];
    section(&mut page, "Faults", &head, report, "faults", |item| {
        let last = age(item, "lastTimestamp");
        let trace = text(item, "lastTraceId");
        vec![text(item, "component"), text(item, "kind"), text(item, "count"), last, trace, text(item, "message")]
    });
    section(&mut page, "Events", &["TYPE", "REASON", "COUNT", "LAST", "MESSAGE"], report, "events", |item| {
        let last = age(item, "lastTimestamp");
        vec![text(item, "type"), text(item, "reason"), text(item, "count"), last, text(item, "message")]
    });
    page
}

/// What is wrong, and what to do about it.
fn findings(report: &Value) -> String {
    let findings = list(report, "findings");
    if findings.is_empty() {
        return "\nNothing is wrong that the host knows of.\n".into();
    }
    let mut page = "\nWhat is wrong:\n".to_owned();
    for finding in findings {
        let _ = writeln!(page, "  - {}\n    To do: {}", text(finding, "cause"), text(finding, "remedy"));
    }
    page
}

/// A table under its name, where there is something in it.
fn section(
    page: &mut String,
    name: &str,
    head: &[&str],
    report: &Value,
    field: &str,
    row: impl Fn(&Value) -> Vec<String>,
) {
    let rows: Vec<Vec<String>> = list(report, field).iter().map(row).collect();
    if !rows.is_empty() {
        let _ = write!(page, "\n{name}:\n{}", table(head, &rows, "  "));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_components_and_manifests_say_is_escaped() {
        let report = json!({
            "name": "a", "namespace": "b", "state": "WORKLOAD_STATE_RUNNING", "replicas": 1,
            "events": [{"type": "Warning", "reason": "Odd", "count": 1, "message": "\u{1b}]0;owned\u{7}"}],
            "findings": [{"cause": "c\u{1b}[2J", "remedy": "r"}],
        });
        let page = written(&report);
        assert!(!page.contains('\u{1b}') && !page.contains('\u{7}'), "{page}");
        assert!(page.contains("State:     running\n") && page.contains("    To do: r\n"), "{page}");
    }
}
