//! The series of one metric. One is there as long as somebody holds it: what a workload counts is gone when the workload
//! is, without anybody taking it out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use prometheus::{
    core::{Collector, Desc},
    proto,
};

use crate::{Kind, Metric, handle::Slots, value::Value};

/// The values of a series' labels, in the order of the entry.
pub(crate) type LabelValues = Box<[Box<str>]>;

/// All series of one metric.
pub(crate) struct Series<V> {
    metric: &'static Metric,
    series: Mutex<BTreeMap<LabelValues, Weak<Cell<V>>>>,
    groups: Mutex<BTreeMap<LabelValues, Weak<Group<V>>>>,
}

/// The series that one more label tells apart. Whoever counts under the same other labels shares it, so that what one of
/// them has counted is there as long as any of them.
#[derive(Debug)]
pub(crate) struct Group<V> {
    of: Arc<Series<V>>,
    labels: LabelValues,
    cells: Slots<Arc<Cell<V>>>,
}

/// One series, there as long as it is held.
#[derive(Debug)]
pub(crate) struct Cell<V> {
    pub(crate) value: V,
    labels: LabelValues,
    /// The same as the text format has them.
    text: Box<str>,
    of: Weak<Series<V>>,
}

impl<V> std::fmt::Debug for Series<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").field("metric", &self.metric.name).finish_non_exhaustive()
    }
}

impl<V: Value> Series<V> {
    pub(crate) fn new(metric: &'static Metric) -> Arc<Self> {
        Arc::new(Self { metric, series: Mutex::default(), groups: Mutex::default() })
    }

    pub(crate) fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// The series of these labels: the one that is there, for as long as anybody holds it, or a new one.
    pub(crate) fn of(self: &Arc<Self>, labels: LabelValues) -> Arc<Cell<V>> {
        let mut all = self.lock();
        if let Some(there) = all.get(&labels).and_then(Weak::upgrade) {
            return there;
        }
        let text = text_of(self.metric, &labels);
        let (value, of) = (V::new(self.metric), Arc::downgrade(self));
        let made = Arc::new(Cell { value, labels: labels.clone(), text, of });
        all.insert(labels, Arc::downgrade(&made));
        made
    }

    /// The group of these labels, which are all but the last.
    pub(crate) fn group(self: &Arc<Self>, labels: LabelValues) -> Arc<Group<V>> {
        let mut all = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = all.get(&labels).and_then(Weak::upgrade) {
            return there;
        }
        let words = self.metric.by.map(|label| label.values.fixed()).unwrap_or_default();
        let made = Arc::new(Group { of: self.clone(), labels: labels.clone(), cells: Slots::new(words) });
        all.insert(labels, Arc::downgrade(&made));
        made
    }

    /// The series that are there. Their numbers are read without the lock.
    fn held(&self) -> Vec<Arc<Cell<V>>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl<V: Value> Group<V> {
    /// The series of a word; for one that the catalogue does not list, of the last that it lists.
    pub(crate) fn cell(&self, word: &str) -> Option<&Arc<Cell<V>>> {
        self.cells.of(word, |listed| {
            debug_assert_eq!(listed, word, "the catalogue does not list it for {}", self.of.metric.name);
            self.of.of(self.labels.iter().cloned().chain([Box::from(listed)]).collect())
        })
    }

    /// Those that are there.
    pub(crate) fn made(&self) -> impl Iterator<Item = (&'static str, &Arc<Cell<V>>)> {
        self.cells.made()
    }
}

impl<V> Drop for Group<V> {
    fn drop(&mut self) {
        let mut all = self.of.groups.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have made it anew since.
        if all.get(&self.labels).is_some_and(|there| there.strong_count() == 0) {
            all.remove(&self.labels);
        }
    }
}

/// A family that writes its lines itself: a scrape of many workloads is over sooner than by the library's model.
pub(crate) trait Lines: Send + Sync {
    fn write(&self, to: &mut Vec<u8>);
}

impl<V: Value> Lines for Series<V> {
    fn write(&self, to: &mut Vec<u8>) {
        let bounds: Vec<String> = self.metric.buckets.iter().map(ToString::to_string).collect();
        for cell in self.held() {
            cell.value.write(self.metric.name, &cell.text, &bounds, to);
        }
    }
}

thread_local! {
    /// Whether this thread writes the lines of families itself, and wants none of them from the registry.
    static WRITING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// What others have registered, and what is read when somebody asks: all that does not write its lines itself.
pub(crate) fn gather_others(registry: &prometheus::Registry) -> Vec<proto::MetricFamily> {
    WRITING.set(true);
    let others = registry.gather();
    WRITING.set(false);
    others
}

/// `name="value"` of each, with commas between them.
fn text_of(metric: &Metric, values: &[Box<str>]) -> Box<str> {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs = metric.all_labels().zip(values).map(|(label, value)| format!("{}=\"{}\"", label.name, escaped(value)));
    pairs.collect::<Vec<_>>().join(",").into()
}

impl<V> Series<V> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LabelValues, Weak<Cell<V>>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Drop for Cell<V> {
    fn drop(&mut self) {
        let Some(family) = self.of.upgrade() else { return };
        let mut all = family.lock();
        // Somebody may have made it anew since.
        if all.get(&self.labels).is_some_and(|there| there.strong_count() == 0) {
            all.remove(&self.labels);
        }
    }
}

/// A family as a registry reads it.
pub(crate) struct Shown<V> {
    series: Arc<Series<V>>,
    description: Desc,
}

impl<V: Value> Shown<V> {
    pub(crate) fn new(series: Arc<Series<V>>) -> Result<Self, prometheus::Error> {
        let description = description(series.metric)?;
        Ok(Self { series, description })
    }
}

/// The metric as the library names it.
pub(crate) fn description(metric: &Metric) -> Result<Desc, prometheus::Error> {
    let labels = metric.all_labels().map(|label| label.name.to_owned()).collect();
    Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, Default::default())
}

impl<V: Value> Collector for Shown<V> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        if WRITING.get() {
            return Vec::new();
        }
        let metric = self.series.metric;
        let read = |cell: &Arc<Cell<V>>| {
            let mut line = labelled(metric, &cell.labels);
            cell.value.read(metric, &mut line);
            line
        };
        vec![family(metric, self.series.held().iter().map(read).collect())]
    }
}

/// A line of a scrape without its number.
pub(crate) fn labelled(metric: &Metric, values: &[Box<str>]) -> proto::Metric {
    let pairs = metric.all_labels().zip(values).map(|(label, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(label.name.to_owned());
        pair.set_value(value.to_string());
        pair
    });
    let mut line = proto::Metric::default();
    line.set_label(pairs.collect());
    line
}

pub(crate) fn family(metric: &Metric, lines: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge => proto::MetricType::GAUGE,
        Kind::Histogram => proto::MetricType::HISTOGRAM,
    });
    family.set_metric(lines);
    family
}
