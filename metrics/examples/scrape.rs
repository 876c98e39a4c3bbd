//! Measures what a scrape of a host with many workloads takes: `cargo run --release -p roadstead-metrics --example scrape`.
//! Each has a trigger, a pool and messages, which is more than most have.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "many/workloads.rs"]
mod many;

use std::time::Instant;

use roadstead_metrics::Metrics;

const WORKLOADS: usize = 1_000;
/// Scrapes that are measured.
const SCRAPES: usize = 51;

fn main() {
    let metrics = Metrics::default();
    let many = many::Many::register(&metrics, WORKLOADS);
    let mut took = Vec::new();
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        let begun = Instant::now();
        bytes = metrics.text().unwrap().len();
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took.get(part).copied().unwrap_or_default();
    println!("{WORKLOADS} workloads, {bytes} bytes, {SCRAPES} scrapes");
    println!("median {:.1} ms, largest {:.1} ms", at(SCRAPES / 2), at(SCRAPES - 1));
    drop(many);
}
