//! What messaging counts, and the connections to NATS.

use super::{CALL_SECONDS, Label, Named, OF_WORKLOAD, WAIT_SECONDS, outcome, section};
use crate::{
    CounterByEntry, CounterEntry, GaugeEntry, HistogramEntry, Unit,
    entry::{counter, counter_by, gauge, histogram},
};

static HANDLED: Label =
    outcome(call_ends!(["ok", "handler-error", "queue-full", "too-large", "requester-gone", "reserved-subject"], []));
static SENT: Label = outcome(&[
    "ok",
    "timeout",
    "worker-error",
    "no-responders",
    "queue-full",
    "too-large",
    "subject",
    "subject-denied",
    "reply",
    "connection-lost",
    "broker",
]);
static CONNECTION: Label = Label {
    name: "namespace",
    values: Named("namespace whose connection it is, from a manifest; empty for the one that all share"),
};
static OF_CONNECTION: [&Label; 1] = [&CONNECTION];

section! {
    MESSAGES = "Messages", "workloads that use `wasmcloud:messaging`";
    MESSAGES_HANDLED: CounterByEntry<2> = counter_by(
        "roadstead_messages_handled_total",
        &OF_WORKLOAD,
        &HANDLED,
        "Messages taken from subscriptions, by outcome: ok, or the kind of the failure.",
    );
    MESSAGES_RECEIVED: CounterEntry<2> = counter(
        "roadstead_messages_received_total",
        &OF_WORKLOAD,
        Unit::Count,
        "Messages that came from subscriptions, whatever became of them.",
    );
    MESSAGES_IN_FLIGHT: GaugeEntry<2> = gauge(
        "roadstead_messages_in_flight",
        &OF_WORKLOAD,
        Unit::Count,
        "Messages admitted and not yet handled.",
    );
    MESSAGES_WAITING: GaugeEntry<2> = gauge(
        "roadstead_messages_waiting",
        &OF_WORKLOAD,
        Unit::Count,
        "Messages that wait in the queues of subscriptions.",
    );
    MESSAGE_WAIT: HistogramEntry<2> = histogram(
        "roadstead_message_wait_seconds",
        &OF_WORKLOAD,
        WAIT_SECONDS,
        "Time from a message's arrival at this host until its handler had an instance.",
    );
    MESSAGES_DROPPED: CounterEntry<2> = counter(
        "roadstead_messages_dropped_total",
        &OF_WORKLOAD,
        Unit::Count,
        "Messages from NATS that were dropped because as many of their subscription waited as may.",
    );
    MESSAGE_REQUESTS: CounterByEntry<2> = counter_by(
        "roadstead_message_requests_total",
        &OF_WORKLOAD,
        &SENT,
        "Requests of components (consumer.request), by outcome: ok, or the kind of the failure.",
    );
    MESSAGE_ROUND_TRIP: HistogramEntry<2> = histogram(
        "roadstead_message_request_duration_seconds",
        &OF_WORKLOAD,
        CALL_SECONDS,
        "Time from a component's request to its answer, or to its failure.",
    );
    MESSAGES_PUBLISHED: CounterByEntry<2> = counter_by(
        "roadstead_messages_published_total",
        &OF_WORKLOAD,
        &SENT,
        "Messages that components published, by outcome: ok, or the kind of the failure.",
    );
}

section! {
    NATS = "Connections to NATS", "hosts whose messages go over NATS (`--data-nats-url`)";
    NATS_CONNECTED: GaugeEntry<1> = gauge(
        "roadstead_nats_connected",
        &OF_CONNECTION,
        Unit::Boolean,
        "Whether the connection to NATS is there: 1 or 0.",
    );
    NATS_CONNECTS: CounterEntry<1> = counter(
        "roadstead_nats_connects_total",
        &OF_CONNECTION,
        Unit::Count,
        "Times that a connection to NATS was made: the first, and each reconnection.",
    );
    NATS_LOST: CounterEntry<1> = counter(
        "roadstead_nats_connections_lost_total",
        &OF_CONNECTION,
        Unit::Count,
        "Times that the connection to NATS was lost.",
    );
    NATS_SLOW: CounterEntry<1> = counter(
        "roadstead_nats_slow_consumers_total",
        &OF_CONNECTION,
        Unit::Count,
        "Messages that the NATS client dropped because they were not taken from it in time, as far as it tells.",
    );
    NATS_ERRORS: CounterEntry<1> = counter(
        "roadstead_nats_errors_total",
        &OF_CONNECTION,
        Unit::Count,
        "Errors that the NATS server told, such as of permissions.",
    );
}
