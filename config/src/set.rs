//! Manifest files as a whole: every document valid, and no two in each other's way.

use std::collections::HashMap;

use crate::{
    HostPattern, Limits, Namespace, PathMatch,
    decode::{
        At, Decoder, Reported,
        document::{ArtifactImage, ArtifactIndex, Claim, Placed, document, is_artifact},
        route_key,
    },
    diagnostic::{Diagnostic, Spot},
    manifest::Document,
    node::Node,
    source::{SourceFile, read},
};

/// Documents that can be served together: names are unique in their namespace, routes are unique, and every host
/// belongs to one namespace.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ManifestSet {
    /// In the order of the files and of the documents in them.
    pub documents: Vec<Document>,
}

/// Reads manifest files.
///
/// # Errors
/// All problems of all documents of all files, in the order of the files, by line and column. Of one file, the first
/// few thousand.
pub fn load(files: &[SourceFile], limits: &Limits) -> Result<ManifestSet, Vec<Diagnostic>> {
    let mut problems = Vec::new();
    let mut trees = Vec::with_capacity(files.len());
    for file in files {
        let reading = read(file, limits);
        problems.extend(reading.problems);
        trees.push(reading.documents);
    }
    // Artifacts first: the others' images may be their names.
    let mut artifacts = ArtifactIndex::default();
    let mut placed = decode(files, &trees, is_artifact, &artifacts, &mut problems);
    artifacts.incomplete = Reported::any(&problems);
    artifacts.images.extend(placed.iter().filter_map(|(_, placed)| artifact_image(placed)));
    placed.extend(decode(files, &trees, |tree| !is_artifact(tree), &artifacts, &mut problems));
    placed.sort_by_key(|(order, _)| *order);
    let placed: Vec<Placed> = placed.into_iter().map(|(_, placed)| placed).collect();
    check_names(&placed, &mut problems);
    check_claims(&placed, &mut problems);
    if problems.is_empty() {
        return Ok(ManifestSet { documents: placed.into_iter().map(|placed| placed.document).collect() });
    }
    // Of two files with one name, the first counts.
    let order: HashMap<&str, usize> = files.iter().enumerate().rev().map(|(at, file)| (&*file.name, at)).collect();
    problems
        .sort_by_key(|problem| (order.get(&*problem.place.file).copied(), problem.place.line, problem.place.column));
    Err(problems)
}

/// Index of the file and of the document in it.
type Order = (usize, usize);

fn decode(
    files: &[SourceFile],
    trees: &[Vec<Node>],
    selected: impl Fn(&Node) -> bool,
    artifacts: &ArtifactIndex,
    problems: &mut Vec<Diagnostic>,
) -> Vec<(Order, Placed)> {
    let mut all = Vec::new();
    for (file_index, (file, trees)) in files.iter().zip(trees).enumerate() {
        let mut decoder = Decoder::new(file.name.clone(), artifacts);
        for (index, tree) in trees.iter().enumerate().filter(|(_, tree)| selected(tree)) {
            if let Ok(placed) = document(&mut decoder, &At::root(tree)) {
                all.push(((file_index, index), placed));
            }
        }
        problems.extend(decoder.into_problems());
    }
    all
}

fn artifact_image(placed: &Placed) -> Option<((Namespace, crate::ResourceName), ArtifactImage)> {
    let Document::Artifact(artifact) = &placed.document else { return None };
    let image = ArtifactImage {
        image: artifact.image.clone(),
        place: placed.image_place.clone()?,
        pull_secret: artifact.image_pull_secret.clone(),
    };
    Some(((artifact.metadata.namespace.clone(), artifact.metadata.name.clone()), image))
}

/// Triggers, deployments and workloads share their names: each becomes a workload of that name.
fn check_names(placed: &[Placed], problems: &mut Vec<Diagnostic>) {
    let mut known: HashMap<_, &Placed> = HashMap::new();
    for own in placed {
        let metadata = own.document.metadata();
        let is_artifact = matches!(own.document, Document::Artifact(_));
        let Some(first) = known.get(&(is_artifact, &metadata.namespace, &metadata.name)) else {
            known.insert((is_artifact, &metadata.namespace, &metadata.name), own);
            continue;
        };
        let found = format!("{:?} again in namespace {:?}", metadata.name, metadata.namespace);
        let expected = match is_artifact {
            true => "one Artifact of a name",
            false => "one HTTPTrigger, WorkloadDeployment or Workload of a name",
        };
        let problem = Diagnostic::new(&own.name, "metadata.name", found, expected);
        problems.push(problem.related(&first.name, &format!("the {} of that name", first.document.kind())));
    }
}

/// A host has one namespace, and every route of it one document.
fn check_claims(placed: &[Placed], problems: &mut Vec<Diagnostic>) {
    let mut hosts: HashMap<&HostPattern, (&Namespace, &Spot)> = HashMap::new();
    let mut routes: HashMap<(&HostPattern, PathMatch), Spot> = HashMap::new();
    for (own, claim) in placed.iter().filter_map(|own| own.claim.as_ref().map(|claim| (own, claim))) {
        let namespace = &own.document.metadata().namespace;
        let (owner, first) = *hosts.entry(&claim.host).or_insert((namespace, &claim.spot));
        if owner != namespace {
            let found = format!("the host \"{}\", which namespace {owner:?} has", claim.host);
            let problem = claim.problem(found, "a host that no other namespace has");
            problems.push(problem.related(first, "claimed here"));
            continue;
        }
        for (key, spot, again) in claimed_routes(claim) {
            match routes.get(&(&claim.host, key.clone())) {
                None => drop(routes.insert((&claim.host, key), spot)),
                Some(first) => problems.push(again.related(first, "first written here")),
            }
        }
    }
}

/// The routes of a claim: in comparable form, with their place and what to say if another document has them.
fn claimed_routes(claim: &Claim) -> Vec<(PathMatch, Spot, Diagnostic)> {
    let expected = "every route of a host once";
    if claim.paths.is_empty() {
        let everything = PathMatch::everything();
        let again = claim.problem(format!("the route {everything} of host \"{}\" again", claim.host), expected);
        return vec![(route_key(&everything), claim.spot.clone(), again)];
    }
    let route = |claimed: &crate::decode::document::ClaimedPath| {
        let again = claimed.again(&format!(" of host \"{}\"", claim.host), expected);
        (route_key(&claimed.path), claimed.spot.clone(), again)
    };
    claim.paths.iter().map(route).collect()
}
