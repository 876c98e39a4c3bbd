//! Spans, logs and metrics to an OpenTelemetry collector, over OTLP.
//!
//! Whatever becomes of the collector, nobody waits for it: what is to be sent goes into a bounded queue, and what finds
//! no room there is counted and forgotten. Workloads, guests and requests are not known here.

mod outbox;
mod settings;
mod spans;
mod transport;

pub use opentelemetry_proto::tonic as proto;
pub use outbox::{Inbox, Outbox, Sending, Signal};
pub use settings::{
    Endpoint, EndpointError, HeadersError, OtlpHeaders, Protocol, ResourceAttributes, ResourceError, Settings,
};
pub use spans::{EndedSpan, Onlooker, Sampling, SpanPlace, Spans};
pub use transport::TransportError;
