//! Lines of the access log as they wait: what an event says, copied and not yet written out, because whoever has sent a
//! response is to go on with the next request. It does not know where lines go.

use std::{fmt, fmt::Write as _, io, time::SystemTime};

use serde::{Serializer as _, ser::SerializeMap};
use serde_json::Serializer;
use time::{
    OffsetDateTime,
    format_description::well_known::{
        Iso8601,
        iso8601::{Config, EncodedConfig, TimePrecision},
    },
};
use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
};

/// RFC 3339 with microseconds, as the host's log has it.
const TIME: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(6) }).encode();

/// Lines in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    lines: Vec<Line>,
    /// Of all lines, one after the other.
    values: Vec<(&'static str, Value)>,
    /// Of all values, one after the other.
    text: String,
}

#[derive(Debug)]
struct Line {
    at: SystemTime,
    level: Level,
    target: &'static str,
    values: usize,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    /// The next so many bytes of the batch's text.
    Text(usize),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
}

impl Batch {
    /// Copies what an event says.
    pub(super) fn push(&mut self, event: &Event<'_>) {
        let before = self.values.len();
        event.record(self);
        let metadata: &'static Metadata<'static> = event.metadata();
        self.lines.push(Line {
            at: SystemTime::now(),
            level: *metadata.level(),
            target: metadata.target(),
            values: self.values.len() - before,
        });
    }

    /// Takes all lines of `other` behind its own.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.lines.append(&mut other.lines);
        self.values.append(&mut other.values);
        self.text.push_str(&other.text);
        other.text.clear();
    }

    /// The number of lines.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of memory that the lines take.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.values) + self.text.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Forgets the lines, and gives memory back above that of so many lines.
    pub(super) fn clear(&mut self, lines_kept: usize) {
        let of_a_line = |all: usize| all.checked_div(self.lines.len()).unwrap_or(0);
        let (values, text) = (of_a_line(self.values.len()) * lines_kept, of_a_line(self.text.len()) * lines_kept);
        self.lines.clear();
        self.lines.shrink_to(lines_kept);
        self.values.clear();
        self.values.shrink_to(values);
        self.text.clear();
        self.text.shrink_to(text);
    }

    /// Each line as a JSON object with its line feed, with the names that `--log-format json` has.
    pub(super) fn write_out(&self, mut take: impl FnMut(&[u8])) {
        let (mut values, mut text) = (self.values.iter(), self.text.as_str());
        let mut json = Vec::new();
        for line in &self.lines {
            json.clear();
            // Of text and numbers nothing fails that goes to memory.
            if line.write_out(&mut values, &mut text, &mut json).is_ok() {
                take(&json);
            }
        }
    }

    fn value(&mut self, field: &Field, value: Value) {
        self.values.push((field.name(), value));
    }
}

impl Line {
    fn write_out<'a>(
        &self,
        values: &mut impl Iterator<Item = &'a (&'static str, Value)>,
        text: &mut &str,
        json: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut serializer = Serializer::new(&mut *json);
        let mut object = serializer.serialize_map(None)?;
        let at = OffsetDateTime::from(self.at).format(&Iso8601::<TIME>).map_err(io::Error::other)?;
        object.serialize_entry("timestamp", &at)?;
        object.serialize_entry("level", self.level.as_str())?;
        object.serialize_entry("target", self.target)?;
        for (name, value) in values.take(self.values) {
            match value {
                Value::Text(length) => {
                    let (own, rest) = text.split_at_checked(*length).unwrap_or_default();
                    *text = rest;
                    object.serialize_entry(name, own)
                }
                Value::Unsigned(number) => object.serialize_entry(name, number),
                Value::Signed(number) => object.serialize_entry(name, number),
                Value::Float(number) => object.serialize_entry(name, number),
                Value::Bool(is) => object.serialize_entry(name, is),
            }?;
        }
        object.end()?;
        json.push(b'\n');
        Ok(())
    }
}

impl Visit for Batch {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text.push_str(value);
        self.value(field, Value::Text(value.len()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, Value::Bool(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let before = self.text.len();
        // A value that cannot say what it is has said so much.
        write!(self.text, "{value:?}").ok();
        self.value(field, Value::Text(self.text.len() - before));
    }
}
