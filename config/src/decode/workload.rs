//! `WorkloadSpec`: what runs together. Its parts are decoded in files of their own; what they must agree on, here.

use std::collections::BTreeSet;

use crate::{
    Namespace,
    decode::{
        At, Decoded, Decoder,
        component::{self, Within},
        document::Claim,
        interface,
        metadata::kubernetes_service,
        volume,
    },
    manifest::{ArtifactBinding, WorkloadSpec},
};

const FIELDS: &[&str] =
    &["hostSelector", "hostId", "environment", "kubernetes", "hostInterfaces", "components", "service", "volumes"];

/// What a workload takes from the document around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) namespace: Decoded<&'s Namespace>,
    /// `artifacts[]`, which components may name as their image.
    pub(crate) bindings: Decoded<&'s [ArtifactBinding]>,
}

/// A workload, and the host that its `wasi:http` interface claims.
pub(crate) fn spec(d: &mut Decoder<'_>, at: &At<'_>, scope: Scope<'_>) -> Decoded<(WorkloadSpec, Option<Claim>)> {
    let m = d.mapping(at, FIELDS)?;
    let host_selector = d.text_map(&m, "hostSelector");
    let host_id = d.optional(&m, "hostId", |d, at| d.line(at, "the id of a host"));
    let environment = d.optional(&m, "environment", |d, at| d.line(at, "the name of an environment"));
    let kubernetes_service = d.optional(&m, "kubernetes", kubernetes_service);
    let interfaces = interface::host_interfaces(d, &m);
    d.report_duplicate_names(&m, "volumes");
    let volumes = d.list(&m, "volumes", volume::volume);
    // The names as written: a volume that has another problem is not an undeclared one as well.
    let declared =
        m.get("volumes").into_iter().flat_map(|list| list.items()).filter_map(|item| item.node.field("name"));
    let declared: BTreeSet<&str> = declared.filter_map(|entry| entry.value.as_text()).collect();
    let within = Within { scope, volumes: &declared, messaging: interface::declares_messaging(&m) };
    d.report_duplicate_names(&m, "components");
    let components = d.list(&m, "components", |d, at| component::component(d, at, within));
    let service = d.optional(&m, "service", |d, at| component::service(d, at, within));
    if m.get("service").is_none() && components.as_ref().is_ok_and(Vec::is_empty) {
        let problem = d.problem(at, "neither components nor a service", "at least one component, or a service");
        d.report(problem);
    }
    let (host_interfaces, claim) = interfaces?;
    let spec = WorkloadSpec {
        host_selector: host_selector?,
        host_id: host_id?.map(str::to_owned),
        environment: environment?.map(str::to_owned),
        kubernetes_service: kubernetes_service?.flatten(),
        host_interfaces,
        components: components?,
        service: service?,
        volumes: volumes?,
        place: d.spot_at(at).place(),
    };
    Ok((spec, claim))
}
