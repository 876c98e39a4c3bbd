//! The metrics of many workloads that have each been called: a trigger, a component, a pool and messages. For the test
//! and the measurement of scrapes.

use roadstead_metrics::{
    Counter, CounterBy, Gauge, Histogram, Metrics, Owner,
    catalogue::{
        CALL_DURATION, CALLS_ENDED, HTTP_DURATION, HTTP_IN_FLIGHT, HTTP_REQUEST_BYTES, HTTP_REQUESTS,
        HTTP_RESPONSE_BYTES, HTTP_WAITING, INSTANCE_MEMORY_PEAK, INSTANCE_START, INSTANCES, INSTANCES_CREATED,
        MESSAGE_REQUESTS, MESSAGE_ROUND_TRIP, MESSAGE_WAIT, MESSAGES_DROPPED, MESSAGES_HANDLED, MESSAGES_IN_FLIGHT,
        MESSAGES_PUBLISHED, MESSAGES_RECEIVED, MESSAGES_WAITING, POOL_BUSY, POOL_IDLE, POOL_SIZE, POOL_WAIT,
        POOL_WAITING,
    },
};

/// Handles of all of them: the series end with it.
pub(crate) struct Many(#[expect(dead_code, reason = "held for its end")] Vec<Workload>);

/// Of one workload.
type Workload = (Owner, Vec<Counter>, Vec<CounterBy>, Vec<Gauge>, Vec<Histogram>);

impl Many {
    /// Registers them as a host does, and counts a call of each.
    pub(crate) fn register(metrics: &Metrics, count: usize) -> Self {
        Self((0..count).map(|number| workload(metrics, number)).collect())
    }
}

fn workload(metrics: &Metrics, number: usize) -> Workload {
    let owner = metrics.owner(&format!("team-{}", number % 100), &format!("app-{number}"));
    let two = [owner.namespace(), owner.name()];
    let three = [owner.namespace(), owner.name(), owner.own("main")];
    let counters = [&HTTP_REQUEST_BYTES, &HTTP_RESPONSE_BYTES, &MESSAGES_RECEIVED, &MESSAGES_DROPPED]
        .map(|entry| metrics.counters(entry).unwrap().with(two));
    let of_workload =
        [(&HTTP_REQUESTS, "200"), (&MESSAGES_HANDLED, "ok"), (&MESSAGE_REQUESTS, "ok"), (&MESSAGES_PUBLISHED, "ok")];
    let of_workload = of_workload.map(|(entry, word)| (metrics.counters_by(entry).unwrap().with(two, &[]), word));
    let of_component = [(&CALLS_ENDED, "ok"), (&INSTANCES_CREATED, "pooled")];
    let of_component = of_component.map(|(entry, word)| (metrics.counters_by(entry).unwrap().with(three, &[]), word));
    let by_word = of_workload.into_iter().chain(of_component).map(|(counter, word)| {
        counter.inc(word);
        counter
    });
    let gauges = [&HTTP_IN_FLIGHT, &HTTP_WAITING, &MESSAGES_IN_FLIGHT, &MESSAGES_WAITING];
    let gauges = gauges.map(|entry| metrics.gauges(entry).unwrap().with(two));
    let of_pool = [&INSTANCES, &INSTANCE_MEMORY_PEAK, &POOL_SIZE, &POOL_BUSY, &POOL_IDLE, &POOL_WAITING];
    let of_pool = of_pool.map(|entry| metrics.gauges(entry).unwrap().with(three));
    let times = [&HTTP_DURATION, &MESSAGE_WAIT, &MESSAGE_ROUND_TRIP];
    let times = times.map(|entry| metrics.histograms(entry).unwrap().with(two));
    let of_calls = [&CALL_DURATION, &INSTANCE_START, &POOL_WAIT];
    let of_calls = of_calls.map(|entry| metrics.histograms(entry).unwrap().with(three));
    let histograms: Vec<_> = times.into_iter().chain(of_calls).collect();
    histograms.iter().for_each(|histogram| histogram.observe(0.003));
    let by_word = by_word.collect();
    let gauges = gauges.into_iter().chain(of_pool).collect();
    (owner.clone(), counters.into(), by_word, gauges, histograms)
}
