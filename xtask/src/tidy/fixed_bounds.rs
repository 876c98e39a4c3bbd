//! Finds the bounds that no flag sets: constants of the sources, by their names. The page of limits lists them.

use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Where bounds of the host are; `xtask` itself bounds nothing that runs.
const SOURCES: [&str; 5] = ["config/src", "runtime/src", "plugins/src", "proxy/src", "src"];
/// What a bound's name ends with.
const ENDINGS: [&str; 5] = ["_MAX", "_TIMEOUT", "_TIME", "_PAUSE", "_EVERY"];
/// Bounds that are called otherwise.
const OTHERS: [&str; 8] = [
    "BACKGROUND_NICE",
    "CALLS_REMEMBERED",
    "CONNECT_WITHIN",
    "GOODBYE",
    "HOST_STACK_BYTES",
    "KEEP_RESIDENT_BYTES",
    "TABLES_PER_SLOT",
    "WRITE_BUFFER_BYTES",
];
const HEAD: &str = "
## Fixed bounds

Bounds of single parts, which no flag changes: constants of the sources, with their values as written there.

| bound | value | meaning | place |
|---|---|---|---|
";

/// One constant.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    name: String,
    value: String,
    meaning: String,
}

/// The section of the page.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn section(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    for folder in SOURCES {
        super::walk(root, Path::new(folder), &mut files)?;
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs"));
    files.sort();
    let mut section = HEAD.to_owned();
    for file in &files {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        bounds(&text).iter().for_each(|bound| write_row(&mut section, bound, file));
    }
    Ok(section)
}

fn write_row(section: &mut String, bound: &Bound, file: &Path) {
    let Bound { name, value, meaning } = bound;
    let file = file.display();
    // Writing to a String cannot fail.
    let _ = writeln!(section, "| `{name}` | `{value}` | {meaning} | [{file}](../{file}) |");
}

/// The bounds of a source, up to its tests.
fn bounds(text: &str) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let mut meaning: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line == "#[cfg(test)]" {
            break;
        }
        match line.strip_prefix("///") {
            Some(said) => meaning.push(said.trim()),
            None => {
                let meaning = std::mem::take(&mut meaning).join(" ").replace('|', "\\|");
                bounds.extend(constant(line).map(|(name, value)| Bound { name, value, meaning }));
            }
        }
    }
    bounds
}

/// Name and value of a constant that is a bound.
fn constant(line: &str) -> Option<(String, String)> {
    let (before, rest) = line.split_once("const ")?;
    let (name, rest) = rest.split_once(": ")?;
    let is_bound = ENDINGS.iter().any(|ending| name.ends_with(ending)) || OTHERS.contains(&name);
    let (_, value) = rest.split_once(" = ")?;
    (is_bound && (before.is_empty() || before.starts_with("pub")))
        .then(|| (name.to_owned(), value.trim_end_matches(';').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_found_by_their_names() {
        let text = "\
/// Longest
/// name | in bytes.
pub(super) const NAME_BYTES_MAX: usize = 4 * 1024;
const OTHER: usize = 3;
/// Of nobody.
struct Max;
const RETRY_PAUSE: Duration = Duration::from_secs(1);
#[cfg(test)]
const TEST_MAX: usize = 1;
";
        let bound = |name: &str, value: &str, meaning: &str| Bound {
            name: name.into(),
            value: value.into(),
            meaning: meaning.into(),
        };
        assert_eq!(
            bounds(text),
            [
                bound("NAME_BYTES_MAX", "4 * 1024", "Longest name \\| in bytes."),
                bound("RETRY_PAUSE", "Duration::from_secs(1)", "")
            ]
        );
    }
}
