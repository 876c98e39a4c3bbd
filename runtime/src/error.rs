//! Why a call into a guest gave no result, and whose fault it was.

use std::time::Duration;

use roadstead_config::{InterfaceName, manifest::SourcePlace};

use crate::{
    BindError, PluginError, ReferenceError, WorkloadId, artifact::PullError, compile::CompileError,
    egress::EgressSetupError,
};

/// How a guest's execution ended badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// `unreachable`, out-of-bounds access and the like; also a panic in most languages.
    Trap,
    /// The guest's stack was used up.
    StackOverflow,
    /// A memory or table could not grow because of the workload's memory limit, and the guest gave up.
    MemoryLimit,
    /// The guest took more processor time for the call than the workload's `cpuLimit`.
    CpuLimit,
    /// The guest ended itself (`wasi:cli/exit`) instead of returning.
    Exit,
    /// The guest returned without a response.
    NoResponse,
    /// The guest gave an error instead of a response, or broke the response off.
    GuestError,
    /// A host function panicked: ours, not the guest's. The call ends, the host goes on.
    HostPanic,
    /// The instance could not be made.
    Instantiation,
}

impl FaultKind {
    /// The kind as headers, metric labels and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::StackOverflow => "stack-overflow",
            Self::MemoryLimit => "memory-limit",
            Self::CpuLimit => "cpu-limit",
            Self::Exit => "exit",
            Self::NoResponse => "no-response",
            Self::GuestError => "guest-error",
            Self::HostPanic => "host-panic",
            Self::Instantiation => "instantiation",
        }
    }
}

/// Why a call gave no result.
///
/// `Display` is for the log; what a caller over a network is told is in [`CallError::public_message`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The call's deadline passed.
    #[error("the call did not end within its time")]
    Deadline,
    /// The guest failed.
    #[error("the guest failed ({}): {detail}", kind.as_str())]
    Fault { kind: FaultKind, detail: String },
    /// The workload's own bound on calls at a time, or on waiting calls, is reached.
    #[error("the workload has as many calls as it may: {bound} = {limit}")]
    WorkloadBusy { bound: &'static str, limit: u64 },
    /// The bound of the workload's namespace on instances is reached.
    #[error("the namespace has as many instances as it may: tenant_instances_max = {limit}")]
    TenantBusy { limit: u64 },
    /// The host's own bound is reached.
    #[error("the host has as many instances as it may: {bound} = {limit}")]
    HostBusy { bound: &'static str, limit: u64 },
    /// No pooled instance became free in time.
    #[error("no instance became free within {waited:?}")]
    AdmissionTimeout { waited: Duration },
    /// The workload is stopped or being stopped.
    #[error("the workload is not running")]
    NotRunning,
}

impl CallError {
    /// A fault with its detail for the log.
    pub fn fault(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self::Fault { kind, detail: detail.into() }
    }

    /// A short stable name for headers, metric labels and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Fault { kind, .. } => kind.as_str(),
            Self::WorkloadBusy { .. } => "workload-busy",
            Self::TenantBusy { .. } => "tenant-busy",
            Self::HostBusy { .. } => "host-busy",
            Self::AdmissionTimeout { .. } => "admission-timeout",
            Self::NotRunning => "not-running",
        }
    }

    /// What a caller may know: no addresses, paths or backtraces.
    pub fn public_message(&self) -> String {
        match self {
            Self::Deadline => "the component did not answer in time".into(),
            Self::Fault { kind, .. } => format!("the component failed ({})", kind.as_str()),
            Self::WorkloadBusy { .. } => "the workload has as many calls as it may; try again later".into(),
            Self::TenantBusy { .. } => "the namespace has as many calls as it may; try again later".into(),
            Self::HostBusy { .. } => "the host has as many calls as it may; try again later".into(),
            Self::AdmissionTimeout { .. } => "no instance became free in time; try again later".into(),
            Self::NotRunning => "the workload is not running; try again later".into(),
        }
    }
}

/// Why a workload does not run. The text names the place in the manifest and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// `configFrom` or `secretFrom` names something that cannot be used.
    #[error("{place}: {field} {name} cannot be used")]
    Reference {
        place: SourcePlace,
        field: &'static str,
        name: String,
        #[source]
        source: ReferenceError,
    },
    #[error("{place}: {feature} cannot be used: {reason}")]
    Unsupported { place: SourcePlace, feature: &'static str, reason: &'static str },
    #[error("{place}: the component file {path} cannot be read; build it, or correct `image`")]
    Read {
        place: SourcePlace,
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{place}: the image {image} cannot be had")]
    Image {
        place: SourcePlace,
        image: String,
        #[source]
        source: PullError,
    },
    #[error("{place}: {path} is {found} bytes large; a component may have {max} (component_bytes_max)")]
    TooLarge { place: SourcePlace, path: String, found: u64, max: u64 },
    #[error("{place}: {path} is not WebAssembly; `image` must name a component (.wasm)")]
    NotWasm { place: SourcePlace, path: String },
    #[error(
        "{place}: {path} is a core WebAssembly module, not a component; build it for wasm32-wasip2, or turn it into \
         a component with `wasm-tools component new`"
    )]
    CoreModule { place: SourcePlace, path: String },
    #[error("{place}: {path} cannot be compiled")]
    Compile {
        place: SourcePlace,
        path: String,
        #[source]
        source: CompileError,
    },
    #[error(
        "{place}: component {component} imports {import}, which its workload does not declare; {}",
        declare(import)
    )]
    ImportNotDeclared { component: String, place: SourcePlace, import: InterfaceName },
    #[error("{place}: component {component} imports {import}, which is no interface that a host can offer")]
    ImportUnknown { component: String, place: SourcePlace, import: String },
    #[error(
        "{place}: this host does not offer {name}; {}{}",
        offered_text(name, offered),
        remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default()
    )]
    InterfaceNotOffered { name: InterfaceName, place: SourcePlace, offered: Vec<String>, remedy: Option<String> },
    #[error("{place}: component {component} cannot be linked: {detail}")]
    Link { component: String, place: SourcePlace, detail: String },
    #[error("{place}: the {what} of component {component} has {found} bytes; it may have {max} ({limit})")]
    SettingsTooLarge {
        place: SourcePlace,
        component: String,
        what: &'static str,
        found: usize,
        max: u64,
        limit: &'static str,
    },
    #[error(
        "{place}: limits.bodyBytes is {found}, more than the {max} bytes that a trigger of this host may name \
         (trigger_body_bytes_max)"
    )]
    TriggerBody { place: SourcePlace, found: u64, max: u64 },
    #[error("{place}: component {component} cannot be started: {detail}")]
    Start { component: String, place: SourcePlace, detail: String },
    #[error("{place}: {message}")]
    Plugin {
        place: SourcePlace,
        message: String,
        #[source]
        source: PluginError,
    },
    #[error("{place}: no component of the workload exports wasi:http/incoming-handler, which a trigger needs")]
    NoHttpHandler { place: SourcePlace },
    #[error(
        "{place}: components {first} and {second} both export wasi:http/incoming-handler; a trigger needs exactly one"
    )]
    SeveralHttpHandlers { place: SourcePlace, first: String, second: String },
    #[error("{place}: {source}")]
    Route {
        place: SourcePlace,
        #[source]
        source: BindError,
    },
    #[error("{place}: poolSize {pool_size} times replicas {replicas} is more than {max} (pool_size_max)")]
    PoolTooLarge { place: SourcePlace, pool_size: u32, replicas: u32, max: u64 },
    #[error("the components cannot send requests")]
    Egress {
        #[source]
        source: EgressSetupError,
    },
    #[error("the host has {max} workloads, as many as it may (workloads_max)")]
    TooManyWorkloads { max: u64 },
    #[error("workload {0} already exists")]
    Exists(WorkloadId),
    #[error("workload {0} already exists: it is being stopped; start it again when that is done")]
    Leaving(WorkloadId),
    #[error("the workload was stopped before it ran")]
    Stopped,
    #[error("the host is stopping and starts nothing any more")]
    HostStopping,
}

impl DeployError {
    /// Whether the bytes of a component could not be had, or were none of a component: nothing of the workload has
    /// come to be then.
    pub(crate) fn is_fetch(&self) -> bool {
        matches!(
            self,
            Self::Image { .. }
                | Self::Read { .. }
                | Self::TooLarge { .. }
                | Self::NotWasm { .. }
                | Self::CoreModule { .. }
        )
    }
}

fn declare(import: &InterfaceName) -> String {
    let version = import.version.as_ref().map(|v| format!(", version: '{v}'")).unwrap_or_default();
    format!(
        "add to hostInterfaces: {{namespace: {}, package: {}{version}, interfaces: [{}]}}",
        import.package.namespace(),
        import.package.package(),
        import.interface
    )
}

fn offered_text(name: &InterfaceName, offered: &[String]) -> String {
    match offered {
        [] => format!("it has nothing of the package {}", name.package),
        some => format!("of {} it offers {}", name.package, some.join(", ")),
    }
}

/// An error and what it came from, in one line; a cause that the text before it tells already is left out.
pub fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
