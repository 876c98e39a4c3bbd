//! `roadstead metrics`: the catalogue of all metrics that hosts have. No host is asked.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use roadstead_metrics::{Label, Metric, Section, Values, catalogue::SECTIONS, markdown, text};
use serde_json::{Value, json};

/// Flags of `roadstead metrics`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead metrics                      all metrics, with their labels and where the labels' values come from
  roadstead metrics --output json        the same for programs
  curl http://127.0.0.1:9090/metrics     what a running host counts")]
pub(super) struct MetricsArguments {
    /// How they are printed.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Markdown,
}

/// Prints the catalogue.
pub(super) fn main(arguments: &MetricsArguments) -> ExitCode {
    let printed = match arguments.output {
        Output::Text => text(SECTIONS),
        Output::Markdown => markdown(SECTIONS),
        Output::Json => format!("{:#}\n", SECTIONS.iter().flat_map(of_section).collect::<Value>()),
    };
    print!("{printed}");
    ExitCode::SUCCESS
}

fn of_section(section: &'static Section) -> impl Iterator<Item = Value> {
    section.metrics.iter().map(|metric| of_metric(section, metric))
}

fn of_metric(section: &Section, metric: &'static Metric) -> Value {
    json!({
        "name": metric.name,
        "kind": metric.kind.as_str(),
        "unit": metric.unit.as_str(),
        "help": metric.help,
        "part": section.title,
        "on": section.on,
        "labels": metric.all_labels().map(of_label).collect::<Value>(),
        "buckets": metric.buckets,
    })
}

fn of_label(label: &Label) -> Value {
    match label.values {
        Values::Named(whose) => json!({"name": label.name, "from": whose}),
        Values::Fixed(words) => json!({"name": label.name, "values": words}),
    }
}
