//! `wasi:otel/logs`: the guest's log records, in the trace of its call where the guest names none.

use prost::Message;
use roadstead_runtime::InstanceState;
use roadstead_telemetry::{
    Signal,
    proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};

use super::{
    bound,
    common::{any_value, attributes, id, nanoseconds, scope},
    wit::{
        logs::{self as guest, Host},
        tracing::TraceFlags,
    },
};

/// The greatest number that the severity of a log record has.
const SEVERITY_MAX: u8 = 24;

impl Host for InstanceState {
    fn on_emit(&mut self, record: guest::LogRecord) -> wasmtime::Result<()> {
        let bound = bound(self)?;
        let (trace_id, span_id) = self.call().trace.ids();
        let said = record.resource.map(|resource| attributes(resource.attributes)).unwrap_or_default();
        let (scope, schema_url) = record.instrumentation_scope.map(scope).unzip();
        let sampled = record.trace_flags.is_some_and(|flags| flags.contains(TraceFlags::SAMPLED));
        let own_trace = record.trace_id.as_deref().and_then(id::<16>);
        // A span's id means nothing without its trace's.
        let own_span = record.span_id.as_deref().and_then(id::<8>).filter(|_| own_trace.is_some());
        let in_call = own_trace.is_none();
        let sent = LogRecord {
            time_unix_nano: record.timestamp.map(nanoseconds).unwrap_or_default(),
            observed_time_unix_nano: record.observed_timestamp.map(nanoseconds).unwrap_or_default(),
            severity_number: severity(record.severity_number),
            severity_text: record.severity_text.unwrap_or_default(),
            body: record.body.map(any_value),
            attributes: attributes(record.attributes.unwrap_or_default()),
            flags: u32::from(if in_call { self.call().trace.is_sampled() } else { sampled }),
            trace_id: own_trace.unwrap_or_else(|| trace_id.to_be_bytes().to_vec()),
            span_id: if in_call { span_id.to_be_bytes().to_vec() } else { own_span.unwrap_or_default() },
            event_name: record.event_name.unwrap_or_default(),
            ..LogRecord::default()
        };
        let logs = ScopeLogs { scope, log_records: vec![sent], schema_url: schema_url.unwrap_or_default() };
        let resource = Some(bound.resource(said));
        let message = ResourceLogs { resource, scope_logs: vec![logs], ..ResourceLogs::default() };
        // What does not go out is counted; the interface has no way to say more.
        let _ = bound.send(self, "logs", message.encoded_len(), Signal::Logs(message));
        Ok(())
    }
}

/// The number as OTLP has it; 0, which is none, for what is not among its severities.
fn severity(number: Option<u8>) -> i32 {
    number.filter(|number| *number <= SEVERITY_MAX).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_is_one_that_there_is() {
        assert_eq!(severity(Some(SEVERITY_MAX)), 24);
        for none in [None, Some(0), Some(SEVERITY_MAX + 1), Some(u8::MAX)] {
            assert_eq!(severity(none), 0, "{none:?}");
        }
    }
}
