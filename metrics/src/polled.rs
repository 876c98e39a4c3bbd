//! Metrics that nobody counts: they are read where they are when somebody asks.

use prometheus::{
    core::{Collector, Desc},
    proto,
};

use crate::{
    Kind, Metric,
    family::{description, family, labelled},
};

/// A value and the values of its labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a, const LABELS: usize> {
    pub labels: [&'a str; LABELS],
    pub value: f64,
}

/// Reads what is there now.
pub(crate) type Read<const LABELS: usize> = Box<dyn Fn() -> Vec<Sample<'static, LABELS>> + Send + Sync>;

pub(crate) struct Polled<const LABELS: usize> {
    metric: &'static Metric,
    description: Desc,
    read: Read<LABELS>,
}

impl<const LABELS: usize> Polled<LABELS> {
    pub(crate) fn new(metric: &'static Metric, read: Read<LABELS>) -> Result<Self, prometheus::Error> {
        Ok(Self { metric, description: description(metric)?, read })
    }
}

impl<const LABELS: usize> Collector for Polled<LABELS> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let lines = (self.read)().into_iter().map(|sample| {
            let labels: Vec<Box<str>> = sample.labels.into_iter().map(Box::from).collect();
            let mut line = labelled(self.metric, &labels);
            if self.metric.kind == Kind::Counter {
                let mut counter = proto::Counter::default();
                counter.set_value(sample.value);
                line.set_counter(counter);
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(sample.value);
                line.set_gauge(gauge);
            }
            line
        });
        vec![family(self.metric, lines.collect())]
    }
}
