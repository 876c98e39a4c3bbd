//! Figures of several rounds and how a person reads them. It does not know what was measured.

use std::fmt::Write as _;

/// The middle value, or the mean of the two middle ones; not a number for no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half), half.checked_sub(1).and_then(|below| sorted.get(below))) {
        (1, Some(middle), _) => *middle,
        (_, Some(above), Some(below)) => (above + below) / 2.0,
        _ => f64::NAN,
    }
}

/// The smallest value; not a number for no values.
pub(crate) fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::min)
}

/// The largest value; not a number for no values.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NAN, f64::max)
}

/// A number with three significant digits or more and thousands apart: `12,345`, `123`, `12.3`, `1.23`.
pub(crate) fn shown(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    if !value.is_finite() {
        return "-".into();
    }
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if left % 3 == 0 && index > 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(rest) = rest {
        text.push('.');
        text.push_str(rest);
    }
    text
}

/// A Markdown table. Columns after the first are numbers where `numbers_from` says so.
pub(crate) fn table(heads: &[&str], numbers_from: usize, rows: &[Vec<String>]) -> String {
    let rule = (0..heads.len()).map(|index| if index < numbers_from { "---" } else { "---:" });
    let mut text = format!("| {} |\n|{}|\n", heads.join(" | "), rule.collect::<Vec<_>>().join("|"));
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
        assert_eq!(largest(&[1.0, 9.0, 3.0]), 9.0);
    }

    #[test]
    fn numbers_are_short_to_read() {
        let table =
            [(27_992.93, "27,993"), (1_234_567.0, "1,234,567"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23")];
        for (value, text) in table {
            assert_eq!(shown(value), text);
        }
        assert_eq!(shown(f64::NAN), "-");
        assert_eq!(shown(-123_456.0), "-123,456");
    }

    #[test]
    fn a_table_is_markdown() {
        assert_eq!(table(&["a", "b"], 1, &[vec!["x".into(), "1".into()]]), "| a | b |\n|---|---:|\n| x | 1 |\n");
    }
}
