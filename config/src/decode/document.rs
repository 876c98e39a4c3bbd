//! Which kind a document is, and what of it the set as a whole must know. The fields of each kind are in files of
//! their own.

use std::collections::HashMap;

use crate::{
    HostPattern, ImageReference, Namespace, PathMatch, ResourceName,
    decode::{At, Decoded, Decoder, Mapping, Reported, component, deployment, metadata, trigger, workload},
    diagnostic::{Diagnostic, Spot, bare, did_you_mean, one_of, quote},
    manifest::{Artifact, Document, SourcePlace, TriggerCertificate, Workload},
};

/// The `apiVersion` of triggers.
const CONTROL: &str = "control.cosmonic.io/v1alpha1";
/// The `apiVersion` of everything else.
const RUNTIME: &str = "runtime.wasmcloud.dev/v1alpha1";
const KINDS: [(&str, Kind, &str); 4] = [
    ("HTTPTrigger", Kind::HttpTrigger, CONTROL),
    ("WorkloadDeployment", Kind::WorkloadDeployment, RUNTIME),
    ("Workload", Kind::Workload, RUNTIME),
    ("Artifact", Kind::Artifact, RUNTIME),
];
/// `status` is what a cluster keeps for itself; it is ignored.
const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "spec", "status"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    HttpTrigger,
    WorkloadDeployment,
    Workload,
    Artifact,
}

/// A decoded document with the places that the checks of the whole set point at.
pub(crate) struct Placed {
    pub(crate) document: Document,
    /// Where its name is written.
    pub(crate) name: Spot,
    pub(crate) claim: Option<Claim>,
    /// Where the image of an artifact is written.
    pub(crate) image_place: Option<SourcePlace>,
}

/// The requests that a document wants routed to it.
pub(crate) struct Claim {
    pub(crate) host: HostPattern,
    pub(crate) spot: Spot,
    pub(crate) field: String,
    /// None where every path is claimed by naming none: the host's place stands for it.
    pub(crate) paths: Vec<ClaimedPath>,
    pub(crate) certificate: Option<TriggerCertificate>,
}

/// One path of a claim, and where it is written.
pub(crate) struct ClaimedPath {
    pub(crate) path: PathMatch,
    pub(crate) spot: Spot,
    pub(crate) field: String,
}

impl Claim {
    /// A problem of the claimed host.
    pub(crate) fn problem(&self, found: String, expected: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.spot, &self.field, found, expected)
    }
}

impl ClaimedPath {
    /// The problem that a route is there already. `whose` follows the route in the message.
    pub(crate) fn again(&self, whose: &str, expected: &str) -> Diagnostic {
        let found = format!("the route {}{whose} again", bare(&self.path.to_string()));
        Diagnostic::new(&self.spot, &self.field, found, expected)
    }
}

/// The images that the `Artifact` documents of the set name.
#[derive(Default)]
pub(crate) struct ArtifactIndex {
    pub(crate) images: HashMap<(Namespace, ResourceName), ArtifactImage>,
    /// An `Artifact` could not be read: that a name is missing says nothing then.
    pub(crate) incomplete: Option<Reported>,
}

/// The image of an artifact.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactImage {
    pub(crate) image: ImageReference,
    /// What a relative image is relative to.
    pub(crate) place: SourcePlace,
    pub(crate) pull_secret: Option<ResourceName>,
}

/// Whether a document says that it is an `Artifact`. Those are decoded first.
pub(crate) fn is_artifact(root: &crate::node::Node) -> bool {
    root.field("kind").and_then(|entry| entry.value.as_text()) == Some("Artifact")
}

/// Decodes a document.
pub(crate) fn document(d: &mut Decoder<'_>, root: &At<'_>) -> Decoded<Placed> {
    let m = d.mapping(root, FIELDS)?;
    // Without a kind, nothing that could be said about the rest would be sure.
    let kind = kind(d, &m)?;
    let meta = d.required(&m, "metadata", "a mapping with a name");
    let meta = meta.and_then(|at| metadata::metadata(d, root.mark(), &at));
    let namespace = meta.as_ref().map(|(metadata, _)| &metadata.namespace).map_err(|reported| *reported);
    let spec = d.required(&m, "spec", "a mapping");
    let mut image_place = None;
    let (document, name, claim) = match kind {
        Kind::HttpTrigger => {
            let spec = spec.and_then(|at| trigger::spec(d, &at, namespace));
            let ((metadata, name), (spec, claim)) = (meta?, spec?);
            (spec.into_document(metadata), name, Some(claim))
        }
        Kind::WorkloadDeployment => {
            let spec = spec.and_then(|at| deployment::spec(d, &at, namespace));
            let ((metadata, name), (spec, claim)) = (meta?, spec?);
            (spec.into_document(metadata), name, claim)
        }
        Kind::Workload => {
            let scope = workload::Scope { namespace, bindings: Ok(&[]) };
            let spec = spec.and_then(|at| workload::spec(d, &at, scope));
            // What its `wasi:http` interface names is checked; requests are routed to deployments and triggers alone.
            let ((metadata, name), (spec, _)) = (meta?, spec?);
            (Document::Workload(Workload { metadata, spec }), name, None)
        }
        Kind::Artifact => {
            let spec = spec.and_then(|at| artifact(d, &at));
            let ((metadata, name), (image, image_pull_secret)) = (meta?, spec?);
            let (image, place) = image;
            image_place = Some(place);
            (Document::Artifact(Artifact { metadata, image, image_pull_secret }), name, None)
        }
    };
    Ok(Placed { document, name: d.spot(&name), claim, image_place })
}

/// The kind, whose `apiVersion` is checked too.
fn kind(d: &mut Decoder<'_>, m: &Mapping<'_>) -> Decoded<Kind> {
    let names = KINDS.map(|(name, ..)| name);
    let version = d.required(m, "apiVersion", &one_of(&[CONTROL, RUNTIME])).and_then(|at| Ok((d.text(&at)?, at)));
    let at = d.required(m, "kind", &one_of(&names))?;
    let text = d.text(&at)?;
    let Some((_, kind, api)) = KINDS.into_iter().find(|(name, ..)| *name == text) else {
        let problem = d.problem(&at, quote(text), one_of(&names)).help(did_you_mean(text, names));
        return Err(d.report(problem));
    };
    if let Ok((version, at)) = version
        && version != api
    {
        let problem = d.problem(&at, quote(version), format!("{api} for the kind {text}"));
        d.report(problem);
    }
    Ok(kind)
}

type PlacedImage = (ImageReference, SourcePlace);

fn artifact(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<(PlacedImage, Option<ResourceName>)> {
    let m = d.mapping(at, &["image", "imagePullSecret"])?;
    let image = d.required(&m, "image", component::IMAGE);
    let image = image.and_then(|at| Ok((component::reference_to_image(d, &at)?, d.spot_at(&at).place())));
    let pull_secret = d.optional(&m, "imagePullSecret", metadata::reference);
    Ok((image?, pull_secret?))
}
