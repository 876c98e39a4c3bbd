//! Hosts with many workloads, by their metrics alone: what a scrape costs, and what is left when the workloads are gone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../examples/many/workloads.rs"]
mod many;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use many::Many;
use roadstead_metrics::{Metrics, catalogue::HTTP_DURATION};

/// Of a debug build on a busy machine; a release build has 50 ms (`--example scrape`).
const GENEROUS: Duration = Duration::from_secs(10);
const WORKLOADS: usize = 1_000;

#[test]
fn a_scrape_of_many_workloads_is_soon_over_and_nobody_waits_for_it() {
    let metrics = Metrics::default();
    let many = Many::register(&metrics, WORKLOADS);
    let begun = Instant::now();
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    assert!(begun.elapsed() < GENEROUS, "{:?}", begun.elapsed());
    let requests = text.lines().filter(|line| line.starts_with("roadstead_http_requests_total{")).count();
    assert_eq!(requests, WORKLOADS);

    // While one thread scrapes without a pause, another counts: it must not be held up for as long as a scrape takes.
    let over = AtomicBool::new(false);
    let handle = metrics.histograms(&HTTP_DURATION).unwrap().with(["team-1", "app-1"]);
    let before = handle.count();
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..3).for_each(|_| drop(metrics.text().unwrap()));
            over.store(true, Ordering::Relaxed);
        });
        let mut counted = 0;
        while !over.load(Ordering::Relaxed) {
            handle.observe(0.002);
            counted += 1;
        }
        // Far more than there were scrapes: counting went on through each of them.
        assert!(counted > 1_000, "{counted}");
        assert_eq!(handle.count() - before, counted);
    });
    drop(many);
}

#[test]
fn nothing_is_left_of_workloads_that_are_gone() {
    let metrics = Metrics::default();
    let many = Many::register(&metrics, 3);
    assert!(String::from_utf8(metrics.text().unwrap()).unwrap().contains("team-1"));
    assert_eq!(metrics.named().count(), 3);
    drop(many);
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    assert!(!text.contains("team-") && !text.contains("app-"), "{text}");
    assert_eq!(metrics.named().count(), 0);
    assert_eq!(metrics.registry().gather().len(), 0);
    // What is registered is shown all the same.
    assert!(text.contains("# TYPE roadstead_http_requests_total counter\n"));
}

#[test]
fn those_beyond_the_bound_share_their_series() {
    let metrics = Metrics::new(roadstead_metrics::Registry::new(), 2);
    let many = Many::register(&metrics, 5);
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let of_requests: Vec<_> = text.lines().filter(|line| line.starts_with("roadstead_http_requests_total{")).collect();
    assert_eq!(of_requests.len(), 3, "{of_requests:#?}");
    let shared = of_requests.iter().find(|line| line.contains("trigger=\"__overflow__\"")).unwrap();
    assert!(shared.ends_with(" 3"), "{shared}");
    drop(many);
    assert_eq!(metrics.registry().gather().len(), 0);
}

#[test]
fn an_entry_has_one_family_and_a_registry_one_of_each() {
    let metrics = Metrics::default();
    let (one, other) = (metrics.histograms(&HTTP_DURATION).unwrap(), metrics.histograms(&HTTP_DURATION).unwrap());
    let (one, other) = (one.with(["a", "b"]), other.with(["a", "b"]));
    one.observe(0.7);
    assert_eq!(other.count(), 1);
    let text = String::from_utf8(metrics.text().unwrap()).unwrap();
    let line = |ending: &str| {
        let start = format!("roadstead_http_request_duration_seconds{ending} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    assert_eq!(line(r#"_bucket{namespace="a",trigger="b",le="0.5"}"#).as_deref(), Some("0"));
    assert_eq!(line(r#"_bucket{namespace="a",trigger="b",le="1"}"#).as_deref(), Some("1"));
    assert_eq!(line(r#"_bucket{namespace="a",trigger="b",le="+Inf"}"#).as_deref(), Some("1"));
    assert_eq!(line(r#"_sum{namespace="a",trigger="b"}"#).as_deref(), Some("0.7"));
    let second = Metrics::new(metrics.registry().clone(), 1);
    assert!(second.histograms(&HTTP_DURATION).is_err());
}
