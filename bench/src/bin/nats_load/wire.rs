//! As much of NATS as a client needs that asks and counts answers: what it writes, and where one thing that the server
//! says ends. It knows no socket and no clock.

use std::io::Write as _;

/// Before anything else: no acknowledgements, headers, and an answer when nobody subscribes.
pub(crate) const CONNECT: &[u8] =
    b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"rust\"}\r\n";
/// The answer to [`Said::Ping`].
pub(crate) const PONG: &[u8] = b"PONG\r\n";
/// Longest line that a server may send, in bytes: what it says of itself first.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One thing that the server said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// It wants to know whether we are there.
    Ping,
    /// A message of a subscription; so many bytes of it are no headers.
    Message { subject: &'a str, body_bytes: usize },
    /// It refuses something.
    Error(&'a str),
    /// What a client like this one may leave aside.
    Other,
}

/// What a server of NATS does not say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotNats;

/// Writes a request whose answer goes to the inbox of `slot`.
pub(crate) fn request(output: &mut Vec<u8>, subject: &str, inbox: &str, slot: usize, body: &[u8]) {
    // Writing to memory does not fail.
    let _ = write!(output, "PUB {subject} {inbox}.{slot} {}\r\n", body.len());
    output.extend_from_slice(body);
    output.extend_from_slice(b"\r\n");
}

/// The slot of an answer's subject.
pub(crate) fn slot_of(subject: &str) -> Option<usize> {
    subject.rsplit('.').next()?.parse().ok()
}

/// Reads what comes first, and how many bytes it is; `None` while it is not all there.
///
/// # Errors
/// When it is not NATS.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Said<'_>, usize)>, NotNats> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > LINE_BYTES_MAX { Err(NotNats) } else { Ok(None) };
    };
    let line = bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(NotNats)?.trim_end();
    let after_line = end + 1;
    let mut words = line.split(' ');
    let with_headers = match words.next() {
        Some("MSG") => false,
        Some("HMSG") => true,
        Some("PING") => return Ok(Some((Said::Ping, after_line))),
        Some("-ERR") => return Ok(Some((Said::Error(line), after_line))),
        _ => return Ok(Some((Said::Other, after_line))),
    };
    let subject = words.next().ok_or(NotNats)?;
    let mut numbers = words.rev().map(|word| word.parse::<usize>().map_err(|_| NotNats));
    let mut number = || numbers.next().ok_or(NotNats)?;
    let total = number()?;
    let headers = if with_headers { number()? } else { 0 };
    let body_bytes = total.checked_sub(headers).ok_or(NotNats)?;
    let length = after_line + total + b"\r\n".len();
    Ok((bytes.len() >= length).then_some((Said::Message { subject, body_bytes }, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_with_and_without_headers() {
        let message = |subject, body_bytes| Said::Message { subject, body_bytes };
        let plain = b"MSG _INBOX.a.7 1 4\r\nbody\r\nPING\r\n";
        assert_eq!(read(plain), Ok(Some((message("_INBOX.a.7", 4), 26))));
        assert_eq!(read(&plain[26..]), Ok(Some((Said::Ping, 6))));
        let with_headers = b"HMSG _INBOX.a.7 1 17 21\r\nNATS/1.0\r\na:b\r\n\r\nbody\r\n";
        assert_eq!(read(with_headers).unwrap().unwrap().0, message("_INBOX.a.7", 4));
        let nobody = b"HMSG _INBOX.a.7 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n";
        assert_eq!(read(nobody).unwrap().unwrap().0, message("_INBOX.a.7", 0));
        assert_eq!(slot_of("_INBOX.a.7"), Some(7));
        for end in 0..26 {
            assert_eq!(read(&plain[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn other_things_are_told_apart() {
        assert_eq!(read(b"INFO {}\r\n"), Ok(Some((Said::Other, 9))));
        assert_eq!(read(b"-ERR 'no'\r\n"), Ok(Some((Said::Error("-ERR 'no'"), 11))));
        assert_eq!(read(b"MSG a 1 x\r\n"), Err(NotNats));
        assert_eq!(read(b"HMSG a 1 20 16\r\n"), Err(NotNats));
        assert_eq!(read(&vec![b'x'; LINE_BYTES_MAX + 1]), Err(NotNats));
    }

    #[test]
    fn a_request_names_its_slot() {
        let mut output = Vec::new();
        request(&mut output, "work", "_INBOX.a", 12, b"body");
        assert_eq!(output, b"PUB work _INBOX.a.12 4\r\nbody\r\n");
    }
}
