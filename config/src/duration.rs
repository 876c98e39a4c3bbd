//! Go-style durations (`300s`, `1m30s`, `500ms`), as manifests write them.

use std::time::Duration;

/// Longest duration that a manifest or a flag may name.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("is no duration; write a number with a unit, such as 300s, 1m30s or 500ms")]
    Form,
    #[error("has the unit {0:?}; the units are h, m, s, ms, us and ns")]
    Unit(String),
    #[error("has no unit; write for example {0}s")]
    NoUnit(String),
    #[error("must be more than zero")]
    Zero,
    #[error("is longer than 24h, the most that is allowed")]
    TooLong,
}

/// Reads a duration as Go's `time.ParseDuration` does, without signs: zero and more than 24 hours are refused.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(DurationError::Form);
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let value: f64 = number.parse().map_err(|_| DurationError::Form)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit_seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            "" => return Err(DurationError::NoUnit(number.to_owned())),
            other => return Err(DurationError::Unit(other.to_owned())),
        };
        let part = Duration::try_from_secs_f64(value * unit_seconds).map_err(|_| DurationError::TooLong)?;
        total = total.checked_add(part).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    match total {
        Duration::ZERO => Err(DurationError::Zero),
        long if long > DURATION_MAX => Err(DurationError::TooLong),
        fine => Ok(fine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(parse_duration("300s"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration(""), Err(DurationError::Form));
        assert_eq!(parse_duration("300"), Err(DurationError::NoUnit("300".into())));
        assert_eq!(parse_duration("300x"), Err(DurationError::Unit("x".into())));
        assert_eq!(parse_duration("-3s"), Err(DurationError::Form));
        assert_eq!(parse_duration("1..2s"), Err(DurationError::Form));
        assert_eq!(parse_duration("0s"), Err(DurationError::Zero));
        assert_eq!(parse_duration("24h"), Ok(DURATION_MAX));
        assert_eq!(parse_duration("24h1ns"), Err(DurationError::TooLong));
        assert_eq!(parse_duration("99999999999999999999999h"), Err(DurationError::TooLong));
    }
}
