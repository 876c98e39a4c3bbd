//! What to do about each way in which a workload does not run or its calls fail: a word that stays the same over versions,
//! and the remedy. What went wrong is said by the errors themselves.

use roadstead_config::PackageName;

use crate::{BindError, CallError, DeployError, FaultKind, PluginError, ReferenceError, error_text};

/// Why a workload does not run, as an operator is told.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl From<&DeployError> for Failure {
    fn from(error: &DeployError) -> Self {
        let (reason, remedy) = of_deployment(error);
        Self { reason, message: error_text(error), remedy }
    }
}

impl Failure {
    /// For a reason that lies outside of the host.
    pub(crate) fn refused(error: &dyn std::error::Error) -> Self {
        let remedy = "correct what the message names, or the manifest that asks for it; the host tries again by itself";
        Self { reason: "Refused", message: error_text(error), remedy: remedy.into() }
    }
}

fn of_deployment(error: &DeployError) -> (&'static str, String) {
    let (reason, remedy) = match error {
        DeployError::Reference { field, source, .. } => return of_reference(field, source),
        DeployError::Image { source, .. } => of_image(source.kind()),
        DeployError::Plugin { source, message, .. } => return of_plugin(message, source),
        DeployError::Route { source, .. } => of_route(source),
        DeployError::InterfaceNotOffered { name, offered, .. } => return of_interface(&name.package, offered),
        DeployError::Unsupported { .. } => ("Unsupported", "take it out of the manifest: this version lacks it"),
        DeployError::Read { .. } => (
            "ImageMissing",
            "build the component, or correct `image` in the manifest: a path counts from the manifest's folder; the \
             host tries again by itself",
        ),
        DeployError::TooLarge { .. } | DeployError::SettingsTooLarge { .. } | DeployError::TriggerBody { .. } => {
            ("LimitExceeded", "make it smaller, or raise the limit that the message names with --limit NAME=VALUE")
        }
        DeployError::PoolTooLarge { .. } => {
            ("LimitExceeded", "lower poolSize or replicas, or raise the limit with --limit pool_size_max=VALUE")
        }
        DeployError::NotWasm { .. } | DeployError::CoreModule { .. } => {
            ("ImageUnusable", "name a component in `image`: `roadstead inspect` shows what a file or an image holds")
        }
        DeployError::Compile { .. } => {
            ("CompileFailed", "build the component again with a current toolchain; `roadstead compile` tries it alone")
        }
        DeployError::ImportNotDeclared { .. } => {
            ("InterfaceNotDeclared", "declare the interface in hostInterfaces as the message says")
        }
        DeployError::ImportUnknown { .. } | DeployError::Link { .. } => {
            ("InterfaceMismatch", "build the component against the published interface in the declared version")
        }
        DeployError::Start { .. } => (
            "StartFailed",
            "the component fails before its first call: `roadstead logs` shows what it wrote; correct it",
        ),
        DeployError::NoHttpHandler { .. } | DeployError::SeveralHttpHandlers { .. } => {
            ("NoHttpHandler", "give the trigger exactly one component that exports wasi:http/incoming-handler")
        }
        DeployError::Egress { .. } => ("EgressUnusable", "correct allowedHosts and the host's --egress flags"),
        DeployError::TooManyWorkloads { .. } => {
            ("HostFull", "stop another workload, use another host, or raise it with --limit workloads_max=VALUE")
        }
        DeployError::Exists(_) | DeployError::Leaving(_) => {
            ("NameTaken", "wait until the other one has stopped, or choose another name")
        }
        DeployError::Stopped | DeployError::HostStopping => ("Stopped", "start it again on a host that stays"),
    };
    (reason, remedy.into())
}

fn of_reference(field: &str, error: &ReferenceError) -> (&'static str, String) {
    let is_secret = field == "secretFrom";
    let (reason, flag) =
        if is_secret { ("SecretUnavailable", "--secret-dir") } else { ("ConfigUnavailable", "--config-dir") };
    let remedy = match error {
        ReferenceError::NoFolder { .. } => {
            format!("start the host with {flag} DIR, where DIR/NAME has a file for each value")
        }
        ReferenceError::Missing { .. } => {
            format!(
                "make that folder with a file for each value, or correct the name in {field}; the host tries again by itself"
            )
        }
        ReferenceError::Read { .. } => "let the host's user read it; the host tries again by itself".into(),
        ReferenceError::TooLarge { .. } | ReferenceError::NotText { .. } | ReferenceError::TooMany { .. } => {
            "correct the file or folder that the message names; the host tries again by itself".into()
        }
    };
    (reason, remedy)
}

fn of_image(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "not-found" => (
            "ImageMissing",
            "push the image, or correct `image` in the manifest: `roadstead inspect IMAGE` asks the same registry; the \
             host tries again by itself",
        ),
        "not-present" => {
            ("ImageMissing", "choose imagePullPolicy IfNotPresent, or fill the cache with `roadstead pull`")
        }
        "unauthorized" | "denied" | "challenge" | "credentials" => (
            "ImageUnauthorized",
            "give the host credentials that may read the image: imagePullSecret in the manifest, or --docker-config",
        ),
        "insecure" | "tls" => (
            "RegistryUntrusted",
            "name the registry's authority with --oci-ca-path, or give it a certificate that is valid",
        ),
        "wrong-digest" | "wrong-length" | "too-large" | "manifest" | "not-wasm" | "encoded" => {
            ("ImageUnusable", "push the component again: `roadstead push FILE IMAGE`, then `roadstead inspect IMAGE`")
        }
        _ => (
            "RegistryUnreachable",
            "see that the registry runs and can be reached from here; the host tries again by itself",
        ),
    }
}

fn of_plugin(message: &str, error: &PluginError) -> (&'static str, String) {
    let all = format!("{message}: {}", error_text(error));
    let remedy = match error {
        PluginError::Configuration(_) => "correct the entry of hostInterfaces that the message names",
        PluginError::Backend { .. } if all.contains("secretFrom") => {
            return (
                "SecretUnavailable",
                "make the secret (a folder of --secret-dir with a file for each value, or --secret-env), or correct the \
                 name in secretFrom; the host tries again by itself"
                    .into(),
            );
        }
        PluginError::Backend { .. } => return ("BackendUnavailable", of_backend(&all)),
    };
    ("PluginRefused", remedy.into())
}

/// What brings back what stands behind a plugin.
pub(crate) fn of_backend(text: &str) -> String {
    let flag = match text {
        text if text.contains("NATS") || text.contains("nats") || text.contains("subscribe") => {
            "see that the NATS server runs and that --data-nats-url leads to it"
        }
        text if text.contains("ostgre") => "see that the PostgreSQL server runs and that its URL leads to it",
        text if text.contains("GPU") || text.contains("gpu") => "see what `roadstead gpu` finds, and the host's log",
        _ => "see that what the message names runs and can be reached",
    };
    format!("{flag}; the host connects again by itself")
}

fn of_route(error: &BindError) -> (&'static str, &'static str) {
    match error {
        BindError::HostClaimed { .. } => {
            ("HostTaken", "choose another host in the manifest, or ask the namespace that has it to give it up")
        }
        BindError::RouteTaken { .. } => {
            ("RouteTaken", "choose another path or host in the manifest, or stop the workload that has it")
        }
        BindError::Certificate { .. } => (
            "CertificateUnusable",
            "put a certificate and its key (PEM) where spec.ingress.tls says, for the host's user to read",
        ),
    }
}

fn of_interface(package: &PackageName, offered: &[String]) -> (&'static str, String) {
    let is_gpu = (package.namespace(), package.package()) == ("wasi", "webgpu");
    match offered {
        [] if is_gpu => (
            "NoGpu",
            "run it on a host with a GPU that was started with --wasi-webgpu; `roadstead gpu` lists what a machine has, \
             and --gpu-allow-software takes a program in its place"
                .into(),
        ),
        [] => ("InterfaceNotOffered", "use a host that offers it: GET /status and `roadstead get hosts` list what one does".into()),
        offered => (
            "InterfaceVersion",
            format!("declare a version that the host offers ({}), and build the component against it", offered.join(", ")),
        ),
    }
}

impl CallError {
    /// What an operator can do when calls end so.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Deadline => {
                "the component, or what it waits for, is slower than the time it is given: make it faster, look at what \
                 it calls, or raise `timeout` of the trigger or the wait of who asks"
            }
            Self::Fault { kind, .. } => kind.remedy(),
            Self::WorkloadBusy { .. } => {
                "more calls come than the component has instances for: raise poolSize or replicas, make it faster, or \
                 let fewer in (spec.limits of the trigger)"
            }
            Self::TenantBusy { .. } => {
                "the namespace's workloads together are at their bound: spread them over hosts, or raise it with --limit \
                 tenant_instances_max=VALUE"
            }
            Self::HostBusy { .. } => "use another host as well, or raise it with --limit instances_max=VALUE",
            Self::AdmissionTimeout { .. } => {
                "all instances of the pool were busy for longer than a call may wait: raise poolSize or replicas, make \
                 the component faster, or let callers wait longer (admission_wait)"
            }
            Self::NotRunning => "start the workload again",
        }
    }
}

impl FaultKind {
    fn remedy(self) -> &'static str {
        match self {
            Self::Trap => {
                "the component's own code ended the call (a panic, or memory out of bounds): see `roadstead logs` and, by \
                 the trace id, the host's log; correct the component, or go back to the version before"
            }
            Self::StackOverflow => "the component calls itself too deeply: correct it",
            Self::MemoryLimit => "raise localResources.memoryLimitMb of the component, or have it use less",
            Self::CpuLimit => "raise localResources.cpuLimit of the component, or have it compute less for a call",
            Self::Exit => "the component ends itself instead of answering: see `roadstead logs`",
            Self::NoResponse => "the component returns without setting a response: correct it",
            Self::GuestError => "the component answered with an error or broke its response off: see `roadstead logs`",
            Self::HostPanic => "a fault of this program: please report it with the lines of the host's log",
            Self::Instantiation => "the component cannot be started just now: see the host's log",
        }
    }
}
