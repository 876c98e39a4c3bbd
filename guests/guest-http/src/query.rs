//! The target of a request, taken apart. Must not know which parameters exist.

/// A request target, split into its path and its query parameters (`a=1&b=x%20y`).
pub struct Query {
    path: String,
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Splits `path_with_query` as `wasi:http` hands it over; absent means `/`.
    pub fn of_target(path_with_query: Option<String>) -> Self {
        let target = path_with_query.unwrap_or_else(|| "/".to_owned());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let parameters = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        Self { path: path.to_owned(), parameters }
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first parameter of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first parameter of this name as a number, or `default` when it is absent or no number.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

/// Undoes percent-encoding and `+`. What is not valid encoding stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn a_target_is_split_and_decoded() {
        let query = Query::of_target(Some("/log?level=info&message=two%20words+more&bad=%zz&n=7".to_owned()));
        assert_eq!(query.path(), "/log");
        assert_eq!(query.text("message"), Some("two words more"));
        assert_eq!(query.text("bad"), Some("%zz"));
        assert_eq!(query.number("n", 1), 7);
        assert_eq!(query.number("absent", 3), 3);
    }

    #[test]
    fn no_target_is_the_root() {
        assert_eq!(Query::of_target(None).path(), "/");
    }
}
