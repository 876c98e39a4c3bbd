//! The numbers themselves. Counting is an atomic addition or two: no lock, no look-up, nothing that can fail.

use std::{
    fmt::Display,
    io::Write,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use prometheus::proto;

use crate::Metric;

/// Units of a histogram's sum in a second.
const NANOS: f64 = 1e9;

/// A number of one series.
pub(crate) trait Value: Send + Sync + 'static {
    /// Nothing counted.
    fn new(metric: &'static Metric) -> Self;
    /// Writes the number as lines of the text format; `labels` are as the format has them, without braces.
    fn write(&self, name: &str, labels: &str, bounds: &[String], to: &mut Vec<u8>);
    /// Writes the number to a line of a scrape.
    fn read(&self, metric: &'static Metric, to: &mut proto::Metric);
}

#[derive(Debug, Default)]
pub(crate) struct CounterValue(pub(crate) AtomicU64);

#[derive(Debug, Default)]
pub(crate) struct GaugeValue(pub(crate) AtomicI64);

#[derive(Debug)]
pub(crate) struct HistogramValue {
    bounds: &'static [f64],
    /// How many fell into each, and last how many are larger than all bounds.
    buckets: Box<[AtomicU64]>,
    /// In billionths.
    sum: AtomicU64,
}

/// One line.
fn line(name: &str, ending: &str, labels: &str, bound: Option<&str>, value: impl Display, to: &mut Vec<u8>) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(ending.as_bytes());
    if !labels.is_empty() || bound.is_some() {
        to.push(b'{');
        to.extend_from_slice(labels.as_bytes());
        if let Some(bound) = bound {
            to.extend_from_slice(if labels.is_empty() { b"le=\"" } else { b",le=\"" });
            to.extend_from_slice(bound.as_bytes());
            to.push(b'"');
        }
        to.push(b'}');
    }
    // Writing to a Vec cannot fail.
    let _ = writeln!(to, " {value}");
}

impl Value for CounterValue {
    fn new(_: &'static Metric) -> Self {
        Self::default()
    }

    fn write(&self, name: &str, labels: &str, _: &[String], to: &mut Vec<u8>) {
        line(name, "", labels, None, self.0.load(Ordering::Relaxed), to);
    }

    fn read(&self, _: &'static Metric, to: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        #[expect(clippy::cast_precision_loss, reason = "the text format has no whole numbers")]
        counter.set_value(self.0.load(Ordering::Relaxed) as f64);
        to.set_counter(counter);
    }
}

impl Value for GaugeValue {
    fn new(_: &'static Metric) -> Self {
        Self::default()
    }

    fn write(&self, name: &str, labels: &str, _: &[String], to: &mut Vec<u8>) {
        line(name, "", labels, None, self.0.load(Ordering::Relaxed), to);
    }

    fn read(&self, _: &'static Metric, to: &mut proto::Metric) {
        let mut gauge = proto::Gauge::default();
        #[expect(clippy::cast_precision_loss, reason = "the text format has no whole numbers")]
        gauge.set_value(self.0.load(Ordering::Relaxed) as f64);
        to.set_gauge(gauge);
    }
}

impl HistogramValue {
    pub(crate) fn observe(&self, value: f64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats saturates")]
        self.sum.fetch_add((value * NANOS) as u64, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts().iter().sum()
    }

    pub(crate) fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }
}

impl Value for HistogramValue {
    fn new(metric: &'static Metric) -> Self {
        let buckets = (0..=metric.buckets.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds: metric.buckets, buckets, sum: AtomicU64::new(0) }
    }

    fn write(&self, name: &str, labels: &str, bounds: &[String], to: &mut Vec<u8>) {
        let mut seen = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            let bound = bounds.get(place).map_or("+Inf", String::as_str);
            line(name, "_bucket", labels, Some(bound), seen, to);
        }
        #[expect(clippy::cast_precision_loss, reason = "the text format has no whole numbers")]
        let sum = self.sum.load(Ordering::Relaxed) as f64 / NANOS;
        line(name, "_sum", labels, None, sum, to);
        line(name, "_count", labels, None, seen, to);
    }

    fn read(&self, _: &'static Metric, to: &mut proto::Metric) {
        let mut seen = 0;
        let mut cumulated = Vec::with_capacity(self.bounds.len());
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            seen += bucket.load(Ordering::Relaxed);
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(seen);
            bucket.set_upper_bound(*bound);
            cumulated.push(bucket);
        }
        let larger = self.buckets.last().map_or(0, |bucket| bucket.load(Ordering::Relaxed));
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(cumulated);
        histogram.set_sample_count(seen + larger);
        #[expect(clippy::cast_precision_loss, reason = "the text format has no whole numbers")]
        histogram.set_sample_sum(self.sum.load(Ordering::Relaxed) as f64 / NANOS);
        to.set_histogram(histogram);
    }
}
