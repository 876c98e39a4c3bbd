//! What a host is asked to run, made from a manifest's document.

use std::time::Duration;

use roadstead_config::{
    HostPattern, PathMatch,
    manifest::{DeployPolicy, Document, SourcePlace, TRIGGER_TIMEOUT_DEFAULT, WorkloadSpec},
};

use crate::WorkloadId;

/// A workload to run.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadRequest {
    pub id: WorkloadId,
    pub spec: WorkloadSpec,
    /// On one host replicas share a plan: pools hold `poolSize` times this many instances. 0: deployed, not running.
    pub replicas: u32,
    /// What is asked for; this version always lets the old form serve until the new one is ready.
    pub deploy_policy: DeployPolicy,
    /// Where the document begins.
    pub place: SourcePlace,
    /// The HTTP requests that the workload answers, if any.
    pub trigger: Option<TriggerSpec>,
}

/// Which HTTP requests reach a workload, and how long they may take.
#[derive(Debug, Clone, PartialEq)]
pub struct TriggerSpec {
    pub host: HostPattern,
    pub paths: Vec<PathMatch>,
    pub timeout: Duration,
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
                    paths: trigger.paths.clone(),
                    timeout: trigger.timeout,
                    place: trigger.host_place.clone(),
                };
                (trigger.template.spec.clone(), trigger.replicas, trigger.deploy_policy, Some(spec))
            }
            Document::WorkloadDeployment(deployment) => {
                let trigger = deployment.http_host().map(|host| TriggerSpec {
                    host,
                    paths: vec![PathMatch::everything()],
                    timeout: TRIGGER_TIMEOUT_DEFAULT,
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
            spec,
            replicas,
            deploy_policy,
            place: metadata.place.clone(),
            trigger,
        })
    }
}
