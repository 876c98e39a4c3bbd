//! `roadstead get`: what a running host has, a line each.

use std::{process::ExitCode, time::Duration};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    asking::{self, AskArguments, AskError},
    shown::{coloured, duration, list, print, table, text, yaml},
};

/// Time between two looks of --watch.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Flags of `roadstead get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead get                          all workloads of the host of this user
  roadstead get triggers -n team-a -o wide
  roadstead get workloads --watch        print again whenever something changes
  roadstead get hosts -o json
  roadstead get --admin-addr 10.0.0.5:9090 --admin-token-file token

Exit codes:
  0  done        1  no host answers, or it refuses        2  wrong usage of the command line")]
pub(super) struct GetArguments {
    /// What to list.
    #[arg(value_enum, default_value = "workloads")]
    kind: Kind,
    /// Form of the list [default: a table].
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<Form>,
    /// Only what is in this namespace [default: all].
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<roadstead_config::Namespace>,
    /// Go on, and print again whenever something changes.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    ask: AskArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Workloads, and whether they run as asked.
    #[value(alias = "workload")]
    Workloads,
    /// Routes of workloads that answer HTTP.
    #[value(alias = "trigger")]
    Triggers,
    /// The host itself.
    #[value(alias = "host")]
    Hosts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table with more columns.
    Wide,
    /// JSON, for programs.
    Json,
    /// YAML.
    Yaml,
}

/// Runs the command.
pub(super) fn main(arguments: &GetArguments) -> ExitCode {
    asking::run(get(arguments))
}

async fn get(arguments: &GetArguments) -> Result<(), AskError> {
    let asking = arguments.ask.asking()?;
    let kind = match arguments.kind {
        Kind::Workloads => "workloads",
        Kind::Triggers => "triggers",
        Kind::Hosts => "hosts",
    };
    let namespace = arguments.namespace.as_ref().map(|namespace| format!("?namespace={namespace}"));
    let path = format!("/v1/{kind}{}", namespace.unwrap_or_default());
    let mut last = None;
    loop {
        let found = asking.get(&path).await?;
        let printed = written(arguments, &found);
        if last.as_ref() != Some(&printed) {
            print(&coloured(&printed))?;
            last = Some(printed);
        }
        if !arguments.watch {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn written(arguments: &GetArguments, found: &Value) -> String {
    let items = list(found, "items");
    match arguments.output {
        Some(Form::Json) => format!("{found:#}\n"),
        Some(Form::Yaml) => yaml(found),
        form => match arguments.kind {
            Kind::Workloads => workloads(items, form.is_some()),
            Kind::Triggers => triggers(items, form.is_some()),
            Kind::Hosts => hosts(items, form.is_some()),
        },
    }
}

fn workloads(items: &[Value], wide: bool) -> String {
    let row = |item: &Value| {
        let mut row = vec![
            text(item, "namespace"),
            text(item, "name"),
            text(item, "conditions/0/status"),
            text(item, "conditions/0/reason"),
            text(item, "replicas"),
            pools(item),
        ];
        if wide {
            let images: Vec<String> =
                list(item, "components").iter().map(|component| text(component, "image")).collect();
            row.extend([text(item, "trigger/host"), images.join(","), text(item, "conditions/0/message")]);
        }
        row
    };
    let head = ["NAMESPACE", "NAME", "READY", "REASON", "REPLICAS", "POOL", "HOST", "IMAGES", "MESSAGE"];
    shown(&head, if wide { 9 } else { 6 }, items.iter().map(row).collect())
}

/// Busy instances of all of a workload's pools.
fn pools(item: &Value) -> String {
    let pools = list(item, "components").iter().filter_map(|component| component.get("pool"));
    let pools: Vec<String> = pools.map(|pool| format!("{}/{}", text(pool, "busy"), text(pool, "size"))).collect();
    if pools.is_empty() { "-".into() } else { pools.join(",") }
}

fn triggers(items: &[Value], wide: bool) -> String {
    let row = |item: &Value| {
        let paths: Vec<String> = list(item, "paths").iter().map(|path| text(path, "")).collect();
        let mut row = vec![
            text(item, "namespace"),
            text(item, "name"),
            text(item, "host"),
            paths.join(","),
            text(item, "ready"),
            text(item, "reason"),
        ];
        if wide {
            row.extend([format!("{}ms", text(item, "timeout_ms")), text(item, "message")]);
        }
        row
    };
    let head = ["NAMESPACE", "NAME", "HOST", "PATHS", "READY", "REASON", "TIMEOUT", "MESSAGE"];
    shown(&head, if wide { 8 } else { 6 }, items.iter().map(row).collect())
}

fn hosts(items: &[Value], wide: bool) -> String {
    let row = |item: &Value| {
        let ready = if item.get("ready") == Some(&Value::Bool(true)) { "True" } else { "False" };
        let uptime = item.get("uptime_s").and_then(Value::as_u64).map_or_else(|| "-".into(), duration);
        let mut row = vec![
            text(item, "name"),
            text(item, "version"),
            ready.to_owned(),
            text(item, "workloads"),
            uptime,
            text(item, "http_address"),
        ];
        if wide {
            let reasons: Vec<String> = list(item, "reasons").iter().map(|reason| text(reason, "")).collect();
            let reasons = if reasons.is_empty() { "-".to_owned() } else { reasons.join("; ") };
            row.extend([text(item, "https_address"), reasons]);
        }
        row
    };
    let head = ["NAME", "VERSION", "READY", "WORKLOADS", "UPTIME", "HTTP", "HTTPS", "REASONS"];
    shown(&head, if wide { 8 } else { 6 }, items.iter().map(row).collect())
}

fn shown(head: &[&str], columns: usize, rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return "nothing is there\n".into();
    }
    table(head.get(..columns).unwrap_or(head), &rows, "")
}
