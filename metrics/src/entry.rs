//! What the catalogue says of a metric, as types: a family of counters can only be made from the entry of a counter, with
//! as many labels as it has. Which metrics there are is not known here.

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts values by their size.
    Histogram,
}

impl Kind {
    /// As the text format names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a value is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things, which the help text names.
    Count,
    /// 1 or 0: yes or no.
    Boolean,
    Seconds,
    /// Seconds since 1970.
    UnixSeconds,
    Bytes,
}

impl Unit {
    /// As the catalogue is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Boolean => "1 or 0",
            Self::Seconds => "seconds",
            Self::UnixSeconds => "seconds since 1970",
            Self::Bytes => "bytes",
        }
    }
}

/// A label, and where its values come from: never from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// Where the values of a label come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Names that an operator or a manifest gives; the text says whose.
    Named(&'static str),
    /// These words of the program, and no other.
    Fixed(&'static [&'static str]),
}

impl Values {
    /// The words; none where the values are names.
    pub(crate) fn fixed(&self) -> &'static [&'static str] {
        match self {
            Self::Named(_) => &[],
            Self::Fixed(words) => words,
        }
    }
}

/// What the catalogue says of one metric.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    /// The labels that a series is made with.
    pub labels: &'static [&'static Label],
    /// One more, whose words are counted apart.
    pub by: Option<&'static Label>,
    /// Upper bounds of a histogram's buckets; none for other kinds.
    pub buckets: &'static [f64],
    pub help: &'static str,
}

impl Metric {
    /// All labels, in the order in which they are printed.
    pub fn all_labels(&self) -> impl Iterator<Item = &'static Label> {
        self.labels.iter().copied().chain(self.by)
    }
}

/// Metrics of one part of a host.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    /// Which hosts have them.
    pub on: &'static str,
    pub metrics: &'static [&'static Metric],
}

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name<const LABELS: usize>(Metric);

        impl<const LABELS: usize> $name<LABELS> {
            /// What the catalogue says.
            pub const fn metric(&self) -> &Metric {
                &self.0
            }
        }
    )*};
}

entries! {
    /// A counter.
    CounterEntry;
    /// Counters that one more label tells apart, whose values are words of the catalogue.
    CounterByEntry;
    /// A gauge.
    GaugeEntry;
    /// A histogram.
    HistogramEntry;
    /// A counter or a gauge that is read when the metrics are.
    PolledEntry;
}

type Labels<const LABELS: usize> = &'static [&'static Label; LABELS];

const fn metric(
    kind: Kind,
    unit: Unit,
    name: &'static str,
    labels: &'static [&'static Label],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, by: None, buckets: &[], help }
}

pub(crate) const fn counter<const LABELS: usize>(
    name: &'static str,
    labels: Labels<LABELS>,
    unit: Unit,
    help: &'static str,
) -> CounterEntry<LABELS> {
    CounterEntry(metric(Kind::Counter, unit, name, labels, help))
}

pub(crate) const fn counter_by<const LABELS: usize>(
    name: &'static str,
    labels: Labels<LABELS>,
    by: &'static Label,
    help: &'static str,
) -> CounterByEntry<LABELS> {
    CounterByEntry(Metric { by: Some(by), ..metric(Kind::Counter, Unit::Count, name, labels, help) })
}

pub(crate) const fn gauge<const LABELS: usize>(
    name: &'static str,
    labels: Labels<LABELS>,
    unit: Unit,
    help: &'static str,
) -> GaugeEntry<LABELS> {
    GaugeEntry(metric(Kind::Gauge, unit, name, labels, help))
}

pub(crate) const fn histogram<const LABELS: usize>(
    name: &'static str,
    labels: Labels<LABELS>,
    buckets: &'static [f64],
    help: &'static str,
) -> HistogramEntry<LABELS> {
    HistogramEntry(Metric { buckets, ..metric(Kind::Histogram, Unit::Seconds, name, labels, help) })
}

pub(crate) const fn polled<const LABELS: usize>(
    name: &'static str,
    labels: Labels<LABELS>,
    kind: Kind,
    unit: Unit,
    help: &'static str,
) -> PolledEntry<LABELS> {
    PolledEntry(metric(kind, unit, name, labels, help))
}
