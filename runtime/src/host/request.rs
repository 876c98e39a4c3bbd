//! What a host is asked to run, made from a manifest's document.

use std::{collections::BTreeMap, time::Duration};

use roadstead_config::{
    HostPattern, PathMatch, RegistryCredentials, ResourceName,
    manifest::{
        DeployPolicy, Document, RequestLimits, SourcePlace, TRIGGER_TIMEOUT_DEFAULT, TriggerCertificate, WorkloadSpec,
    },
};

use crate::WorkloadId;

/// A workload to run.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadRequest {
    pub id: WorkloadId,
    /// Whose replica it is: what all replicas on all hosts have in common, such as their default queue group, is named
    /// after it. The workload's own name where it is nobody's replica.
    pub deployment: ResourceName,
    pub spec: WorkloadSpec,
    /// On one host replicas share a plan: pools hold `poolSize` times this many instances. 0: deployed, not running.
    pub replicas: u32,
    /// What is asked for; this version always lets the old form serve until the new one is ready.
    pub deploy_policy: DeployPolicy,
    /// Where the document begins.
    pub place: SourcePlace,
    /// The HTTP requests that the workload answers, if any.
    pub trigger: Option<TriggerSpec>,
    /// What the registries of the components' images are shown, by the name of the component. A component that is not
    /// here is fetched with what the host itself has for its registry.
    pub registry_credentials: BTreeMap<ResourceName, RegistryCredentials>,
}

/// Which HTTP requests reach a workload, how many, and how long they may take.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerSpec {
    pub host: HostPattern,
    /// Further hosts with the same paths.
    pub aliases: Vec<HostPattern>,
    /// Other workloads of the namespace that say the same may have the same routes: requests go to each in turn.
    pub is_shared: bool,
    pub paths: Vec<PathMatch>,
    pub timeout: Duration,
    pub limits: RequestLimits,
    /// The certificate that the manifest gives for the host.
    pub certificate: Option<TriggerCertificate>,
    /// Where the host is written.
    pub place: SourcePlace,
}

impl WorkloadRequest {
    /// What `document` asks for; `None` for a kind that runs nothing by itself. Its `file:` images are read from the
    /// folder of the file in which they are written.
    pub fn from_document(document: &Document) -> Option<Self> {
        let (spec, replicas, deploy_policy, trigger) = match document {
            Document::HttpTrigger(trigger) => {
                let spec = TriggerSpec {
                    host: trigger.host.clone(),
                    aliases: Vec::new(),
                    is_shared: false,
                    paths: trigger.paths.clone(),
                    timeout: trigger.timeout,
                    limits: trigger.limits,
                    certificate: trigger.certificate.clone(),
                    place: trigger.host_place.clone(),
                };
                (trigger.template.spec.clone(), trigger.replicas, trigger.deploy_policy, Some(spec))
            }
            Document::WorkloadDeployment(deployment) => {
                let trigger = deployment.http_host().map(|host| TriggerSpec {
                    host,
                    aliases: Vec::new(),
                    is_shared: false,
                    paths: vec![PathMatch::everything()],
                    timeout: TRIGGER_TIMEOUT_DEFAULT,
                    limits: RequestLimits::default(),
                    certificate: None,
                    place: deployment.template.spec.place.clone(),
                });
                let mut spec = deployment.template.spec.clone();
                spec.kubernetes_service = spec.kubernetes_service.or_else(|| deployment.kubernetes_service.clone());
                (spec, deployment.replicas, deployment.deploy_policy, trigger)
            }
            Document::Workload(workload) => (workload.spec.clone(), 1, DeployPolicy::default(), None),
            Document::Artifact(_) => return None,
        };
        let metadata = document.metadata();
        Some(Self {
            id: WorkloadId { namespace: metadata.namespace.clone(), name: metadata.name.clone() },
            deployment: metadata.name.clone(),
            spec,
            replicas,
            deploy_policy,
            place: metadata.place.clone(),
            trigger,
            registry_credentials: BTreeMap::new(),
        })
    }

    /// Whether `other` asks for the same, on whatever lines of its file.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.without_lines() == other.without_lines()
    }

    fn without_lines(&self) -> Self {
        let mut request = self.clone();
        let spec = &mut request.spec;
        let of_interfaces = spec.host_interfaces.iter_mut().map(|entry| &mut entry.place);
        let of_components = spec.components.iter_mut().flat_map(|c| [&mut c.place, &mut c.image_place]);
        let of_service = spec.service.iter_mut().flat_map(|s| [&mut s.place, &mut s.image_place]);
        let of_volumes = spec.volumes.iter_mut().map(|volume| &mut volume.place);
        let of_trigger = request.trigger.iter_mut().flat_map(|trigger| {
            let of_certificate = trigger.certificate.as_mut().map(|certificate| &mut certificate.place);
            std::iter::once(&mut trigger.place).chain(of_certificate)
        });
        let own = [&mut request.place, &mut spec.place].into_iter();
        for place in own.chain(of_interfaces).chain(of_components).chain(of_service).chain(of_volumes).chain(of_trigger)
        {
            (place.line, place.column) = (0, 0);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use roadstead_config::{Limits, SourceFile};

    use super::*;

    const MANIFEST: &str = "
apiVersion: runtime.wasmcloud.dev/v1alpha1
kind: WorkloadDeployment
metadata: {name: one}
spec:
  template:
    spec:
      hostInterfaces:
        - {namespace: wasi, package: http, interfaces: [incoming-handler], config: {host: one.test}}
      volumes:
        - {name: scratch, ephemeral: {}}
      service: {image: 'file:service.wasm'}
      components:
        - {name: one, image: 'file:one.wasm'}
";

    fn request(manifest: &str) -> WorkloadRequest {
        let file = SourceFile { name: "app.yaml".into(), bytes: manifest.into() };
        let set = roadstead_config::load(&[file], &Limits::default()).unwrap();
        WorkloadRequest::from_document(&set.documents[0]).unwrap()
    }

    #[test]
    fn where_it_is_written_does_not_make_another_request() {
        let first = request(MANIFEST);
        let moved =
            request(&format!("# A remark.\n{}", MANIFEST.replace("- {", "-   {").replace("service: ", "service:  ")));
        assert_ne!(first, moved);
        assert!(first.is_same_as(&moved));
        for (old, new) in
            [("one.test", "two.test"), ("file:one", "file:two"), ("ephemeral: {}", "hostPath: {path: /x}")]
        {
            assert!(!first.is_same_as(&request(&MANIFEST.replace(old, new))), "{new}");
        }
    }
}
