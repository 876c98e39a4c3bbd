//! What is wrong with a manifest, where, and what to write instead.
//!
//! Knows nothing of YAML or of any kind of manifest. Text of the author is shown quoted, escaped and cut, so that a
//! message is one line and safe to print on a terminal.

use std::{fmt, ops::Range, sync::Arc};

use crate::manifest::SourcePlace;

/// Longest piece of the author's text in a message, in characters.
const QUOTED_CHARS_MAX: usize = 80;
/// Longest reason that an error of another module adds to a message, in characters.
const REASON_CHARS_MAX: usize = 240;
/// Known names that a text is compared with.
const COMPARED_NAMES_MAX: usize = 64;
/// Longest text that is compared with known names, in bytes.
const COMPARED_BYTES_MAX: usize = 64;

/// One problem of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where the problem begins.
    pub place: SourcePlace,
    /// The same place as byte offsets of the file, for a caret line. May be empty.
    pub span: Range<usize>,
    /// Path of the field, such as `spec.template.spec.components[0].poolSize`. Empty for a problem of the file.
    pub field: String,
    /// What is written there.
    pub found: String,
    /// What may be written there.
    pub expected: String,
    /// The closest known name, or another remedy.
    pub help: Option<String>,
    /// A second place that matters, and why.
    pub related: Option<(SourcePlace, String)>,
}

impl Diagnostic {
    pub(crate) fn new(spot: &Spot, field: &str, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            place: spot.place(),
            span: spot.mark.span.clone(),
            field: field.to_owned(),
            found: found.into(),
            expected: expected.into(),
            help: None,
            related: None,
        }
    }

    pub(crate) fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }

    pub(crate) fn related(mut self, spot: &Spot, why: &str) -> Self {
        self.related = Some((spot.place(), why.to_owned()));
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        if let Some((place, why)) = &self.related {
            write!(f, "; {why}: {place}")?;
        }
        Ok(())
    }
}

/// A stretch of a file, without the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Counted from 1.
    pub(crate) line: usize,
    /// Counted from 1, in characters.
    pub(crate) column: usize,
    /// In bytes.
    pub(crate) span: Range<usize>,
}

/// A stretch of a named file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) file: Arc<str>,
    pub(crate) mark: Mark,
}

impl Spot {
    pub(crate) fn place(&self) -> SourcePlace {
        SourcePlace { file: self.file.clone(), line: self.mark.line, column: self.mark.column }
    }
}

/// The author's text as a message shows it: in quotes, escaped, at most 80 characters of it.
pub(crate) fn quote(text: &str) -> String {
    format!("{:?}", cut(text, QUOTED_CHARS_MAX))
}

/// The author's text without quotes, for words that name something: escaped and cut all the same.
pub(crate) fn bare(text: &str) -> String {
    let escaped = |c: char| if matches!(c, '\'' | '"') { c.to_string() } else { c.escape_debug().to_string() };
    cut(text, QUOTED_CHARS_MAX).chars().map(escaped).collect()
}

/// An error of another module as a reason: `it is empty`. Those errors are worded as predicates.
pub(crate) fn reason(error: &impl fmt::Display) -> Option<String> {
    Some(cut(&format!("it {error}"), REASON_CHARS_MAX))
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

/// The known name that `text` was most likely meant to be.
pub(crate) fn closest<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if text.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let lower = text.to_lowercase();
    let slips_max = (text.len() / 3).max(1);
    let distance = |name: &&str| strsim::osa_distance(&lower, &name.to_lowercase());
    // The difference in length is a bound from below, and costs nothing.
    let near = known.into_iter().take(COMPARED_NAMES_MAX).filter(|name| name.len().abs_diff(text.len()) <= slips_max);
    near.min_by_key(distance).filter(|nearest| distance(nearest) <= slips_max)
}

/// `did you mean NAME?`, where a known name is close.
pub(crate) fn did_you_mean<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    closest(text, known).map(|name| format!("did you mean {name}?"))
}

/// `a, b or c`.
pub(crate) fn one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_author_is_escaped_and_cut() {
        assert_eq!(quote("a\u{1b}[31m\n"), r#""a\u{1b}[31m\n""#);
        let whole = "x".repeat(QUOTED_CHARS_MAX);
        assert_eq!(quote(&whole), format!("\"{whole}\""));
        assert_eq!(quote(&format!("{whole}x")), format!("\"{whole}…\""));
        assert_eq!(bare(&format!("{whole}x")), format!("{whole}…"));
        let long = reason(&"x".repeat(2 * REASON_CHARS_MAX)).unwrap();
        assert_eq!(long.chars().count(), REASON_CHARS_MAX + 1);
        assert_eq!(bare("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn only_close_names_are_offered() {
        assert_eq!(closest("timeuot", ["ingress", "timeout"]), Some("timeout"));
        assert_eq!(closest("POOLSIZE", ["poolSize"]), Some("poolSize"));
        assert_eq!(closest("xyz", ["ingress", "timeout"]), None);
        assert_eq!(closest(&"t".repeat(1_000_000), ["timeout"]), None);
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(one_of(&["a", "b", "c"]), "a, b or c");
        assert_eq!(one_of(&["a"]), "a");
    }

    #[test]
    fn as_much_is_compared_as_costs_little() {
        let known = "t".repeat(COMPARED_BYTES_MAX);
        let slip = |bytes: usize| "t".repeat(bytes - 1) + "u";
        assert_eq!(closest(&slip(COMPARED_BYTES_MAX), [&*known]), Some(&*known));
        assert_eq!(closest(&slip(COMPARED_BYTES_MAX + 1), [&*known]), None);
        let after = |others: usize| closest("timeuot", std::iter::repeat_n("x", others).chain(["timeout"]));
        assert_eq!(after(COMPARED_NAMES_MAX - 1), Some("timeout"));
        assert_eq!(after(COMPARED_NAMES_MAX), None);
    }
}
