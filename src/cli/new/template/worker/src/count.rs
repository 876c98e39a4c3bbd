//! The work: counts what is in a text. Knows neither messages nor who asks, so that its tests run natively.

use serde::Serialize;
use serde_json::json;

/// What a text has.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    pub lines: usize,
    pub words: usize,
    pub bytes: usize,
}

/// The reply to a request: the count as JSON, or `{"error": ...}` when the request itself is wrong.
pub fn reply(body: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::to_vec(&count(text)),
        Err(error) => serde_json::to_vec(&json!({ "error": format!("no text: {error}") })),
    }
}

fn count(text: &str) -> Count {
    Count {
        lines: text.lines().count(),
        words: text.split_whitespace().count(),
        bytes: text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted() {
        assert_eq!(
            count("one two\nthree"),
            Count {
                lines: 2,
                words: 3,
                bytes: 13
            }
        );
        assert_eq!(
            reply(b"").unwrap(),
            b"{\"lines\":0,\"words\":0,\"bytes\":0}"
        );
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(
            reply(b"\xff")
                .unwrap()
                .starts_with(b"{\"error\":\"no text: ")
        );
    }
}
