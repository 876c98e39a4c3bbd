//! The metrics of one host: what is registered, under which bound, and the text that a scraper gets.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{Encoder, Registry, TextEncoder};

use crate::{
    CounterByEntry, CounterEntry, Counters, CountersBy, Error, GaugeEntry, Gauges, HistogramEntry, Histograms, Metric,
    Owner, PolledEntry, Sample,
    family::{Lines, Series, Shown, gather_others},
    owner::{Named, Owners},
    polled::Polled,
    value::{CounterValue, GaugeValue, HistogramValue, Value},
};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of a host. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// By name: what the catalogue says, and the family, for whoever asks for it a second time.
    shown: Mutex<BTreeMap<&'static str, Registered>>,
    owners: Arc<Owners>,
}

struct Registered {
    metric: &'static Metric,
    family: Arc<dyn Any + Send + Sync>,
    lines: Option<Arc<dyn Lines>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    /// Shown in a registry of their own, with a name for every workload.
    fn default() -> Self {
        Self::new(Registry::new(), u64::MAX)
    }
}

/// A family that can be shown. Sealed: there are those of this crate.
pub trait Family: sealed::Shows {}

mod sealed {
    use super::{Error, Metrics};

    pub trait Shows {
        fn show(&self, metrics: &Metrics) -> Result<(), Error>;
    }
}

impl Metrics {
    /// Shows metrics in `registry`; so many workloads have names of their own in them, the others are counted together.
    pub fn new(registry: Registry, workloads_max: u64) -> Self {
        let owners = Owners::new(usize::try_from(workloads_max).unwrap_or(usize::MAX));
        Self(Arc::new(Inner { registry, shown: Mutex::default(), owners }))
    }

    /// The registry in which they are shown. Programs that embed a host show their own there.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Who is counted under the name of a workload or trigger; the same for the same while anybody holds it.
    pub fn owner(&self, namespace: &str, name: &str) -> Owner {
        self.0.owners.enter(namespace, name)
    }

    /// Those who have names of their own, to be counted later.
    pub fn named(&self) -> Named {
        Named(self.0.owners.clone())
    }

    /// The family of a counter, shown; the same for the same entry.
    ///
    /// # Errors
    /// When somebody else shows a metric of this name in the registry.
    pub fn counters<const LABELS: usize>(
        &self,
        entry: &'static CounterEntry<LABELS>,
    ) -> Result<Counters<LABELS>, Error> {
        self.family::<CounterValue>(entry.metric(), None).map(Counters)
    }

    /// The same for counters that one more label tells apart.
    ///
    /// # Errors
    /// When somebody else shows a metric of this name in the registry.
    pub fn counters_by<const LABELS: usize>(
        &self,
        entry: &'static CounterByEntry<LABELS>,
    ) -> Result<CountersBy<LABELS>, Error> {
        self.family::<CounterValue>(entry.metric(), None).map(CountersBy)
    }

    /// The same for a gauge.
    ///
    /// # Errors
    /// When somebody else shows a metric of this name in the registry.
    pub fn gauges<const LABELS: usize>(&self, entry: &'static GaugeEntry<LABELS>) -> Result<Gauges<LABELS>, Error> {
        self.family::<GaugeValue>(entry.metric(), None).map(Gauges)
    }

    /// The same for a histogram.
    ///
    /// # Errors
    /// When somebody else shows a metric of this name in the registry.
    pub fn histograms<const LABELS: usize>(
        &self,
        entry: &'static HistogramEntry<LABELS>,
    ) -> Result<Histograms<LABELS>, Error> {
        self.family::<HistogramValue>(entry.metric(), None).map(Histograms)
    }

    /// Shows a family that was there before.
    ///
    /// # Errors
    /// When another of its name is shown in the registry.
    pub fn show(&self, family: &impl Family) -> Result<(), Error> {
        family.show(self)
    }

    /// Shows what `read` finds whenever somebody asks. It must not wait for anything.
    ///
    /// # Errors
    /// When another of its name is shown in the registry.
    pub fn poll<const LABELS: usize>(
        &self,
        entry: &'static PolledEntry<LABELS>,
        read: impl Fn() -> Vec<Sample<'static, LABELS>> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let metric = entry.metric();
        self.0.registry.register(Box::new(Polled::new(metric, Box::new(read))?))?;
        self.note(metric, Arc::new(()), None);
        Ok(())
    }

    /// What is shown, by name; not what others show in the same registry.
    pub fn registered(&self) -> Vec<&'static Metric> {
        self.shown().values().map(|registered| registered.metric).collect()
    }

    /// All metrics in Prometheus' text format. A metric without a series is there with its help.
    ///
    /// # Errors
    /// When somebody else's metric cannot be written.
    pub fn text(&self) -> Result<Vec<u8>, Error> {
        let others = gather_others(&self.0.registry);
        let mut text = Vec::new();
        TextEncoder::new().encode(&others, &mut text)?;
        let written: Vec<_> = self.shown().values().map(|shown| (shown.metric, shown.lines.clone())).collect();
        for (Metric { name, help, kind, .. }, lines) in written {
            // One that is read when somebody asks is there already, where there was something to read.
            if others.iter().any(|family| family.name() == *name) {
                continue;
            }
            let kind = kind.as_str();
            text.extend_from_slice(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n").as_bytes());
            if let Some(lines) = lines {
                lines.write(&mut text);
            }
        }
        Ok(text)
    }

    fn family<V: Value>(
        &self,
        metric: &'static Metric,
        made: Option<&Arc<Series<V>>>,
    ) -> Result<Arc<Series<V>>, Error> {
        let known = self.shown().get(metric.name).map(|registered| registered.family.clone());
        if let (Some(known), None) = (known.and_then(|known| known.downcast::<Series<V>>().ok()), made) {
            return Ok(known);
        }
        let series = made.cloned().unwrap_or_else(|| Series::new(metric));
        self.0.registry.register(Box::new(Shown::new(series.clone())?))?;
        self.note(metric, series.clone(), Some(series.clone()));
        Ok(series)
    }

    fn note(&self, metric: &'static Metric, family: Arc<dyn Any + Send + Sync>, lines: Option<Arc<dyn Lines>>) {
        self.shown().insert(metric.name, Registered { metric, family, lines });
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Registered>> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

macro_rules! shows {
    ($($family:ident)*) => {$(
        impl<const LABELS: usize> sealed::Shows for $family<LABELS> {
            fn show(&self, metrics: &Metrics) -> Result<(), Error> {
                metrics.family(self.0.metric(), Some(&self.0)).map(drop)
            }
        }

        impl<const LABELS: usize> Family for $family<LABELS> {}
    )*};
}

shows! { Counters CountersBy Gauges Histograms }
