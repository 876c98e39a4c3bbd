//! The head of an HTTP/1 request, looked at before pingora parses it: bounds, and every rule whose neglect lets two
//! parsers disagree about a message (RFC 9112). It decides about framing, not about routes.

use roadstead_config::Limits;

use super::framing::{Chunks, Framing, is_text};
use crate::respond::Refusal;

/// Looks for the end of a head that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    scanned: usize,
    line_start: usize,
}

impl HeadScanner {
    /// The length of the head, with its empty line, once it is all in `buffer`. Each byte is looked at once.
    pub(super) fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        while let Some(offset) = buffer.get(self.scanned..).and_then(|rest| rest.iter().position(|b| *b == b'\n')) {
            let line_feed = self.scanned + offset;
            let line = buffer.get(self.line_start..line_feed).unwrap_or_default();
            self.scanned = line_feed + 1;
            if line.last() != Some(&b'\r') {
                return Err(Refusal::Malformed("a line of the head does not end in CR LF"));
            }
            if line.len() == 1 {
                return match self.scanned as u64 > limits.header_bytes_max {
                    true => Err(self.too_large(buffer, limits)),
                    false => Ok(Some(self.scanned)),
                };
            }
            self.line_start = self.scanned;
        }
        self.scanned = buffer.len();
        if buffer.len() as u64 > limits.header_bytes_max { Err(self.too_large(buffer, limits)) } else { Ok(None) }
    }

    /// Which of the bounds it was: the one of the request line, or of the head as a whole.
    fn too_large(&self, buffer: &[u8], limits: &Limits) -> Refusal {
        let line = buffer.iter().position(|b| *b == b'\n').unwrap_or(buffer.len());
        if line as u64 > limits.target_bytes_max { Refusal::TargetTooLong } else { Refusal::HeadersTooLarge }
    }
}

/// Checks a whole head and says how its body is framed.
pub(super) fn check(head: &[u8], limits: &Limits) -> Result<Framing, Refusal> {
    let mut lines = head.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let http_10 = check_request_line(lines.next().unwrap_or_default(), limits)?;
    let mut fields = Fields::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        fields.count += 1;
        if fields.count > limits.header_count_max {
            return Err(Refusal::HeadersTooLarge);
        }
        fields.check(line)?;
    }
    fields.framing(http_10)
}

/// Whether the request is of HTTP/1.0.
fn check_request_line(line: &[u8], limits: &Limits) -> Result<bool, Refusal> {
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::Malformed("the request line is not METHOD TARGET VERSION"));
    };
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Refusal::Malformed("the method is not a token"));
    }
    if target.len() as u64 > limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    if target.is_empty() || !target.iter().all(|b| b.is_ascii_graphic() && *b != b'#') {
        return Err(Refusal::Malformed("the request target has a character that must be percent-encoded"));
    }
    let http_10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Refusal::Malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    if method == b"CONNECT" {
        return Err(Refusal::NotImplemented("this ingress opens no tunnels (CONNECT)"));
    }
    Ok(http_10)
}

/// What the header fields say about the message's framing.
#[derive(Debug, Default)]
struct Fields {
    count: u64,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn check(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if line.first().is_some_and(|b| matches!(b, b' ' | b'\t')) {
            return Err(Refusal::Malformed("a header is folded over two lines"));
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(Refusal::Malformed("a header has no colon"))?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return Err(Refusal::Malformed("a header's name is not a token"));
        }
        if !value.iter().all(|b| is_text(*b)) {
            return Err(Refusal::Malformed("a header's value has a control character"));
        }
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = parse_length(value).ok_or(Refusal::Malformed("content-length is not a number"))?;
            if self.length.replace(length).is_some() {
                return Err(Refusal::Malformed("there is more than one content-length"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Malformed("transfer-encoding is not exactly 'chunked'"));
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn framing(&self, http_10: bool) -> Result<Framing, Refusal> {
        match (self.hosts, self.chunked, self.length) {
            (0, ..) => Err(Refusal::Malformed("there is no host header")),
            (2.., ..) => Err(Refusal::Malformed("there is more than one host header")),
            (_, true, Some(_)) => Err(Refusal::Malformed("there are both transfer-encoding and content-length")),
            (_, true, None) if http_10 => Err(Refusal::Malformed("HTTP/1.0 has no transfer-encoding")),
            (_, true, None) => Ok(Framing::Chunked(Chunks::default())),
            (_, false, length) => Ok(length.map_or(Framing::NONE, Framing::Length)),
        }
    }
}

/// Digits alone: no sign, no list, no blank.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|length| *length <= i64::MAX as u64)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &str) -> &'static str {
        match check(head.as_bytes(), &Limits::default()) {
            Err(Refusal::Malformed(how) | Refusal::NotImplemented(how)) => how,
            other => panic!("{head:?}: {other:?}"),
        }
    }

    #[test]
    fn framing_is_read_or_refused() {
        let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert!(matches!(check(head("").as_bytes(), &Limits::default()), Ok(Framing::Length(0))));
        let length = head("Content-Length: 12\r\n");
        assert!(matches!(check(length.as_bytes(), &Limits::default()), Ok(Framing::Length(12))));
        let chunked = head("transfer-encoding: Chunked\r\n");
        assert!(matches!(check(chunked.as_bytes(), &Limits::default()), Ok(Framing::Chunked(_))));
        for bad in [
            "content-length: 1\r\ncontent-length: 1\r\n",
            "content-length: 1, 1\r\n",
            "content-length: +1\r\n",
            "content-length:\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 1\r\n",
            "a : b\r\n",
            "a\r\n",
            ": b\r\n",
            " folded\r\n",
            "a: \0\r\n",
            "a: b\rc\r\n",
            "host: b\r\n",
        ] {
            refused(&head(bad));
        }
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nhost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET /\r\nhost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            refused(bad);
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_in_pieces() {
        let head = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let all = format!("{head}rest");
        let mut scanner = HeadScanner::default();
        for end in 0..head.len() {
            assert!(matches!(scanner.advance(&all.as_bytes()[..end], &Limits::default()), Ok(None)), "{end}");
        }
        assert!(matches!(scanner.advance(all.as_bytes(), &Limits::default()), Ok(Some(len)) if len == head.len()));
        let bare = HeadScanner::default().advance(b"GET / HTTP/1.1\nhost: a\n\n", &Limits::default());
        assert!(matches!(bare, Err(Refusal::Malformed(_))));
    }

    #[test]
    fn heads_are_bounded() {
        let limits = Limits { header_bytes_max: 60, target_bytes_max: 20, header_count_max: 2, ..Limits::default() };
        let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(30));
        assert!(matches!(check(long.as_bytes(), &limits), Err(Refusal::TargetTooLong)));
        let endless = "GET /".to_owned() + &"x".repeat(60);
        assert!(matches!(HeadScanner::default().advance(endless.as_bytes(), &limits), Err(Refusal::TargetTooLong)));
        let wide = "GET / HTTP/1.1\r\n".to_owned() + &"x".repeat(60);
        assert!(matches!(HeadScanner::default().advance(wide.as_bytes(), &limits), Err(Refusal::HeadersTooLarge)));
        let many = "GET / HTTP/1.1\r\nhost: a\r\nb:\r\nc:\r\n\r\n";
        assert!(matches!(check(many.as_bytes(), &limits), Err(Refusal::HeadersTooLarge)));
    }
}
