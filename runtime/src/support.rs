//! What the published format has and this version does not do: refused where the workload could not work without it,
//! told as a warning where it can. Never left out in silence.

use std::collections::BTreeMap;

use roadstead_config::{
    ImageReference, Limits, PullPolicy,
    manifest::{Component, DeployPolicy, SourcePlace, WorkloadSpec},
};

use crate::{DeployError, host::WorkloadRequest};

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
    Ok(())
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

/// What a host was started with, as far as manifests may ask for it in vain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abilities {
    pub(crate) speaks_tls: bool,
    pub(crate) host_loopback: bool,
}

/// What a workload asks for and has no effect, one sentence each.
pub(crate) fn warnings(request: &WorkloadRequest, abilities: Abilities) -> Vec<String> {
    let spec = &request.spec;
    let mut warnings = of_workload(request, abilities.speaks_tls);
    warnings.extend(spec.components.iter().flat_map(|component| of_component(component, abilities.host_loopback)));
    warnings
}

/// A field, whether it asks for something, and why nothing comes of it.
type Row = (&'static str, bool, &'static str);

fn said(table: impl IntoIterator<Item = Row>, whose: &str) -> Vec<String> {
    let present = table.into_iter().filter(|(_, present, _)| *present);
    present.map(|(field, _, why)| format!("{whose}{field} has no effect: {why}")).collect()
}

fn of_workload(request: &WorkloadRequest, speaks_tls: bool) -> Vec<String> {
    const NO_PLACEMENT: &str = "a host that runs from files runs all that they ask for";
    let spec = &request.spec;
    let recreate = request.deploy_policy == DeployPolicy::Recreate;
    let certificate = request.trigger.as_ref().is_some_and(|trigger| trigger.certificate.is_some());
    let table = [
        ("ingress.tls", certificate && !speaks_tls, "the host has no address for TLS (--https-addr)"),
        ("deployPolicy Recreate", recreate, "the old form of a workload always serves until the new one is ready"),
        ("hostSelector", !spec.host_selector.is_empty(), NO_PLACEMENT),
        ("hostId", spec.host_id.is_some(), NO_PLACEMENT),
        ("environment", spec.environment.is_some(), NO_PLACEMENT),
        ("kubernetes", spec.kubernetes_service.is_some(), "this version makes nothing in a cluster"),
    ];
    said(table, "")
}

fn of_component(component: &Component, host_loopback: bool) -> Vec<String> {
    const A_FILE: &str = "the image is a file";
    let of_file = matches!(component.image, ImageReference::File(_));
    let local = &component.local_resources;
    let several_calls = component.max_concurrency.is_some_and(|max| max.get() > 1);
    let pull_policy = component.image_pull_policy != PullPolicy::default();
    let table = [
        ("imagePullPolicy", of_file && pull_policy, A_FILE),
        ("imagePullSecret", of_file && component.image_pull_secret.is_some(), A_FILE),
        ("maxConcurrency", several_calls, "an instance has one call at a time"),
        ("allowedIpNameLookups", !local.allowed_ip_name_lookups.is_empty(), "this version looks no names up"),
        (
            "allowedHostLoopbackPorts",
            !host_loopback && !local.allowed_host_loopback_ports.is_empty(),
            "the host lets nobody reach it from within (--allow-host-loopback)",
        ),
    ];
    said(table, &format!("component {}: ", component.name))
}
