//! What the published format has and this version does not do: refused where the workload could not work without it,
//! told as a warning where it can. Never left out in silence.

use std::collections::BTreeMap;

use roadstead_config::{
    Limits,
    manifest::{Component, SourcePlace, Variables, WorkloadSpec},
};

use crate::DeployError;

/// Refuses what a workload relies on and would not get.
pub(crate) fn refuse(spec: &WorkloadSpec) -> Result<(), DeployError> {
    let refuse =
        |place: &SourcePlace, feature, reason| Err(DeployError::Unsupported { place: place.clone(), feature, reason });
    if let Some(service) = &spec.service {
        return refuse(&service.place, "service", "this version runs components only");
    }
    if let Some(volume) = spec.volumes.first() {
        return refuse(&volume.place, "volumes", "this version mounts no volumes");
    }
    let no_objects = "a host that runs from files has no such objects; write the values into the manifest";
    if let Some(entry) = spec.host_interfaces.iter().find(|entry| is_referenced(&entry.config)) {
        return refuse(&entry.place, "configFrom and secretFrom", no_objects);
    }
    let referenced = |component: &&Component| is_referenced(&component.local_resources.environment);
    match spec.components.iter().find(referenced) {
        Some(component) => refuse(&component.place, "configFrom and secretFrom", no_objects),
        None => Ok(()),
    }
}

/// Refuses settings that are too large to be given to every instance.
pub(crate) fn check_sizes(spec: &WorkloadSpec, limits: &Limits) -> Result<(), DeployError> {
    let of_interfaces: usize = spec.host_interfaces.iter().map(|entry| size_of_all(&entry.config.config)).sum();
    spec.components.iter().try_for_each(|component| {
        let local = &component.local_resources;
        let checks = [
            (
                "environment",
                size_of_all(&local.environment.config),
                limits.environment_bytes_max,
                "environment_bytes_max",
            ),
            (
                "configuration",
                size_of_all(&local.config).saturating_add(of_interfaces),
                limits.config_bytes_max,
                "config_bytes_max",
            ),
        ];
        match checks.into_iter().find(|(_, found, max, _)| *found as u64 > *max) {
            Some((what, found, max, limit)) => Err(DeployError::SettingsTooLarge {
                place: component.place.clone(),
                component: component.name.to_string(),
                what,
                found,
                max,
                limit,
            }),
            None => Ok(()),
        }
    })
}

fn size_of_all(settings: &BTreeMap<String, String>) -> usize {
    settings.iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn is_referenced(variables: &Variables) -> bool {
    !variables.config_from.is_empty() || !variables.secret_from.is_empty()
}

/// What is in `spec` and has no effect, one sentence each.
pub(crate) fn warnings(spec: &WorkloadSpec) -> Vec<String> {
    let of_component = |component: &Component| {
        let local = &component.local_resources;
        let name = component.name.clone();
        let table = [
            (!local.allowed_hosts.is_empty(), "allowedHosts", "this version sends no outgoing HTTP requests"),
            (!local.allowed_ip_name_lookups.is_empty(), "allowedIpNameLookups", "this version looks no names up"),
            (
                !local.allowed_host_loopback_ports.is_empty(),
                "allowedHostLoopbackPorts",
                "this version opens no connections for components",
            ),
        ];
        table
            .into_iter()
            .filter(|(present, ..)| *present)
            .map(move |(_, field, why)| format!("component {name}: {field} has no effect: {why}"))
    };
    spec.components.iter().flat_map(of_component).collect()
}
