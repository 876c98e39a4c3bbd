//! Requests as a stranger writes them, against the parsing of heads and bodies: no panic, no byte beyond what the framing
//! says, and what is let through means the same to the parser behind it (httparse, which pingora calls).
//!
//! `PROPTEST_CASES=1000000 cargo test -p roadstead-proxy properties` tries other bytes than usual, and more. What failed
//! once is kept in `properties.seeds` and tried first.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{FileFailurePersistence, RngSeed},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    framing::Chunks,
    head::{HeadScanner, check},
    *,
};

fn config(cases: u32) -> ProptestConfig {
    let seeds = Box::new(FileFailurePersistence::WithSource("seeds"));
    let mut config = ProptestConfig { failure_persistence: Some(seeds), ..ProptestConfig::default() };
    if config.cases == 256 {
        // Nobody asked for a longer run: the same bytes each time.
        config.cases = cases;
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

/// Small, so that the bounds are met.
fn limits() -> Limits {
    Limits { header_bytes_max: 400, target_bytes_max: 60, header_count_max: 8, ..Limits::default() }
}

/// Bytes that parsers differ about.
const SPECIAL: &[u8] = b"\r\n\0 \t:;,=\"#%/\x0b\x0c\x7f\x80\xff0a-+_(";

/// Bytes with some of them changed.
fn disturbed(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), select(SPECIAL), 0..3_u8);
    let edits = prop_oneof![2 => vec(edit.clone(), 0..1), 3 => vec(edit, 1..4)];
    (bytes, edits).prop_map(|(mut bytes, edits)| {
        for (place, byte, kind) in edits {
            let at = place.index(bytes.len() + 1);
            match (kind, bytes.get_mut(at)) {
                (0, Some(old)) => *old = byte,
                (1, Some(_)) => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

fn head() -> impl Strategy<Value = Vec<u8>> {
    let method = select(vec!["GET", "POST", "HEAD", "OPTIONS", "M-SEARCH", "CONNECT", "get", ""]);
    let target =
        prop_oneof!["/[a-z0-9/.%?&=~-]{0,20}", Just("*".to_owned()), Just("http://a/b".to_owned()), "/[a-z]{50,70}"];
    let version = select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", ""]);
    let known = select(vec![
        "Host: a.test",
        "host:b",
        "HOST : a",
        "Content-Length: 5",
        "content-length:0",
        "content-length: +5",
        "content-length: 5, 5",
        "content-length: 18446744073709551616",
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "transfer-encoding:\tCHUNKED ",
        "transfer-encoding: gzip, chunked",
        " folded: x",
        "\tx",
        "Connection: upgrade",
        "Expect: 100-continue",
        "nothing",
        ": x",
        "",
    ]);
    let field = prop_oneof![4 => known.prop_map(str::to_owned), 2 => "[a-zA-Z-]{1,8}: ?[ -~]{0,20}", 1 => "[a-z]: [a-z]{300,420}"];
    let end = select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"]);
    let lines = vec((field, end), 0..9);
    (method, target, version, any::<bool>(), lines).prop_map(|(method, target, version, host, lines)| {
        let mut text = format!("{method} {target} {version}\r\n");
        text += if host { "host: a.test\r\n" } else { "" };
        text.extend(lines.into_iter().flat_map(|(field, end)| [field, end.to_owned()]));
        (text + "\r\n").into_bytes()
    })
}

fn chunked_body() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop_oneof![6 => Just(String::new()), 1 => ";[ -~]{0,10}", 1 => Just(" ".to_owned())];
    let chunk = (vec(any::<u8>(), 1..20), extension.clone(), any::<bool>());
    let trailer = prop_oneof![3 => "[a-z]{1,5}: [ -~]{0,10}\r\n", 1 => Just(" folded\r\n".to_owned())];
    (vec(chunk, 0..5), extension, vec(trailer, 0..2)).prop_map(|(chunks, last, trailers)| {
        let mut body = Vec::new();
        for (data, extension, upper) in chunks {
            let size = if upper { format!("{:02X}", data.len()) } else { format!("{:x}", data.len()) };
            body.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("0{last}\r\n{}\r\n", trailers.concat()).as_bytes());
        body
    })
}

/// Where lengths of pieces cut `bytes`.
fn pieces<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
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
fn reference(body: &[u8]) -> Result<Option<usize>, ()> {
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

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn a_head_that_is_let_through_has_one_meaning(
        bytes in prop_oneof![6 => disturbed(head()), 1 => vec(any::<u8>(), 0..500)],
        lengths in vec(1..90_usize, 1..5),
    ) {
        let limits = limits();
        let whole = HeadScanner::default().advance(&bytes, &limits).ok();
        let mut scanner = HeadScanner::default();
        let mut end = 0;
        let mut in_pieces = Some(None);
        for piece in pieces(&bytes, &lengths) {
            end += piece.len();
            in_pieces = scanner.advance(&bytes[..end], &limits).ok();
            if !matches!(in_pieces, Some(None)) {
                break;
            }
        }
        prop_assert_eq!(whole, in_pieces, "the pieces matter");
        let Some(Some(length)) = whole else { return Ok(()) };
        let head = &bytes[..length];
        prop_assert!(length as u64 <= limits.header_bytes_max && head.ends_with(b"\r\n"));
        let Ok(framing) = check(head, &limits) else { return Ok(()) };

        let mut room = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Request::new(&mut room);
        prop_assert_eq!(parsed.parse(&bytes), Ok(httparse::Status::Complete(length)));
        prop_assert!(parsed.headers.len() as u64 <= limits.header_count_max);
        let values = |name: &str| -> Vec<&[u8]> {
            let of_name = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            of_name.map(|header| header.value).collect()
        };
        prop_assert_eq!(values("host").len(), 1);
        match (framing, values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
            (Framing::Length(0), [], []) => {}
            (Framing::Length(length), [text], []) => {
                prop_assert_eq!(std::str::from_utf8(text).unwrap().parse::<u64>(), Ok(length));
            }
            (Framing::Chunked(_), [], [text]) => {
                prop_assert!(text.trim_ascii().eq_ignore_ascii_case(b"chunked") && parsed.version == Some(1));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn a_chunked_body_ends_in_one_place(
        body in prop_oneof![6 => disturbed(chunked_body()), 1 => vec(select(b"0123aF;\r\n :xyz".as_slice()), 0..60)],
        tail in vec(any::<u8>(), 0..10),
        lengths in vec(1..20_usize, 1..5),
    ) {
        let bytes = [body, tail].concat();
        match (reference(&bytes), taken(&bytes, &lengths)) {
            (Ok(Some(length)), Ok(ours)) => prop_assert_eq!(ours, (length, true)),
            (Ok(None), Ok(ours)) => prop_assert_eq!(ours, (bytes.len(), false)),
            (reference, ours) => prop_assert!(reference.is_err() && ours.is_err(), "{reference:?}, {ours:?}"),
        }
        prop_assert_eq!(taken(&bytes, &lengths), taken(&bytes, &[usize::MAX]));
    }
}

/// What a connection gave out of one request: its head, and of its body as much as there was.
type Given = (Vec<u8>, Vec<u8>);

/// Sends `bytes` in pieces and takes requests until there are no more; also the most that the connection held back.
async fn requests_of(bytes: Vec<u8>, lengths: Vec<usize>) -> (Vec<Given>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let limits = limits();
    let mut connection = Connection::new(Transport::Plain(socket), ConnectionFacts::plain(peer), &limits);
    let sending = tokio::spawn(async move {
        // The other side may have had enough.
        for piece in pieces(&bytes, &lengths) {
            let _ = client.write_all(piece).await;
            // The other side takes what has come.
            tokio::task::yield_now().await;
        }
        let _ = client.shutdown().await;
        client
    });
    let mut given = Vec::new();
    let mut held = 0;
    while let Next::H1 = connection.next(given.is_empty(), &limits, &CancellationToken::new()).await {
        let Phase::Head { left, .. } = connection.phase else { panic!("{:?}", connection.phase) };
        let mut all = Vec::new();
        let mut buffer = [0; 64];
        while !matches!(connection.phase, Phase::Given | Phase::Broken) {
            match connection.read(&mut buffer).await {
                Ok(1..) | Err(_) if all.len() > 1 << 20 => panic!("it does not end"),
                Ok(0) | Err(_) => break,
                Ok(more) => all.extend_from_slice(&buffer[..more]),
            }
            held = held.max(connection.inbound.capacity());
        }
        let body = all.split_off(left.min(all.len()));
        given.push((all, body));
        if !matches!(connection.phase, Phase::Given) {
            break;
        }
    }
    // Many connections in a short time: their ports are not to be kept from the next ones.
    connection.reset_on_close();
    drop(connection);
    sending.abort();
    (given, held)
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn a_connection_gives_out_requests_and_no_byte_more(
        requests in vec((prop_oneof![1 => head(), 4 => Just(Vec::new())], disturbed(chunked_body())), 1..4),
        tail in vec(any::<u8>(), 0..600),
        lengths in vec(1..120_usize, 1..5),
    ) {
        let mut bytes = Vec::new();
        for (head, body) in requests {
            let plain = b"POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            bytes.extend(if head.is_empty() { plain } else { head });
            bytes.extend(body);
        }
        bytes.extend(tail);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let requests = requests_of(bytes.clone(), lengths);
        let (given, held) = runtime.block_on(async { timeout(Duration::from_secs(30), requests).await }).unwrap();
        let mut rest = bytes.as_slice();
        for (head, body) in given {
            while rest.starts_with(b"\r\n") {
                rest = &rest[2..];
            }
            prop_assert!(rest.starts_with(&head), "{:?}", head);
            rest = &rest[head.len()..];
            prop_assert!(rest.starts_with(&body), "{:?}", body);
            let longest = match check(&head, &limits()).unwrap() {
                Framing::Length(length) => usize::try_from(length).unwrap(),
                // Of a malformed one, nothing that comes after the fault.
                Framing::Chunked(_) => reference(rest).map_or(rest.len(), |end| end.unwrap_or(rest.len())),
            };
            prop_assert!(body.len() <= longest, "{} of {longest}", body.len());
            rest = &rest[body.len()..];
        }
        prop_assert!(held <= 64 << 10, "{held} bytes are held back");
    }
}
