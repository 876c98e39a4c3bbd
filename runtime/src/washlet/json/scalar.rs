//! The JSON forms of proto3's scalars and of its timestamp. Integers are read from numbers and from text.

use std::fmt;

use serde_json::Value;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::{Json, JsonError, Reader};

impl Json for String {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        match value {
            Value::String(text) => Ok(text.clone()),
            other => reader.refuse(other, "text"),
        }
    }

    fn write(&self) -> Value {
        Value::from(self.as_str())
    }

    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl Json for bool {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        match value {
            Value::Bool(value) => Ok(*value),
            other => reader.refuse(other, "true or false"),
        }
    }

    fn write(&self) -> Value {
        Value::from(*self)
    }

    fn is_zero(&self) -> bool {
        !self
    }
}

/// A whole number as JSON may write it: 5, "5", 5.0, 5e0.
fn whole(value: &Value) -> Option<i128> {
    /// Beyond it a float does not tell whole numbers apart.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let of_float = |float: f64| {
        let exact = float.fract() == 0.0 && float.abs() <= EXACT;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
        exact.then_some(float as i128)
    };
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Some(number.into()),
            (None, Some(number)) => Some(number.into()),
            (None, None) => of_float(number.as_f64()?),
        },
        Value::String(text) if text.trim() == text => {
            text.parse().ok().or_else(|| text.parse().ok().and_then(of_float))
        }
        _ => None,
    }
}

macro_rules! integer {
    ($type:ty, $expected:literal, |$value:ident| $write:expr) => {
        impl Json for $type {
            fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
                match whole(value).and_then(|number| Self::try_from(number).ok()) {
                    Some(number) => Ok(number),
                    None => reader.refuse(value, $expected),
                }
            }

            fn write(&self) -> Value {
                let $value = *self;
                $write
            }

            fn is_zero(&self) -> bool {
                *self == 0
            }
        }
    };
}

integer!(i32, "a whole number from -2147483648 to 2147483647", |value| Value::from(value));
integer!(u32, "a whole number from 0 to 4294967295", |value| Value::from(value));
integer!(u64, "a whole number from 0 to 18446744073709551615", |value| Value::from(value.to_string()));

impl Json for f32 {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        let number = match value {
            #[expect(clippy::cast_possible_truncation, reason = "the message has no more digits")]
            Value::Number(number) => number.as_f64().map(|number| number as f32).filter(|number| number.is_finite()),
            Value::String(text) => match text.as_str() {
                "NaN" => Some(Self::NAN),
                "Infinity" => Some(Self::INFINITY),
                "-Infinity" => Some(Self::NEG_INFINITY),
                text => text.parse().ok().filter(|number: &Self| number.is_finite()),
            },
            _ => None,
        };
        number.map_or_else(|| reader.refuse(value, "a number"), Ok)
    }

    fn write(&self) -> Value {
        match *self {
            number if number.is_nan() => Value::from("NaN"),
            number if number.is_infinite() => Value::from(if number > 0.0 { "Infinity" } else { "-Infinity" }),
            // With the digits that tell it from other numbers of its own size.
            number => number.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        }
    }

    fn is_zero(&self) -> bool {
        *self == 0.0
    }
}

/// Text that is not shown, by no `Debug` and in no error.
#[derive(Clone, PartialEq, Eq, Default)]
pub(in crate::washlet) struct Secret(pub(in crate::washlet) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Json for Secret {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        match value {
            Value::String(text) => Ok(Self(text.clone())),
            _ => reader.refuse(&Value::from("something else"), "text"),
        }
    }

    fn write(&self) -> Value {
        self.0.write()
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
}

/// `google.protobuf.Timestamp`: a moment, as RFC 3339 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::washlet) struct Timestamp(OffsetDateTime);

impl Timestamp {
    pub(in crate::washlet) fn now() -> Self {
        Self(OffsetDateTime::now_utc())
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self(OffsetDateTime::UNIX_EPOCH)
    }
}

impl Json for Timestamp {
    fn read(value: &Value, reader: &mut Reader) -> Result<Self, JsonError> {
        let moment = value.as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        match moment {
            Some(moment) => Ok(Self(moment.to_offset(UtcOffset::UTC))),
            None => reader.refuse(value, "a moment such as 2026-01-31T23:59:59Z"),
        }
    }

    fn write(&self) -> Value {
        self.0.format(&Rfc3339).map_or(Value::Null, Value::from)
    }

    fn is_zero(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: Json>(value: &Value) -> Result<T, String> {
        T::read(value, &mut Reader::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn integers_come_as_numbers_and_as_text_and_fit() {
        for value in [json!(7), json!("7"), json!(7.0), json!("7.0"), json!(0.7e1), json!("7e0")] {
            assert_eq!(read::<u64>(&value), Ok(7), "{value}");
            assert_eq!(read::<i32>(&value), Ok(7), "{value}");
        }
        assert_eq!(read::<u64>(&json!("18446744073709551615")), Ok(u64::MAX));
        assert_eq!(read::<u64>(&json!(18_446_744_073_709_551_615_u64)), Ok(u64::MAX));
        assert_eq!(read::<i32>(&json!("-2147483648")), Ok(i32::MIN));
        for value in [json!(""), json!(" 7"), json!("7 "), json!(7.5), json!(true), json!([7]), json!("0x7"), json!(-1)]
        {
            assert!(read::<u32>(&value).is_err(), "{value}");
        }
        assert!(read::<i32>(&json!(2_147_483_648_u32)).is_err());
        assert!(read::<u64>(&json!("18446744073709551616")).is_err());
        assert!(read::<u64>(&json!(1e300)).is_err());
        assert_eq!((7_u64.write(), 7_u32.write(), (-7_i32).write()), (json!("7"), json!(7), json!(-7)));
    }

    #[test]
    fn floats() {
        assert_eq!(read::<f32>(&json!(12.5)), Ok(12.5));
        assert_eq!(read::<f32>(&json!("12.5")), Ok(12.5));
        assert!(read::<f32>(&json!("NaN")).unwrap().is_nan());
        assert_eq!(read::<f32>(&json!("-Infinity")), Ok(f32::NEG_INFINITY));
        assert!(read::<f32>(&json!(1e300)).is_err() && read::<f32>(&json!("inf")).is_err());
        assert_eq!(0.1_f32.write().to_string(), "0.1");
        assert_eq!(f32::NAN.write(), json!("NaN"));
    }

    #[test]
    fn moments() {
        let moment = read::<Timestamp>(&json!("2026-01-31T23:59:59.25Z")).unwrap();
        assert_eq!(moment.write(), json!("2026-01-31T23:59:59.25Z"));
        assert_eq!(read::<Timestamp>(&json!("2026-02-01T00:59:59.25+01:00")), Ok(moment));
        for value in [json!("yesterday"), json!("2026-01-31"), json!(0)] {
            assert!(read::<Timestamp>(&value).is_err(), "{value}");
        }
    }
}
