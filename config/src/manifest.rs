//! The valid forms of the published manifest kinds. How they are read from YAML or JSON is in `decode`.
//!
//! Field names and defaults are those of `control.cosmonic.io/v1alpha1` and `runtime.wasmcloud.dev/v1alpha1`.

use std::{
    collections::BTreeMap,
    fmt,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    HostPattern, ImageReference, InterfaceVersion, ManifestPath, Namespace, PackageName, PathMatch, PullPolicy,
    ResourceName,
};

/// The `timeout` of a trigger that names none: the published default of the messaging request as well.
pub const TRIGGER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// The `limits.queueTimeout` of a trigger that names none.
pub const QUEUE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Where something was written: what deploy-time errors point at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourcePlace {
    pub file: Arc<str>,
    /// Counted from 1. 0 where nothing is written in a file: `file` is then words that say where it comes from.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl SourcePlace {
    /// The place of what is in no file, such as a component in a command of a control plane. `origin` is what errors
    /// begin with.
    pub fn outside_files(origin: impl Into<Arc<str>>) -> Self {
        Self { file: origin.into(), line: 0, column: 0 }
    }

    /// Whether it is in a file, beside which other files can be.
    pub fn is_in_file(&self) -> bool {
        self.line > 0
    }
}

impl fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_in_file() {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        } else {
            f.write_str(&self.file)
        }
    }
}

/// One valid document.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    HttpTrigger(HttpTrigger),
    WorkloadDeployment(WorkloadDeployment),
    Workload(Workload),
    Artifact(Artifact),
}

impl Document {
    /// The document's metadata, which every kind has.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::HttpTrigger(d) => &d.metadata,
            Self::WorkloadDeployment(d) => &d.metadata,
            Self::Workload(d) => &d.metadata,
            Self::Artifact(d) => &d.metadata,
        }
    }

    /// The document's kind as written.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HttpTrigger(_) => "HTTPTrigger",
            Self::WorkloadDeployment(_) => "WorkloadDeployment",
            Self::Workload(_) => "Workload",
            Self::Artifact(_) => "Artifact",
        }
    }
}

/// `metadata` of every kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    pub namespace: Namespace,
    pub name: ResourceName,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// Where the document begins.
    pub place: SourcePlace,
}

/// `HTTPTrigger`: a workload that answers HTTP requests, and which ones.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTrigger {
    pub metadata: Metadata,
    pub host: HostPattern,
    /// Where `spec.ingress.host` is written.
    pub host_place: SourcePlace,
    /// The certificate for the host. The host is then no `*`.
    pub certificate: Option<TriggerCertificate>,
    /// Never empty, no duplicates; `/` as a prefix when the manifest lists none.
    pub paths: Vec<PathMatch>,
    /// Bound of the whole HTTP exchange; [`TRIGGER_TIMEOUT_DEFAULT`] when the manifest names none.
    pub timeout: Duration,
    /// None when the manifest names none.
    pub limits: RequestLimits,
    pub replicas: u32,
    pub deploy_policy: DeployPolicy,
    pub template: Template,
}

/// `spec.ingress.tls`: a certificate with its chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerCertificate {
    /// `certFile`.
    pub chain: ManifestPath,
    /// `keyFile`.
    pub key: ManifestPath,
    /// Where it is written; the paths begin in the folder of that file.
    pub place: SourcePlace,
}

/// How many requests may come in, and how large. `spec.limits` of a trigger is an extension of ours to the published kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestLimits {
    /// `requestsPerSecond` and `burst`.
    pub rate: Option<RequestRate>,
    /// Requests that are answered at a time (`concurrentRequests`).
    pub concurrent: Option<NonZeroU32>,
    /// `queuedRequests` and `queueTimeout`; only beside `concurrent`. `None`: what is beyond it is refused at once.
    pub queue: Option<RequestQueue>,
    /// Size of a request's body, in bytes (`bodyBytes`).
    pub body_bytes: Option<NonZeroU64>,
}

/// Where requests wait for one of the places that `concurrentRequests` bounds. First in, first out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestQueue {
    /// Requests that wait at a time.
    pub requests: NonZeroU32,
    /// The longest wait of each; [`QUEUE_TIMEOUT_DEFAULT`] when the manifest names none.
    pub wait: Duration,
}

/// A rate of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    pub per_second: NonZeroU32,
    /// Requests that may come at once after a while without any.
    pub burst: NonZeroU32,
}

/// `WorkloadDeployment`: replicas of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadDeployment {
    pub metadata: Metadata,
    pub replicas: u32,
    pub deploy_policy: DeployPolicy,
    pub template: Template,
    pub artifacts: Vec<ArtifactBinding>,
    pub kubernetes_service: Option<ResourceName>,
}

impl WorkloadDeployment {
    /// The host by which the deployment is routed: `config.host` of its `wasi:http` interface, path `/`.
    pub fn http_host(&self) -> Option<HostPattern> {
        self.template.spec.http_host()
    }
}

/// `Workload`: one replica, directly.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    pub metadata: Metadata,
    pub spec: WorkloadSpec,
}

/// `Artifact`: a named image, for `artifacts[].artifactFrom`.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    pub metadata: Metadata,
    pub image: ImageReference,
    pub image_pull_secret: Option<ResourceName>,
}

/// `artifacts[]` of a deployment: `name` is what components refer to, `from` the `Artifact` document.
#[derive(Debug, Clone, PartialEq)]
pub struct ArtifactBinding {
    pub name: ResourceName,
    pub from: ResourceName,
}

/// How a changed deployment replaces the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeployPolicy {
    #[default]
    RollingUpdate,
    Recreate,
}

/// `template` of a trigger or deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub spec: WorkloadSpec,
}

/// `WorkloadSpec`: what runs together, with what it may use.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadSpec {
    pub host_selector: BTreeMap<String, String>,
    pub host_id: Option<String>,
    pub environment: Option<String>,
    pub kubernetes_service: Option<ResourceName>,
    /// At most 64; at most one unnamed entry for a package.
    pub host_interfaces: Vec<HostInterface>,
    /// Names are unique.
    pub components: Vec<Component>,
    pub service: Option<Service>,
    pub volumes: Vec<Volume>,
    pub place: SourcePlace,
}

impl WorkloadSpec {
    /// `config.host` of the `wasi:http` interface. Read from a manifest, there is at most one, and it is a pattern.
    pub fn http_host(&self) -> Option<HostPattern> {
        let http = |entry: &&HostInterface| (entry.package.namespace(), entry.package.package()) == ("wasi", "http");
        self.host_interfaces.iter().filter(http).find_map(|entry| entry.config.config.get("host")?.parse().ok())
    }
}

/// `hostInterfaces[]`: a filter for placement and a grant to the workload's components.
#[derive(Debug, Clone, PartialEq)]
pub struct HostInterface {
    pub package: PackageName,
    /// At least one; plain WIT names.
    pub interfaces: Vec<Arc<str>>,
    /// `None` matches any version that the host offers.
    pub version: Option<InterfaceVersion>,
    pub name: Option<Arc<str>>,
    pub config: Variables,
    pub place: SourcePlace,
}

/// Values and references to values. Later sources win: `config`, then `configFrom`, then `secretFrom`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Variables {
    pub config: BTreeMap<String, String>,
    pub config_from: Vec<ResourceName>,
    pub secret_from: Vec<ResourceName>,
}

/// `components[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    pub name: ResourceName,
    pub image: ImageReference,
    pub image_place: SourcePlace,
    pub image_pull_secret: Option<ResourceName>,
    pub image_pull_policy: PullPolicy,
    /// Warm instances kept; `None` (absent or 0) means a fresh instance for every call.
    pub pool_size: Option<NonZeroU32>,
    /// Calls after which a pooled instance is replaced; `None`: never.
    pub max_invocations: Option<NonZeroU32>,
    /// Calls at a time in one instance; `None`: one.
    pub max_concurrency: Option<NonZeroU32>,
    pub local_resources: LocalResources,
    pub place: SourcePlace,
}

/// `service`: the one long-running component of a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    pub name: Option<ResourceName>,
    pub image: ImageReference,
    pub image_place: SourcePlace,
    pub image_pull_secret: Option<ResourceName>,
    pub image_pull_policy: PullPolicy,
    pub max_restarts: u64,
    pub local_resources: LocalResources,
    pub place: SourcePlace,
}

/// `volumes[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    pub name: ResourceName,
    pub source: VolumeSource,
    pub place: SourcePlace,
}

/// What a volume is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum VolumeSource {
    /// A folder of the workload's own that ends with it.
    Ephemeral,
    /// A folder of the host, absolute, that must exist.
    HostPath(PathBuf),
}

/// `localResources` of a component or service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalResources {
    pub volume_mounts: Vec<VolumeMount>,
    pub environment: Variables,
    pub config: BTreeMap<String, String>,
    pub allowed_hosts: Vec<AllowedHost>,
    pub allowed_ip_name_lookups: Vec<HostPattern>,
    pub allowed_host_loopback_ports: Vec<u16>,
    pub memory_limit_mb: Option<NonZeroU32>,
    pub cpu_limit: Option<NonZeroU32>,
}

/// `volumeMounts[]`: `name` is one of the workload's volumes.
#[derive(Debug, Clone, PartialEq)]
pub struct VolumeMount {
    pub name: ResourceName,
    /// Absolute, as the guest sees it.
    pub mount_path: String,
    pub read_only: bool,
}

/// `allowedHosts[]`: where a component may send requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// `http` or `https`; `None` allows both.
    pub scheme: Option<Arc<str>>,
    pub host: HostPattern,
    /// `None`: the scheme's own port.
    pub port: Option<u16>,
}
