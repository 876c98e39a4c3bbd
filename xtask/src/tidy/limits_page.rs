//! `docs/limits.md` is generated from the table of limits in `roadstead-config`, the fixed bounds of the sources and the
//! tests that name them, and checked against them. A limit that no test names is a problem.

use anyhow::{Context, Result};
use roadstead_config::Limits;
use roadstead_config::limits::{LimitRow, Unit};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::test_index::{TestIndex, cell};
use super::{Problem, fixed_bounds};

const PAGE: &str = "docs/limits.md";
const TABLE: &str = "config/src/limits.rs";
const HEAD: &str = "# Limits

Every queue, buffer, loop, cache and retry of a host has a bound. Those that an operator may want to change are in
the table, with the values that hold where nobody sets another by `--limit NAME=VALUE`; the [others](#fixed-bounds) are
below it. `ms` is milliseconds, `bytes` is bytes, `count` counts what the meaning names.

This page is generated from `config/src/limits.rs` and the sources by `cargo xtask tidy --write`. The tests are those that
set the limit, or name it where none sets it; they are in `tests/it`, `src`, `runtime`, `proxy`, `plugins` and `config`.

| limit | default | unit | meaning | test |
|---|---:|---|---|---|
";

/// Writes the page where it differs.
///
/// # Errors
/// When a source cannot be read or the file not be written.
pub(super) fn write(root: &Path) -> Result<()> {
    let page = root.join(PAGE);
    if let Some(folder) = page.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = self::page(&TestIndex::read(root)?, &fixed_bounds::read(root)?);
    fs::write(&page, text).with_context(|| format!("cannot write {}", page.display()))
}

/// Finds out whether the page is as it would be written, and what has no test.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn check(root: &Path, problems: &mut Vec<Problem>) -> Result<()> {
    let index = TestIndex::read(root)?;
    let bounds = fixed_bounds::read(root)?;
    let table = fs::read_to_string(root.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    problems.extend(untested(Limits::TABLE, &table, &index));
    problems.extend(index.unknown().map(|name| Problem {
        file: "xtask/src/tidy/test_index.rs".into(),
        line: None,
        what: format!("no test is called `{name}`: take it out of ABOUT_OTHER_THINGS"),
    }));
    fixed_bounds::check(&bounds, &index, problems);
    let wanted = page(&index, &bounds);
    let there = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    if there == wanted {
        return Ok(());
    }
    let same = there.lines().zip(wanted.lines()).take_while(|(there, wanted)| there == wanted).count();
    problems.push(Problem {
        file: PAGE.into(),
        line: Some(same + 1),
        what: "differs from the limits of the sources: run `cargo xtask tidy --write`".into(),
    });
    Ok(())
}

fn page(index: &TestIndex, bounds: &[fixed_bounds::Bound]) -> String {
    generate(Limits::TABLE, index) + &fixed_bounds::section(bounds, index)
}

fn generate(table: &[LimitRow], index: &TestIndex) -> String {
    let mut page = HEAD.to_owned();
    for row in table {
        let meaning = row.meaning.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let tests = cell(&index.of_limit(row.name));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {} | {meaning} | {tests} |", row.name, default(row), row.unit);
    }
    page
}

/// The limits that no test names, at their lines of `text`.
fn untested(table: &[LimitRow], text: &str, index: &TestIndex) -> Vec<Problem> {
    let without = table.iter().filter(|row| index.of_limit(row.name).is_empty());
    let problem = |row: &LimitRow| Problem {
        file: TABLE.into(),
        line: text.lines().position(|line| line.trim().starts_with(&format!("{} =", row.name))).map(|line| line + 1),
        what: format!(
            "no test names `{0}`: write one that fails when the bound goes away, and sets it by `{0}: N` or `\"{0}=N\"`",
            row.name
        ),
    };
    without.map(problem).collect()
}

/// The number with its thousands apart, and in a larger unit where that is a round number.
fn default(row: &LimitRow) -> String {
    let number = thousands(row.default);
    let larger: &[(u64, &str)] = match row.unit {
        Unit::Bytes => &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        Unit::Milliseconds => &[(60_000, "min"), (1_000, "s")],
        Unit::Count => &[],
    };
    let round = larger.iter().find(|(size, _)| row.default >= *size && row.default.is_multiple_of(*size));
    round.map_or(number.clone(), |(size, unit)| format!("{number} ({} {unit})", thousands(row.default / size)))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_number_unit_and_meaning() {
        let row = |default, unit| LimitRow { name: "x_max", default, unit, meaning: " One\n | two. " };
        let page = generate(&[row(65_536, Unit::Bytes)], &TestIndex::default());
        assert!(page.ends_with("| `x_max` | 65,536 (64 KiB) | bytes | One \\| two. |  |\n"), "{page}");
        assert_eq!(default(&row(300_000, Unit::Milliseconds)), "300,000 (5 min)");
        assert_eq!(default(&row(10, Unit::Milliseconds)), "10");
        assert_eq!(default(&row(1_024, Unit::Count)), "1,024");
    }

    #[test]
    fn a_limit_without_a_test_is_a_problem() {
        let row = LimitRow { name: "x_max", default: 1, unit: Unit::Count, meaning: "" };
        let problems = untested(&[row], "\n    x_max = 1 Count;\n", &TestIndex::default());
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["config/src/limits.rs:2: no test names `x_max`: write one that fails when the bound goes away, and sets \
                 it by `x_max: N` or `\"x_max=N\"`"]
        );
    }
}
