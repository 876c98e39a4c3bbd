//! Workloads and their instances: the only home of the wasmtime engine and its stores.
//!
//! A host holds workloads, a workload its components' immutable plans, a plan is run by fresh or pooled instances; a
//! call borrows one. The crate knows nothing of pingora, and of NATS only in `washlet`.

pub mod artifact;
mod backend;
mod call;
pub mod compile;
mod component;
mod cpu;
mod diagnosis;
mod dispatch;
pub mod egress;
mod engine;
mod error;
mod fault;
mod gate;
mod grant;
mod guest_log;
pub mod host;
mod http_call;
mod identity;
mod instance;
mod journal;
mod lanes;
mod limiter;
mod link;
mod metrics;
mod object_files;
mod outgoing_handler;
mod plan;
pub mod plugin;
mod pool;
mod private_folder;
mod process_metrics;
mod references;
mod series;
mod spans;
mod state;
mod support;
mod tenant;
mod timelines;
pub mod washlet;
mod workload;

pub use backend::BackendHealth;
pub use call::{BAGGAGE_BYTES_MAX, Call, SpanId, TraceContext, TraceId};
pub use component::{ComponentHandle, GuestFuture, PoolStatus};
pub use dispatch::{
    BindError, Dispatch, HandlerContext, HandlerError, HostHandler, LatencyCounts, RequestBody, RequestBodyError,
    ResponseBody, TriggerBinding, TriggerTraffic,
};
pub use engine::{EngineError, EngineWithClock};
pub use error::{CallError, DeployError, FaultKind, error_text};
pub use guest_log::{GUEST_LOG_TARGET, GuestLog, LogText};
pub use identity::WorkloadId;
pub use journal::{Condition, ConditionStatus, Event, EventKind, Fault, Lines, LogLine, LogPage};
pub use lanes::{InLane, LaneError};
pub use object_files::{ObjectError, object_folder, object_values, open_value};
pub use plugin::{BoundState, PluginError};
pub use references::ReferenceError;
pub use series::{OwnedSeries, Series, SeriesByOwner};
pub use spans::{CallSpan, SPAN_TARGET, SpanKeeper, keep_spans};
pub use state::InstanceState;
pub use timelines::{
    EndedSpan, OpenTimeline, RequestEnd, RequestFilter, RequestHead, RequestSummary, RequestTimeline, TimelineSpan,
    Timelines, TriggerTimelines,
};
