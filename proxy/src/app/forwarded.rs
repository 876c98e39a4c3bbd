//! The grammar of what proxies write about each other: `forwarded` (RFC 7239) and the nodes in it and in
//! `x-forwarded-for`. It decides about nobody's trust.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderValue, header::GetAll, uri::Scheme};

/// One proxy's element of `forwarded`.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// `for`, where it is an address.
    pub(super) client: Option<IpAddr>,
    /// `proto`.
    pub(super) scheme: Option<Scheme>,
}

/// The elements of all `forwarded` fields from the last to the first; what cannot be read names no client. A quote that
/// nobody closes makes the whole field unreadable: whoever opened it wants what a later proxy appends to be his text.
pub(super) fn elements_backwards(fields: GetAll<'_, HeaderValue>) -> impl Iterator<Item = Element> {
    fields.into_iter().rev().flat_map(|field| {
        let elements: Vec<Element> = match field.to_str() {
            Ok(text) if quotes_are_closed(text) => unquoted_split(text, b',').map(element).collect(),
            _ => vec![Element::default()],
        };
        elements.into_iter().rev()
    })
}

fn element(text: &str) -> Element {
    let mut element = Element::default();
    for pair in unquoted_split(text, b';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        match name.trim() {
            name if name.eq_ignore_ascii_case("for") => element.client = node_address(value),
            name if name.eq_ignore_ascii_case("proto") => element.scheme = scheme(value),
            _ => {}
        }
    }
    element
}

/// Where in a text with quoted strings one is.
#[derive(Debug, Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    /// Goes on by a byte; whether it stands outside of quoted strings and is none of their quotes.
    fn is_outside(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open => self.escaped = true,
            b'"' => self.open = !self.open,
            _ => return !self.open,
        }
        false
    }
}

fn quotes_are_closed(text: &str) -> bool {
    let mut quotes = Quotes::default();
    for byte in text.bytes() {
        quotes.is_outside(byte);
    }
    !quotes.open
}

/// The parts between separators that are not in a quoted string.
fn unquoted_split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quotes = Quotes::default();
        let end = text.bytes().position(|byte| quotes.is_outside(byte) && byte == separator);
        let (part, after) = match end.and_then(|end| text.split_at_checked(end)) {
            Some((part, after)) => (part, after.get(1..)),
            None => (text, None),
        };
        rest = after;
        Some(part)
    })
}

/// The address of a node, with or without a port, in its shortest form; `None` for a name that hides it.
pub(super) fn node_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// The scheme of a request, if it is one that clients speak here.
pub(super) fn scheme(text: &str) -> Option<Scheme> {
    let known = [("https", Scheme::HTTPS), ("http", Scheme::HTTP)];
    known.into_iter().find(|(name, _)| text.eq_ignore_ascii_case(name)).map(|(_, scheme)| scheme)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    /// Every text is read in the time that its length takes, as something.
    #[test]
    fn no_text_is_too_strange() {
        let alphabet =
            [",", ";", "=", "\"", "\\", "for", "proto=https", "[", "]", ":", "::1", "1.2.3.4", " ", "\u{e9}"];
        // A generator of the usual kind (Knuth's MMIX): the same texts in every run.
        let mut state = 1_u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..20_000 {
            let text: String = (0..next(24)).map(|_| alphabet[next(alphabet.len())]).collect();
            let mut headers = HeaderMap::new();
            headers.append("forwarded", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            let elements = elements_backwards(headers.get_all("forwarded")).count();
            assert!((1..=text.matches(',').count() + 1).contains(&elements), "{text}");
            node_address(&text);
        }
    }

    fn found(headers: &HeaderMap) -> Vec<String> {
        let shown = |Element { client, scheme }: Element| {
            let client = client.map_or("-".into(), |client| client.to_string());
            format!("{client} {}", scheme.as_ref().map_or("-", Scheme::as_str))
        };
        elements_backwards(headers.get_all("forwarded")).map(shown).collect()
    }

    #[test]
    fn an_open_quote_takes_in_nothing_that_a_proxy_appends() {
        for text in ["for=198.51.100.1;x=\", for=203.0.113.7", "for=198.51.100.1;x=\"\\\", for=\"[2001:db8::1]\""] {
            let mut headers = HeaderMap::new();
            headers.append("forwarded", HeaderValue::from_static(text));
            assert_eq!(found(&headers), ["- -"], "{text}");
        }
    }

    #[test]
    fn elements_are_read_from_the_last_on() {
        let mut headers = HeaderMap::new();
        for field in [
            "for=192.0.2.1;by=203.0.113.60;proto=HTTP, for=\"[2001:db8::1]:80\"; host=\"a,b;c\\\"\"",
            "for=unknown;proto=https, FOR = 192.0.2.3 ;proto=ftp, , for=\"_x\"",
        ] {
            headers.append("forwarded", HeaderValue::from_static(field));
        }
        headers.append("forwarded", HeaderValue::from_bytes(b"for=192.0.2.9\xff").unwrap());
        assert_eq!(found(&headers), ["- -", "- -", "- -", "192.0.2.3 -", "- https", "2001:db8::1 -", "192.0.2.1 http"]);
    }
}
