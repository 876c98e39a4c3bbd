//! The tree that a document is read into: values with their places, and no meaning yet.

use std::rc::Rc;

use crate::diagnostic::{Mark, bare, quote};

/// A value of a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// From the value's first character on. Empty for a collection in block style, which has no opening bracket.
    pub(crate) mark: Mark,
    /// Shared between an anchor and its aliases.
    pub(crate) kind: Rc<NodeKind>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeKind {
    Scalar { text: String, schema: Schema },
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Node,
}

/// The name of a field, whatever its scalar was written as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

/// The types of the YAML 1.2 core schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    Null,
    Boolean,
    Integer,
    Float,
    Text,
}

impl Node {
    /// Whether nothing is written here.
    pub(crate) fn is_null(&self) -> bool {
        matches!(*self.kind, NodeKind::Scalar { schema: Schema::Null, .. })
    }

    /// The scalar, if it is text.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &*self.kind {
            NodeKind::Scalar { text, schema: Schema::Text } => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none of anything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &*self.kind {
            NodeKind::List(items) => items,
            _ => &[],
        }
    }

    /// The fields of a mapping; none of anything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &*self.kind {
            NodeKind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// A field of a mapping, `None` where it is absent or null.
    pub(crate) fn field(&self, name: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.text == name && !entry.value.is_null())
    }

    /// The stretch to point at: the opening bracket or the scalar, the first key or item of a block collection.
    pub(crate) fn head(&self) -> &Mark {
        if !self.mark.span.is_empty() {
            return &self.mark;
        }
        match &*self.kind {
            NodeKind::Scalar { .. } => &self.mark,
            NodeKind::List(items) => items.first().map_or(&self.mark, |item| match *item.kind {
                NodeKind::Scalar { .. } => &item.mark,
                _ => &self.mark,
            }),
            NodeKind::Mapping(entries) => entries.first().map_or(&self.mark, |entry| &entry.key.mark),
        }
    }

    /// What this is, as a message says it.
    pub(crate) fn describe(&self) -> String {
        match &*self.kind {
            NodeKind::Scalar { schema: Schema::Null, .. } => "nothing".to_owned(),
            NodeKind::Scalar { text, schema: Schema::Text } => quote(text),
            NodeKind::Scalar { text, schema: Schema::Boolean } => format!("the boolean {text}"),
            NodeKind::Scalar { text, .. } => format!("the number {}", bare(text)),
            NodeKind::List(_) => "a list".to_owned(),
            NodeKind::Mapping(_) => "a mapping".to_owned(),
        }
    }

    /// Nodes of the tree, this one among them, and bytes of their text. The tree is as deep as its reader allowed.
    pub(crate) fn weight(&self) -> (u64, u64) {
        let own = match &*self.kind {
            NodeKind::Scalar { text, .. } => text.len() as u64,
            NodeKind::List(_) | NodeKind::Mapping(_) => 0,
        };
        let items = self.items().iter().map(Self::weight);
        let fields = self.entries().iter().map(|entry| {
            let (nodes, bytes) = entry.value.weight();
            (nodes + 1, bytes + entry.key.text.len() as u64)
        });
        items.chain(fields).fold((1, own), |(n, b), (nodes, bytes)| (n + nodes, b + bytes))
    }
}

impl Schema {
    /// The type of a plain scalar (YAML 1.2.2, section 10.3.2).
    pub(crate) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Self::Boolean,
            _ if is_integer(text) => Self::Integer,
            _ if is_float(text) => Self::Float,
            _ => Self::Text,
        }
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, allowed: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| allowed(&b));
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |b| (b'0'..=b'7').contains(b));
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return all(hexadecimal, u8::is_ascii_hexdigit);
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), u8::is_ascii_digit)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // The core schema's floats are those of Rust, less the words (`inf`, `nan`) and a second sign.
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let table = [
            ("", Schema::Null),
            ("~", Schema::Null),
            ("true", Schema::Boolean),
            ("yes", Schema::Text),
            ("0", Schema::Integer),
            ("-12", Schema::Integer),
            ("0x1F", Schema::Integer),
            ("0o17", Schema::Integer),
            ("0x", Schema::Text),
            ("0.2", Schema::Float),
            (".5", Schema::Float),
            ("1.", Schema::Float),
            ("1e3", Schema::Float),
            ("-.inf", Schema::Float),
            (".nan", Schema::Float),
            ("inf", Schema::Text),
            ("-.nan", Schema::Text),
            ("+-1.0", Schema::Text),
            ("--1", Schema::Text),
            ("1.2.3", Schema::Text),
            ("300s", Schema::Text),
            ("0.1.0-draft", Schema::Text),
            ("e", Schema::Text),
            (".", Schema::Text),
        ];
        for (text, schema) in table {
            assert_eq!(Schema::of_plain(text), schema, "{text}");
        }
    }
}
