//! `docs/limits.md` is generated from the table of limits in `roadstead-config` and the fixed bounds of the sources, and
//! checked against them.

use anyhow::{Context, Result};
use roadstead_config::Limits;
use roadstead_config::limits::{LimitRow, Unit};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{Problem, fixed_bounds};

const PAGE: &str = "docs/limits.md";
const HEAD: &str = "# Limits

Every queue, buffer, loop, cache and retry of a host has a bound. Those that an operator may want to change are in
the table, with the values that hold where nobody sets another by `--limit NAME=VALUE`; the [others](#fixed-bounds) are
below it. `ms` is milliseconds, `bytes` is bytes, `count` counts what the meaning names.

This page is generated from `config/src/limits.rs` and the sources by `cargo xtask tidy --write`.

| limit | default | unit | meaning |
|---|---:|---|---|
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
    fs::write(&page, whole_page(root)?).with_context(|| format!("cannot write {}", page.display()))
}

/// Finds out whether the page is as it would be written.
///
/// # Errors
/// When a source cannot be read.
pub(super) fn check(root: &Path, problems: &mut Vec<Problem>) -> Result<()> {
    let wanted = whole_page(root)?;
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

fn whole_page(root: &Path) -> Result<String> {
    Ok(generate(Limits::TABLE) + &fixed_bounds::section(root)?)
}

fn generate(table: &[LimitRow]) -> String {
    let mut page = HEAD.to_owned();
    for row in table {
        let meaning = row.meaning.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{}` | {} | {} | {meaning} |", row.name, default(row), row.unit);
    }
    page
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
        assert!(
            generate(&[row(65_536, Unit::Bytes)]).ends_with("| `x_max` | 65,536 (64 KiB) | bytes | One \\| two. |\n")
        );
        assert_eq!(default(&row(300_000, Unit::Milliseconds)), "300,000 (5 min)");
        assert_eq!(default(&row(10, Unit::Milliseconds)), "10");
        assert_eq!(default(&row(1_024, Unit::Count)), "1,024");
    }
}
