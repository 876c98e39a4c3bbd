//! The one table of every bound: name, default, unit and meaning. `docs/limits.md` is checked against it.

use std::{fmt, str::FromStr};

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Bytes,
    Count,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milliseconds => "ms",
            Self::Bytes => "bytes",
            Self::Count => "count",
        })
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct LimitRow {
    pub name: &'static str,
    pub default: u64,
    pub unit: Unit,
    pub meaning: &'static str,
}

/// Why something is no setting of a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    #[error("is not NAME=VALUE; write for example compile_time_ms=30000")]
    Form,
    #[error("{name:?} is no limit{}; docs/limits.md lists them all", suggestion.map(|s| format!("; did you mean {s}?")).unwrap_or_default())]
    Unknown { name: String, suggestion: Option<&'static str> },
    #[error("{value:?} is no whole number from 0 to 18446744073709551615, which {name} needs")]
    Value { name: &'static str, value: String },
}

impl LimitError {
    fn unknown(name: &str) -> Self {
        let distance = |row: &LimitRow| strsim::damerau_levenshtein(name, row.name);
        let closest = Limits::TABLE.iter().min_by_key(|row| distance(row));
        let suggestion = closest.filter(|row| distance(row) <= row.name.len() / 3).map(|row| row.name);
        Self::Unknown { name: name.chars().take(64).collect(), suggestion }
    }
}

/// A limit of the table with a value: `NAME=VALUE` as text. Digits of the value may be grouped by `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSetting {
    name: &'static str,
    value: u64,
}

impl FromStr for LimitSetting {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let (name, value) = text.split_once('=').ok_or(LimitError::Form)?;
        let row = Limits::TABLE.iter().find(|row| row.name == name).ok_or_else(|| LimitError::unknown(name))?;
        let wrong = || LimitError::Value { name: row.name, value: value.chars().take(64).collect() };
        if !value.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong());
        }
        Ok(Self { name: row.name, value: value.replace('_', "").parse().map_err(|_| wrong())? })
    }
}

impl fmt::Display for LimitSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

impl Limits {
    /// These limits with some values replaced; of several for one limit the last one holds.
    #[must_use]
    pub fn with(mut self, settings: &[LimitSetting]) -> Self {
        for setting in settings {
            // A setting names a row of the table, so there is nothing that could fail.
            let _ = self.set(setting.name, setting.value);
        }
        self
    }

    /// The values that differ from the defaults: what another process needs to have the same limits.
    pub fn changed(&self) -> impl Iterator<Item = LimitSetting> {
        self.values().zip(Self::TABLE).filter(|(setting, row)| setting.value != row.default).map(|(setting, _)| setting)
    }
}

macro_rules! limits {
    ($($(#[doc = $meaning:literal])+ $name:ident = $default:literal $unit:ident;)*) => {
        /// Every bound of a host. `Limits::default()` is safe on a public network.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $meaning])+ pub $name: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// Gives the limit called `name` another value, in the unit of its row.
            ///
            /// # Errors
            /// When no row of the table has this name.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return Err(LimitError::unknown(name)),
                }
                Ok(())
            }

            /// All values in the order of the table.
            pub fn values(&self) -> impl Iterator<Item = LimitSetting> {
                [$(LimitSetting { name: stringify!($name), value: self.$name },)*].into_iter()
            }

            /// The rows in the order of their declaration.
            pub const TABLE: &'static [LimitRow] = &[
                $(LimitRow {
                    name: stringify!($name),
                    default: $default,
                    unit: Unit::$unit,
                    meaning: concat!($($meaning),+),
                },)*
            ];
        }
    };
}

limits! {
    /// Time from the first byte of a connection, or of the next request on it, to the end of the request's head.
    header_timeout_ms = 10_000 Milliseconds;
    /// Time that an idle connection is kept for its next request.
    keepalive_idle_ms = 60_000 Milliseconds;
    /// Time without a byte of a request body before the request is given up.
    body_idle_ms = 30_000 Milliseconds;
    /// Time that a client may leave a response unread before it is dropped.
    write_stall_ms = 30_000 Milliseconds;
    /// Size of a request's head: request line and headers together.
    header_bytes_max = 65_536 Bytes;
    /// Number of request headers.
    header_count_max = 100 Count;
    /// Size of a request target.
    target_bytes_max = 16_384 Bytes;
    /// Size of a request body, where the trigger names none.
    body_bytes_max = 33_554_432 Bytes;
    /// Largest size of a request body that a trigger may name (`limits.bodyBytes`).
    trigger_body_bytes_max = 1_073_741_824 Bytes;
    /// Open connections of the ingress.
    connections_max = 10_000 Count;
    /// Open connections of one client address; of IPv6 the first 64 bits count. Trusted proxies have no such bound.
    connections_per_client_max = 1_000 Count;
    /// File descriptors that the ingress's connections leave for the rest of the host: files, messaging, the admin
    /// address, compilers. Where the process may open hardly more than that, connections get half of what it may.
    descriptors_reserved = 256 Count;
    /// Memory of the process from which on requests are refused, and a sixteenth beyond which no connection is taken;
    /// 0: 90 % of what its control group may have, or else the machine has, and all memory of that group counts.
    memory_admission_bytes = 0 Bytes;
    /// Requests that one connection may carry before it is closed; on HTTP/2 those under way then may finish.
    requests_per_connection_max = 10_000 Count;
    /// Concurrent streams of an HTTP/2 connection.
    h2_streams_max = 100 Count;
    /// Time from a connection to the TLS address to the end of its handshake.
    tls_handshake_ms = 10_000 Milliseconds;
    /// TLS handshakes under way, from the client's first message on; further ones wait, within their time. More than
    /// `connections_per_client_max`, so that no client has all of them.
    tls_handshakes_max = 2_000 Count;
    /// Certificates that the ingress has at a time, each with its key.
    tls_certificates_max = 1_000 Count;
    /// Size of a file with certificates or a key.
    tls_file_bytes_max = 262_144 Bytes;
    /// Longest wait for a reply to a guest's message request (published as nexus.requestTimeoutSeconds).
    request_timeout_ms = 300_000 Milliseconds;
    /// Time that a draining host gives to requests under way.
    drain_timeout_ms = 30_000 Milliseconds;
    /// Period of the clock that interrupts running guests.
    epoch_tick_ms = 10 Milliseconds;
    /// Memory of an instance: all its linear memories and tables together, where the workload names none.
    memory_bytes_max = 134_217_728 Bytes;
    /// Largest linear memory that any workload may ask for.
    memory_slot_bytes_max = 1_073_741_824 Bytes;
    /// Instances alive at a time, over all workloads.
    instances_max = 1_000 Count;
    /// Instances alive at a time of all workloads of one namespace; one with several memories counts for each.
    tenant_instances_max = 500 Count;
    /// Requests to all triggers of one namespace that are answered at a time; 0: no limit.
    tenant_requests_max = 0 Count;
    /// Requests to all triggers of one namespace that wait at a time for others to end, where so many are answered at a
    /// time; 0: what is beyond is refused at once.
    tenant_requests_waiting_max = 0 Count;
    /// Longest such wait of a request; its own deadline ends it as well.
    tenant_requests_wait_ms = 30_000 Milliseconds;
    /// Requests a second to all triggers of one namespace; 0: no limit.
    tenant_requests_per_second_max = 0 Count;
    /// Requests to all triggers of one namespace that may come at once after a while without any, where there are so
    /// many a second; 0: as many as in a second.
    tenant_requests_burst_max = 0 Count;
    /// Fresh instances alive at a time for one workload.
    workload_instances_max = 256 Count;
    /// Time that a component with a pool has to make its first instance.
    start_timeout_ms = 10_000 Milliseconds;
    /// Core instances, linear memories and tables of one component, each.
    component_memories_max = 32 Count;
    /// Host resources (streams, requests, bodies and the like) that one instance may hold. What a guest may make the
    /// host hold for it is at most this many times the larger of `guest_header_bytes_max` and twice
    /// `guest_body_chunk_bytes_max`.
    table_entries_max = 2_000 Count;
    /// Handles of resources, its own and the host's, that the components of one instance may hold.
    component_handles_max = 10_000 Count;
    /// Bytes that one host call may copy in from a guest.
    hostcall_bytes_max = 16_777_216 Bytes;
    /// Size of the headers that a guest may build.
    guest_header_bytes_max = 65_536 Bytes;
    /// Bytes of a response's body that a guest may write at once; one more such piece waits.
    guest_body_chunk_bytes_max = 65_536 Bytes;
    /// Size of a response's body.
    response_body_bytes_max = 1_073_741_824 Bytes;
    /// Random bytes that a guest may ask for at once.
    random_bytes_max = 1_048_576 Bytes;
    /// Names and values of a component's environment together.
    environment_bytes_max = 65_536 Bytes;
    /// Names and values of a component's configuration, and of each interface's, together.
    config_bytes_max = 262_144 Bytes;
    /// Native stack of a guest.
    guest_stack_bytes_max = 524_288 Bytes;
    /// Size of a component before compilation.
    component_bytes_max = 104_857_600 Bytes;
    /// Time that the compilation of one component may take, by the clock.
    compile_time_ms = 60_000 Milliseconds;
    /// Address space of the process that compiles one component.
    compile_memory_bytes_max = 2_147_483_648 Bytes;
    /// Size of a compiled component.
    compile_output_bytes_max = 536_870_912 Bytes;
    /// Components that are compiled at a time; further ones wait.
    compiles_at_once_max = 2 Count;
    /// Time for which a component that could not be compiled is refused again without another try.
    compile_retry_ms = 30_000 Milliseconds;
    /// Size of all compiled components in the cache directory together; the least recently used are removed first.
    component_cache_bytes_max = 4_294_967_296 Bytes;
    /// Compiled components in the cache directory.
    component_cache_files_max = 10_000 Count;
    /// Images that are fetched from registries at a time; further ones wait. Each may take component_bytes_max of memory.
    artifact_pulls_at_once_max = 4 Count;
    /// Size of all components in the image cache together; the least recently used are removed first, those in use never.
    artifact_cache_bytes_max = 10_737_418_240 Bytes;
    /// Components in the image cache, and references to them that are remembered.
    artifact_cache_files_max = 10_000 Count;
    /// Bytes that a call may log; the rest is counted and dropped.
    log_bytes_per_call_max = 65_536 Bytes;
    /// Longest single log message; the rest is cut off.
    log_message_bytes_max = 8_192 Bytes;
    /// Workloads and triggers whose metrics have names of their own; the others are counted together, as `__overflow__`.
    metrics_workloads_max = 2_000 Count;
    /// Spans, log records and exports of metrics that a call may send by `wasi:otel`; the rest is counted and dropped.
    otel_items_per_call_max = 1_000 Count;
    /// Their size, as it is sent.
    otel_bytes_per_call_max = 1_048_576 Bytes;
    /// Spans that a call into a component may have below its own where its trace is sampled; the rest is counted on its
    /// span (`roadstead.spans_left_out`) and not made.
    call_spans_max = 128 Count;
    /// Requests that are kept for `/v1/requests` with their spans, and as many that were slow or failed; 0 keeps none.
    requests_kept_max = 128 Count;
    /// Spans that are kept of one request.
    request_spans_kept_max = 64 Count;
    /// Requests of a second whose spans are kept, and as many that are noted at their end; one trigger has a fourth of
    /// both. 0 keeps none.
    timelines_per_second_max = 20 Count;
    /// Time from which on a request is a slow one, and is kept as such.
    slow_request_ms = 1_000 Milliseconds;
    /// Calls that wait for a pooled instance of one component before further ones are refused (`max_in_flight`).
    pool_waiting_max = 1_024 Count;
    /// Longest wait of a call for a pooled instance, of a message for its place as well (`admission_wait`).
    admission_wait_ms = 30_000 Milliseconds;
    /// Pooled instances of one component on one host: poolSize times replicas.
    pool_size_max = 1_000 Count;
    /// Messages of a subscription that wait to be handled.
    subscription_messages_max = 4_096 Count;
    /// Size of the messages of a subscription that wait to be handled, together.
    subscription_bytes_max = 67_108_864 Bytes;
    /// Size of a message's body.
    message_bytes_max = 1_048_576 Bytes;
    /// Size of the reason that a worker's failure carries to the requester.
    error_reason_bytes_max = 1_024 Bytes;
    /// Time that a call to the messaging server itself may take: publish, flush, subscribe.
    broker_call_ms = 5_000 Milliseconds;
    /// Replies that a guest may send to one message.
    replies_per_message_max = 1_024 Count;
    /// GPU devices (of `wasi:webgpu`) that all instances of the host have at a time.
    gpu_devices_max = 256 Count;
    /// GPU devices that the instances of one workload have at a time.
    gpu_workload_devices_max = 64 Count;
    /// Memory of a GPU that the buffers, textures and query sets of one workload take together.
    gpu_memory_bytes_max = 1_073_741_824 Bytes;
    /// Objects on a GPU (buffers, textures, pipelines, encoders and the like) of one workload.
    gpu_objects_max = 20_000 Count;
    /// Workgroups of one dispatch, all three directions multiplied.
    gpu_dispatch_workgroups_max = 16_777_216 Count;
    /// Size of a shader's source.
    gpu_shader_bytes_max = 262_144 Bytes;
    /// Expressions and statements of a shader's entry point with all functions written out where they are called.
    gpu_shader_size_max = 500_000 Count;
    /// Private variables that one entry point of a shader uses, together with the variables of its functions.
    gpu_private_bytes_max = 65_536 Bytes;
    /// Time of the processor that the compilation of one shader or pipeline may take; longer, or ten times as long by the
    /// clock, and the GPU process is begun anew.
    gpu_compile_ms_max = 10_000 Milliseconds;
    /// Time that one submit may run on a GPU; longer, and the GPU process is begun anew.
    gpu_run_ms_max = 10_000 Milliseconds;
    /// Time that a submit or a compilation waits for those of other tenants.
    gpu_queue_ms_max = 30_000 Milliseconds;
    /// Submits of one device that have not ended; a further one waits.
    gpu_submits_in_flight_max = 2 Count;
    /// Crashes and standstills of the GPU process by one workload until it gets no GPU any more.
    gpu_crashes_max = 3 Count;
    /// Size of a file of `--config-dir` and `--secret-dir`.
    config_file_bytes_max = 65_536 Bytes;
    /// Size of a value of `wasi:keyvalue`.
    keyvalue_value_bytes_max = 1_000_000 Bytes;
    /// Keys of all buckets of one namespace. Over NATS it holds for what is made there, as the next one does.
    keyvalue_keys_max = 100_000 Count;
    /// Size of all keys and values of one namespace.
    keyvalue_bytes_max = 67_108_864 Bytes;
    /// Different buckets that one component opens.
    keyvalue_buckets_max = 64 Count;
    /// Containers of `wasi:blobstore` of one namespace.
    blobstore_containers_max = 16 Count;
    /// Size of all objects of one container, each with 512 bytes more. Over NATS it holds for what is made there.
    blobstore_container_bytes_max = 67_108_864 Bytes;
    /// Bytes of an object that wait to be stored, or to be read; an object that is written to before its place is named
    /// may be no larger than this until then.
    blobstore_buffer_bytes_max = 1_048_576 Bytes;
    /// Objects that one component writes at a time.
    blobstore_writes_max = 32 Count;
    /// Time without a byte, from the guest or for it, before the reading or writing of an object is given up.
    blobstore_idle_ms = 30_000 Milliseconds;
    /// Time that one call of `wasi:keyvalue` or `wasi:blobstore` may take, other than the reading and writing of objects;
    /// the call's own deadline ends it as well.
    store_call_ms = 5_000 Milliseconds;
    /// Connections that one workload has open for outgoing requests, those that wait for their next request among them.
    outgoing_connections_max = 128 Count;
    /// Longest wait of an outgoing request for one of them.
    outgoing_wait_ms = 5_000 Milliseconds;
    /// Outgoing requests that one call may make.
    outgoing_requests_per_call_max = 1_000 Count;
    /// Bytes that the bodies of one call's outgoing requests have together.
    outgoing_request_bytes_per_call_max = 1_073_741_824 Bytes;
    /// Bytes that the bodies of the responses to them have together, as far as the guest reads them.
    outgoing_response_bytes_per_call_max = 1_073_741_824 Bytes;
    /// Time that a connection for an outgoing request may take, name and TLS included, where the guest names none.
    outgoing_connect_ms = 10_000 Milliseconds;
    /// Time that a connection is kept for a next outgoing request.
    outgoing_idle_ms = 30_000 Milliseconds;
    /// Size of the head of a response to an outgoing request; at least 8,192.
    outgoing_head_bytes_max = 65_536 Bytes;
    /// Connections to the PostgreSQL server of `--postgres-url`; one namespace has half of them at a time.
    postgres_connections_max = 16 Count;
    /// Time that a call waits for one of them.
    postgres_wait_ms = 2_000 Milliseconds;
    /// Size of a command that a fleet's scheduler sends.
    control_bytes_max = 1_048_576 Bytes;
    /// Workloads that commands of the scheduler start at a time; and as many that they stop. What is beyond is refused
    /// at once.
    control_commands_max = 512 Count;
    /// Workloads of one host.
    workloads_max = 10_000 Count;
    /// Size of a manifest file.
    manifest_bytes_max = 4_194_304 Bytes;
    /// Nodes (mappings, sequences and scalars, aliases resolved) of a manifest file.
    manifest_nodes_max = 100_000 Count;
    /// Nesting of a manifest.
    manifest_depth_max = 64 Count;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_and_written() {
        let setting: LimitSetting = "compile_time_ms=1_500".parse().unwrap();
        assert_eq!(setting.to_string(), "compile_time_ms=1500");
        let limits = Limits::default().with(&[setting]);
        assert_eq!(limits.compile_time_ms, 1_500);
        assert_eq!(limits.changed().collect::<Vec<_>>(), [setting]);
        assert_eq!(Limits::default().with(&limits.changed().collect::<Vec<_>>()), limits);
    }

    #[test]
    fn every_row_can_be_set() {
        for row in Limits::TABLE {
            let mut limits = Limits::default();
            limits.set(row.name, 7).unwrap();
            assert_eq!(
                limits.changed().map(|setting| setting.to_string()).collect::<Vec<_>>(),
                [format!("{}=7", row.name)]
            );
        }
    }

    #[test]
    fn what_is_no_setting_says_why() {
        let error = |text: &str| text.parse::<LimitSetting>().unwrap_err();
        assert_eq!(error("compile_time_ms"), LimitError::Form);
        assert_eq!(
            error("compile_time=5"),
            LimitError::Unknown { name: "compile_time".into(), suggestion: Some("compile_time_ms") }
        );
        assert_eq!(error("zzz=5"), LimitError::Unknown { name: "zzz".into(), suggestion: None });
        for value in ["", "-1", "+1", "_1", "1s", "18446744073709551616"] {
            assert!(matches!(error(&format!("compile_time_ms={value}")), LimitError::Value { .. }), "{value}");
        }
    }
}
