//! What a host tells of itself: its process, its threads, its build, and its scheduler. The names that begin with
//! `process_` are those that Prometheus' client libraries have in common.

use super::{Fixed, Label, Named, OF_HOST, outcome, section};
use crate::{
    CounterByEntry, CounterEntry, GaugeEntry, Kind, PolledEntry, Unit,
    entry::{counter, counter_by, gauge, polled},
};

static VERSION: Label = Label { name: "version", values: Named("version of the program") };
static OF_BUILD: [&Label; 1] = [&VERSION];
static COMMAND: Label = Label { name: "command", values: Fixed(&["start", "stop", "status", "heartbeat"]) };
static OF_COMMAND: [&Label; 1] = [&COMMAND];
static ENDED: Label = outcome(&["done", "failed", "malformed", "busy"]);

section! {
    PROCESS = "Process", "every host; `process_` on Linux";
    BUILD_INFO: PolledEntry<1> = polled(
        "roadstead_build_info",
        &OF_BUILD,
        Kind::Gauge,
        Unit::Boolean,
        "The program that runs: always 1.",
    );
    PROCESS_CPU: PolledEntry<0> = polled(
        "process_cpu_seconds_total",
        &OF_HOST,
        Kind::Counter,
        Unit::Seconds,
        "Processor time that the process has used, in the system too.",
    );
    PROCESS_RESIDENT: PolledEntry<0> = polled(
        "process_resident_memory_bytes",
        &OF_HOST,
        Kind::Gauge,
        Unit::Bytes,
        "Memory that the process has in RAM.",
    );
    PROCESS_VIRTUAL: PolledEntry<0> = polled(
        "process_virtual_memory_bytes",
        &OF_HOST,
        Kind::Gauge,
        Unit::Bytes,
        "Addresses that the process has reserved: far more than it uses, for the instances that there may be.",
    );
    PROCESS_FDS: PolledEntry<0> =
        polled("process_open_fds", &OF_HOST, Kind::Gauge, Unit::Count, "File descriptors that are open.");
    PROCESS_FDS_MAX: PolledEntry<0> = polled(
        "process_max_fds",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "File descriptors that there may be; 0 where there is no bound.",
    );
    PROCESS_THREADS: PolledEntry<0> =
        polled("process_threads", &OF_HOST, Kind::Gauge, Unit::Count, "Threads of the process.");
    PROCESS_STARTED: PolledEntry<0> = polled(
        "process_start_time_seconds",
        &OF_HOST,
        Kind::Gauge,
        Unit::UnixSeconds,
        "When the process was started, in seconds since 1970.",
    );
    TOKIO_WORKERS: PolledEntry<0> = polled(
        "roadstead_tokio_workers",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "Threads that requests and messages run on.",
    );
    TOKIO_TASKS: PolledEntry<0> = polled(
        "roadstead_tokio_tasks",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "Tasks that are alive: connections, calls, subscriptions and the like.",
    );
    TOKIO_QUEUE: PolledEntry<0> = polled(
        "roadstead_tokio_queue_depth",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "Tasks that are ready to run and that no thread has taken on yet.",
    );
    TOKIO_BUSY: PolledEntry<0> = polled(
        "roadstead_tokio_busy_seconds_total",
        &OF_HOST,
        Kind::Counter,
        Unit::Seconds,
        "Time that the threads had work, together.",
    );
    METRIC_NAMES: PolledEntry<0> = polled(
        "roadstead_metrics_workloads",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "Workloads and triggers whose metrics have names of their own (metrics_workloads_max).",
    );
}

section! {
    FLEET = "Scheduler", "hosts of a fleet (`roadstead host`)";
    CONTROL_COMMANDS: CounterByEntry<1> = counter_by(
        "roadstead_control_commands_total",
        &OF_COMMAND,
        &ENDED,
        "Commands of the scheduler, by command and how they ended.",
    );
    HEARTBEATS: CounterEntry<0> =
        counter("roadstead_heartbeats_total", &OF_HOST, Unit::Count, "Heartbeats that were published.");
    SCHEDULER_CONNECTED: GaugeEntry<0> = gauge(
        "roadstead_scheduler_connected",
        &OF_HOST,
        Unit::Boolean,
        "Whether the connection to the scheduler's NATS server is there: 1 or 0.",
    );
    SCHEDULER_LOST: CounterEntry<0> = counter(
        "roadstead_scheduler_connections_lost_total",
        &OF_HOST,
        Unit::Count,
        "Times that the connection to the scheduler's NATS server was lost.",
    );
}
