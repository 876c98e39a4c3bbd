//! What must hold for any bytes that a client sends, said a second time, slowly and obviously: for the properties and the
//! fuzz targets, which bring the bytes. No part of the host; what it finds is a panic.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a finding is a panic")]

use roadstead_config::Limits;

use super::{
    framing::{Chunks, Framing},
    head::{HeadScanner, check},
};

/// Small, so that the bounds are met.
pub(crate) fn limits() -> Limits {
    Limits { header_bytes_max: 400, target_bytes_max: 60, header_count_max: 8, ..Limits::default() }
}

/// Where lengths of pieces cut `bytes`.
pub(crate) fn pieces<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).min(rest.len());
        let (piece, later) = rest.split_at(length);
        rest = later;
        (length > 0).then_some(piece)
    })
}

/// A chunked body read with nothing but searching: its length, `None` when it goes on, an error when it is malformed.
pub(crate) fn chunked_end(body: &[u8]) -> Result<Option<usize>, ()> {
    let mut at = 0;
    let line = |at: usize| -> Result<Option<&[u8]>, ()> {
        let rest = &body[at..];
        let bad = |byte: &u8| !(*byte == b'\t' || (*byte >= 32 && *byte != 127));
        let Some(end) = rest.iter().position(bad) else { return Ok(None) };
        match (rest[end], rest.get(end + 1)) {
            (b'\r', None) => Ok(None),
            (b'\r', Some(b'\n')) => Ok(Some(&rest[..end])),
            _ => Err(()),
        }
    };
    loop {
        let digits = body[at..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let after = body.get(at + digits);
        if digits > 15 || after.is_some_and(|byte| digits == 0 || !b";\r".contains(byte)) {
            return Err(());
        }
        let Some(size_line) = line(at)? else { return Ok(None) };
        let size = usize::from_str_radix(std::str::from_utf8(&body[at..at + digits]).unwrap(), 16).unwrap();
        at += size_line.len() + 2;
        if size == 0 {
            break;
        }
        let Some(end) = at.checked_add(size).filter(|end| *end <= body.len()) else { return Ok(None) };
        match &body[end..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => at = end + 2,
            _ => return Err(()),
        }
    }
    loop {
        if body.get(at).is_some_and(|byte| b" \t".contains(byte)) {
            return Err(());
        }
        let Some(trailer) = line(at)? else { return Ok(None) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(Some(at));
        }
    }
}

/// What a body comes to, given in pieces: the bytes taken, and whether it ended.
fn taken(body: &[u8], lengths: &[usize]) -> Result<(usize, bool), ()> {
    let mut framing = Framing::Chunked(Chunks::default());
    let mut taken = 0;
    for piece in pieces(body, lengths) {
        let here = framing.take(piece).map_err(drop)?;
        assert!(here <= piece.len() && (here == piece.len() || framing.is_done()), "{here} of {}", piece.len());
        taken += here;
    }
    Ok((taken, framing.is_done()))
}

/// A head that is let through is whole, within the bounds, and means the same to httparse, which pingora calls; where it
/// is cut does not matter. Returns its length and its body's framing.
pub(crate) fn head_has_one_meaning(bytes: &[u8], lengths: &[usize], limits: &Limits) -> Option<(usize, Framing)> {
    let whole = HeadScanner::default().advance(bytes, limits).ok();
    let mut scanner = HeadScanner::default();
    let mut end = 0;
    let mut in_pieces = Some(None);
    for piece in pieces(bytes, lengths) {
        end += piece.len();
        in_pieces = scanner.advance(&bytes[..end], limits).ok();
        if !matches!(in_pieces, Some(None)) {
            break;
        }
    }
    assert_eq!(whole, in_pieces, "the pieces matter");
    let length = whole??;
    let head = &bytes[..length];
    assert!(length as u64 <= limits.header_bytes_max && head.ends_with(b"\r\n"));
    let framing = check(head, limits).ok()?;

    let mut room = [httparse::EMPTY_HEADER; 16];
    let mut parsed = httparse::Request::new(&mut room);
    assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(length)));
    assert!(parsed.headers.len() as u64 <= limits.header_count_max);
    let values = |name: &str| -> Vec<&[u8]> {
        let of_name = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        of_name.map(|header| header.value).collect()
    };
    assert_eq!(values("host").len(), 1);
    match (&framing, values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
        (Framing::Length(0), [], []) => {}
        (Framing::Length(length), [text], []) => {
            assert_eq!(std::str::from_utf8(text).unwrap().parse::<u64>().as_ref(), Ok(length));
        }
        (Framing::Chunked(_), [], [text]) => {
            assert!(text.trim_ascii().eq_ignore_ascii_case(b"chunked") && parsed.version == Some(1));
        }
        other => panic!("{other:?}"),
    }
    Some((length, framing))
}

/// A chunked body ends where the slow reading says, wherever it is cut.
pub(crate) fn body_ends_in_one_place(bytes: &[u8], lengths: &[usize]) {
    match (chunked_end(bytes), taken(bytes, lengths)) {
        (Ok(Some(length)), Ok(ours)) => assert_eq!(ours, (length, true)),
        (Ok(None), Ok(ours)) => assert_eq!(ours, (bytes.len(), false)),
        (reference, ours) => assert!(reference.is_err() && ours.is_err(), "{reference:?}, {ours:?}"),
    }
    assert_eq!(taken(bytes, lengths), taken(bytes, &[usize::MAX]));
}

/// A request as somebody reads it who has all bytes at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    /// Names in lower case, sorted; those of one name in their order.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// The body has ended.
    pub(crate) whole: bool,
}

/// The requests of a connection, up to the first that is refused or goes on.
pub(crate) fn told(mut bytes: &[u8], limits: &Limits) -> Vec<Told> {
    let mut requests = Vec::new();
    loop {
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        let Some((length, framing)) = head_has_one_meaning(bytes, &[usize::MAX], limits) else { return requests };
        let mut room = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut room);
        parsed.parse(bytes).unwrap();
        let (head, rest) = (parsed, &bytes[length..]);
        let (body, end) = match framing {
            Framing::Length(length) => {
                let end = usize::try_from(length).ok().filter(|end| *end <= rest.len());
                (rest[..end.unwrap_or(rest.len())].to_vec(), end)
            }
            Framing::Chunked(_) => {
                let end = chunked_end(rest).ok().flatten();
                (chunked_data(rest), end)
            }
        };
        requests.push(Told {
            method: head.method.unwrap().to_owned(),
            target: head.path.unwrap().as_bytes().to_vec(),
            headers: sorted(head.headers.iter().map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec()))),
            body,
            whole: end.is_some(),
        });
        let Some(end) = end else { return requests };
        bytes = &rest[end..];
    }
}

/// Headers by their names: the order of different ones means nothing.
pub(crate) fn sorted(headers: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<_> = headers.collect();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    headers
}

/// The data of a chunked body, up to where it ends, is malformed, or goes on.
fn chunked_data(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(line) = body.windows(2).position(|pair| pair == b"\r\n") {
        let digits = body[..line].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let Ok(size) = usize::from_str_radix(std::str::from_utf8(&body[..digits]).unwrap(), 16) else { break };
        let rest = &body[line + 2..];
        let here = size.min(rest.len());
        data.extend_from_slice(&rest[..here]);
        match rest.get(here + 2..) {
            Some(next) if size > 0 => body = next,
            _ => break,
        }
    }
    data
}
