//! What a host tells of its own process and threads. It is read when somebody asks; nothing is counted here.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use roadstead_metrics::{
    Error, Metrics, PolledEntry, Sample,
    catalogue::{
        BUILD_INFO, METRIC_NAMES, PROCESS_CPU, PROCESS_FDS, PROCESS_FDS_MAX, PROCESS_RESIDENT, PROCESS_STARTED,
        PROCESS_THREADS, PROCESS_VIRTUAL, TOKIO_BUSY, TOKIO_QUEUE, TOKIO_TASKS, TOKIO_WORKERS,
    },
};
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

/// Shows them; must be called on the runtime that they are about.
///
/// # Errors
/// When the registry has one of them already.
pub(crate) fn show(metrics: &Metrics) -> Result<(), Error> {
    let version = Sample { labels: [env!("CARGO_PKG_VERSION")], value: 1.0 };
    metrics.poll(&BUILD_INFO, move || vec![version])?;
    let named = metrics.named();
    one(metrics, &METRIC_NAMES, move || Some(whole(named.count())))?;

    one(metrics, &PROCESS_CPU, || Stat::read().map(|stat| stat.cpu_seconds))?;
    one(metrics, &PROCESS_RESIDENT, || Stat::read().map(|stat| stat.resident_bytes))?;
    one(metrics, &PROCESS_VIRTUAL, || Stat::read().map(|stat| stat.virtual_bytes))?;
    one(metrics, &PROCESS_THREADS, || Stat::read().map(|stat| stat.threads))?;
    let started = started();
    one(metrics, &PROCESS_STARTED, move || started)?;
    // The one that lists them is not counted.
    one(metrics, &PROCESS_FDS, || Some(whole(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))))?;
    one(metrics, &PROCESS_FDS_MAX, || Some(getrlimit(Resource::Nofile).current.map_or(0.0, number)))?;

    let threads = Handle::current().metrics();
    let read = threads.clone();
    one(metrics, &TOKIO_WORKERS, move || Some(whole(read.num_workers())))?;
    let read = threads.clone();
    one(metrics, &TOKIO_TASKS, move || Some(whole(read.num_alive_tasks())))?;
    let read = threads.clone();
    one(metrics, &TOKIO_QUEUE, move || Some(whole(read.global_queue_depth())))?;
    one(metrics, &TOKIO_BUSY, move || {
        let busy = (0..threads.num_workers()).map(|worker| threads.worker_total_busy_duration(worker));
        Some(busy.sum::<Duration>().as_secs_f64())
    })
}

/// Shows a metric without labels, while it can be read.
fn one(
    metrics: &Metrics,
    entry: &'static PolledEntry<0>,
    read: impl Fn() -> Option<f64> + Send + Sync + 'static,
) -> Result<(), Error> {
    metrics.poll(entry, move || read().map(|value| Sample { labels: [], value }).into_iter().collect())
}

#[expect(clippy::cast_precision_loss, reason = "the text format has no whole numbers")]
fn number(value: u64) -> f64 {
    value as f64
}

fn whole(value: usize) -> f64 {
    number(value as u64)
}

/// What Linux says in `/proc/self/stat` (proc_pid_stat(5)).
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    started_seconds_after_boot: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, with whatever is in it; the third comes after the last one.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        let ticks = |ticks: u64| number(ticks) / number(rustix::param::clock_ticks_per_second());
        Some(Self {
            cpu_seconds: ticks(field(14)? + field(15)?),
            threads: number(field(20)?),
            started_seconds_after_boot: ticks(field(22)?),
            virtual_bytes: number(field(23)?),
            resident_bytes: number(field(24)?) * whole(rustix::param::page_size()),
        })
    }
}

/// When the process was started, in seconds since 1970.
fn started() -> Option<f64> {
    let up: f64 = fs::read_to_string("/proc/uptime").ok()?.split_ascii_whitespace().next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - up + Stat::read()?.started_seconds_after_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_is_odd_is_read() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1000 8192 3 184467 1 1";
        let stat = Stat::parse(text).unwrap();
        let tick = 1.0 / number(rustix::param::clock_ticks_per_second());
        assert!((stat.cpu_seconds - 300.0 * tick).abs() < 1e-9);
        assert!((stat.threads - 9.0).abs() < 1e-9 && (stat.virtual_bytes - 8192.0).abs() < 1e-9);
        assert!((stat.resident_bytes - 3.0 * whole(rustix::param::page_size())).abs() < 1e-9);
        assert!(Stat::parse("7 (a").is_none() && Stat::parse("7 (a) S 1").is_none());
    }

    #[tokio::test]
    async fn this_process_is_told_of() {
        let metrics = Metrics::default();
        show(&metrics).unwrap();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds_total "] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} in\n{text}");
        }
        let started = started().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(started <= now + 1.0 && now - started < 86_400.0, "{started} {now}");
    }
}
