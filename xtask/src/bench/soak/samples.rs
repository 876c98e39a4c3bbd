//! What a host uses and is busy with at one moment of the soak. It judges nothing but whether the host is at rest.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fmt;
use std::time::Instant;

use crate::bench::figures::shown;
use crate::bench::gauges::Metrics;
use crate::bench::process_stats::{self, Usage};
use crate::bench::server::Server;

/// Warm instances of the worker: they stay.
pub(super) const POOL_SIZE: u32 = 4;

/// The gauges that are looked at, and what each may be at rest.
const GAUGES: [(&str, u32); 6] = [
    ("roadstead_instances", POOL_SIZE),
    ("roadstead_http_requests_in_flight", 0),
    ("roadstead_http_connections", 0),
    ("roadstead_pool_busy", 0),
    ("roadstead_pool_waiting", 0),
    ("roadstead_messages_in_flight", 0),
];

/// A gauge, summed over all workloads.
pub(super) struct Gauge {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) at_rest_max: f64,
}

/// A look at the host.
pub(super) struct Sample {
    /// Since the load began.
    pub(super) seconds: u64,
    pub(super) usage: Usage,
    pub(super) gauges: Vec<Gauge>,
}

impl Sample {
    /// Looks.
    ///
    /// # Errors
    /// When the host has ended or does not answer.
    pub(super) fn of(server: &Server, began: Instant) -> Result<Self> {
        let metrics = Metrics::of(server.admin.context("the host has an admin address")?)?;
        let gauge = |(name, at_rest_max): (&'static str, u32)| Gauge {
            name,
            value: metrics.sum(name),
            at_rest_max: f64::from(at_rest_max),
        };
        Ok(Self {
            seconds: began.elapsed().as_secs(),
            usage: process_stats::usage(server.pid())?,
            gauges: GAUGES.map(gauge).into(),
        })
    }

    /// Whether nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.gauges.iter().all(|gauge| gauge.value <= gauge.at_rest_max)
    }

    pub(super) fn json(&self) -> Value {
        let mut json = json!({
            "seconds": self.seconds,
            "resident_kib": self.usage.resident_kib,
            "open_files": self.usage.open_files,
            "threads": self.usage.threads,
        });
        if let Some(object) = json.as_object_mut() {
            object.extend(self.gauges.iter().map(|gauge| (gauge.name.to_owned(), json!(gauge.value))));
        }
        json
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { resident_kib, threads, open_files } = self.usage;
        let rss = shown(resident_kib as f64 / 1024.0);
        write!(f, "{:>4} s: RSS {rss} MiB, {open_files} files, {threads} threads", self.seconds)?;
        for gauge in &self.gauges {
            let name = gauge.name.trim_start_matches("roadstead_");
            write!(f, ", {name} {:.0}", gauge.value)?;
        }
        Ok(())
    }
}
