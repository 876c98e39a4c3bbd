//! The catalogue for people: as a page in Markdown, and as text for a terminal.

use std::fmt::Write;

use crate::{Kind, Label, Metric, Section, Values};

/// The catalogue in Markdown, without a title: a section for each part of the host.
pub fn markdown(sections: &[Section]) -> String {
    let mut page = String::new();
    for section in sections {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {}\n\nOn: {}.\n", section.title, section.on);
        page.push_str("\n| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n");
        for metric in section.metrics {
            let labels: Vec<_> = metric.all_labels().map(|label| format!("`{}`", label.name)).collect();
            let Metric { name, help, .. } = metric;
            let (kind, unit) = (metric.kind.as_str(), metric.unit.as_str());
            let _ = writeln!(page, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", "));
        }
        let mut words = String::new();
        for metric in section.metrics {
            for label in metric.all_labels() {
                if let Values::Fixed(values) = label.values {
                    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                    let line = format!("- `{}` of `{}`: {}\n", label.name, metric.name, values.join(", "));
                    words.push_str(&line);
                }
            }
        }
        if !words.is_empty() {
            let _ = write!(page, "\n{words}");
        }
    }
    page
}

/// The catalogue as text: a paragraph for each metric.
pub fn text(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} ({})\n", section.title, section.on.replace('`', ""));
        for metric in section.metrics {
            let _ = writeln!(text, "  {}  {}, {}", metric.name, metric.kind.as_str(), metric.unit.as_str());
            let _ = writeln!(text, "      {}", metric.help);
            for label in metric.all_labels() {
                let _ = writeln!(text, "      {}: {}", label.name, values(label));
            }
            if metric.kind == Kind::Histogram {
                let bounds: Vec<_> = metric.buckets.iter().map(ToString::to_string).collect();
                let _ = writeln!(text, "      buckets: {}", bounds.join(", "));
            }
            text.push('\n');
        }
    }
    text
}

fn values(label: &Label) -> String {
    match label.values {
        Values::Named(whose) => whose.to_owned(),
        Values::Fixed(words) => words.join(", "),
    }
}
