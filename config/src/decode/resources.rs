//! `localResources` of a component or service, and the variables that host interfaces have too.

use crate::{
    HostPattern,
    decode::{
        At, Decoded, Decoder, Mapping,
        component::{Within, bound},
        interface::check_messaging,
        metadata::reference,
        trigger::HOST,
        volume::mounts,
    },
    diagnostic::quote,
    manifest::{AllowedHost, LocalResources, Variables},
};

const FIELDS: &[&str] = &[
    "volumeMounts",
    "environment",
    "config",
    "allowedHosts",
    "allowedIpNameLookups",
    "allowedHostLoopbackPorts",
    "memoryLimitMb",
    "cpuLimit",
];
const ALLOWED_HOST: &str = "a host such as api.test, *.api.test, https://api.test, api.test:8080 or *";
const VARIABLE: &str = "a variable's name without '=' and control characters";

pub(crate) fn local_resources(d: &mut Decoder<'_>, at: &At<'_>, within: Within<'_>) -> Decoded<LocalResources> {
    let m = d.mapping(at, FIELDS)?;
    let volume_mounts = mounts(d, &m, within.volumes);
    let environment = d.optional(&m, "environment", environment);
    let config = d.text_map(&m, "config");
    if within.messaging {
        check_messaging(d, &m);
    }
    let allowed_hosts = d.list(&m, "allowedHosts", |d, at| d.parse::<AllowedHost>(at, ALLOWED_HOST));
    let lookups = d.list(&m, "allowedIpNameLookups", |d, at| d.parse::<HostPattern>(at, HOST));
    let ports = d.list(&m, "allowedHostLoopbackPorts", port);
    let memory_limit_mb = bound(d, &m, "memoryLimitMb");
    let cpu_limit = bound(d, &m, "cpuLimit");
    Ok(LocalResources {
        volume_mounts: volume_mounts?,
        environment: environment?.unwrap_or_default(),
        config: config?,
        allowed_hosts: allowed_hosts?,
        allowed_ip_name_lookups: lookups?,
        allowed_host_loopback_ports: ports?,
        memory_limit_mb: memory_limit_mb?,
        cpu_limit: cpu_limit?,
    })
}

fn port(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<u16> {
    match u16::try_from(d.number(at, u64::from(u16::MAX))?) {
        Ok(port @ 1..) => Ok(port),
        Ok(0) | Err(_) => Err(d.wrong_type(at, "a port from 1 to 65535")),
    }
}

fn environment(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<Variables> {
    let m = d.mapping(at, &["config", "configFrom", "secretFrom"])?;
    for (name, value) in m.get("config").iter().flat_map(At::entries) {
        if name.is_empty() || name.contains(|c: char| c == '=' || c.is_control()) {
            let problem = d.problem(&value, format!("the name {}", quote(name)), VARIABLE);
            d.report(problem);
        }
    }
    variables(d, &m)
}

/// `config`, `configFrom` and `secretFrom` of a mapping.
pub(crate) fn variables(d: &mut Decoder<'_>, m: &Mapping<'_>) -> Decoded<Variables> {
    let config = d.text_map(m, "config");
    let config_from = d.list(m, "configFrom", reference);
    let secret_from = d.list(m, "secretFrom", reference);
    Ok(Variables { config: config?, config_from: config_from?, secret_from: secret_from? })
}
