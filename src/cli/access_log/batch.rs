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
    Event, Metadata,
    field::{Field, Visit},
};

/// RFC 3339 with microseconds, as the host's log has it.
const TIME: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZeroU8::new(6) }).encode();
/// Bytes of such a time.
const TIME_BYTES: usize = "2026-01-01T00:00:00.000000Z".len();

/// Lines in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Batch {
    lines: Vec<Line>,
    /// Of all lines, one after the other.
    values: Vec<Value>,
    /// Of all values, one after the other.
    text: String,
}

#[derive(Debug)]
struct Line {
    at: SystemTime,
    metadata: &'static Metadata<'static>,
    /// How many of the batch's values are its own, and how many bytes of the batch's text.
    values: usize,
    text: usize,
}

/// What one field says, in 16 bytes: each request makes some twenty of these.
#[derive(Debug, Clone, Copy)]
struct Value {
    /// Of those that the event's callsite has.
    field: u8,
    kind: Kind,
    /// As `kind` has it.
    bits: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The next so many bytes of the batch's text.
    Text,
    Unsigned,
    Signed,
    Float,
    Bool,
}

impl Batch {
    /// Copies what an event says.
    pub(super) fn push(&mut self, event: &Event<'_>) {
        let (values, text) = (self.values.len(), self.text.len());
        event.record(self);
        self.lines.push(Line {
            at: SystemTime::now(),
            metadata: event.metadata(),
            values: self.values.len() - values,
            text: self.text.len() - text,
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

    /// Adds each line to `json` as an object with its line feed, with the names that `--log-format json` has. `added` may
    /// take away what is there. Returns how many lines could not be written out.
    pub(super) fn write_out(&self, json: &mut Vec<u8>, mut added: impl FnMut(&mut Vec<u8>)) -> usize {
        let mut failed = 0;
        let (mut values, mut text) = (self.values.as_slice(), self.text.as_str());
        for line in &self.lines {
            let before = json.len();
            let (own_values, own_text);
            (own_values, values) = values.split_at_checked(line.values).unwrap_or_default();
            (own_text, text) = text.split_at_checked(line.text).unwrap_or_default();
            // Of text and numbers nothing fails that goes to memory, but for a time after the year 9999.
            if line.write_out(own_values, own_text, json).is_err() {
                json.truncate(before);
                failed += 1;
            }
            added(json);
        }
        failed
    }

    fn value(&mut self, field: &Field, kind: Kind, bits: u64) {
        // A callsite has at most 32 fields.
        let Ok(field) = u8::try_from(field.index()) else { return };
        self.values.push(Value { field, kind, bits });
    }
}

impl Line {
    fn write_out(&self, values: &[Value], mut text: &str, json: &mut Vec<u8>) -> io::Result<()> {
        let mut serializer = Serializer::new(&mut *json);
        let mut object = serializer.serialize_map(None)?;
        let mut at = [0; TIME_BYTES];
        OffsetDateTime::from(self.at).format_into(&mut &mut at[..], &Iso8601::<TIME>).map_err(io::Error::other)?;
        object.serialize_entry("timestamp", str::from_utf8(&at).map_err(io::Error::other)?)?;
        object.serialize_entry("level", self.metadata.level().as_str())?;
        object.serialize_entry("target", self.metadata.target())?;
        let mut names = self.metadata.fields().iter();
        for value in values {
            // Values come in the order of their fields, some of which have none.
            let Some(field) = names.find(|field| field.index() == usize::from(value.field)) else { break };
            let name = field.name();
            match value.kind {
                Kind::Text => {
                    let length = usize::try_from(value.bits).unwrap_or(usize::MAX);
                    let own;
                    (own, text) = text.split_at_checked(length).unwrap_or_default();
                    object.serialize_entry(name, own)
                }
                Kind::Unsigned => object.serialize_entry(name, &value.bits),
                Kind::Signed => object.serialize_entry(name, &value.bits.cast_signed()),
                Kind::Float => object.serialize_entry(name, &f64::from_bits(value.bits)),
                Kind::Bool => object.serialize_entry(name, &(value.bits != 0)),
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
        self.value(field, Kind::Text, value.len() as u64);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, Kind::Unsigned, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, Kind::Signed, value.cast_unsigned());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, Kind::Float, value.to_bits());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, Kind::Bool, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let before = self.text.len();
        // A value that cannot say what it is has said so much.
        write!(self.text, "{value:?}").ok();
        self.value(field, Kind::Text, (self.text.len() - before) as u64);
    }
}
