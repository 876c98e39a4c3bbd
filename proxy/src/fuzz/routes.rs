//! Bindings and requests in any order, against a router that looks at all it has.

use std::{cell::RefCell, time::Duration};

use roadstead_config::{
    HostName, HostPattern, PathMatch, PathMatchKind, http::canonical_path, manifest::RequestLimits,
};
use roadstead_runtime::{TriggerBinding, WorkloadId};

use super::LONGEST_INPUT_BYTES;
use crate::{metrics::Metrics, route::DynamicRouter};

thread_local! {
    /// Made once: a registry costs more than the routes.
    static METRICS: RefCell<Metrics> = RefCell::new(Metrics::new());
}

/// What a workload has bound.
struct Bound {
    owner: WorkloadId,
    host: HostPattern,
    paths: Vec<PathMatch>,
}

/// Lines of one change or request each: `+namespace/name host path...` binds, where a path after `=` is exact;
/// `-namespace/name` gives up; `?host path` asks.
///
/// # Panics
/// When the slow router says otherwise, or a host or path is not in its one form.
pub fn route(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if data.len() > LONGEST_INPUT_BYTES {
        return;
    }
    METRICS.with_borrow(|metrics| {
        let router = DynamicRouter::default();
        let mut bound: Vec<Bound> = Vec::new();
        for line in text.lines().take(100) {
            step(line, &router, &mut bound, metrics);
        }
        for Bound { owner, .. } in bound {
            router.unbind(&owner);
        }
        assert!(router.is_empty());
    });
}

fn step(line: &str, router: &DynamicRouter, bound: &mut Vec<Bound>, metrics: &Metrics) -> Option<()> {
    if let Some(line) = line.strip_prefix('+') {
        let mut words = line.split(' ');
        let (owner, host) = (owner(words.next()?)?, words.next()?.parse::<HostPattern>().ok()?);
        let paths = words.map(path).collect::<Option<Vec<PathMatch>>>().filter(|paths| !paths.is_empty())?;
        let wanted = Bound { owner: owner.clone(), host: host.clone(), paths: paths.clone() };
        let others: Vec<&Bound> = bound.iter().filter(|other| other.owner != owner).collect();
        let free = others.iter().all(|other| !in_the_way(&wanted, other)) && !is_claimed(&wanted, &others);
        let limits = RequestLimits::default();
        let timeout = Duration::from_secs(1);
        let (aliases, is_shared, certificate, target) = (Vec::new(), false, None, None);
        let binding = TriggerBinding { owner, host, aliases, is_shared, paths, timeout, limits, certificate, target };
        let outcome = router.bind(binding, None, metrics);
        assert_eq!(outcome.is_ok(), free, "{line:?}: {outcome:?}");
        if free {
            bound.retain(|other| other.owner != wanted.owner);
            bound.push(wanted);
        }
    } else if let Some(line) = line.strip_prefix('-') {
        let owner = owner(line)?;
        router.unbind(&owner);
        bound.retain(|other| other.owner != owner);
    } else if let Some(line) = line.strip_prefix('?') {
        let (host, path) = line.split_once(' ')?;
        let host = HostName::from_authority(host).ok()?;
        assert_eq!(HostName::from_authority(host.as_str()).as_ref(), Ok(&host));
        let path = canonical_path(path).ok()?;
        assert_eq!(canonical_path(&path).unwrap(), path);
        let found = router.find(&host, &path).map(|route| route.owner.clone());
        assert_eq!(found.as_ref(), find(bound, host.as_str(), &path), "{line:?}");
    }
    Some(())
}

fn owner(text: &str) -> Option<WorkloadId> {
    let (namespace, name) = text.split_once('/')?;
    Some(WorkloadId { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
}

fn path(text: &str) -> Option<PathMatch> {
    match text.strip_prefix('=') {
        Some(text) => Some(PathMatch { path: text.parse().ok()?, kind: PathMatchKind::Exact }),
        None => Some(PathMatch { path: text.parse().ok()?, kind: PathMatchKind::Prefix }),
    }
}

/// Whether the two have the same route.
fn in_the_way(one: &Bound, other: &Bound) -> bool {
    let same = |one: &PathMatch, other: &PathMatch| {
        one.kind == other.kind
            && match one.kind {
                PathMatchKind::Exact => one.path == other.path,
                PathMatchKind::Prefix => beginning(one) == beginning(other),
            }
    };
    one.host == other.host && one.paths.iter().any(|one| other.paths.iter().any(|other| same(one, other)))
}

/// Whether the host is another namespace's: who has the very pattern, or else the longest suffix above it.
fn is_claimed(wanted: &Bound, others: &[&Bound]) -> bool {
    let name = match &wanted.host {
        HostPattern::Any => "",
        HostPattern::Exact(host) | HostPattern::Suffix(host) => host.as_str(),
    };
    let same = others.iter().find(|other| other.host == wanted.host);
    let above =
        others.iter().filter(|other| !other.paths.is_empty() && suffix(other).is_some_and(|s| is_below(name, s)));
    let claimant = same.or_else(|| above.max_by_key(|other| suffix(other).map(str::len)));
    claimant.is_some_and(|claimant| claimant.owner.namespace != wanted.owner.namespace)
}

fn suffix(bound: &Bound) -> Option<&str> {
    match &bound.host {
        HostPattern::Suffix(suffix) => Some(suffix.as_str()),
        _ => None,
    }
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|before| before.ends_with('.'))
}

/// What a path must begin with to have this prefix.
fn beginning(path: &PathMatch) -> &str {
    path.path.as_str().trim_end_matches('/')
}

fn find<'b>(bound: &'b [Bound], host: &str, path: &str) -> Option<&'b WorkloadId> {
    let matching = |bound: &&Bound| match &bound.host {
        HostPattern::Exact(name) => name.as_str() == host,
        HostPattern::Suffix(suffix) => is_below(host, suffix.as_str()),
        HostPattern::Any => true,
    };
    let nearest = bound.iter().filter(matching).map(|bound| &bound.host);
    let nearest = nearest.max_by_key(|pattern| match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Suffix(suffix) => suffix.as_str().len(),
        HostPattern::Any => 0,
    })?;
    let places = bound.iter().filter(|bound| bound.host == *nearest);
    let places = places.flat_map(|bound| bound.paths.iter().map(move |path| (&bound.owner, path)));
    let reach = |matched: &PathMatch| match matched.kind {
        PathMatchKind::Exact => (matched.path.as_str() == path).then_some(usize::MAX),
        PathMatchKind::Prefix => {
            let rest = path.strip_prefix(beginning(matched))?;
            (rest.is_empty() || rest.starts_with('/')).then_some(beginning(matched).len())
        }
    };
    let found = places.filter_map(|(owner, path)| Some((owner, reach(path)?))).max_by_key(|(_, reach)| *reach);
    found.map(|(owner, _)| owner)
}
