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
    head::check,
    reference::{body_ends_in_one_place, chunked_end, head_has_one_meaning, limits, pieces},
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

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn a_head_that_is_let_through_has_one_meaning(
        bytes in prop_oneof![6 => disturbed(head()), 1 => vec(any::<u8>(), 0..500)],
        lengths in vec(1..90_usize, 1..5),
    ) {
        head_has_one_meaning(&bytes, &lengths, &limits());
    }

    #[test]
    fn a_chunked_body_ends_in_one_place(
        body in prop_oneof![6 => disturbed(chunked_body()), 1 => vec(select(b"0123aF;\r\n :xyz".as_slice()), 0..60)],
        tail in vec(any::<u8>(), 0..10),
        lengths in vec(1..20_usize, 1..5),
    ) {
        let bytes = [body, tail].concat();
        body_ends_in_one_place(&bytes, &lengths);
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
                Framing::Chunked(_) => chunked_end(rest).map_or(rest.len(), |end| end.unwrap_or(rest.len())),
            };
            prop_assert!(body.len() <= longest, "{} of {longest}", body.len());
            rest = &rest[body.len()..];
        }
        prop_assert!(held <= 64 << 10, "{held} bytes are held back");
    }
}
