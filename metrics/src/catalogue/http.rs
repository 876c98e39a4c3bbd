//! What the ingress counts.

use super::{CALL_SECONDS, Fixed, Label, Named, OF_HOST, OF_TRIGGER, outcome, reason, section};
use crate::{
    CounterByEntry, CounterEntry, GaugeEntry, HistogramEntry, Kind, PolledEntry, Unit,
    entry::{counter, counter_by, gauge, histogram, polled},
};

/// Status codes that are counted apart; the others by their class, at the end.
pub static HTTP_CODES: [&str; 39] = [
    "200", "201", "202", "204", "206", "301", "302", "303", "304", "307", "308", "400", "401", "403", "404", "405",
    "406", "408", "409", "410", "412", "413", "414", "415", "422", "429", "431", "499", "500", "501", "502", "503",
    "504", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx+",
];

static CODE: Label = Label { name: "code", values: Fixed(&HTTP_CODES) };
static ERROR: Label = reason(call_ends!(
    [
        "bad-request",
        "head-timeout",
        "target-too-long",
        "headers-too-large",
        "body-too-large",
        "body-timeout",
        "not-implemented",
        "misdirected",
        "no-route",
        "no-replica",
        "memory-pressure",
        "trigger-rate",
        "trigger-concurrency",
        "trigger-queue-timeout",
        "tenant-rate",
        "tenant-concurrency",
        "tenant-queue-timeout"
    ],
    ["client-gone", "drained", "other"]
));
static REFUSED: Label = reason(&["connections-max", "connections-per-client-max", "proxy-protocol", "accept-failed"]);
static HANDSHAKE: Label = outcome(&[
    "ok",
    "timeout",
    "busy",
    "client-gone",
    "not-tls",
    "version",
    "incompatible",
    "protocol",
    "unknown-host",
    "client-certificate",
    "client-refused",
    "other",
]);
static RELOAD: Label = outcome(&["ok", "failed"]);
static HOST: Label = Label {
    name: "host",
    values: Named("host name, *.SUFFIX or default: from the certificates' files and from manifests"),
};
static OF_CERTIFICATE: [&Label; 1] = [&HOST];

section! {
    INGRESS = "Ingress", "every host";
    HTTP_REQUESTS: CounterByEntry<2> = counter_by(
        "roadstead_http_requests_total",
        &OF_TRIGGER,
        &CODE,
        "Requests, by trigger and status; 499 where the client left before there was one.",
    );
    HTTP_ERRORS: CounterByEntry<2> = counter_by(
        "roadstead_http_errors_total",
        &OF_TRIGGER,
        &ERROR,
        "Requests that ended otherwise than with a workload's whole response, by the reason.",
    );
    HTTP_DURATION: HistogramEntry<2> = histogram(
        "roadstead_http_request_duration_seconds",
        &OF_TRIGGER,
        CALL_SECONDS,
        "Time from a request's head to the end of its response.",
    );
    HTTP_REQUEST_BYTES: CounterEntry<2> = counter(
        "roadstead_http_request_bytes_total",
        &OF_TRIGGER,
        Unit::Bytes,
        "Bytes of request bodies that were read from clients.",
    );
    HTTP_RESPONSE_BYTES: CounterEntry<2> = counter(
        "roadstead_http_response_bytes_total",
        &OF_TRIGGER,
        Unit::Bytes,
        "Bytes of response bodies that were written to clients.",
    );
    HTTP_IN_FLIGHT: GaugeEntry<2> = gauge(
        "roadstead_http_requests_in_flight",
        &OF_TRIGGER,
        Unit::Count,
        "Requests that are being answered, or wait for it.",
    );
    HTTP_WAITING: GaugeEntry<2> = gauge(
        "roadstead_http_requests_waiting",
        &OF_TRIGGER,
        Unit::Count,
        "Requests in the queue of a trigger or of its namespace.",
    );
    HTTP_CONNECTIONS: GaugeEntry<0> = gauge(
        "roadstead_http_connections",
        &OF_HOST,
        Unit::Count,
        "Open connections of clients.",
    );
    HTTP_CONNECTIONS_ACCEPTED: CounterEntry<0> = counter(
        "roadstead_http_connections_accepted_total",
        &OF_HOST,
        Unit::Count,
        "Connections of clients that were taken, those among them that are refused at once.",
    );
    HTTP_REFUSED: CounterByEntry<0> = counter_by(
        "roadstead_http_connections_refused_total",
        &OF_HOST,
        &REFUSED,
        "Connections of clients that were not served.",
    );
    ACCESS_LOG_DROPPED: PolledEntry<0> = polled(
        "roadstead_access_log_dropped_total",
        &OF_HOST,
        Kind::Counter,
        Unit::Count,
        "Lines of the access log that its file (`--access-log FILE`) did not take.",
    );
}

section! {
    MEMORY = "Memory for requests", "every host";
    MEMORY_USED: GaugeEntry<0> = gauge(
        "roadstead_memory_used_bytes",
        &OF_HOST,
        Unit::Bytes,
        "Memory that counts towards the admission of requests.",
    );
    MEMORY_ADMISSION: GaugeEntry<0> = gauge(
        "roadstead_memory_admission_bytes",
        &OF_HOST,
        Unit::Bytes,
        "Memory from which on requests are refused; 0 where there is nothing to measure against.",
    );
    MEMORY_PRESSURE: CounterEntry<0> = counter(
        "roadstead_memory_pressure_total",
        &OF_HOST,
        Unit::Count,
        "Times that memory reached the mark and requests began to be refused.",
    );
    MEMORY_ACCEPT_PAUSED: CounterEntry<0> = counter(
        "roadstead_memory_accept_paused_total",
        &OF_HOST,
        Unit::Count,
        "Times that memory went on beyond the mark and connections were no longer taken.",
    );
}

section! {
    TLS = "TLS", "hosts with a TLS address (`--https-addr`)";
    TLS_HANDSHAKES: CounterByEntry<0> = counter_by(
        "roadstead_tls_handshakes_total",
        &OF_HOST,
        &HANDSHAKE,
        "TLS handshakes, by how they ended.",
    );
    TLS_RELOADS: CounterByEntry<0> = counter_by(
        "roadstead_tls_reloads_total",
        &OF_HOST,
        &RELOAD,
        "Changes of certificate files, by whether all of it could be taken over.",
    );
    TLS_EXPIRY: GaugeEntry<1> = gauge(
        "roadstead_tls_certificate_expiry_seconds",
        &OF_CERTIFICATE,
        Unit::UnixSeconds,
        "When the certificate that is served for a host expires, in seconds since 1970.",
    );
}
