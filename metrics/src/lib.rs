//! The metrics of a host: a [catalogue] of all of them, and the families that count. A family is made from an entry of
//! the catalogue and from nothing else, and its series end with the last handle of them. What is counted, and why, is not
//! known here.

pub mod catalogue;
mod entry;
mod family;
mod handle;
mod owner;
mod page;
mod polled;
mod registration;
mod value;

pub use entry::{
    CounterByEntry, CounterEntry, GaugeEntry, HistogramEntry, Kind, Label, Metric, PolledEntry, Section, Unit, Values,
};
pub use handle::{Counter, CounterBy, Counters, CountersBy, Gauge, Gauges, Held, Histogram, Histograms, Slots};
pub use owner::{Named, OVERFLOW, Owner};
pub use page::{markdown, text};
pub use polled::Sample;
pub use prometheus::{Error, Registry};
pub use registration::{CONTENT_TYPE, Family, Metrics};
