//! Every metric of a host: name, kind, unit, labels, help, and where the labels' values come from. A metric that is not
//! here cannot be counted. How it is counted is not known here.

/// Words for how a call ended that gave no result, as the runtime's `CallError` names them, between words of whoever counts.
macro_rules! call_ends {
    ([$($before:literal),*], [$($after:literal),*]) => {
        &[
            $($before,)*
            "deadline",
            "trap",
            "stack-overflow",
            "memory-limit",
            "cpu-limit",
            "exit",
            "no-response",
            "guest-error",
            "host-panic",
            "instantiation",
            "workload-busy",
            "tenant-busy",
            "host-busy",
            "admission-timeout",
            "not-running",
            $($after,)*
        ]
    };
}

mod capabilities;
mod host;
mod http;
mod messaging;
mod workloads;

pub use capabilities::*;
pub use host::*;
pub use http::*;
pub use messaging::*;
pub use workloads::*;

use crate::{
    Label, Metric, Section,
    Values::{Fixed, Named},
};

/// All metrics, by the part of the host that counts.
pub static SECTIONS: &[Section] = &[
    http::INGRESS,
    http::MEMORY,
    http::TLS,
    workloads::WORKLOADS,
    workloads::CALLS,
    workloads::OUTGOING,
    workloads::COMPONENTS,
    messaging::MESSAGES,
    messaging::NATS,
    capabilities::STORES,
    capabilities::POSTGRES,
    capabilities::GPU,
    capabilities::TELEMETRY,
    host::PROCESS,
    host::FLEET,
];

/// All metrics.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics.iter().copied())
}

/// Makes the entries, and the list of them, so that none is left out of it.
macro_rules! section {
    (
        $section:ident = $title:literal, $on:literal;
        $($name:ident: $entry:ty = $make:expr;)*
    ) => {
        $(
            #[doc = concat!("The entry of this name: see [`SECTIONS`](super::SECTIONS) for ", stringify!($name), ".")]
            pub static $name: $entry = $make;
        )*

        pub(super) const $section: crate::Section =
            crate::Section { title: $title, on: $on, metrics: &[$($name.metric()),*] };
    };
}
use section;

static NAMESPACE: Label =
    Label { name: "namespace", values: Named("namespace of the workload or trigger, from its manifest") };
static TRIGGER: Label = Label {
    name: "trigger",
    values: Named("name of the workload whose routes it has, from its manifest; empty where no route took the request"),
};
static WORKLOAD: Label = Label { name: "workload", values: Named("name of the workload, from its manifest") };
static COMPONENT: Label = Label { name: "component", values: Named("name of the component, from its manifest") };

static OF_TRIGGER: [&Label; 2] = [&NAMESPACE, &TRIGGER];
static OF_WORKLOAD: [&Label; 2] = [&NAMESPACE, &WORKLOAD];
static OF_COMPONENT: [&Label; 3] = [&NAMESPACE, &WORKLOAD, &COMPONENT];
static OF_HOST: [&Label; 0] = [];

const fn outcome(words: &'static [&'static str]) -> Label {
    Label { name: "outcome", values: Fixed(words) }
}

const fn reason(words: &'static [&'static str]) -> Label {
    Label { name: "reason", values: Fixed(words) }
}

/// Upper bounds in seconds, for requests and calls: a fresh instance takes less than a millisecond, a job on a GPU seconds.
const CALL_SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// For what is over in a moment, when all is well.
const SHORT_SECONDS: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0, 10.0];
/// For waits in a queue.
const WAIT_SECONDS: &[f64] = &[0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// For what nobody's request waits for: compiling, fetching.
const LONG_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Kind, Unit};

    #[test]
    fn names_are_as_prometheus_asks() {
        let mut names = BTreeSet::new();
        for metric in all() {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            let prefix = ["roadstead_", "process_"].iter().any(|prefix| name.starts_with(prefix));
            assert!(prefix && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let base = name.trim_end_matches("_total");
            let unit = match metric.unit {
                Unit::Seconds | Unit::UnixSeconds => base.ends_with("_seconds"),
                Unit::Bytes => base.ends_with("_bytes"),
                Unit::Count | Unit::Boolean => !base.ends_with("_seconds") && !base.ends_with("_bytes"),
            };
            assert!(unit, "the name of {name} does not end with its unit");
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}: {}", metric.help);
        }
    }

    #[test]
    fn labels_are_told_apart_and_their_words_too() {
        for metric in all() {
            let names: BTreeSet<_> = metric.all_labels().map(|label| label.name).collect();
            assert_eq!(names.len(), metric.all_labels().count(), "{}", metric.name);
            for label in metric.all_labels() {
                let words: BTreeSet<_> = label.values.fixed().iter().collect();
                assert_eq!(words.len(), label.values.fixed().len(), "{} {}", metric.name, label.name);
            }
            assert!(metric.by.is_none_or(|by| !by.values.fixed().is_empty()), "{}", metric.name);
            assert!(metric.buckets.is_sorted(), "{}", metric.name);
            assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{}", metric.name);
        }
    }
}
