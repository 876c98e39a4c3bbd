//! `HTTPTrigger.spec`: which requests, how long, and the template that answers them.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use crate::{
    HostPattern, Namespace, PathMatch, PathMatchKind, RoutePath,
    decode::{
        At, Decoded, Decoder, INT32_MAX, Mapping,
        deployment::{self, DEPLOY_POLICIES},
        document::{Claim, ClaimedPath},
        workload::Scope,
    },
    diagnostic::{Spot, bare, reason},
    duration::{DurationError, parse_duration},
    manifest::{
        DeployPolicy, Document, HttpTrigger, Metadata, QUEUE_TIMEOUT_DEFAULT, RequestLimits, RequestQueue, RequestRate,
        SourcePlace, TRIGGER_TIMEOUT_DEFAULT, Template, TriggerCertificate,
    },
    node::{NodeKind, Schema},
};

const FIELDS: &[&str] = &["ingress", "timeout", "limits", "replicas", "deployPolicy", "hostSelector", "template"];
const LIMITS: &[&str] =
    &["requestsPerSecond", "burst", "concurrentRequests", "queuedRequests", "queueTimeout", "bodyBytes"];
/// What a host is, for messages.
pub(crate) const HOST: &str = "a host name, *.SUFFIX or *";
/// What a duration is, for messages.
pub(crate) const DURATION: &str = "a duration such as 300s, 1m30s or 500ms";
const PATH: &str = "a path such as /api";
const CERTIFICATE_PATH: &str = "a path below the manifest's folder, such as tls/shop.crt";
const PATH_TYPES: &[(&str, PathMatchKind)] = &[
    ("Prefix", PathMatchKind::Prefix),
    ("Exact", PathMatchKind::Exact),
    ("ImplementationSpecific", PathMatchKind::Prefix),
];

/// A trigger but for its metadata.
pub(crate) struct Spec {
    host: HostPattern,
    host_place: SourcePlace,
    certificate: Option<TriggerCertificate>,
    paths: Vec<PathMatch>,
    timeout: Duration,
    limits: RequestLimits,
    replicas: u32,
    deploy_policy: DeployPolicy,
    template: Template,
}

impl Spec {
    pub(crate) fn into_document(self, metadata: Metadata) -> Document {
        let Self { host, host_place, certificate, paths, timeout, limits, replicas, deploy_policy, template } = self;
        Document::HttpTrigger(HttpTrigger {
            metadata,
            host,
            host_place,
            certificate,
            paths,
            timeout,
            limits,
            replicas,
            deploy_policy,
            template,
        })
    }
}

pub(crate) fn spec(d: &mut Decoder<'_>, at: &At<'_>, namespace: Decoded<&Namespace>) -> Decoded<(Spec, Claim)> {
    let m = d.mapping(at, FIELDS)?;
    let claim = d.required(&m, "ingress", "a mapping with a host").and_then(|at| ingress(d, &at));
    let timeout = d.optional(&m, "timeout", duration);
    let limits = d.optional(&m, "limits", limits);
    let replicas = d.optional(&m, "replicas", |d, at| d.int32(at));
    let deploy_policy = d.optional(&m, "deployPolicy", |d, at| d.word(at, DEPLOY_POLICIES));
    let template = deployment::template(d, &m, Scope { namespace, bindings: Ok(&[]) });
    let (claim, (template, routed)) = (claim?, template?);
    if let Some(inner) = routed.filter(|inner| inner.host != claim.host) {
        let expected = format!("the trigger's own host, {}, or none", claim.host);
        let problem = inner.problem(format!("the host \"{}\"", inner.host), expected);
        return Err(d.report(problem.related(&claim.spot, "the trigger's host")));
    }
    let paths = match claim.paths.as_slice() {
        [] => vec![PathMatch::everything()],
        listed => listed.iter().map(|claimed| claimed.path.clone()).collect(),
    };
    let spec = Spec {
        host: claim.host.clone(),
        host_place: claim.spot.place(),
        certificate: claim.certificate.clone(),
        paths,
        timeout: timeout?.unwrap_or(TRIGGER_TIMEOUT_DEFAULT),
        limits: limits?.unwrap_or_default(),
        replicas: replicas?.unwrap_or(1),
        deploy_policy: deploy_policy?.unwrap_or_default(),
        template,
    };
    Ok((spec, claim))
}

fn ingress(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<Claim> {
    let m = d.mapping(at, &["host", "paths", "tls"])?;
    let certificate = d.optional(&m, "tls", certificate);
    let host = d.required(&m, "host", HOST).and_then(|at| Ok((d.parse::<HostPattern>(&at, HOST)?, at)));
    let paths = paths(d, &m);
    let (host, at) = host?;
    let certificate = certificate?;
    if let (HostPattern::Any, Some(_), Some(at)) = (&host, &certificate, m.get("tls")) {
        let problem = d.problem(&at, "a certificate for every host", "a trigger of a host or of *.SUFFIX");
        let help = "give the ingress a default certificate with --tls-cert-path";
        return Err(d.report(problem.help(Some(help.to_owned()))));
    }
    Ok(Claim { host, spot: d.spot_at(&at), field: at.path, paths: paths?, certificate })
}

fn certificate(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<TriggerCertificate> {
    // Not offered to who mistypes another field.
    if let Some(secret) = at.node.field("secretName") {
        let at = At::of(secret, &at.path);
        let help = "this host has no store of secrets; write certFile and keyFile, or give the host's certificate to the \
                    ingress with --tls-dir";
        let problem = d.problem(&at, "a secret", "certFile and keyFile").help(Some(help.to_owned()));
        return Err(d.report(problem));
    }
    let m = d.mapping(at, &["certFile", "keyFile"])?;
    let chain = d.required(&m, "certFile", CERTIFICATE_PATH).and_then(|at| d.parse(&at, CERTIFICATE_PATH));
    let key = d.required(&m, "keyFile", CERTIFICATE_PATH).and_then(|at| d.parse(&at, CERTIFICATE_PATH));
    Ok(TriggerCertificate { chain: chain?, key: key?, place: d.spot_at(at).place() })
}

fn limits(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<RequestLimits> {
    let m = d.mapping(at, LIMITS)?;
    let per_second = d.optional(&m, "requestsPerSecond", at_least_one);
    let burst = d.optional(&m, "burst", at_least_one);
    let concurrent = d.optional(&m, "concurrentRequests", at_least_one);
    let queued = d.optional(&m, "queuedRequests", at_least_one);
    let wait = d.optional(&m, "queueTimeout", duration);
    let body_bytes = d.optional(&m, "bodyBytes", some_bytes);
    let (per_second, burst, concurrent, queued, wait) = (per_second?, burst?, concurrent?, queued?, wait?);
    needs(d, &m, "burst", "requestsPerSecond")?;
    needs(d, &m, "queuedRequests", "concurrentRequests")?;
    needs(d, &m, "queueTimeout", "queuedRequests")?;
    let rate = per_second.map(|per_second| RequestRate { per_second, burst: burst.unwrap_or(per_second) });
    let queue = queued.map(|requests| RequestQueue { requests, wait: wait.unwrap_or(QUEUE_TIMEOUT_DEFAULT) });
    Ok(RequestLimits { rate, concurrent, queue, body_bytes: body_bytes? })
}

/// Refuses a field that says something about another, which is not there.
fn needs(d: &mut Decoder<'_>, m: &Mapping<'_>, field: &str, other: &str) -> Decoded<()> {
    let (Some(at), None) = (m.get(field), m.get(other)) else { return Ok(()) };
    let problem = d.problem(&at, format!("{field} alone"), format!("{other} beside it"));
    Err(d.report(problem))
}

/// A number of the published int32 fields that is not 0: elsewhere 0 stands for a default, here it would close the
/// trigger.
fn at_least_one(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<NonZeroU32> {
    let number = d.int32(at)?;
    NonZeroU32::new(number).ok_or_else(|| {
        let problem = d.problem(at, at.node.describe(), format!("a whole number from 1 to {INT32_MAX}"));
        d.report(problem.help(Some("leave the field out for no limit".to_owned())))
    })
}

/// A number of bytes that is not 0, for the same reason.
fn some_bytes(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<NonZeroU64> {
    let number = d.number(at, u64::MAX)?;
    NonZeroU64::new(number).ok_or_else(|| {
        let problem = d.problem(at, at.node.describe(), "a whole number of at least 1");
        d.report(problem.help(Some("leave the field out for the host's own limit".to_owned())))
    })
}

fn paths(d: &mut Decoder<'_>, m: &Mapping<'_>) -> Decoded<Vec<ClaimedPath>> {
    let mut known: BTreeMap<PathMatch, Spot> = BTreeMap::new();
    d.list(m, "paths", |d, at| {
        let claimed = path(d, at)?;
        match known.get(&route_key(&claimed.path)) {
            None => drop(known.insert(route_key(&claimed.path), claimed.spot.clone())),
            Some(first) => {
                let problem = claimed.again("", "every route once").related(first, "first written here");
                return Err(d.report(problem));
            }
        }
        Ok(claimed)
    })
}

fn path(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<ClaimedPath> {
    let m = d.mapping(at, &["path", "pathType"])?;
    let path = d.required(&m, "path", PATH).and_then(|at| Ok((d.parse::<RoutePath>(&at, PATH)?, at)));
    let kind = d.optional(&m, "pathType", |d, at| d.word(at, PATH_TYPES));
    let (path, at) = path?;
    let path = PathMatch { path, kind: kind?.unwrap_or(PathMatchKind::Prefix) };
    Ok(ClaimedPath { path, spot: d.spot_at(&at), field: at.path })
}

/// The form in which two routes are the same one: a prefix is compared by segments, so that a last `/` adds nothing.
pub(crate) fn route_key(route: &PathMatch) -> PathMatch {
    let trimmed = match route.kind {
        PathMatchKind::Exact => None,
        PathMatchKind::Prefix => route.path.as_str().strip_suffix('/').and_then(|path| path.parse().ok()),
    };
    PathMatch { path: trimmed.unwrap_or_else(|| route.path.clone()), kind: route.kind }
}

/// A Go-style duration. A number without a unit is the usual slip, and seconds its usual meaning.
pub(crate) fn duration(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<Duration> {
    if let NodeKind::Scalar { text, schema: Schema::Integer | Schema::Float } = &*at.node.kind {
        let seconds = format!("{text}s");
        let help = parse_duration(&seconds).is_ok().then(|| format!("write {seconds}"));
        let problem = d.problem(at, at.node.describe(), DURATION).help(help);
        return Err(d.report(problem));
    }
    d.parse_by(at, DURATION, parse_duration, duration_help)
}

/// What to do about a bad duration, where the expectation alone does not say it.
pub(crate) fn duration_help(error: &DurationError) -> Option<String> {
    match error {
        DurationError::Form | DurationError::Unit(_) => None,
        DurationError::NoUnit(number) => Some(format!("write {}s", bare(number))),
        DurationError::Zero | DurationError::TooLong => reason(error),
    }
}
