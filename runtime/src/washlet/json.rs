//! The JSON form of proto3 messages, as the protobuf language guide defines it under "ProtoJSON": names in camelCase or
//! as in the schema, zero values left out, 64-bit integers as text. Unknown fields are collected, to be refused by name.
//! It knows no message of the protocol.

mod scalar;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

pub(super) use scalar::{Secret, Timestamp};

/// Unknown fields that one error names; the rest are counted.
pub(super) const UNKNOWN_SHOWN_MAX: usize = 8;
/// Longest piece of a peer's text in an error, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 80;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonError {
    #[error("{found} bytes, where a message may have {max} (control_bytes_max)")]
    TooLarge { found: usize, max: u64 },
    #[error("no JSON: {0}")]
    Syntax(String),
    #[error("{path}: found {found}, expected {expected}")]
    Value { path: String, found: String, expected: &'static str },
    #[error("{path} is written twice, as {camel} and as {snake}")]
    Twice { path: String, camel: String, snake: &'static str },
    #[error("unknown field {}{}; this host speaks wasmcloud.runtime.v2", fields.join(", "), more(*left_out))]
    Unknown { fields: Vec<String>, left_out: usize },
}

fn more(left_out: usize) -> String {
    if left_out == 0 { String::new() } else { format!(" and {left_out} more") }
}

/// A value of a message.
pub(super) trait Json: Default {
    /// Reads what is no null.
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError>;

    fn write(&self) -> Value;

    /// Whether it is left out of a message.
    fn is_zero(&self) -> bool;
}

/// Reads a message.
pub(super) fn decode<T: Json>(bytes: &[u8], bytes_max: u64) -> Result<T, JsonError> {
    if bytes.len() as u64 > bytes_max {
        return Err(JsonError::TooLarge { found: bytes.len(), max: bytes_max });
    }
    // Nesting is bounded there, at 128.
    let value: Value = serde_json::from_slice(bytes).map_err(|error| JsonError::Syntax(cut(&error.to_string())))?;
    let mut reader = Reader::default();
    let message = T::read(&value, &mut reader)?;
    match reader.unknown.is_empty() {
        true => Ok(message),
        false => Err(JsonError::Unknown { fields: reader.unknown, left_out: reader.unknown_left_out }),
    }
}

/// Writes a message.
pub(super) fn encode<T: Json>(message: &T) -> Vec<u8> {
    message.write().to_string().into_bytes()
}

/// Where the reading is, and what it met that nobody knows.
#[derive(Debug, Default)]
pub(super) struct Reader {
    path: String,
    unknown: Vec<String>,
    unknown_left_out: usize,
}

impl Reader {
    /// The error that `value` is not what is expected here.
    pub(super) fn refuse<T>(&self, value: &Value, expected: &'static str) -> Result<T, JsonError> {
        let path = if self.path.is_empty() { "the message".to_owned() } else { self.path.clone() };
        Err(JsonError::Value { path, found: describe(value), expected })
    }

    /// Reads a part under its name.
    fn part<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> Result<T, JsonError>) -> Result<T, JsonError> {
        let length = self.path.len();
        if !name.starts_with('[') && length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let result = read(self);
        self.path.truncate(length);
        result
    }

    fn unknown(&mut self, name: &str) {
        if self.unknown.len() == UNKNOWN_SHOWN_MAX {
            self.unknown_left_out += 1;
            return;
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        self.unknown.push(format!("{}{dot}{}", self.path, cut(name)));
    }
}

/// The fields of one message.
pub(super) struct Fields<'v> {
    object: &'v Map<String, Value>,
    known: usize,
    names: Vec<(String, &'static str)>,
}

impl<'v> Fields<'v> {
    pub(super) fn of(value: &'v Value, reader: &Reader) -> Result<Self, JsonError> {
        match value {
            Value::Object(object) => Ok(Self { object, known: 0, names: Vec::new() }),
            other => reader.refuse(other, "an object"),
        }
    }

    /// The field that the schema calls `name`; null is its zero.
    pub(super) fn take<T: Json>(&mut self, name: &'static str, reader: &mut Reader) -> Result<T, JsonError> {
        let camel = camel_case(name);
        let by_camel = self.object.get(&camel);
        let by_name = self.object.get(name).filter(|_| camel != name);
        self.known += usize::from(by_camel.is_some()) + usize::from(by_name.is_some());
        let value = match (by_camel, by_name) {
            (Some(_), Some(_)) => {
                let path = if reader.path.is_empty() { camel.clone() } else { format!("{}.{camel}", reader.path) };
                return Err(JsonError::Twice { path, camel, snake: name });
            }
            (one, other) => one.or(other),
        };
        let read = match value {
            None | Some(Value::Null) => Ok(T::default()),
            Some(value) => reader.part(&camel, |reader| T::read(value, reader)),
        };
        self.names.push((camel, name));
        read
    }

    /// Collects what no field was.
    pub(super) fn close(self, reader: &mut Reader) {
        if self.known == self.object.len() {
            return;
        }
        let known = |key: &str| self.names.iter().any(|(camel, name)| camel == key || *name == key);
        self.object.keys().filter(|key| !known(key)).for_each(|key| reader.unknown(key));
    }
}

/// `memory_limit_mb` as `memoryLimitMb`.
pub(super) fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if std::mem::take(&mut upper) => camel.push(c.to_ascii_uppercase()),
            c => camel.push(c),
        }
    }
    camel
}

impl<T: Json> Json for Option<T> {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        T::read(value, reader).map(Some)
    }

    fn write(&self) -> Value {
        self.as_ref().map_or(Value::Null, Json::write)
    }

    fn is_zero(&self) -> bool {
        self.is_none()
    }
}

impl<T: Json> Json for Vec<T> {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        let Value::Array(items) = value else { return reader.refuse(value, "a list") };
        let item = |(index, item): (usize, &Value)| reader.part(&format!("[{index}]"), |reader| T::read(item, reader));
        items.iter().enumerate().map(item).collect()
    }

    fn write(&self) -> Value {
        self.iter().map(Json::write).collect()
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl Json for BTreeMap<String, String> {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        let Value::Object(object) = value else { return reader.refuse(value, "an object of texts") };
        let pair = |(key, value): (&String, &Value)| {
            Ok((key.clone(), reader.part(&format!("[{:?}]", cut(key)), |reader| String::read(value, reader))?))
        };
        object.iter().map(pair).collect()
    }

    fn write(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

/// What a value is, for errors: never the whole of it.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", cut(text)),
        Value::Bool(_) | Value::Number(_) => cut(&value.to_string()),
    }
}

/// A peer's text in one line, not longer than an error may show.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A message of the protocol: its fields as the schema calls them, in the schema's order.
macro_rules! message {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub(super) struct $name {
            $($(#[$field_about])* pub(super) $field: $type,)*
        }

        impl $crate::washlet::json::Json for $name {
            fn read(
                value: &serde_json::Value,
                reader: &mut $crate::washlet::json::Reader,
            ) -> Result<Self, $crate::washlet::json::JsonError> {
                #[allow(unused_mut, reason = "a message may have no field")]
                let mut fields = $crate::washlet::json::Fields::of(value, reader)?;
                let message = Self { $($field: fields.take(stringify!($field), reader)?,)* };
                fields.close(reader);
                Ok(message)
            }

            fn write(&self) -> serde_json::Value {
                #[allow(unused_mut, reason = "a message may have no field")]
                let mut object = serde_json::Map::new();
                $(if !self.$field.is_zero() {
                    object.insert($crate::washlet::json::camel_case(stringify!($field)), self.$field.write());
                })*
                object.into()
            }

            /// What is in a list or was set is there, whatever is in it.
            fn is_zero(&self) -> bool {
                false
            }
        }
    };
}

/// An enumeration of the protocol: by name, or as its number.
macro_rules! enumeration {
    ($(#[$about:meta])* $name:ident, $expected:literal { $zero:ident = $zero_text:literal, $($variant:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub(super) enum $name {
            #[default]
            $zero,
            $($variant,)*
        }

        impl $name {
            /// In the order of their numbers, from 0.
            const ALL: &[(Self, &'static str)] = &[(Self::$zero, $zero_text), $((Self::$variant, $text),)*];
        }

        impl $crate::washlet::json::Json for $name {
            fn read(
                value: &serde_json::Value,
                reader: &mut $crate::washlet::json::Reader,
            ) -> Result<Self, $crate::washlet::json::JsonError> {
                let found = match value {
                    serde_json::Value::String(text) => Self::ALL.iter().find(|(_, name)| name == text),
                    other => {
                        let number = other.as_u64().and_then(|number| usize::try_from(number).ok());
                        number.and_then(|number| Self::ALL.get(number))
                    }
                };
                match found {
                    Some((found, _)) => Ok(*found),
                    None => reader.refuse(value, $expected),
                }
            }

            fn write(&self) -> serde_json::Value {
                let name = Self::ALL.iter().find(|(known, _)| known == self).map_or($zero_text, |(_, name)| *name);
                serde_json::Value::from(name)
            }

            fn is_zero(&self) -> bool {
                *self == Self::default()
            }
        }
    };
}

pub(super) use {enumeration, message};
