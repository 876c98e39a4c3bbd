//! The figures of a host at one moment, as `/v1/live` prints them: few, cheap, and no more of them than somebody can look
//! at. Rates and percentiles are for whoever asks twice.

use serde::Serialize;

use super::Host;
use crate::{LatencyCounts, TriggerTraffic, component::PoolStatus};

/// Triggers that are listed, those with the most requests; the others are in the sum.
const LIVE_TRIGGERS_MAX: usize = 200;
/// Pools that are listed, those with the most calls; the others are counted.
const LIVE_POOLS_MAX: usize = 200;

/// A host at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct HostLive {
    pub name: String,
    pub version: &'static str,
    pub uptime_ms: u64,
    /// Resident memory of the process; absent where the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Upper bounds of `latency`, in seconds.
    pub latency_bounds_s: &'static [f64],
    /// All triggers together.
    pub total: TrafficLive,
    pub triggers: Vec<TriggerLive>,
    /// Triggers that are only in `total`.
    pub triggers_left_out: usize,
    pub pools: Vec<PoolLive>,
    pub pools_left_out: usize,
}

/// Requests so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TrafficLive {
    /// By the class of their status: 1xx to 5xx, and whatever is beyond.
    pub classes: [u64; 6],
    pub in_flight: u64,
    /// How many were within each bound and beyond the one before it, and those beyond all.
    pub latency: Vec<u64>,
}

/// One trigger.
#[derive(Debug, Clone, Serialize)]
pub struct TriggerLive {
    pub namespace: String,
    pub name: String,
    #[serde(flatten)]
    pub traffic: TrafficLive,
}

/// One pool.
#[derive(Debug, Clone, Serialize)]
pub struct PoolLive {
    pub namespace: String,
    pub workload: String,
    pub component: String,
    #[serde(flatten)]
    pub pool: PoolStatus,
}

impl TrafficLive {
    fn add(&mut self, other: &TriggerTraffic) {
        for (sum, more) in self.classes.iter_mut().zip(other.classes) {
            *sum += more;
        }
        self.in_flight += other.in_flight;
        self.latency.resize(self.latency.len().max(other.latency.counts.len()), 0);
        for (sum, more) in self.latency.iter_mut().zip(&other.latency.counts) {
            *sum += more;
        }
    }
}

impl From<TriggerTraffic> for TriggerLive {
    fn from(traffic: TriggerTraffic) -> Self {
        let TriggerTraffic { owner, classes, in_flight, latency } = traffic;
        let LatencyCounts { counts, .. } = latency;
        Self {
            namespace: owner.namespace.to_string(),
            name: owner.name.to_string(),
            traffic: TrafficLive { classes, in_flight, latency: counts },
        }
    }
}

impl Host {
    /// The host's figures just now.
    pub fn live(&self) -> HostLive {
        let mut traffic = self.handler.as_ref().map(|handler| handler.traffic()).unwrap_or_default();
        let mut total = TrafficLive::default();
        traffic.iter().for_each(|trigger| total.add(trigger));
        let latency_bounds_s = traffic.first().map_or(&[][..], |trigger| trigger.latency.bounds_s);
        traffic.sort_by_cached_key(|trigger| {
            (std::cmp::Reverse(trigger.classes.iter().sum::<u64>() + trigger.in_flight), trigger.owner.clone())
        });
        let triggers_left_out = traffic.len().saturating_sub(LIVE_TRIGGERS_MAX);
        traffic.truncate(LIVE_TRIGGERS_MAX);
        let mut pools = self.pools();
        pools.sort_by_key(|pool| std::cmp::Reverse((pool.pool.waiting, pool.pool.busy)));
        let pools_left_out = pools.len().saturating_sub(LIVE_POOLS_MAX);
        pools.truncate(LIVE_POOLS_MAX);
        HostLive {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            memory_bytes: resident_bytes(),
            latency_bounds_s,
            total,
            triggers: traffic.into_iter().map(TriggerLive::from).collect(),
            triggers_left_out,
            pools,
            pools_left_out,
        }
    }

    fn pools(&self) -> Vec<PoolLive> {
        let entries = self.entries();
        let running = entries.iter().filter_map(|(id, entry)| Some((id, entry.running.as_ref()?)));
        let of_workload = running.flat_map(|(id, workload)| {
            workload.components.iter().filter_map(move |component| {
                Some(PoolLive {
                    namespace: id.namespace.to_string(),
                    workload: id.name.to_string(),
                    component: component.name().to_string(),
                    pool: component.pool_status()?,
                })
            })
        });
        of_workload.collect()
    }
}

/// What `/proc` says of this process's memory.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}
