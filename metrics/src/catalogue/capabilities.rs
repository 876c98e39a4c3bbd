//! What the other capabilities count: stores, the GPU, and telemetry.

use super::{Fixed, Label, Named, OF_HOST, OF_WORKLOAD, SHORT_SECONDS, WAIT_SECONDS, outcome, section};
use crate::{
    CounterByEntry, CounterEntry, GaugeEntry, HistogramEntry, Kind, PolledEntry, Unit,
    entry::{counter, counter_by, gauge, histogram, polled},
};

/// What components do with stores.
pub static STORE_OPERATIONS: [&str; 13] = [
    "get",
    "set",
    "increment",
    "delete",
    "list-keys",
    "create-container",
    "container-info",
    "delete-container",
    "object-info",
    "read",
    "write",
    "clear",
    "list-objects",
];

static INTERFACE: Label = Label { name: "interface", values: Fixed(&["wasi:keyvalue", "wasi:blobstore"]) };
static BACKEND: Label = Label {
    name: "backend",
    values: Named("memory, disk, nats or postgres; the word of a backend that a program brings which embeds the host"),
};
static OPERATION: Label = Label { name: "operation", values: Fixed(&STORE_OPERATIONS) };
static OF_OPERATION: [&Label; 3] = [&INTERFACE, &BACKEND, &OPERATION];
static STORED: Label = outcome(&["done", "refused", "failed", "left"]);
static CONNECTION: Label = Label { name: "state", values: Fixed(&["busy", "idle"]) };
static OF_CONNECTION_STATE: [&Label; 1] = [&CONNECTION];
static SIGNAL: Label = Label { name: "signal", values: Fixed(&["spans", "logs", "metrics"]) };
static OF_SIGNAL: [&Label; 1] = [&SIGNAL];
static EXPORT: Label = outcome(&["sent", "dropped", "failed"]);
static TOLD: Label = outcome(&["taken", "no-collector", "not-sampled", "over-limit", "malformed"]);

section! {
    STORES = "Stores", "every host";
    STORE_CALLS: CounterByEntry<3> = counter_by(
        "roadstead_store_calls_total",
        &OF_OPERATION,
        &STORED,
        "Calls to stores, by outcome: done, refused (by a limit, or for what is or is not there), failed (the backend), \
         left (the caller waited no longer).",
    );
    STORE_SECONDS: HistogramEntry<3> = histogram(
        "roadstead_store_call_seconds",
        &OF_OPERATION,
        SHORT_SECONDS,
        "Time that calls to stores took; write has all of an object, read its beginning.",
    );
}

section! {
    POSTGRES = "PostgreSQL", "hosts with `--postgres-url`";
    POSTGRES_CONNECTIONS: PolledEntry<1> = polled(
        "roadstead_postgres_connections",
        &OF_CONNECTION_STATE,
        Kind::Gauge,
        Unit::Count,
        "Open connections to PostgreSQL, with a statement or without one.",
    );
    POSTGRES_CONNECTIONS_MAX: PolledEntry<0> = polled(
        "roadstead_postgres_connections_max",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "Connections to PostgreSQL that there may be (postgres_connections_max).",
    );
    POSTGRES_WAITING: PolledEntry<0> = polled(
        "roadstead_postgres_waiting",
        &OF_HOST,
        Kind::Gauge,
        Unit::Count,
        "Statements that wait for a connection to PostgreSQL.",
    );
}

section! {
    GPU = "GPU", "hosts with a GPU for components (`--wasi-webgpu`)";
    GPU_DEVICES: GaugeEntry<0> =
        gauge("roadstead_gpu_devices", &OF_HOST, Unit::Count, "GPU devices of instances.");
    GPU_MEMORY: GaugeEntry<0> =
        gauge("roadstead_gpu_memory_bytes", &OF_HOST, Unit::Bytes, "Memory of the GPU that workloads have taken.");
    GPU_OBJECTS: GaugeEntry<0> =
        gauge("roadstead_gpu_objects", &OF_HOST, Unit::Count, "Objects of workloads on the GPU.");
    GPU_RESETS: CounterEntry<0> = counter(
        "roadstead_gpu_resets_total",
        &OF_HOST,
        Unit::Count,
        "Ends of the GPU process by a crash or because something took too long.",
    );
    GPU_SUBMITS: CounterEntry<2> =
        counter("roadstead_gpu_submits_total", &OF_WORKLOAD, Unit::Count, "Submits that have ended.");
    GPU_LOST_CALLS: CounterEntry<2> = counter(
        "roadstead_gpu_lost_calls_total",
        &OF_WORKLOAD,
        Unit::Count,
        "Calls that lost the GPU by no fault of their workload.",
    );
    GPU_WAIT: HistogramEntry<2> = histogram(
        "roadstead_gpu_wait_seconds",
        &OF_WORKLOAD,
        WAIT_SECONDS,
        "Time that submits waited for those of others.",
    );
    GPU_RUN: HistogramEntry<2> =
        histogram("roadstead_gpu_run_seconds", &OF_WORKLOAD, SHORT_SECONDS, "Time that submits had the GPU.");
}

section! {
    TELEMETRY = "Telemetry", "every host; exports where there is a collector (`--otlp-endpoint`)";
    TELEMETRY_EXPORTS: CounterByEntry<1> = counter_by(
        "roadstead_telemetry_exports_total",
        &OF_SIGNAL,
        &EXPORT,
        "What was for the collector, by outcome: sent, dropped (no room in the queue), failed (not taken).",
    );
    OTEL_ITEMS: CounterByEntry<1> = counter_by(
        "roadstead_otel_items_total",
        &OF_SIGNAL,
        &TOLD,
        "What components told by wasi:otel, by what became of it.",
    );
}
