//! From trees of nodes to the types of `manifest`, all problems at once.
//!
//! This file has what every kind needs: fields, lists and scalars with their paths. It knows no field of any kind, and
//! no YAML. A decoding function that returns [`Reported`] has told the problem already; the proof is the type, which
//! only a problem gives.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use crate::{
    decode::document::ArtifactIndex,
    diagnostic::{Diagnostic, Mark, Spot, bare, closest, did_you_mean, one_of, quote, reason},
    node::{Entry, Node, NodeKind, Schema},
};

mod component;
mod deployment;
pub(crate) mod document;
mod interface;
mod metadata;
mod resources;
mod trigger;
mod volume;
mod workload;

pub(crate) use trigger::{DURATION, duration_help, route_key};

/// Problems of one file that are kept; the ones after it are counted.
const PROBLEMS_MAX: usize = 1_000;
/// Fields of one mapping that are compared with the known ones.
const COMPARED_FIELDS_MAX: usize = 64;
/// The largest number of an int32 field.
pub(crate) const INT32_MAX: u64 = 2_147_483_647;

/// Proof that a problem was reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reported(());

impl Reported {
    /// The proof that these problems are.
    pub(crate) fn any(problems: &[Diagnostic]) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(()))
    }
}

pub(crate) type Decoded<T> = Result<T, Reported>;

/// Collects the problems of one file.
pub(crate) struct Decoder<'a> {
    file: Arc<str>,
    artifacts: &'a ArtifactIndex,
    problems: Vec<Diagnostic>,
    problems_left_out: usize,
}

/// A value with the path that leads to it.
#[derive(Debug, Clone)]
pub(crate) struct At<'n> {
    pub(crate) node: &'n Node,
    key: Option<&'n Mark>,
    pub(crate) path: String,
}

impl<'n> At<'n> {
    pub(crate) fn root(node: &'n Node) -> Self {
        Self { node, key: None, path: String::new() }
    }

    fn of(entry: &'n Entry, parent: &str) -> Self {
        Self { node: &entry.value, key: Some(&entry.key.mark), path: field_path(parent, &entry.key.text) }
    }

    /// What to point at: a value that shows no character of its own is pointed at by its key.
    pub(crate) fn mark(&self) -> &'n Mark {
        match self.key {
            Some(key) if self.node.mark.span.is_empty() => key,
            _ => self.node.head(),
        }
    }

    /// The items of a list, whatever they are.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'n>> + use<'n> {
        let path = self.path.clone();
        let items = self.node.items().iter().enumerate();
        items.map(move |(index, node)| At { node, key: None, path: item_path(&path, index) })
    }

    /// The fields of a mapping, whatever they are.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'n str, At<'n>)> + use<'n> {
        let path = self.path.clone();
        self.node.entries().iter().map(move |entry| (entry.key.text.as_str(), At::of(entry, &path)))
    }
}

/// A mapping whose unknown fields have been reported.
#[derive(Debug, Clone)]
pub(crate) struct Mapping<'n> {
    at: At<'n>,
    known: &'static [&'static str],
}

impl<'n> Mapping<'n> {
    /// A field, `None` where it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<At<'n>> {
        self.at.node.field(name).map(|entry| At::of(entry, &self.at.path))
    }
}

/// `parent.name`; a name that is no plain word is written in brackets and quotes.
pub(crate) fn field_path(parent: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    match (plain, parent.is_empty()) {
        (true, true) => name.to_owned(),
        (true, false) => format!("{parent}.{name}"),
        (false, _) => format!("{parent}[{}]", quote(name)),
    }
}

/// `parent[index]`.
pub(crate) fn item_path(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(file: Arc<str>, artifacts: &'a ArtifactIndex) -> Self {
        Self { file, artifacts, problems: Vec::new(), problems_left_out: 0 }
    }

    pub(crate) fn into_problems(self) -> Vec<Diagnostic> {
        let mut problems = self.problems;
        if let (Some(last), left_out @ 1..) = (problems.last_mut(), self.problems_left_out) {
            last.help = Some(format!("and {left_out} more problems in this file"));
        }
        problems
    }

    pub(crate) fn report(&mut self, problem: Diagnostic) -> Reported {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.problems_left_out += 1;
        }
        Reported(())
    }

    pub(crate) fn spot(&self, mark: &Mark) -> Spot {
        Spot { file: self.file.clone(), mark: mark.clone() }
    }

    pub(crate) fn spot_at(&self, at: &At<'_>) -> Spot {
        self.spot(at.mark())
    }

    /// A problem of a value, to be refined and reported.
    pub(crate) fn problem(&self, at: &At<'_>, found: impl Into<String>, expected: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.spot_at(at), &at.path, found, expected)
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong_type(&mut self, at: &At<'_>, expected: &str) -> Reported {
        let problem = self.problem(at, at.node.describe(), expected);
        self.report(problem)
    }

    /// A mapping with no other fields than these.
    pub(crate) fn mapping<'n>(&mut self, at: &At<'n>, known: &'static [&'static str]) -> Decoded<Mapping<'n>> {
        let NodeKind::Mapping(entries) = &*at.node.kind else {
            let expected = match known {
                [] => "an empty mapping, {}".to_owned(),
                _ => format!("a mapping of {}", known.join(", ")),
            };
            return Err(self.wrong_type(at, &expected));
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.text.as_str())) {
            let expected = match known {
                [] => "no field".to_owned(),
                [one] => format!("no field but {one}"),
                _ => format!("one of {}", one_of(known)),
            };
            let help = match entry.key.text.as_str() {
                "<<" => Some("YAML 1.2 has no merge keys: repeat the fields".to_owned()),
                text => did_you_mean(text, known.iter().copied()),
            };
            let spot = self.spot(&entry.key.mark);
            let path = field_path(&at.path, &entry.key.text);
            let found = format!("the unknown field {}", quote(&entry.key.text));
            self.report(Diagnostic::new(&spot, &path, found, expected).help(help));
        }
        Ok(Mapping { at: at.clone(), known })
    }

    /// A field that must be there.
    pub(crate) fn required<'n>(&mut self, mapping: &Mapping<'n>, name: &str, expected: &str) -> Decoded<At<'n>> {
        if let Some(at) = mapping.get(name) {
            return Ok(at);
        }
        // A field that is written without a value is pointed at; one that is not written has only its mapping.
        let misspelt = |entry: &Entry| {
            let text = entry.key.text.as_str();
            !mapping.known.contains(&text) && closest(text, mapping.known.iter().copied()) == Some(name)
        };
        if mapping.at.node.entries().iter().take(COMPARED_FIELDS_MAX).any(misspelt) {
            // It was reported as unknown, with this name as the remedy.
            return Err(Reported(()));
        }
        let written = mapping.at.node.entries().iter().find(|entry| entry.key.text == name);
        let spot = written.map_or(mapping.at.mark(), |entry| &entry.key.mark);
        let path = field_path(&mapping.at.path, name);
        Err(self.report(Diagnostic::new(&self.spot(spot), &path, "nothing", expected)))
    }

    /// A field that may be absent.
    pub(crate) fn optional<'n, T>(
        &mut self,
        mapping: &Mapping<'n>,
        name: &str,
        decode: impl FnOnce(&mut Self, &At<'n>) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        mapping.get(name).map(|at| decode(self, &at)).transpose()
    }

    /// All items of a list, or none where the field is absent.
    pub(crate) fn list<'n, T>(
        &mut self,
        mapping: &Mapping<'n>,
        name: &str,
        decode: impl FnMut(&mut Self, &At<'n>) -> Decoded<T>,
    ) -> Decoded<Vec<T>> {
        let Some(at) = mapping.get(name) else { return Ok(Vec::new()) };
        self.list_at(&at, decode)
    }

    /// All items of a list.
    pub(crate) fn list_at<'n, T>(
        &mut self,
        at: &At<'n>,
        mut decode: impl FnMut(&mut Self, &At<'n>) -> Decoded<T>,
    ) -> Decoded<Vec<T>> {
        if !matches!(&*at.node.kind, NodeKind::List(_)) {
            return Err(self.wrong_type(at, "a list"));
        }
        let items: Vec<Decoded<T>> = at.items().map(|item| decode(self, &item)).collect();
        items.into_iter().collect()
    }

    /// Text. Numbers and booleans are refused, as Kubernetes does: 0.10 and 0.1 are one number and two texts.
    pub(crate) fn text<'n>(&mut self, at: &At<'n>) -> Decoded<&'n str> {
        self.text_as(at, "text")
    }

    fn text_as<'n>(&mut self, at: &At<'n>, expected: &str) -> Decoded<&'n str> {
        match &*at.node.kind {
            NodeKind::Scalar { text, schema: Schema::Text } => Ok(text),
            NodeKind::Scalar { schema: Schema::Null, .. } => Err(self.wrong_type(at, expected)),
            NodeKind::Scalar { .. } => {
                let problem = self.problem(at, at.node.describe(), "text");
                Err(self.report(problem.help(Some("write it in quotes".to_owned()))))
            }
            NodeKind::List(_) | NodeKind::Mapping(_) => Err(self.wrong_type(at, expected)),
        }
    }

    /// Text of one line, not empty.
    pub(crate) fn line<'n>(&mut self, at: &At<'n>, expected: &str) -> Decoded<&'n str> {
        let text = self.text_as(at, expected)?;
        if text.is_empty() || text.contains(char::is_control) {
            return Err(self.wrong_type(at, expected));
        }
        Ok(text)
    }

    /// Text that a type takes. What the type says against it is added to the message.
    pub(crate) fn parse<T>(&mut self, at: &At<'_>, expected: &str) -> Decoded<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.parse_by(at, expected, str::parse, reason)
    }

    /// Text that a function takes.
    pub(crate) fn parse_by<T, E>(
        &mut self,
        at: &At<'_>,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        help: impl FnOnce(&E) -> Option<String>,
    ) -> Decoded<T> {
        let text = self.text_as(at, expected)?;
        parse(text).map_err(|error| {
            let problem = self.problem(at, quote(text), expected).help(help(&error));
            self.report(problem)
        })
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&mut self, at: &At<'_>, words: &[(&str, T)]) -> Decoded<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let expected = one_of(&names);
        let text = self.text_as(at, &expected)?;
        words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
            let help = did_you_mean(text, names.iter().copied());
            let problem = self.problem(at, quote(text), expected).help(help);
            self.report(problem)
        })
    }

    /// A whole number from 0 to `max`.
    pub(crate) fn number(&mut self, at: &At<'_>, max: u64) -> Decoded<u64> {
        let expected = match max {
            u64::MAX => "a whole number of at least 0".to_owned(),
            _ => format!("a whole number from 0 to {max}"),
        };
        match &*at.node.kind {
            NodeKind::Scalar { text, schema: Schema::Integer } => {
                whole_number(text).filter(|number| *number <= max).ok_or_else(|| self.wrong_type(at, &expected))
            }
            NodeKind::Scalar { text, schema: Schema::Text } if whole_number(text).is_some() => {
                let problem = self.problem(at, quote(text), expected);
                Err(self.report(problem.help(Some(format!("write {} without quotes", bare(text))))))
            }
            _ => Err(self.wrong_type(at, &expected)),
        }
    }

    /// A number of the published int32 fields, none of which may be negative.
    pub(crate) fn int32(&mut self, at: &At<'_>) -> Decoded<u32> {
        // The bound of the call makes the conversion fit.
        self.number(at, INT32_MAX).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(crate) fn boolean(&mut self, at: &At<'_>) -> Decoded<bool> {
        match &*at.node.kind {
            NodeKind::Scalar { text, schema: Schema::Boolean } => Ok(text.eq_ignore_ascii_case("true")),
            _ => Err(self.wrong_type(at, "true or false")),
        }
    }

    /// Names with texts, such as labels; none where the field is absent.
    pub(crate) fn text_map(&mut self, mapping: &Mapping<'_>, name: &str) -> Decoded<BTreeMap<String, String>> {
        let Some(at) = mapping.get(name) else { return Ok(BTreeMap::new()) };
        let NodeKind::Mapping(_) = &*at.node.kind else {
            return Err(self.wrong_type(&at, "a mapping of names to texts"));
        };
        let pairs: Vec<_> =
            at.entries().map(|(key, value)| self.text(&value).map(|text| (key.to_owned(), text.to_owned()))).collect();
        pairs.into_iter().collect()
    }

    /// Reports every item of a list of mappings whose `name` an earlier item has.
    pub(crate) fn report_duplicate_names(&mut self, mapping: &Mapping<'_>, list: &str) {
        let Some(at) = mapping.get(list) else { return };
        let mut known: BTreeMap<&str, &Mark> = BTreeMap::new();
        for item in at.items() {
            let Some(entry) = item.node.field("name") else { continue };
            let Some(text) = entry.value.as_text() else { continue };
            match known.get(text) {
                None => drop(known.insert(text, &entry.value.mark)),
                Some(first) => {
                    let name = At::of(entry, &item.path);
                    let problem = self
                        .problem(&name, format!("{} again", quote(text)), format!("every name once in {list}"))
                        .related(&self.spot(first), "first written here");
                    self.report(problem);
                }
            }
        }
    }
}

/// A whole number that is not negative, in the forms of the core schema.
fn whole_number(text: &str) -> Option<u64> {
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok();
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return u64::from_str_radix(hexadecimal, 16).ok();
    }
    text.strip_prefix("-0").filter(|rest| rest.is_empty()).map(|_| 0).or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests;
