//! `components[]` and `service` of a workload.

use std::{collections::BTreeSet, num::NonZeroU32};

use crate::{
    ImageReference, PullPolicy, ResourceName,
    decode::{
        At, Decoded, Decoder, Mapping,
        document::ArtifactImage,
        metadata::{NAME, reference},
        resources::local_resources,
        workload::Scope,
    },
    diagnostic::{bare, quote, reason},
    image::ImageError,
    manifest::{Component, Service},
};

/// What an image is, for messages.
pub(crate) const IMAGE: &str = "an image such as ghcr.io/org/name:tag or file:name.wasm";
const COMPONENT_FIELDS: &[&str] = &[
    "name",
    "image",
    "imagePullSecret",
    "imagePullPolicy",
    "poolSize",
    "maxInvocations",
    "maxConcurrency",
    "localResources",
];
const SERVICE_FIELDS: &[&str] =
    &["name", "image", "imagePullSecret", "imagePullPolicy", "maxRestarts", "localResources"];
const PULL_POLICIES: &[(&str, PullPolicy)] =
    &[("Always", PullPolicy::Always), ("IfNotPresent", PullPolicy::IfNotPresent), ("Never", PullPolicy::Never)];

/// What a component takes from the workload around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Within<'s> {
    pub(crate) scope: Scope<'s>,
    /// The volumes' names.
    pub(crate) volumes: &'s BTreeSet<&'s str>,
    /// Whether the workload declares `wasmcloud:messaging`, whose keys a component's own configuration may set.
    pub(crate) messaging: bool,
}

pub(crate) fn component(d: &mut Decoder<'_>, at: &At<'_>, within: Within<'_>) -> Decoded<Component> {
    let m = d.mapping(at, COMPONENT_FIELDS)?;
    let name = d.required(&m, "name", NAME).and_then(|at| d.parse(&at, NAME));
    let pull = pull(d, &m, within.scope);
    let pool_size = bound(d, &m, "poolSize");
    let max_invocations = bound(d, &m, "maxInvocations");
    let max_concurrency = bound(d, &m, "maxConcurrency");
    let local_resources = d.optional(&m, "localResources", |d, at| local_resources(d, at, within));
    let pull = pull?;
    Ok(Component {
        name: name?,
        image: pull.image.image,
        image_place: pull.image.place,
        image_pull_secret: pull.secret,
        image_pull_policy: pull.policy,
        pool_size: pool_size?,
        max_invocations: max_invocations?,
        max_concurrency: max_concurrency?,
        local_resources: local_resources?.unwrap_or_default(),
        place: d.spot_at(at).place(),
    })
}

pub(crate) fn service(d: &mut Decoder<'_>, at: &At<'_>, within: Within<'_>) -> Decoded<Service> {
    let m = d.mapping(at, SERVICE_FIELDS)?;
    let name = d.optional(&m, "name", |d, at| d.parse::<ResourceName>(at, NAME));
    let pull = pull(d, &m, within.scope);
    let max_restarts = d.optional(&m, "maxRestarts", |d, at| d.number(at, u64::MAX));
    // A service handles no messages, so that the keys of messaging mean nothing in its configuration.
    let own = Within { messaging: false, ..within };
    let local_resources = d.optional(&m, "localResources", |d, at| local_resources(d, at, own));
    let pull = pull?;
    Ok(Service {
        name: name?,
        image: pull.image.image,
        image_place: pull.image.place,
        image_pull_secret: pull.secret,
        image_pull_policy: pull.policy,
        max_restarts: max_restarts?.unwrap_or(0),
        local_resources: local_resources?.unwrap_or_default(),
        place: d.spot_at(at).place(),
    })
}

/// A published number in which 0 means the same as nothing.
pub(crate) fn bound(d: &mut Decoder<'_>, m: &Mapping<'_>, name: &str) -> Decoded<Option<NonZeroU32>> {
    Ok(d.optional(m, name, |d, at| d.int32(at))?.and_then(NonZeroU32::new))
}

/// The fields that say where a component's bytes come from.
struct Pull {
    image: ArtifactImage,
    secret: Option<ResourceName>,
    policy: PullPolicy,
}

fn pull(d: &mut Decoder<'_>, m: &Mapping<'_>, scope: Scope<'_>) -> Decoded<Pull> {
    let image = d.required(m, "image", IMAGE).and_then(|at| image(d, &at, scope));
    let secret = d.optional(m, "imagePullSecret", reference);
    let policy = d.optional(m, "imagePullPolicy", |d, at| d.word(at, PULL_POLICIES));
    let (image, secret) = (image?, secret?);
    let secret = secret.or_else(|| image.pull_secret.clone());
    Ok(Pull { image, secret, policy: policy?.unwrap_or_default() })
}

/// An image as it is written.
pub(crate) fn reference_to_image(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<ImageReference> {
    let text = at.node.as_text().unwrap_or_default();
    d.parse_by(at, IMAGE, str::parse, |error| match error {
        ImageError::Empty => None,
        ImageError::Repository if text.ends_with(".wasm") => Some(format!("write file:{}", bare(text))),
        ImageError::Repository => Some("it has no registry host or repository".to_owned()),
        other => reason(other),
    })
}

/// A reference, or the name of an artifact that the deployment binds. No text is both.
fn image(d: &mut Decoder<'_>, at: &At<'_>, scope: Scope<'_>) -> Decoded<ArtifactImage> {
    let text = at.node.as_text().unwrap_or_default();
    let binding = match scope.bindings {
        Ok(bindings) => bindings.iter().find(|binding| binding.name.as_str() == text),
        // The text may be the name of a binding that could not be read.
        Err(reported) if text.parse::<ResourceName>().is_ok() => return Err(reported),
        Err(_) => None,
    };
    let Some(binding) = binding else {
        let image = reference_to_image(d, at)?;
        return Ok(ArtifactImage { image, place: d.spot_at(at).place(), pull_secret: None });
    };
    let namespace = scope.namespace?;
    match d.artifacts.images.get(&(namespace.clone(), binding.from.clone())) {
        Some(artifact) => Ok(artifact.clone()),
        None => Err(d.artifacts.incomplete.unwrap_or_else(|| {
            let expected = format!("an Artifact {:?} in namespace {namespace:?} among these files", binding.from);
            let problem = d.problem(at, quote(text), expected);
            d.report(problem)
        })),
    }
}
