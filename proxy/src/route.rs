//! Which workload answers for a host and a path. Readers take a snapshot and never wait; writers replace it whole.
//! It knows names and bindings, no HTTP message.

mod trie;

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use roadstead_config::{
    HostName, HostPattern, Namespace, PathMatch, PathMatchKind, RoutePath, manifest::RequestLimits,
};
use roadstead_runtime::{BindError, Dispatch, TriggerBinding, TriggerTimelines, TriggerTraffic, WorkloadId};

use crate::{
    admit::{Admission, Share},
    metrics::{Metrics, TriggerMetrics},
};
use trie::{Reach, Trie};

/// The routes of an ingress. Copies share one table.
#[derive(Clone, Default)]
pub struct DynamicRouter {
    shared: Arc<Shared>,
}

impl fmt::Debug for DynamicRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DynamicRouter")
    }
}

#[derive(Default)]
struct Shared {
    table: ArcSwap<Table>,
    /// Who holds what; also the writers' turn.
    owners: Mutex<HashMap<WorkloadId, Claim>>,
}

/// What one owner has bound.
#[derive(Clone)]
struct Claim {
    owner: WorkloadId,
    hosts: Vec<HostPattern>,
    paths: Vec<PathMatch>,
    /// What the owner has used of its limits.
    share: Option<Arc<Share>>,
    route: Arc<Route>,
}

/// Hosts by their labels from the right.
#[derive(Clone, Default)]
struct Table {
    hosts: Trie<Arc<Host>>,
}

/// One host pattern.
#[derive(Clone)]
struct Host {
    namespace: Namespace,
    paths: Trie<Arc<Place>>,
}

/// Who answers at one host and path: one owner, or several that share it.
struct Place {
    /// At least one.
    routes: Vec<Arc<Route>>,
    /// Whose turn it is, of several.
    turn: AtomicUsize,
}

impl Place {
    /// Requests go to each owner in turn that has a replica.
    fn route(&self) -> Option<&Arc<Route>> {
        let [_, _, ..] = self.routes.as_slice() else { return self.routes.first() };
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.routes.len();
        let in_turn = || self.routes.iter().cycle().skip(first).take(self.routes.len());
        in_turn().find(|route| route.target.is_some()).or_else(|| in_turn().next())
    }

    /// The same place without what `owner` has there.
    fn without(&self, owner: &WorkloadId) -> Vec<Arc<Route>> {
        self.routes.iter().filter(|route| route.owner != *owner).cloned().collect()
    }

    fn of(routes: Vec<Arc<Route>>) -> Option<Arc<Self>> {
        (!routes.is_empty()).then(|| Arc::new(Self { routes, turn: AtomicUsize::new(0) }))
    }
}

/// Where a request goes.
pub(crate) struct Route {
    pub(crate) owner: WorkloadId,
    /// Others of its namespace may be at the same place.
    is_shared: bool,
    pub(crate) timeout: Duration,
    /// Size of a request's body, where the trigger names one.
    pub(crate) body_bytes_max: Option<u64>,
    /// `None` where neither the trigger nor its tenant has limits of requests.
    pub(crate) admission: Option<Admission>,
    /// The paths that the trigger lists.
    paths: Vec<PathMatch>,
    /// `None` while no replica runs.
    pub(crate) target: Option<Arc<dyn Dispatch>>,
    pub(crate) metrics: TriggerMetrics,
    /// Its requests as they are remembered, where they are.
    pub(crate) timelines: Option<Arc<TriggerTimelines>>,
}

impl Route {
    /// The listed path that a canonical path is answered by.
    pub(crate) fn pattern(&self, path: &str) -> Option<&RoutePath> {
        let answers = |listed: &&PathMatch| listed.matches(path);
        let exact_first = |listed: &&PathMatch| (listed.kind == PathMatchKind::Exact, listed.path.as_str().len());
        self.paths.iter().filter(answers).max_by_key(exact_first).map(|listed| &listed.path)
    }
}

impl DynamicRouter {
    /// Whether requests for a host and a canonical path have a route.
    pub fn serves(&self, host: &HostName, path: &str) -> bool {
        self.find(host, path).is_some()
    }

    /// The route for a host and a canonical path: the most specific host, and there the exact path before the
    /// longest prefix. A host that has no such path does not fall back to a less specific one.
    pub(crate) fn find(&self, host: &HostName, path: &str) -> Option<Arc<Route>> {
        let table = self.shared.table.load();
        let hosts = table.hosts.find(labels(host));
        let host = hosts.exact.or(hosts.shorter_prefix)?;
        let paths = host.paths.find(exact_segments(path));
        paths.exact.or(paths.prefix)?.route().cloned()
    }

    /// What each owner has done.
    pub(crate) fn traffic(&self) -> Vec<TriggerTraffic> {
        let owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let of_owner = |claim: &Claim| TriggerTraffic {
            owner: claim.owner.clone(),
            classes: claim.route.metrics.classes(),
            in_flight: u64::try_from(claim.route.metrics.in_flight.get()).unwrap_or(0),
            latency: claim.route.metrics.latency(),
        };
        owners.values().map(of_owner).collect()
    }

    /// The namespace that a host belongs to.
    pub(crate) fn claimant_of(&self, host: &HostName) -> Option<Namespace> {
        let table = self.shared.table.load();
        let hosts = table.hosts.find(labels(host));
        hosts.exact.or(hosts.shorter_prefix).map(|host| host.namespace.clone())
    }

    /// Whether nothing at all is bound.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.table.load().hosts.is_empty()
    }

    /// Claims the routes of a binding, all or nothing, in place of what its owner had.
    pub(crate) fn bind(
        &self,
        binding: TriggerBinding,
        tenant: Option<Arc<Share>>,
        metrics: &Metrics,
    ) -> Result<(), BindError> {
        let mut owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = Table::clone(&self.shared.table.load());
        if let Some(claim) = owners.get(&binding.owner) {
            table.remove(claim);
        }
        let TriggerBinding { owner, host, aliases, is_shared, paths, timeout, limits, target, certificate: _ } =
            binding;
        let hosts: Vec<HostPattern> = std::iter::once(host).chain(aliases).collect();
        let body_bytes_max = limits.body_bytes.map(NonZeroU64::get);
        // What is counted, and goes on where it is.
        let limits = RequestLimits { body_bytes: None, ..limits };
        // Limits that stay the same go on where they are: a deployment does not give a burst away.
        let share = owners.get(&owner).and_then(|claim| claim.share.clone()).filter(|share| share.limits() == limits);
        let share = share.or_else(|| Share::new(limits));
        let admission = Admission::new(share.clone(), tenant);
        let metrics_of_owner = metrics.trigger(&owner);
        let timelines = metrics.timelines.get().cloned();
        let route = Arc::new(Route {
            metrics: metrics_of_owner,
            timelines: timelines.map(|all| Arc::new(TriggerTimelines::new(all, owner.clone()))),
            owner: owner.clone(),
            is_shared,
            timeout,
            body_bytes_max,
            admission,
            paths: paths.clone(),
            target,
        });
        hosts.iter().try_for_each(|host| table.insert(host, &paths, &route))?;
        owners.insert(owner.clone(), Claim { owner, hosts, paths, share, route });
        self.shared.table.store(Arc::new(table));
        Ok(())
    }

    /// Gives up what an owner has bound.
    pub(crate) fn unbind(&self, owner: &WorkloadId) {
        let mut owners = self.shared.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(claim) = owners.remove(owner) else { return };
        let mut table = Table::clone(&self.shared.table.load());
        table.remove(&claim);
        self.shared.table.store(Arc::new(table));
    }
}

impl Table {
    fn insert(&mut self, pattern: &HostPattern, paths: &[PathMatch], route: &Arc<Route>) -> Result<(), BindError> {
        if let Some(owner) = self.claimant(pattern).filter(|claimant| **claimant != route.owner.namespace) {
            return Err(BindError::HostClaimed { host: pattern.clone(), owner: owner.clone() });
        }
        self.hosts.update(pattern_labels(pattern), pattern_reach(pattern), |slot| {
            let namespace = || route.owner.namespace.clone();
            let host = slot.get_or_insert_with(|| Arc::new(Host { namespace: namespace(), paths: Trie::default() }));
            let host = Arc::make_mut(host);
            for path in paths {
                let (segments, reach) = path_place(path);
                host.paths.update(segments, reach, |slot| {
                    let mut routes = slot.as_ref().map(|place| place.without(&route.owner)).unwrap_or_default();
                    if let Some(taken) = routes.iter().find(|other| !(other.is_shared && route.is_shared)) {
                        let (host, path, owner) = (pattern.clone(), path.clone(), taken.owner.clone());
                        return Err(BindError::RouteTaken { host, path, owner });
                    }
                    routes.push(route.clone());
                    *slot = Place::of(routes);
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// The namespace that a host belongs to: who has the very pattern, or else the nearest `*.suffix` above it. The
    /// lone `*` claims no host: it gets what nobody else has.
    fn claimant(&self, pattern: &HostPattern) -> Option<&Namespace> {
        let own = self.hosts.value(pattern_labels(pattern), pattern_reach(pattern));
        let above = match pattern {
            HostPattern::Any => None,
            HostPattern::Exact(host) | HostPattern::Suffix(host) => {
                let any = self.hosts.value(std::iter::empty(), Reach::Prefix);
                let suffix = self.hosts.find(labels(host)).shorter_prefix;
                suffix.filter(|suffix| any.is_none_or(|any| !Arc::ptr_eq(any, suffix)))
            }
        };
        own.or(above).map(|host| &host.namespace)
    }

    fn remove(&mut self, claim: &Claim) {
        for pattern in &claim.hosts {
            self.hosts.update(pattern_labels(pattern), pattern_reach(pattern), |slot| {
                let Some(host) = slot.as_mut().map(Arc::make_mut) else { return };
                for path in &claim.paths {
                    let (segments, reach) = path_place(path);
                    host.paths.update(segments, reach, |slot| {
                        *slot = slot.as_ref().and_then(|place| Place::of(place.without(&claim.owner)));
                    });
                }
                if host.paths.is_empty() {
                    *slot = None;
                }
            });
        }
    }
}

/// The labels of a host from the right; an IPv6 literal is one label.
fn labels(host: &HostName) -> impl Iterator<Item = &str> {
    host.as_str().rsplit('.')
}

fn pattern_labels(pattern: &HostPattern) -> impl Iterator<Item = &str> {
    let host = match pattern {
        HostPattern::Exact(host) | HostPattern::Suffix(host) => Some(host),
        HostPattern::Any => None,
    };
    host.into_iter().flat_map(labels)
}

fn pattern_reach(pattern: &HostPattern) -> Reach {
    match pattern {
        HostPattern::Exact(_) => Reach::Exact,
        HostPattern::Suffix(_) | HostPattern::Any => Reach::Prefix,
    }
}

/// The segments of a canonical path, where a trailing slash is one more, empty: it tells `/a/` from `/a`.
fn exact_segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1)
}

fn path_place(path: &PathMatch) -> (impl Iterator<Item = &str>, Reach) {
    let keep_empty = path.kind == PathMatchKind::Exact;
    let reach = if keep_empty { Reach::Exact } else { Reach::Prefix };
    (exact_segments(path.path.as_str()).filter(move |segment| keep_empty || !segment.is_empty()), reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        router: DynamicRouter,
        metrics: Metrics,
    }

    impl Bench {
        fn new() -> Self {
            Self { router: DynamicRouter::default(), metrics: Metrics::new() }
        }

        /// `owner` is `namespace/name`; a path is a prefix unless it begins with `=`.
        fn bind(&self, owner: &str, host: &str, paths: &[&str]) -> Result<(), String> {
            self.bind_as(owner, &[host], paths, false)
        }

        fn bind_as(&self, owner: &str, hosts: &[&str], paths: &[&str], is_shared: bool) -> Result<(), String> {
            let path = |text: &&str| match text.strip_prefix('=') {
                Some(text) => PathMatch { path: text.parse().unwrap(), kind: PathMatchKind::Exact },
                None => PathMatch { path: text.parse().unwrap(), kind: PathMatchKind::Prefix },
            };
            let binding = TriggerBinding {
                owner: id(owner),
                host: hosts[0].parse().unwrap(),
                aliases: hosts[1..].iter().map(|host| host.parse().unwrap()).collect(),
                is_shared,
                paths: paths.iter().map(path).collect(),
                timeout: Duration::from_secs(1),
                limits: RequestLimits::default(),
                certificate: None,
                target: None,
            };
            self.router.bind(binding, None, &self.metrics).map_err(|error| error.to_string())
        }

        fn find(&self, host: &str, path: &str) -> String {
            let host = HostName::from_authority(host).unwrap();
            self.router.find(&host, path).map_or("-".into(), |route| route.owner.to_string())
        }
    }

    fn id(owner: &str) -> WorkloadId {
        let (namespace, name) = owner.split_once('/').unwrap();
        WorkloadId { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn hosts_by_specificity() {
        let bench = Bench::new();
        bench.bind("a/any", "*", &["/"]).unwrap();
        bench.bind("a/org", "*.example.org", &["/"]).unwrap();
        bench.bind("a/deep", "*.deep.example.org", &["/"]).unwrap();
        bench.bind("a/exact", "x.example.org", &["/only"]).unwrap();
        for (host, owner) in [
            ("X.EXAMPLE.org:81", "-"),
            ("y.example.org", "a/org"),
            ("p.q.example.org", "a/org"),
            ("deep.example.org", "a/org"),
            ("1.deep.example.org", "a/deep"),
            ("2.1.deep.example.org", "a/deep"),
            ("example.org", "a/any"),
            ("xample.org", "a/any"),
            ("[::1]:8080", "a/any"),
        ] {
            assert_eq!(bench.find(host, "/"), owner, "{host}");
        }
    }

    #[test]
    fn paths_by_specificity_on_segment_boundaries() {
        let bench = Bench::new();
        bench.bind("a/root", "h", &["/"]).unwrap();
        bench.bind("a/foo", "h", &["/foo"]).unwrap();
        bench.bind("a/bar", "h", &["/foo/bar/"]).unwrap();
        bench.bind("a/exact", "h", &["=/foo", "=/slash/"]).unwrap();
        for (path, owner) in [
            ("/", "a/root"),
            ("/foobar", "a/root"),
            ("/foo", "a/exact"),
            ("/foo/", "a/foo"),
            ("/foo/x", "a/foo"),
            ("/foo/barx", "a/foo"),
            ("/foo/bar", "a/bar"),
            ("/foo/bar/x/y", "a/bar"),
            ("/slash/", "a/exact"),
            ("/slash", "a/root"),
        ] {
            assert_eq!(bench.find("h", path), owner, "{path}");
        }
        assert_eq!(bench.find("other", "/"), "-");
    }

    #[test]
    fn a_host_belongs_to_one_namespace() {
        let bench = Bench::new();
        bench.bind("a/one", "h.test", &["/one"]).unwrap();
        bench.bind("a/two", "h.test", &["/two"]).unwrap();
        assert!(bench.bind("b/three", "h.test", &["/three"]).unwrap_err().contains("in use by namespace a"));
        bench.bind("a/wild", "*.wild.test", &["/"]).unwrap();
        bench.bind("b/thief", "x.wild.test", &["/"]).unwrap_err();
        bench.bind("b/thief", "*.x.wild.test", &["/"]).unwrap_err();
        bench.bind("a/any", "*", &["/"]).unwrap();
        bench.bind("b/free", "free.test", &["/"]).unwrap();
        bench.router.unbind(&id("a/one"));
        bench.bind("b/three", "h.test", &["/three"]).unwrap_err();
        bench.router.unbind(&id("a/two"));
        bench.bind("b/three", "h.test", &["/three"]).unwrap();
    }

    #[test]
    fn binding_is_all_or_nothing() {
        let bench = Bench::new();
        bench.bind("a/one", "h.test", &["/one", "=/x"]).unwrap();
        bench.bind("a/two", "h.test", &["/two"]).unwrap();
        let refused = bench.bind("a/two", "h.test", &["/new", "/one"]).unwrap_err();
        assert!(refused.contains("the route of a/one"), "{refused}");
        assert_eq!((bench.find("h.test", "/two"), bench.find("h.test", "/new")), ("a/two".into(), "-".into()));
        bench.bind("a/two", "other.test", &["/two"]).unwrap();
        assert_eq!((bench.find("h.test", "/two"), bench.find("other.test", "/two")), ("-".into(), "a/two".into()));
        bench.router.unbind(&id("a/one"));
        bench.router.unbind(&id("a/two"));
        assert!(bench.router.is_empty());
    }

    #[test]
    fn replicas_share_their_routes_and_take_turns() {
        let bench = Bench::new();
        let hosts = ["h.test", "svc.ns", "svc.ns.svc"];
        bench.bind_as("a/app-1", &hosts, &["/"], true).unwrap();
        bench.bind_as("a/app-2", &hosts, &["/"], true).unwrap();
        for host in hosts {
            let mut found = [bench.find(host, "/x"), bench.find(host, "/x")];
            found.sort();
            assert_eq!(found, ["a/app-1", "a/app-2"], "{host}");
        }
        bench.bind("a/other", "svc.ns", &["/"]).unwrap_err();
        bench.bind_as("b/app-3", &["h.test"], &["/"], true).unwrap_err();
        // All or nothing, over all hosts.
        bench.bind("a/sole", "sole.test", &["/"]).unwrap();
        bench.bind_as("a/app-4", &["new.test", "sole.test"], &["/"], true).unwrap_err();
        assert_eq!(bench.find("new.test", "/"), "-");
        bench.router.unbind(&id("a/app-1"));
        assert_eq!((bench.find("svc.ns", "/"), bench.find("svc.ns", "/")), ("a/app-2".into(), "a/app-2".into()));
        bench.router.unbind(&id("a/app-2"));
        bench.router.unbind(&id("a/sole"));
        assert!(bench.router.is_empty());
    }

    /// Each host is bound by a step of its own. Were what is there copied at each, the time would grow with the square of
    /// their number: more than twice the bound.
    #[test]
    fn a_binding_costs_no_more_beside_many_others() {
        const HOSTS: usize = 50_000;
        let begun = std::time::Instant::now();
        let bench = Bench::new();
        let names = |number: usize| (format!("team/app-{number}"), format!("h{number}.example"));
        for number in 0..HOSTS {
            let (owner, host) = names(number);
            bench.bind(&owner, &host, &["/", "=/exact"]).unwrap();
        }
        assert_eq!(bench.find("h0.example", "/x"), "team/app-0");
        assert_eq!(bench.find("h49999.example", "/exact"), "team/app-49999");
        assert!(bench.bind("thief/app", "h4711.example", &["/"]).is_err());
        // The same for paths of one host.
        for number in 0..HOSTS / 10 {
            bench.bind(&format!("team/path-{number}"), "one.example", &[&format!("/p{number}")]).unwrap();
        }
        assert_eq!(bench.find("one.example", "/p77/x"), "team/path-77");
        for number in 0..HOSTS {
            let (owner, host) = names(number);
            bench.router.unbind(&id(&owner));
            assert_eq!(bench.find(&host, "/"), "-");
        }
        assert_eq!(bench.find("one.example", "/p77/x"), "team/path-77");
        assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
    }
}
