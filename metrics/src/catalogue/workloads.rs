//! What the runtime counts: workloads, their instances and calls, what they send out, and how components come to be there.

use super::{
    CALL_SECONDS, Fixed, LONG_SECONDS, Label, OF_COMPONENT, OF_HOST, OF_WORKLOAD, SHORT_SECONDS, WAIT_SECONDS, outcome,
    reason, section,
};
use crate::{
    CounterByEntry, CounterEntry, GaugeEntry, HistogramEntry, Unit,
    entry::{counter, counter_by, gauge, histogram},
};

static STATE: Label = Label { name: "state", values: Fixed(&["starting", "running", "error"]) };
static OF_STATE: [&Label; 1] = [&STATE];
static INSTANCE: Label = Label { name: "kind", values: Fixed(&["fresh", "pooled"]) };
static RETIRED: Label = reason(&["max-invocations", "fault", "deadline", "cancelled", "backend"]);
static CALL: Label = outcome(call_ends!(["ok", "cancelled"], []));
static SENT: Label = outcome(&[
    "ok",
    "cancelled",
    "denied",
    "too-many-requests",
    "bad-target",
    "bad-request",
    "no-connection",
    "dns-timeout",
    "dns-error",
    "address-prohibited",
    "connection-refused",
    "connection-timeout",
    "connection-failed",
    "tls-certificate",
    "tls-failed",
    "response-timeout",
    "read-timeout",
    "head-too-large",
    "protocol-error",
    "connection-ended",
    "request-too-large",
    "response-too-large",
    "request-broken-off",
]);
static IMAGE: Label = outcome(&[
    "registry",
    "confirmed",
    "cache",
    "not-kept",
    "not-present",
    "insecure",
    "tls",
    "name",
    "address",
    "connection",
    "http",
    "stalled",
    "timeout",
    "busy",
    "unauthorized",
    "denied",
    "challenge",
    "not-found",
    "too-many-requests",
    "status",
    "redirect",
    "encoded",
    "wrong-digest",
    "wrong-length",
    "truncated",
    "answer-too-large",
    "too-large",
    "manifest",
    "not-wasm",
    "credentials",
    "internal",
]);
static SOURCE: Label = Label { name: "source", values: Fixed(&["memory", "disk", "child", "process"]) };
static OF_SOURCE: [&Label; 1] = [&SOURCE];
static COMPILED: Label = outcome(&[
    "ok",
    "unusable",
    "refused",
    "write-failed",
    "timeout",
    "out-of-memory",
    "output-too-large",
    "crashed",
    "garbage",
    "not-started",
    "internal",
]);

section! {
    WORKLOADS = "Workloads", "every host";
    WORKLOAD_STATES: GaugeEntry<1> = gauge("roadstead_workloads", &OF_STATE, Unit::Count, "Workloads, by state.");
}

section! {
    CALLS = "Instances, pools and calls", "every host; pools for components that have one";
    INSTANCES: GaugeEntry<3> = gauge("roadstead_instances", &OF_COMPONENT, Unit::Count, "Instances alive.");
    INSTANCES_CREATED: CounterByEntry<3> = counter_by(
        "roadstead_instances_created_total",
        &OF_COMPONENT,
        &INSTANCE,
        "Instances made: for one call, or for the pool.",
    );
    INSTANCE_START: HistogramEntry<3> = histogram(
        "roadstead_instance_start_duration_seconds",
        &OF_COMPONENT,
        SHORT_SECONDS,
        "Time until an instance could be called, failed starts included.",
    );
    INSTANCE_MEMORY_PEAK: GaugeEntry<3> = gauge(
        "roadstead_instance_memory_peak_bytes",
        &OF_COMPONENT,
        Unit::Bytes,
        "Most memory and tables that any instance of the component has had.",
    );
    INSTANCES_RETIRED: CounterByEntry<3> = counter_by(
        "roadstead_instances_retired_total",
        &OF_COMPONENT,
        &RETIRED,
        "Pooled instances given up, by the reason; backend: what is behind it, such as the GPU, was lost.",
    );
    POOL_SIZE: GaugeEntry<3> =
        gauge("roadstead_pool_size", &OF_COMPONENT, Unit::Count, "Instances that the pool may hold.");
    POOL_BUSY: GaugeEntry<3> =
        gauge("roadstead_pool_busy", &OF_COMPONENT, Unit::Count, "Pooled instances with a call.");
    POOL_IDLE: GaugeEntry<3> =
        gauge("roadstead_pool_idle", &OF_COMPONENT, Unit::Count, "Pooled instances without a call.");
    POOL_WAITING: GaugeEntry<3> =
        gauge("roadstead_pool_waiting", &OF_COMPONENT, Unit::Count, "Calls that wait for a pooled instance.");
    POOL_WAIT: HistogramEntry<3> = histogram(
        "roadstead_pool_wait_seconds",
        &OF_COMPONENT,
        WAIT_SECONDS,
        "Time that calls waited for a pooled instance.",
    );
    CALLS_ENDED: CounterByEntry<3> = counter_by(
        "roadstead_calls_total",
        &OF_COMPONENT,
        &CALL,
        "Calls into a component, by outcome: ok, cancelled (the caller left), deadline, the kind of a trap or other \
         fault, or the bound that refused it.",
    );
    CALL_DURATION: HistogramEntry<3> = histogram(
        "roadstead_call_duration_seconds",
        &OF_COMPONENT,
        CALL_SECONDS,
        "Time of calls into a component, waiting apart.",
    );
}

section! {
    OUTGOING = "Outgoing requests", "workloads that may send requests (`allowedHosts`)";
    OUTGOING_REQUESTS: CounterByEntry<2> = counter_by(
        "roadstead_outgoing_requests_total",
        &OF_WORKLOAD,
        &SENT,
        "Outgoing requests, by outcome: ok (the response was read whole), cancelled (the guest or its call ended before \
         it), or what failed.",
    );
    OUTGOING_DURATION: HistogramEntry<2> = histogram(
        "roadstead_outgoing_request_duration_seconds",
        &OF_WORKLOAD,
        CALL_SECONDS,
        "Time from an outgoing request to the head of its response, or to its failure; waiting included.",
    );
    OUTGOING_CONNECTIONS: GaugeEntry<2> = gauge(
        "roadstead_outgoing_connections",
        &OF_WORKLOAD,
        Unit::Count,
        "Open connections for outgoing requests, idle ones among them.",
    );
    OUTGOING_WAITING: GaugeEntry<2> = gauge(
        "roadstead_outgoing_waiting",
        &OF_WORKLOAD,
        Unit::Count,
        "Outgoing requests that wait for a connection.",
    );
}

section! {
    COMPONENTS = "Images and compilation", "every host";
    IMAGES: CounterByEntry<0> = counter_by(
        "roadstead_image_total",
        &OF_HOST,
        &IMAGE,
        "Images asked for, by outcome: registry, confirmed (in the cache, and the registry was asked), cache, or what \
         failed; and not-kept, for those that could not be written to the cache.",
    );
    IMAGE_BYTES: CounterEntry<0> = counter(
        "roadstead_image_bytes_total",
        &OF_HOST,
        Unit::Bytes,
        "Bytes of components that came from registries.",
    );
    IMAGE_FETCH: HistogramEntry<0> = histogram(
        "roadstead_image_fetch_duration_seconds",
        &OF_HOST,
        LONG_SECONDS,
        "Time that images took that came from a registry.",
    );
    COMPILES: CounterByEntry<1> = counter_by(
        "roadstead_compile_total",
        &OF_SOURCE,
        &COMPILED,
        "Components made ready, by where the code came from, and outcome: ok, or what failed.",
    );
    COMPILE_DURATION: HistogramEntry<1> = histogram(
        "roadstead_compile_duration_seconds",
        &OF_SOURCE,
        LONG_SECONDS,
        "Time until a component was ready, by where the code came from, failures included.",
    );
}
