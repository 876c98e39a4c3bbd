//! `WorkloadDeployment.spec`, and the template that triggers have as well.

use std::collections::BTreeMap;

use crate::{
    Namespace, ResourceName,
    decode::{
        At, Decoded, Decoder, Mapping,
        document::Claim,
        metadata::{NAME, kubernetes_service, reference},
        workload::{self, Scope},
    },
    diagnostic::quote,
    manifest::{ArtifactBinding, DeployPolicy, Document, Metadata, Template, WorkloadDeployment},
};

const FIELDS: &[&str] = &["replicas", "deployPolicy", "hostSelector", "template", "artifacts", "kubernetes"];
pub(crate) const DEPLOY_POLICIES: &[(&str, DeployPolicy)] =
    &[("RollingUpdate", DeployPolicy::RollingUpdate), ("Recreate", DeployPolicy::Recreate)];

/// A deployment but for its metadata.
pub(crate) struct Spec {
    replicas: u32,
    deploy_policy: DeployPolicy,
    template: Template,
    artifacts: Vec<ArtifactBinding>,
    kubernetes_service: Option<ResourceName>,
}

impl Spec {
    pub(crate) fn into_document(self, metadata: Metadata) -> Document {
        let Self { replicas, deploy_policy, template, artifacts, kubernetes_service } = self;
        Document::WorkloadDeployment(WorkloadDeployment {
            metadata,
            replicas,
            deploy_policy,
            template,
            artifacts,
            kubernetes_service,
        })
    }
}

pub(crate) fn spec(d: &mut Decoder<'_>, at: &At<'_>, namespace: Decoded<&Namespace>) -> Decoded<(Spec, Option<Claim>)> {
    let m = d.mapping(at, FIELDS)?;
    let replicas = d.optional(&m, "replicas", |d, at| d.int32(at));
    let deploy_policy = d.optional(&m, "deployPolicy", |d, at| d.word(at, DEPLOY_POLICIES));
    let kubernetes_service = d.optional(&m, "kubernetes", kubernetes_service);
    d.report_duplicate_names(&m, "artifacts");
    let artifacts = d.list(&m, "artifacts", artifact_binding);
    let bindings = artifacts.as_ref().map(Vec::as_slice).map_err(|reported| *reported);
    let (template, claim) = template(d, &m, Scope { namespace, bindings })?;
    let spec = Spec {
        replicas: replicas?.unwrap_or(1),
        deploy_policy: deploy_policy?.unwrap_or_default(),
        template,
        artifacts: artifacts?,
        kubernetes_service: kubernetes_service?.flatten(),
    };
    Ok((spec, claim))
}

fn artifact_binding(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<ArtifactBinding> {
    let m = d.mapping(at, &["name", "artifactFrom"])?;
    let name = d.required(&m, "name", NAME).and_then(|at| d.parse(&at, NAME));
    let from = d.required(&m, "artifactFrom", "a mapping with a name").and_then(|at| reference(d, &at));
    Ok(ArtifactBinding { name: name?, from: from? })
}

/// `template` of the mapping `m`, with the `hostSelector` beside it added to the template's own.
pub(crate) fn template(d: &mut Decoder<'_>, m: &Mapping<'_>, scope: Scope<'_>) -> Decoded<(Template, Option<Claim>)> {
    let selector = d.text_map(m, "hostSelector");
    let at = d.required(m, "template", "a mapping with a spec")?;
    let inner = d.mapping(&at, &["labels", "annotations", "spec"])?;
    let labels = d.text_map(&inner, "labels");
    let annotations = d.text_map(&inner, "annotations");
    let spec = d.required(&inner, "spec", "a mapping with components or a service");
    let (mut spec, claim) = spec.and_then(|at| workload::spec(d, &at, scope))?;
    add_selector(d, m, &mut spec.host_selector, &selector?)?;
    Ok((Template { labels: labels?, annotations: annotations?, spec }, claim))
}

/// Adds the outer selector to the inner one. One label with two values is a problem.
fn add_selector(
    d: &mut Decoder<'_>,
    m: &Mapping<'_>,
    inner: &mut BTreeMap<String, String>,
    outer: &BTreeMap<String, String>,
) -> Decoded<()> {
    let mut outcome = Ok(());
    for (key, at) in m.get("hostSelector").iter().flat_map(At::entries) {
        let Some(value) = outer.get(key) else { continue };
        match inner.get(key) {
            Some(other) if other != value => {
                let expected = format!("{}, as in template.spec.hostSelector", quote(other));
                let problem = d.problem(&at, quote(value), expected);
                outcome = Err(d.report(problem));
            }
            _ => drop(inner.insert(key.to_owned(), value.clone())),
        }
    }
    outcome
}
