//! The figures of a host at one moment, as `/v1/live` prints them: few, cheap, and no more of them than somebody can look
//! at. Rates and percentiles are for whoever asks twice.

use std::cmp::Reverse;

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

/// The sum of all, those with the most requests, and how many others there are.
fn triggers(mut traffic: Vec<TriggerTraffic>) -> (TrafficLive, Vec<TriggerLive>, usize) {
    let mut total = TrafficLive::default();
    traffic.iter().for_each(|trigger| total.add(trigger));
    traffic.sort_by_cached_key(|trigger| {
        (Reverse(trigger.classes.iter().sum::<u64>() + trigger.in_flight), trigger.owner.clone())
    });
    let left_out = traffic.len().saturating_sub(LIVE_TRIGGERS_MAX);
    traffic.truncate(LIVE_TRIGGERS_MAX);
    (total, traffic.into_iter().map(TriggerLive::from).collect(), left_out)
}

/// Those with the most calls, and how many others there are.
fn listed(mut pools: Vec<PoolLive>) -> (Vec<PoolLive>, usize) {
    pools.sort_by_key(|pool| Reverse((pool.pool.waiting, pool.pool.busy)));
    let left_out = pools.len().saturating_sub(LIVE_POOLS_MAX);
    pools.truncate(LIVE_POOLS_MAX);
    (pools, left_out)
}

impl Host {
    /// The host's figures just now.
    pub fn live(&self) -> HostLive {
        let traffic = self.handler.as_ref().map(|handler| handler.traffic()).unwrap_or_default();
        let latency_bounds_s = traffic.first().map_or(&[][..], |trigger| trigger.latency.bounds_s);
        let (total, triggers, triggers_left_out) = triggers(traffic);
        let (pools, pools_left_out) = listed(self.pools());
        HostLive {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            memory_bytes: resident_bytes(),
            latency_bounds_s,
            total,
            triggers,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkloadId;

    #[test]
    fn so_many_triggers_are_listed_and_all_are_in_the_sum() {
        let trigger = |n: usize| TriggerTraffic {
            owner: WorkloadId { namespace: "team".parse().unwrap(), name: format!("t{n}").parse().unwrap() },
            classes: [0, n as u64, 0, 0, 1, 0],
            in_flight: 1,
            latency: LatencyCounts { bounds_s: &[0.1], counts: vec![1, n as u64] },
        };
        let count = LIVE_TRIGGERS_MAX + 5;
        let (total, triggers, left_out) = triggers((0..count).map(trigger).collect());
        assert_eq!((triggers.len(), left_out), (LIVE_TRIGGERS_MAX, 5));
        assert_eq!(triggers[0].name, format!("t{}", count - 1));
        let (count, sum) = (count as u64, (0..count as u64).sum::<u64>());
        assert_eq!(
            (total.classes, total.in_flight, total.latency),
            ([0, sum, 0, 0, count, 0], count, vec![count, sum])
        );
    }

    #[test]
    fn so_many_pools_are_listed_those_with_the_most_calls() {
        let pool = |n: usize| PoolLive {
            namespace: "team".to_owned(),
            workload: format!("w{n}"),
            component: "c".to_owned(),
            pool: PoolStatus { size: 9, busy: 1, idle: 0, waiting: n as u64 },
        };
        let (pools, left_out) = listed((0..=LIVE_POOLS_MAX).map(pool).collect());
        assert_eq!((pools.len(), left_out), (LIVE_POOLS_MAX, 1));
        assert_eq!(pools[0].workload, format!("w{LIVE_POOLS_MAX}"));
    }
}
