//! `metadata` of every kind, with the bookkeeping that a cluster adds to it, and references by name. Knows no kind.

use crate::{
    Namespace, ResourceName,
    decode::{At, Decoded, Decoder},
    diagnostic::Mark,
    manifest::Metadata,
};

/// What a name is, for messages.
pub(crate) const NAME: &str = "a name such as api-gateway";
const NAMESPACE: &str = "a namespace such as team-a";
/// Everything that may stand there. From the fifth on it is what a cluster keeps for itself; it is ignored.
const FIELDS: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Metadata of the document that begins at `root`, and where the name is written.
pub(crate) fn metadata(d: &mut Decoder<'_>, root: &Mark, at: &At<'_>) -> Decoded<(Metadata, Mark)> {
    let m = d.mapping(at, FIELDS)?;
    let name = d.required(&m, "name", NAME);
    let name = name.and_then(|at| Ok((d.parse::<ResourceName>(&at, NAME)?, at.mark().clone())));
    let namespace = d.optional(&m, "namespace", |d, at| d.parse::<Namespace>(at, NAMESPACE));
    let labels = d.text_map(&m, "labels");
    let annotations = d.text_map(&m, "annotations");
    let (name, mark) = name?;
    let metadata = Metadata {
        namespace: namespace?.unwrap_or_default(),
        name,
        labels: labels?,
        annotations: annotations?,
        place: d.spot(root).place(),
    };
    Ok((metadata, mark))
}

/// `{name: NAME}`: how a manifest refers to another object.
pub(crate) fn reference(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<ResourceName> {
    let m = d.mapping(at, &["name"])?;
    let name = d.required(&m, "name", NAME)?;
    d.parse(&name, NAME)
}

/// `kubernetes: {service: {name: NAME}}`.
pub(crate) fn kubernetes_service(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<Option<ResourceName>> {
    let m = d.mapping(at, &["service"])?;
    d.optional(&m, "service", reference)
}
