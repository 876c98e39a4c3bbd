//! What spans, log records and metrics have in common: attributes, ids, moments, scopes.

use base64::{Engine, engine::general_purpose::STANDARD};
use roadstead_telemetry::proto::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use serde_json::Value as Json;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;

use super::wit::types as guest;

/// How bytes are marked among the texts of attributes.
const BYTES_PREFIX: &str = "{base64}:";

/// An attribute with a text.
pub(super) fn text_attribute(key: &str, value: &str) -> KeyValue {
    attribute(key.to_owned(), Value::StringValue(value.to_owned()))
}

pub(super) fn attributes(said: Vec<guest::KeyValue>) -> Vec<KeyValue> {
    said.into_iter().map(|said| attribute(said.key, value(said.value))).collect()
}

fn attribute(key: String, value: Value) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// A value that a guest gave, as JSON. What is no JSON is taken for the text that it is.
pub(super) fn any_value(text: String) -> AnyValue {
    AnyValue { value: Some(value(text)) }
}

fn value(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(Json::Null) => Value::StringValue(String::new()),
        Ok(json) => of_json(json),
        Err(_) => Value::StringValue(text),
    }
}

/// The reader of JSON bounds how deep values are in each other.
fn of_json(json: Json) -> Value {
    let any = |json| AnyValue { value: Some(of_json(json)) };
    match json {
        Json::Null => Value::StringValue(String::new()),
        Json::Bool(value) => Value::BoolValue(value),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::IntValue(whole),
            None => Value::DoubleValue(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => match text.strip_prefix(BYTES_PREFIX).and_then(|bytes| STANDARD.decode(bytes).ok()) {
            Some(bytes) => Value::BytesValue(bytes),
            None => Value::StringValue(text),
        },
        Json::Array(values) => Value::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() }),
        Json::Object(fields) => {
            let values = fields.into_iter().map(|(key, value)| attribute(key, of_json(value))).collect();
            Value::KvlistValue(KeyValueList { values })
        }
    }
}

pub(super) fn scope(said: guest::InstrumentationScope) -> (InstrumentationScope, String) {
    let scope = InstrumentationScope {
        name: said.name,
        version: said.version.unwrap_or_default(),
        attributes: attributes(said.attributes),
        dropped_attributes_count: 0,
    };
    (scope, said.schema_url.unwrap_or_default())
}

/// The bytes of a trace's id (16) or a span's (8); `None` for what is none, and for the one of zeros.
pub(super) fn id<const N: usize>(text: &str) -> Option<Vec<u8>> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    bytes.iter().any(|byte| *byte != 0).then(|| bytes.to_vec())
}

/// Nanoseconds since 1970; the latest there is for what lies beyond.
pub(super) fn nanoseconds(moment: Datetime) -> u64 {
    moment.seconds.saturating_mul(1_000_000_000).saturating_add(moment.nanoseconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_or_text() {
        let of = |text: &str| value(text.to_owned());
        assert_eq!(of("5"), Value::IntValue(5));
        assert_eq!(of("5.5"), Value::DoubleValue(5.5));
        assert_eq!(of("true"), Value::BoolValue(true));
        assert_eq!(of("\"a\""), Value::StringValue("a".into()));
        assert_eq!(of("a b"), Value::StringValue("a b".into()));
        assert_eq!(of("\"{base64}:AQI=\""), Value::BytesValue(vec![1, 2]));
        assert_eq!(of("\"{base64}:?\""), Value::StringValue("{base64}:?".into()));
        let Value::ArrayValue(list) = of("[1,\"x\"]") else { panic!() };
        assert_eq!(list.values.len(), 2);
        let deep = "[".repeat(100_000);
        assert_eq!(of(&deep), Value::StringValue(deep));
    }

    #[test]
    fn ids_are_hexadecimal_and_not_zero() {
        assert_eq!(id::<8>("00000000000000ff"), Some(vec![0, 0, 0, 0, 0, 0, 0, 255]));
        for bad in
            ["", "0", "0000000000000000", "00000000000000fg", "+0000000000000f", "äääääääää", "00000000000000ff00"]
        {
            assert_eq!(id::<8>(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_end_where_numbers_do() {
        assert_eq!(nanoseconds(Datetime { seconds: 2, nanoseconds: 5 }), 2_000_000_005);
        assert_eq!(nanoseconds(Datetime { seconds: u64::MAX, nanoseconds: u32::MAX }), u64::MAX);
    }
}
