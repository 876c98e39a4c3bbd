//! Families, and handles of their series. A handle is looked up once, when what it counts is set up, and counts from then
//! on without a look-up; the series ends with the last copy of it.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use crate::{
    CounterByEntry, CounterEntry, GaugeEntry, HistogramEntry,
    family::{Cell, Group, LabelValues, Series},
    value::{CounterValue, GaugeValue, HistogramValue},
};

fn values<const LABELS: usize>(labels: [&str; LABELS]) -> LabelValues {
    labels.into_iter().map(Box::from).collect()
}

macro_rules! families {
    ($($(#[$doc:meta])* $family:ident of $entry:ident: $handle:ident($value:ident);)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $family<const LABELS: usize>(pub(crate) Arc<Series<$value>>);

        impl<const LABELS: usize> $family<LABELS> {
            /// A family of its own, which is shown once it is registered.
            pub fn new(entry: &'static $entry<LABELS>) -> Self {
                Self(Series::new(entry.metric()))
            }

            /// The series of these values of its labels.
            pub fn with(&self, labels: [&str; LABELS]) -> $handle {
                $handle(self.0.of(values(labels)))
            }
        }
    )*};
}

families! {
    /// The series of a counter.
    Counters of CounterEntry: Counter(CounterValue);
    /// The series of a gauge.
    Gauges of GaugeEntry: Gauge(GaugeValue);
    /// The series of a histogram.
    Histograms of HistogramEntry: Histogram(HistogramValue);
}

/// A number that grows.
#[derive(Debug, Clone)]
pub struct Counter(Arc<Cell<CounterValue>>);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// So many more.
    pub fn inc_by(&self, more: u64) {
        self.0.value.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> u64 {
        self.0.value.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<Cell<GaugeValue>>);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// So many more, or less.
    pub fn add(&self, more: i64) {
        self.0.value.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So many, whatever it was. Not for what belongs to workloads: several may share a series.
    pub fn set(&self, value: i64) {
        self.0.value.0.store(value, Ordering::Relaxed);
    }

    /// At least so many.
    pub fn raise_to(&self, value: i64) {
        // Mostly it is there already, and nothing is written.
        if value > self.get() {
            self.0.value.0.fetch_max(value, Ordering::Relaxed);
        }
    }

    /// How many there are.
    pub fn get(&self) -> i64 {
        self.0.value.0.load(Ordering::Relaxed)
    }

    /// So many more for as long as the result lives.
    pub fn hold(&self, count: i64) -> Held {
        self.add(count);
        Held { gauge: self.clone(), count }
    }
}

/// Counts for as long as it lives.
#[derive(Debug)]
pub struct Held {
    gauge: Gauge,
    count: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.add(-self.count);
    }
}

/// Numbers counted by their size.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Cell<HistogramValue>>);

impl Histogram {
    /// Counts a value, in the unit of the entry.
    pub fn observe(&self, value: f64) {
        self.0.value.observe(value);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.0.value.count()
    }

    /// Upper bounds of the buckets.
    pub fn bounds(&self) -> &'static [f64] {
        self.0.value.bounds()
    }

    /// How many values fell into each bucket, and last how many are larger than all bounds.
    pub fn counts(&self) -> Vec<u64> {
        self.0.value.counts()
    }
}

/// The series of counters that one more label tells apart.
#[derive(Debug, Clone)]
pub struct CountersBy<const LABELS: usize>(pub(crate) Arc<Series<CounterValue>>);

impl<const LABELS: usize> CountersBy<LABELS> {
    /// A family of its own, which is shown once it is registered.
    pub fn new(entry: &'static CounterByEntry<LABELS>) -> Self {
        Self(Series::new(entry.metric()))
    }

    /// The counters of these values of the other labels. Each has a series from its first count on, those of `shown`
    /// from now on.
    pub fn with(&self, labels: [&str; LABELS], shown: &[&'static str]) -> CounterBy {
        let counters = CounterBy(self.0.group(values(labels)));
        for word in shown {
            let _ = counters.0.cell(word);
        }
        counters
    }
}

/// Counters by one label, whose values are the words that the catalogue lists. Finding one takes no lock after its first
/// count.
#[derive(Debug, Clone)]
pub struct CounterBy(Arc<Group<CounterValue>>);

impl CounterBy {
    /// One more of these. A word that the catalogue does not list is counted as the last one that it lists.
    pub fn inc(&self, word: &str) {
        self.inc_by(word, 1);
    }

    /// So many more of these.
    pub fn inc_by(&self, word: &str, more: u64) {
        if let Some(cell) = self.0.cell(word) {
            cell.value.0.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// How many there are of these.
    pub fn get(&self, word: &str) -> u64 {
        self.0.cell(word).map_or(0, |cell| cell.value.0.load(Ordering::Relaxed))
    }

    /// Those that have been counted, or shown.
    pub fn counted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.made().map(|(word, cell)| (word, cell.value.0.load(Ordering::Relaxed)))
    }
}

/// Things by words that are known beforehand, each made when it is first asked for.
#[derive(Debug)]
pub struct Slots<T> {
    words: &'static [&'static str],
    slots: Box<[OnceLock<T>]>,
}

impl<T> Slots<T> {
    /// Nothing yet, for any of the words.
    pub fn new(words: &'static [&'static str]) -> Self {
        Self { words, slots: words.iter().map(|_| OnceLock::new()).collect() }
    }

    /// What there is for the word; for one that is not among them, what there is for the last. `None` without words.
    pub fn of(&self, word: &str, make: impl FnOnce(&'static str) -> T) -> Option<&T> {
        let last = self.words.len().checked_sub(1)?;
        let place = self.words.iter().position(|listed| *listed == word).unwrap_or(last);
        let listed = self.words.get(place)?;
        Some(self.slots.get(place)?.get_or_init(|| make(listed)))
    }
    /// What has been made, with its word.
    pub fn made(&self) -> impl Iterator<Item = (&'static str, &T)> {
        self.words.iter().copied().zip(&self.slots).filter_map(|(word, slot)| Some((word, slot.get()?)))
    }

    /// What was made for the word.
    pub fn get(&self, word: &str) -> Option<&T> {
        let place = self.words.iter().position(|listed| *listed == word)?;
        self.slots.get(place)?.get()
    }
}
