//! `hostInterfaces[]`, with the configuration of the two packages whose keys have a published meaning.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    HostPattern, InterfaceVersion, PackageName,
    decode::{At, Decoded, Decoder, Mapping, document::Claim, resources::variables, trigger::HOST},
    diagnostic::{did_you_mean, one_of, quote, reason},
    interface::{InterfaceError, check_part},
    manifest::HostInterface,
    messaging::{self, MessagingConfig},
};

/// Most entries of a workload (published).
pub(super) const ENTRIES_MAX: usize = 64;
const FIELDS: &[&str] =
    &["namespace", "package", "interfaces", "version", "name", "config", "configFrom", "secretFrom"];
const PART: &str = "a WIT name such as logging";
const ENTRY_NAME: &str = "a name of lower-case letters, digits and '-' that does not begin with '-'";
const VERSION: &str = "a version such as 0.2.0 or 0.1.0-draft";
const INTERFACES: &str = "a list of at least one interface";

/// All entries, and the host that a `wasi:http` one claims.
pub(crate) fn host_interfaces(d: &mut Decoder<'_>, m: &Mapping<'_>) -> Decoded<(Vec<HostInterface>, Option<Claim>)> {
    let Some(list) = m.get("hostInterfaces") else { return Ok((Vec::new(), None)) };
    let count = list.node.items().len();
    if count > ENTRIES_MAX {
        let problem = d.problem(&list, format!("{count} entries"), format!("at most {ENTRIES_MAX}"));
        return Err(d.report(problem));
    }
    let mut known: Vec<(HostInterface, At<'_>)> = Vec::with_capacity(count);
    let mut claim: Option<Claim> = None;
    let entries = d.list_at(&list, |d, at| {
        let entry = host_interface(d, at)?;
        report_twin(d, at, &entry, &known)?;
        known.push((entry.clone(), at.clone()));
        claim_host(d, at, &entry, &mut claim)?;
        Ok(entry)
    })?;
    Ok((entries, claim))
}

fn host_interface(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<HostInterface> {
    let m = d.mapping(at, FIELDS)?;
    let namespace = part(d, &m, "namespace");
    let package = part(d, &m, "package");
    let interfaces = interfaces(d, &m);
    let version = d.optional(&m, "version", |d, at| {
        d.parse_by(at, VERSION, str::parse::<InterfaceVersion>, |error| match error {
            InterfaceError::Version => None,
            other => reason(other),
        })
    });
    let name = d.optional(&m, "name", |d, at| d.parse_by(at, ENTRY_NAME, entry_name, |_| None));
    let config = variables(d, &m);
    if let (Ok("wasmcloud"), Ok("messaging")) = (namespace, package) {
        check_messaging(d, &m);
        report_near_keys(d, &m);
    }
    let package = PackageName::new(namespace?, package?).map_err(|_| d.wrong_type(at, PART))?;
    Ok(HostInterface {
        package,
        interfaces: interfaces?,
        version: version?,
        name: name?,
        config: config?,
        place: d.spot_at(at).place(),
    })
}

fn part<'n>(d: &mut Decoder<'_>, m: &Mapping<'n>, field: &str) -> Decoded<&'n str> {
    let at = d.required(m, field, PART)?;
    d.parse_by(&at, PART, check_part, reason)?;
    d.text(&at)
}

fn entry_name(text: &str) -> Result<Arc<str>, InterfaceError> {
    check_part(text)?;
    if text.starts_with('-') { Err(InterfaceError::Character('-')) } else { Ok(text.into()) }
}

/// The interfaces' names. One that is listed twice is kept once: it grants nothing more.
fn interfaces(d: &mut Decoder<'_>, m: &Mapping<'_>) -> Decoded<Vec<Arc<str>>> {
    let list = d.required(m, "interfaces", INTERFACES)?;
    let all = d.list_at(&list, |d, at| {
        d.parse_by(at, PART, check_part, reason)?;
        d.text(at)
    })?;
    if all.is_empty() {
        let problem = d.problem(&list, "an empty list", INTERFACES);
        return Err(d.report(problem));
    }
    let mut kept: Vec<Arc<str>> = Vec::new();
    for name in all {
        if !kept.iter().any(|known| **known == *name) {
            kept.push(name.into());
        }
    }
    Ok(kept)
}

/// Reports an entry that an earlier one makes meaningless or ambiguous.
fn report_twin(
    d: &mut Decoder<'_>,
    at: &At<'_>,
    entry: &HostInterface,
    known: &[(HostInterface, At<'_>)],
) -> Decoded<()> {
    let same = |other: &HostInterface| {
        let all = |entry: &HostInterface| (entry.package.clone(), entry.version.clone(), entry.name.clone());
        all(other) == all(entry) && other.interfaces == entry.interfaces && other.config == entry.config
    };
    let unnamed = |other: &HostInterface| other.package == entry.package && other.name.is_none();
    let equal = known.iter().find(|(other, _)| same(other));
    let ambiguous = known.iter().find(|(other, _)| entry.name.is_none() && unnamed(other));
    let (first, problem) = match (equal, ambiguous) {
        (Some((_, first)), _) => {
            (first, d.problem(at, format!("the same entry for {} again", entry.package), "every entry once"))
        }
        (None, Some((_, first))) => {
            let found = format!("a second entry for {} without a name", entry.package);
            let problem = d.problem(at, found, "at most one without a name for a package");
            (first, problem.help(Some("list the interfaces in one entry, or name one of them".to_owned())))
        }
        (None, None) => return Ok(()),
    };
    let problem = problem.related(&d.spot_at(first), "the first");
    Err(d.report(problem))
}

/// Takes the host that a `wasi:http` entry names. A workload has one.
fn claim_host(d: &mut Decoder<'_>, at: &At<'_>, entry: &HostInterface, claim: &mut Option<Claim>) -> Decoded<()> {
    let package = (entry.package.namespace(), entry.package.package());
    let config = at.node.field("config").filter(|_| package == ("wasi", "http"));
    let Some(config) = config.map(|config| At::of(config, &at.path)) else { return Ok(()) };
    let Some(host) = config.node.field("host").map(|host| At::of(host, &config.path)) else { return Ok(()) };
    let pattern = d.parse::<HostPattern>(&host, HOST)?;
    let (spot, field) = (d.spot_at(&host), host.path.clone());
    let own = Claim { host: pattern, spot, field, paths: Vec::new(), certificate: None };
    if let Some(first) = claim {
        let problem = own.problem(format!("a second host, \"{}\"", own.host), "one host for a workload");
        return Err(d.report(problem.related(&first.spot, "the first")));
    }
    *claim = Some(own);
    Ok(())
}

/// Whether `wasmcloud:messaging` is among a workload's interfaces.
pub(crate) fn declares_messaging(m: &Mapping<'_>) -> bool {
    let part = |item: &At<'_>, field: &str, text: &str| {
        item.node.field(field).and_then(|entry| entry.value.as_text()) == Some(text)
    };
    let mut items = m.get("hostInterfaces").into_iter().flat_map(|list| list.items());
    items.any(|item| part(&item, "namespace", "wasmcloud") && part(&item, "package", "messaging"))
}

/// Checks the published keys of messaging in `config` of a mapping. What other values are, is said elsewhere.
pub(crate) fn check_messaging(d: &mut Decoder<'_>, m: &Mapping<'_>) {
    for (key, at) in m.get("config").iter().flat_map(At::entries) {
        let (Some(expected), Some(text)) = (messaging::expected(key), at.node.as_text()) else { continue };
        let alone = BTreeMap::from([(key.to_owned(), text.to_owned())]);
        if let Err(error) = MessagingConfig::from_variables(&alone) {
            let problem = d.problem(&at, quote(text), expected).help(error.help());
            d.report(problem);
        }
    }
}

/// Other keys may stand there, but not slips of the pen: they would silently do nothing.
fn report_near_keys(d: &mut Decoder<'_>, m: &Mapping<'_>) {
    for (key, at) in m.get("config").iter().flat_map(At::entries) {
        if messaging::KEYS.contains(&key) {
            continue;
        }
        if let Some(help) = did_you_mean(key, messaging::KEYS) {
            let problem = d.problem(&at, format!("the key {}", quote(key)), one_of(&messaging::KEYS));
            d.report(problem.help(Some(help)));
        }
    }
}
