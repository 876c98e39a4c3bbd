//! How commands print what a host tells: tables, ages, YAML, colours on a terminal. Texts of manifests and components are
//! escaped here, on their way to a terminal.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::SystemTime,
};

use roadstead_runtime::LogText;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::asking::AskError;

/// Bytes of one text in a line.
const TEXT_BYTES_MAX: usize = 4_096;

/// The text at a path of fields, such as `trigger/host`, or the value itself; "-" where there is none. Control characters are escaped.
pub(super) fn text(value: &Value, path: &str) -> String {
    let found = if path.is_empty() { Some(value) } else { value.pointer(&format!("/{path}")) };
    match found {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => clean(text),
        Some(other) => clean(&other.to_string()),
    }
}

/// The list at a path of fields.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(&format!("/{path}")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text as a terminal may have it.
pub(super) fn clean(text: &str) -> String {
    LogText::new(text, TEXT_BYTES_MAX).to_string()
}

/// How long ago a time of the host's was: `12s`, `5m`, `3h`, `2d`.
pub(super) fn age(value: &Value, path: &str) -> String {
    let at = value.pointer(&format!("/{path}")).and_then(Value::as_str);
    let at = at.and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok()).map(SystemTime::from);
    at.map_or_else(|| "-".into(), |at| duration(at.elapsed().unwrap_or_default().as_secs()))
}

/// A duration in its largest unit.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A table with a head; columns are as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>], indent: &str) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|name| name.len())).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut written = indent.to_owned();
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(written, "{cell:<width$}  ");
        }
        text += written.trim_end();
        text.push('\n');
    };
    line(&mut head.iter().copied());
    rows.iter().for_each(|row| line(&mut row.iter().map(String::as_str)));
    text
}

/// The same with `True` and `False` in colours, where a person looks at it.
pub(super) fn coloured(text: &str) -> String {
    if !io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return text.to_owned();
    }
    [("True ", "32"), ("False ", "31"), ("Unknown ", "33"), ("Warning ", "33")]
        .into_iter()
        .fold(text.to_owned(), |text, (word, colour)| text.replace(word, &format!("\u{1b}[{colour}m{word}\u{1b}[0m")))
}

/// Writes to the standard output.
pub(super) fn print(text: &str) -> Result<(), AskError> {
    let mut output = io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(AskError::Write)
}

/// JSON as YAML: what YAML would read otherwise is in double quotes, as JSON writes it.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write_yaml(&mut text, value, 0, false);
    text
}

/// Nested to the depth of what a host tells, which is small.
fn write_yaml(text: &mut String, value: &Value, depth: usize, in_line: bool) {
    let indent = "  ".repeat(depth);
    let mut first = in_line;
    let mut lead = |text: &mut String| {
        if !std::mem::take(&mut first) {
            text.push_str(&indent);
        }
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                lead(text);
                let _ = write!(text, "{}:", scalar(&Value::String(name.clone())));
                nested(text, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                lead(text);
                text.push('-');
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        text.push(' ');
                        write_yaml(text, item, depth + 1, true);
                    }
                    item => nested(text, item, depth),
                }
            }
        }
        value => {
            let _ = writeln!(text, "{}", scalar(value));
        }
    }
}

fn nested(text: &mut String, value: &Value, depth: usize) {
    let is_block = value.as_object().is_some_and(|fields| !fields.is_empty())
        || value.as_array().is_some_and(|items| !items.is_empty());
    if is_block {
        text.push('\n');
        write_yaml(text, value, depth + 1, false);
    } else {
        let _ = writeln!(text, " {}", scalar(value));
    }
}

fn scalar(value: &Value) -> String {
    const READ_OTHERWISE: [&str; 8] = ["true", "false", "null", "yes", "no", "on", "off", "y"];
    match value {
        Value::String(word) => {
            let plain = word.starts_with(|c: char| c.is_ascii_alphabetic())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
                && !READ_OTHERWISE.contains(&word.to_ascii_lowercase().as_str())
                && word.len() > 1;
            if plain { word.clone() } else { value.to_string() }
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal_and_texts_end() {
        let value = json!({ "a": { "b": "x\u{1b}[2Jy\nz" }, "long": "x".repeat(TEXT_BYTES_MAX + 5) });
        assert_eq!(text(&value, "a/b"), "x\\u{1b}[2Jy\\nz");
        assert!(text(&value, "long").ends_with("... (5 bytes more)"));
        assert_eq!(text(&value, "a/c"), "-");
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), "c".to_owned()]];
        assert_eq!(table(&["NAME", "X"], &rows, " "), " NAME    X\n a       b\n longer  c\n");
    }

    #[test]
    fn yaml_is_what_a_reader_of_yaml_expects() {
        let value = json!({
            "items": [{ "name": "one", "paths": ["/", "no"], "ready": true, "none": [], "count": 3 }],
            "text": "a: b\n"
        });
        let expected = "items:\n  - count: 3\n    name: one\n    none: []\n    paths:\n      - \"/\"\n      - \"no\"\n    \
                        ready: true\ntext: \"a: b\\n\"\n";
        assert_eq!(yaml(&value), expected);
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, shown) in [(5, "5s"), (119, "119s"), (120, "2m"), (7_300, "2h"), (200_000, "2d")] {
            assert_eq!(duration(seconds), shown);
        }
        assert_eq!(age(&json!({ "at": "no time" }), "at"), "-");
    }
}
