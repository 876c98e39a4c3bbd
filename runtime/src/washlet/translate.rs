//! From the workload of a command to a request of the host's own. The command is written as a manifest and read by the
//! very code that reads manifests, so that both are held to the same rules; what is wrong is said in the words of the
//! command. Neither NATS nor what becomes of the request is known here.

use std::collections::BTreeMap;

use roadstead_config::{
    Diagnostic, HostPattern, ImageReference, Limits, PathMatch, RegistryCredentials, ResourceName, SourceFile, load,
    manifest::{DeployPolicy, Document, RequestLimits, SourcePlace, TRIGGER_TIMEOUT_DEFAULT, WorkloadSpec},
};
use serde_json::{Value, json};

use super::messages::{
    Component, ImagePullPolicy, ImagePullSecret, LocalResources, Service, Volume, WitInterface, Workload,
};
use crate::{
    WorkloadId,
    host::{TriggerSpec, WorkloadRequest},
};

/// The annotation by which a scheduler marks a replica that it named `<replica set>-<random>` (published).
const REPLICA_ANNOTATION: &str = "runtime.wasmcloud.dev/workload-replica-set-generation";
/// The further hosts of a workload, in the configuration of its `wasi:http` interface (published).
const HOST_ALIASES: &str = "host-aliases";
/// Further hosts of one workload.
const HOST_ALIASES_MAX: usize = 64;
/// Problems of a workload that one answer names; the rest are counted.
const PROBLEMS_SHOWN_MAX: usize = 8;

const WORKLOAD: &str = "workload";
const COMPONENTS: &str = "workload.witWorld.components";
const INTERFACES: &str = "workload.witWorld.hostInterfaces";

/// Why the workload of a command is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", problems.join("; "), if *left_out > 0 { format!("; and {left_out} more problems") } else { String::new() })]
pub(super) struct WorkloadError {
    problems: Vec<String>,
    left_out: usize,
}

impl WorkloadError {
    fn of(mut problems: Vec<String>) -> Self {
        let left_out = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
        problems.truncate(PROBLEMS_SHOWN_MAX);
        Self { problems, left_out }
    }

    fn one(problem: impl Into<String>) -> Self {
        Self::of(vec![problem.into()])
    }
}

/// What a command asks for, checked as a manifest is.
pub(super) fn request(workload: Workload, limits: &Limits) -> Result<WorkloadRequest, WorkloadError> {
    let world = workload.wit_world.unwrap_or_default();
    // A component had no name once; then it has one by its place.
    let name_of = |(index, component): (usize, &Component)| match component.name.as_str() {
        "" => format!("component-{index}"),
        name => name.to_owned(),
    };
    let names: Vec<String> = world.components.iter().enumerate().map(name_of).collect();
    let manifest = json!({
        "apiVersion": "runtime.wasmcloud.dev/v1alpha1",
        "kind": "Workload",
        "metadata": set([
            ("namespace", text(&workload.namespace)),
            ("name", text(&workload.name)),
            ("annotations", Some(json!(workload.annotations))),
        ]),
        "spec": set([
            ("hostInterfaces", Some(world.host_interfaces.iter().map(interface).collect())),
            ("components", Some(world.components.iter().zip(&names).map(|(c, name)| component(c, name)).collect())),
            ("service", workload.service.as_ref().map(service)),
            ("volumes", Some(workload.volumes.iter().map(volume).collect())),
        ]),
    });
    let file = SourceFile { name: WORKLOAD.into(), bytes: manifest.to_string().into_bytes() };
    let set = load(&[file], limits).map_err(|problems| WorkloadError::of(problems.iter().map(in_words).collect()))?;
    let Some(Document::Workload(read)) = set.documents.into_iter().next() else {
        return Err(WorkloadError::one("workload: found nothing, expected a workload"));
    };
    let mut spec = read.spec;
    place_outside_files(&mut spec);
    refuse_files(&spec)?;
    let trigger = trigger(&spec)?;
    let id = WorkloadId { namespace: read.metadata.namespace, name: read.metadata.name };
    Ok(WorkloadRequest {
        deployment: deployment(&id.name, &workload.annotations),
        id,
        registry_credentials: credentials(&spec, &world.components)?,
        spec,
        replicas: 1,
        deploy_policy: DeployPolicy::default(),
        place: SourcePlace::outside_files(WORKLOAD),
        trigger,
    })
}

/// The name that all replicas have in common.
fn deployment(name: &ResourceName, annotations: &BTreeMap<String, String>) -> ResourceName {
    let is_replica = annotations.contains_key(REPLICA_ANNOTATION);
    let set = name.as_str().rsplit_once('-').filter(|_| is_replica).and_then(|(set, _)| set.parse().ok());
    set.unwrap_or_else(|| name.clone())
}

/// An object of what there is.
fn set<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| Value::from(text))
}

/// Numbers that are not positive are not set.
fn positive(number: i32) -> Option<Value> {
    (number > 0).then(|| Value::from(number))
}

fn interface(interface: &WitInterface) -> Value {
    set([
        ("namespace", text(&interface.namespace)),
        ("package", text(&interface.package)),
        ("version", text(&interface.version)),
        ("interfaces", Some(json!(interface.interfaces))),
        ("name", text(&interface.name)),
        ("config", Some(json!(interface.config))),
    ])
}

fn component(component: &Component, name: &str) -> Value {
    set([
        ("name", text(name)),
        ("image", text(&component.image)),
        ("imagePullPolicy", pull_policy(component.image_pull_policy)),
        ("poolSize", positive(component.pool_size)),
        ("maxInvocations", positive(component.max_invocations)),
        ("maxConcurrency", positive(component.max_concurrency)),
        ("localResources", component.local_resources.as_ref().map(local_resources)),
    ])
}

fn service(service: &Service) -> Value {
    set([
        ("image", text(&service.image)),
        ("imagePullPolicy", pull_policy(service.image_pull_policy)),
        ("maxRestarts", Some(Value::from(service.max_restarts))),
        ("localResources", service.local_resources.as_ref().map(local_resources)),
    ])
}

fn pull_policy(policy: ImagePullPolicy) -> Option<Value> {
    match policy {
        ImagePullPolicy::Unspecified => None,
        ImagePullPolicy::Always => Some(Value::from("Always")),
        ImagePullPolicy::IfNotPresent => Some(Value::from("IfNotPresent")),
        ImagePullPolicy::Never => Some(Value::from("Never")),
    }
}

fn local_resources(local: &LocalResources) -> Value {
    let mount = |mount: &super::messages::VolumeMount| {
        set([
            ("name", text(&mount.name)),
            ("mountPath", text(&mount.mount_path)),
            ("readOnly", Some(Value::from(mount.read_only))),
        ])
    };
    set([
        ("memoryLimitMb", positive(local.memory_limit_mb)),
        ("cpuLimit", positive(local.cpu_limit)),
        ("config", Some(json!(local.config))),
        ("environment", Some(json!({ "config": local.environment }))),
        ("volumeMounts", Some(local.volume_mounts.iter().map(mount).collect())),
        ("allowedHosts", Some(json!(local.allowed_hosts))),
        ("allowedIpNameLookups", Some(json!(local.allowed_ip_name_lookups))),
        ("allowedHostLoopbackPorts", Some(json!(local.allowed_host_loopback_ports))),
    ])
}

fn volume(volume: &Volume) -> Value {
    set([
        ("name", text(&volume.name)),
        ("hostPath", volume.host_path.as_ref().map(|path| set([("path", text(&path.local_path))]))),
        ("ephemeral", volume.empty_dir.as_ref().map(|_| json!({}))),
    ])
}

/// A problem of the manifest, in the words of the command.
fn in_words(problem: &Diagnostic) -> String {
    let mut words =
        format!("{}: found {}, expected {}", field(&problem.field), problem.found, field_words(&problem.expected));
    if let Some(help) = &problem.help {
        words.push_str("; ");
        words.push_str(help);
    }
    words
}

/// What a manifest calls a field, in words that the command has as well.
fn field_words(expected: &str) -> String {
    expected.replace("ephemeral: {} or hostPath: {path: PATH}", "emptyDir: {} or hostPath: {localPath: PATH}")
}

/// A field of the manifest as a field of the command.
fn field(of_manifest: &str) -> String {
    let starts: [(&str, &str); 8] = [
        ("metadata.", "workload."),
        ("metadata", WORKLOAD),
        ("spec.hostInterfaces", INTERFACES),
        ("spec.components", COMPONENTS),
        ("spec.service", "workload.service"),
        ("spec.volumes", "workload.volumes"),
        ("spec", COMPONENTS),
        ("", WORKLOAD),
    ];
    let start = starts.iter().find_map(|(from, to)| Some(format!("{to}{}", of_manifest.strip_prefix(from)?)));
    let insides = [
        (".environment.config", ".environment"),
        (".hostPath.path", ".hostPath.localPath"),
        (".ephemeral", ".emptyDir"),
    ];
    insides.iter().fold(start.unwrap_or_default(), |path, (from, to)| path.replace(from, to))
}

/// Errors that come later name the field of the command as well.
fn place_outside_files(spec: &mut WorkloadSpec) {
    let at = |path: String| SourcePlace::outside_files(path);
    spec.place = at(WORKLOAD.to_owned());
    for (index, interface) in spec.host_interfaces.iter_mut().enumerate() {
        interface.place = at(format!("{INTERFACES}[{index}]"));
    }
    for (index, component) in spec.components.iter_mut().enumerate() {
        component.place = at(format!("{COMPONENTS}[{index}]"));
        component.image_place = at(format!("{COMPONENTS}[{index}].image"));
    }
    if let Some(service) = &mut spec.service {
        service.place = at("workload.service".to_owned());
        service.image_place = at("workload.service.image".to_owned());
    }
    for (index, volume) in spec.volumes.iter_mut().enumerate() {
        volume.place = at(format!("workload.volumes[{index}]"));
    }
}

/// A command comes from elsewhere: it names no files of this host.
fn refuse_files(spec: &WorkloadSpec) -> Result<(), WorkloadError> {
    let of_components = spec.components.iter().map(|component| (&component.image, &component.image_place));
    let of_service = spec.service.iter().map(|service| (&service.image, &service.image_place));
    let file = of_components.chain(of_service).find(|(image, _)| matches!(image, ImageReference::File(_)));
    match file {
        Some((image, place)) => {
            let problem = format!("{place}: found {:?}, expected an image in a registry", image.to_string());
            Err(WorkloadError::one(problem))
        }
        None => Ok(()),
    }
}

/// The requests that the workload answers: those of the host in the configuration of its `wasi:http` interface, and of
/// the aliases beside it. Replicas share them.
fn trigger(spec: &WorkloadSpec) -> Result<Option<TriggerSpec>, WorkloadError> {
    let is_http =
        |package: &roadstead_config::PackageName| (package.namespace(), package.package()) == ("wasi", "http");
    let entries = spec.host_interfaces.iter().filter(|entry| is_http(&entry.package));
    let aliases = entries.filter_map(|entry| Some((entry, entry.config.config.get(HOST_ALIASES)?)));
    let mut hosts: Vec<HostPattern> = spec.http_host().into_iter().collect();
    for (entry, list) in aliases {
        for alias in list.split(',').map(str::trim).filter(|alias| !alias.is_empty()) {
            let place = format!("{}.config[{HOST_ALIASES:?}]", entry.place);
            let host: HostPattern = alias.parse().map_err(|error| {
                WorkloadError::one(format!("{place}: found {:?}, expected a host: it {error}", super::json::cut(alias)))
            })?;
            if !hosts.contains(&host) {
                hosts.push(host);
            }
            if hosts.len() > HOST_ALIASES_MAX {
                return Err(WorkloadError::one(format!("{place}: found more than {HOST_ALIASES_MAX} hosts")));
            }
        }
    }
    let mut hosts = hosts.into_iter();
    Ok(hosts.next().map(|host| TriggerSpec {
        host,
        aliases: hosts.collect(),
        is_shared: true,
        paths: vec![PathMatch::everything()],
        timeout: TRIGGER_TIMEOUT_DEFAULT,
        limits: RequestLimits::default(),
        certificate: None,
        place: spec.place.clone(),
    }))
}

fn credentials(
    spec: &WorkloadSpec,
    components: &[Component],
) -> Result<BTreeMap<ResourceName, RegistryCredentials>, WorkloadError> {
    let with_secret = spec.components.iter().zip(components).filter_map(|(component, wire)| {
        let secret = wire.image_pull_secret.as_ref()?;
        (*secret != ImagePullSecret::default()).then_some((component, secret))
    });
    let read = with_secret.map(|(component, secret)| {
        let read = RegistryCredentials::new(&secret.username, &secret.password.0)
            .map_err(|error| WorkloadError::one(format!("{}.imagePullSecret: {error}", component.place)))?;
        Ok((component.name.clone(), read))
    });
    read.collect()
}

#[cfg(test)]
mod tests;
