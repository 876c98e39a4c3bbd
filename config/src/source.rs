//! From the bytes of a file to trees of nodes: YAML 1.2 with several documents, and JSON, which is YAML in flow style.
//!
//! Knows nothing of manifests. The parser is given no recursion and every tree is bounded in bytes, nodes and depth,
//! aliases resolved.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::{
    Limits,
    diagnostic::{Diagnostic, Mark, Spot, bare, quote},
    node::{Entry, Key, Node, NodeKind, Schema},
    source::offsets::Offsets,
};

mod offsets;

/// Deepest tree whatever the limits say: trees are dropped recursively.
const DEPTH_MAX: u64 = 256;
/// Characters of punctuation for each node that a file may have. The parser reads a whole flow collection ahead, so
/// that counting nodes alone would come too late.
const PUNCTUATION_PER_NODE: u64 = 8;
/// Problems of one file that are kept.
const PROBLEMS_MAX: usize = 1_000;

/// A manifest file as it was read from wherever it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What messages call the file, and what relative images are relative to.
    pub name: Arc<str>,
    pub bytes: Vec<u8>,
}

/// What a file holds: the documents that could be read, and what is wrong with the others.
pub(crate) struct Reading {
    /// Empty documents are left out.
    pub(crate) documents: Vec<Node>,
    pub(crate) problems: Vec<Diagnostic>,
}

/// Reads a file.
pub(crate) fn read(file: &SourceFile, limits: &Limits) -> Reading {
    let text = match checked_text(file, limits) {
        Ok(text) => text,
        Err(problem) => return Reading { documents: Vec::new(), problems: vec![*problem] },
    };
    let mut loader = Loader {
        file: file.name.clone(),
        offsets: Offsets::of(text),
        depth_max: limits.manifest_depth_max.min(DEPTH_MAX),
        nodes_max: limits.manifest_nodes_max,
        bytes_max: limits.manifest_bytes_max,
        nodes: 0,
        bytes: 0,
        frames: Vec::new(),
        anchors: HashMap::new(),
        reading: Reading { documents: Vec::new(), problems: Vec::new() },
    };
    if let Err(problem) = loader.load(Parser::new_from_str(text)) {
        loader.reading.problems.push(*problem);
    }
    loader.reading
}

/// The file as text, once it is known to be UTF-8 of a bounded size that the parser takes.
fn checked_text<'f>(file: &'f SourceFile, limits: &Limits) -> Result<&'f str, Box<Diagnostic>> {
    let problem = |mark: Mark, found: String, expected: String| {
        Diagnostic::new(&Spot { file: file.name.clone(), mark }, "", found, expected)
    };
    let start = Mark { line: 1, column: 1, span: 0..0 };
    if file.bytes.len() as u64 > limits.manifest_bytes_max {
        let expected = format!("at most {} (manifest_bytes_max)", limits.manifest_bytes_max);
        return Err(Box::new(problem(start, format!("{} bytes", file.bytes.len()), expected)));
    }
    let text = match std::str::from_utf8(&file.bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = file.bytes.get(..error.valid_up_to()).unwrap_or_default();
            let mark = end_of(std::str::from_utf8(valid).unwrap_or_default());
            let problem = problem(mark, "bytes that are not UTF-8".to_owned(), "text in UTF-8".to_owned());
            return Err(Box::new(problem.help(Some("save the file as UTF-8".to_owned()))));
        }
    };
    if let Some((before, _)) = text.split_once('\0') {
        let found = "a NUL character".to_owned();
        return Err(Box::new(problem(end_of(before), found, "text without control characters".to_owned())));
    }
    let punctuation = text.bytes().filter(|b| b",[]{}:?\"'&*!".contains(b)).count() as u64;
    if punctuation > limits.manifest_nodes_max.saturating_mul(PUNCTUATION_PER_NODE) {
        let found = format!("{punctuation} characters of punctuation");
        let expected = format!(
            "no more than {} nodes have (manifest_nodes_max), {PUNCTUATION_PER_NODE} each",
            limits.manifest_nodes_max
        );
        return Err(Box::new(problem(start, found, expected)));
    }
    Ok(text)
}

/// The place right after `text`.
fn end_of(text: &str) -> Mark {
    let line_start = text.rfind('\n').map_or(0, |at| at + 1);
    Mark {
        line: text.matches('\n').count() + 1,
        column: text.get(line_start..).unwrap_or_default().chars().count() + 1,
        span: text.len()..text.len(),
    }
}

/// A collection that has begun and not ended.
struct Frame {
    mark: Mark,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Mapping { entries: Vec<Entry>, known: HashMap<String, Mark>, key: Option<PendingKey> },
}

/// A key whose value comes next.
struct PendingKey {
    key: Key,
    duplicate: bool,
}

struct Loader<'t> {
    file: Arc<str>,
    offsets: Offsets<'t>,
    depth_max: u64,
    nodes_max: u64,
    bytes_max: u64,
    /// Nodes so far, aliases resolved.
    nodes: u64,
    /// Bytes of text so far, aliases resolved.
    bytes: u64,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    reading: Reading,
}

/// A problem after which nothing more of the file can be read.
type Fatal = Box<Diagnostic>;

impl Loader<'_> {
    fn load(&mut self, parser: Parser<'_, StrInput<'_>>) -> Result<(), Fatal> {
        for event in parser {
            let (event, span) = event.map_err(|error| self.syntax(&error))?;
            let mark = self.mark(span);
            match event {
                Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), mark)?,
                Event::SequenceStart(anchor, tag) => {
                    self.check_tag(tag.as_deref(), "seq", &mark);
                    self.open(Frame { mark, anchor, content: Content::List(Vec::new()) })?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.check_tag(tag.as_deref(), "map", &mark);
                    let content = Content::Mapping { entries: Vec::new(), known: HashMap::new(), key: None };
                    self.open(Frame { mark, anchor, content })?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(anchor) => self.alias(anchor, &mark)?,
                Event::DocumentEnd => self.anchors.clear(),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {}
            }
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        mark: Mark,
    ) -> Result<(), Fatal> {
        self.spend(1, text.len() as u64, &mark)?;
        let schema = match tag {
            _ if self.awaits_key() => Schema::Text,
            None if style == ScalarStyle::Plain => Schema::of_plain(text),
            None => Schema::Text,
            Some(tag) => self.tagged(tag, text, &mark),
        };
        let kind = Rc::new(NodeKind::Scalar { text: text.to_owned(), schema });
        self.add(Node { mark, kind }, anchor)
    }

    /// The type that a tag gives to a scalar. A tag that is no scalar type is a problem, and the scalar is text.
    fn tagged(&mut self, tag: &Tag, text: &str, mark: &Mark) -> Schema {
        let plain = Schema::of_plain(text);
        if tag.handle.is_empty() && tag.suffix == "!" {
            return Schema::Text;
        }
        match tag.suffix.as_str() {
            _ if !tag.is_yaml_core_schema() => {}
            "str" => return Schema::Text,
            "int" if plain == Schema::Integer => return plain,
            "float" if matches!(plain, Schema::Integer | Schema::Float) => return Schema::Float,
            "bool" if plain == Schema::Boolean => return plain,
            "null" if plain == Schema::Null => return plain,
            "int" | "float" | "bool" | "null" => {
                let found = format!("{} under the tag !!{}", quote(text), tag.suffix);
                self.problem(mark, found, "a value of the tag's type");
                return Schema::Text;
            }
            _ => {}
        }
        self.report_tag(tag, mark);
        Schema::Text
    }

    fn check_tag(&mut self, tag: Option<&Tag>, collection: &str, mark: &Mark) {
        match tag {
            None => {}
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == collection => {}
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => {}
            Some(tag) => self.report_tag(tag, mark),
        }
    }

    fn report_tag(&mut self, tag: &Tag, mark: &Mark) {
        let written = match tag.handle.as_str() {
            "tag:yaml.org,2002:" => format!("!!{}", tag.suffix),
            handle => format!("{handle}{}", tag.suffix),
        };
        self.problem(mark, format!("the tag {}", quote(&written)), "no tag; manifests have none but YAML's own");
    }

    fn open(&mut self, frame: Frame) -> Result<(), Fatal> {
        self.spend(1, 0, &frame.mark)?;
        if self.awaits_key() {
            return Err(self.no_key(&frame.mark));
        }
        if self.frames.len() as u64 >= self.depth_max {
            return Err(self.too_deep(&frame.mark));
        }
        self.frames.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fatal> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let kind = match frame.content {
            Content::List(items) => NodeKind::List(items),
            Content::Mapping { entries, .. } => NodeKind::Mapping(entries),
        };
        self.add(Node { mark: frame.mark, kind: Rc::new(kind) }, frame.anchor)
    }

    fn alias(&mut self, anchor: usize, mark: &Mark) -> Result<(), Fatal> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let found = "an alias of a value that is not complete, or of another document".to_owned();
            return Err(self.fatal(mark, found, "an anchor that is written before, in the same document".to_owned()));
        };
        let (nodes, bytes) = node.weight();
        self.spend(nodes, bytes, mark)?;
        self.add(node, 0)
    }

    /// Counts what a node costs. Aliases cost what they stand for.
    fn spend(&mut self, nodes: u64, bytes: u64, mark: &Mark) -> Result<(), Fatal> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > self.nodes_max {
            let expected = format!("at most {} nodes (manifest_nodes_max)", self.nodes_max);
            return Err(self.fatal(mark, "more nodes, aliases resolved".to_owned(), expected));
        }
        // A few escapes stand for more bytes than they are written with.
        if self.bytes > self.bytes_max.saturating_mul(2) {
            let expected = format!("at most {} (manifest_bytes_max, twice)", self.bytes_max.saturating_mul(2));
            return Err(self.fatal(mark, "more bytes of text, aliases resolved".to_owned(), expected));
        }
        Ok(())
    }

    /// Puts a complete node where it belongs: a key, a value, an item, or a whole document.
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fatal> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        if self.awaits_key() {
            return self.key(&node);
        }
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            Some(Content::List(items)) => items.push(node),
            Some(Content::Mapping { entries, key, .. }) => {
                if let Some(PendingKey { key, duplicate: false }) = key.take() {
                    entries.push(Entry { key, value: node });
                }
            }
            None if node.is_null() => {}
            None => self.reading.documents.push(node),
        }
        Ok(())
    }

    fn key(&mut self, node: &Node) -> Result<(), Fatal> {
        let NodeKind::Scalar { text, .. } = &*node.kind else { return Err(self.no_key(&node.mark)) };
        let key = Key { mark: node.mark.clone(), text: text.clone() };
        let Some(Frame { content: Content::Mapping { known, key: pending, .. }, .. }) = self.frames.last_mut() else {
            return Ok(());
        };
        let first = known.get(text).cloned();
        known.entry(text.clone()).or_insert_with(|| key.mark.clone());
        *pending = Some(PendingKey { key, duplicate: first.is_some() });
        if let Some(first) = first {
            let path = self.path();
            let problem =
                Diagnostic::new(&self.spot(&node.mark), &path, "the same field again", "every field once in a mapping");
            self.push(problem.related(&self.spot(&first), "first written here"));
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        let content = self.frames.last().map(|frame| &frame.content);
        matches!(content, Some(Content::Mapping { key: None, .. }))
    }

    /// Path of the value that is being read.
    fn path(&self) -> String {
        self.frames.iter().fold(String::new(), |path, frame| match &frame.content {
            Content::List(items) => crate::decode::item_path(&path, items.len()),
            Content::Mapping { key: Some(pending), .. } => crate::decode::field_path(&path, &pending.key.text),
            Content::Mapping { key: None, .. } => path,
        })
    }

    fn no_key(&self, mark: &Mark) -> Fatal {
        let help = "put text that begins with '{' or '[' in quotes".to_owned();
        let problem =
            self.fatal(mark, "a list or mapping as the name of a field".to_owned(), "the field's name".to_owned());
        Box::new(problem.help(Some(help)))
    }

    fn too_deep(&self, mark: &Mark) -> Fatal {
        let expected = format!("at most {} levels (manifest_depth_max)", self.depth_max);
        self.fatal(mark, "deeper nesting".to_owned(), expected)
    }

    fn syntax(&self, error: &ScanError) -> Fatal {
        let mark = self.mark(Span::empty(*error.marker()));
        // The parser has a bound of its own for flow style, which it meets before it gives the first event.
        if error.info() == "recursion limit exceeded" {
            return self.too_deep(&mark);
        }
        let help = match error.info() {
            info if info.contains("tab") => Some("indent with spaces"),
            info if info.contains("mapping values are not allowed") => Some("put text that has ': ' in it in quotes"),
            info if info.contains("unexpected character") => Some("put the text in quotes"),
            _ => None,
        };
        let found = format!("a syntax error ({})", bare(error.info()));
        let problem = self.fatal(&mark, found, "YAML or JSON".to_owned());
        Box::new(problem.help(help.map(str::to_owned)))
    }

    fn fatal(&self, mark: &Mark, found: String, expected: String) -> Fatal {
        Box::new(Diagnostic::new(&self.spot(mark), "", found, expected))
    }

    fn problem(&mut self, mark: &Mark, found: String, expected: &str) {
        let problem = Diagnostic::new(&self.spot(mark), &self.path(), found, expected);
        self.push(problem);
    }

    fn push(&mut self, problem: Diagnostic) {
        if self.reading.problems.len() < PROBLEMS_MAX {
            self.reading.problems.push(problem);
        }
    }

    fn spot(&self, mark: &Mark) -> Spot {
        Spot { file: self.file.clone(), mark: mark.clone() }
    }

    fn mark(&self, span: Span) -> Mark {
        let offset = |marker: Marker| self.offsets.byte(marker.index());
        let start = offset(span.start);
        Mark { line: span.start.line(), column: span.start.col() + 1, span: start..offset(span.end).max(start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: String) -> Reading {
        let mut limits = Limits::default();
        limits.set("manifest_depth_max", u64::MAX).unwrap();
        read(&SourceFile { name: "app.yaml".into(), bytes: text.into_bytes() }, &limits)
    }

    #[test]
    fn no_limit_makes_a_tree_too_deep_to_be_dropped() {
        let nested = |depth: u64| read_text((0..depth).map(|_| "- ").collect::<String>() + "x").problems.len();
        assert_eq!((nested(DEPTH_MAX), nested(DEPTH_MAX + 1)), (0, 1));
    }

    #[test]
    fn so_many_problems_are_kept() {
        assert_eq!(read_text("- !strange x\n".repeat(PROBLEMS_MAX + 100)).problems.len(), PROBLEMS_MAX);
    }
}
