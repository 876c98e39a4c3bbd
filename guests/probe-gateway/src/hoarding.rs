//! Paths on which the component takes what the host gives, without end: handles, headers, sockets, random bytes, output.
//! They answer what they got, so that a test sees where the host stopped. Must not know messages or logs.

use std::hint::black_box;
use std::io::Write as _;

use guest_http::{Query, Response};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse};
use wasip2::io::streams::OutputStream;
use wasip2::random::random::{get_random_bytes, get_random_u64};
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{tcp_create_socket, udp_create_socket};

pub(crate) const MEBIBYTE: usize = 1024 * 1024;
/// Without a count: more than any host allows.
const ENDLESS: u64 = u64::MAX;

/// Makes `count` header collections of `bytes` bytes each and keeps all of them.
pub(crate) fn fields(query: &Query) -> Response {
    let value = vec![b'v'; length(query, "bytes", 0)];
    let mut kept = Vec::new();
    for _ in 0..query.number("count", ENDLESS) {
        let fields = Fields::new();
        fields.append("x-hoard", &value).ok();
        kept.push(fields);
    }
    Response::text(200, format!("holds {} header collections\n", kept.len()))
}

/// Makes `count` responses that nobody will ever get, and writes as much of a body to each as the host buffers.
pub(crate) fn bodies(query: &Query) -> Response {
    let mut kept = Vec::new();
    let mut buffered = 0;
    for _ in 0..query.number("count", ENDLESS) {
        let response = OutgoingResponse::new(Fields::new());
        let Ok(body) = response.body() else { break };
        let Ok(stream) = body.write() else { break };
        buffered += fill(&stream);
        kept.push((stream, body, response));
    }
    let answer = format!("holds {} bodies, {} MiB\n", kept.len(), buffered / MEBIBYTE);
    // A stream goes before the body that it is a child of.
    for (stream, body, response) in kept {
        drop((stream, response));
        drop::<OutgoingBody>(body);
    }
    Response::text(200, answer)
}

/// Writes until the host takes no more; the bytes it took.
fn fill(stream: &OutputStream) -> usize {
    let mut written = 0;
    while let Ok(permitted @ 1..) = stream.check_write() {
        let bytes = vec![1_u8; usize::try_from(permitted).unwrap_or(0)];
        if stream.write(&bytes).is_err() {
            break;
        }
        written += bytes.len();
    }
    written
}

/// Makes `count` TCP and as many UDP sockets and keeps them.
pub(crate) fn sockets(query: &Query) -> Response {
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for _ in 0..query.number("count", ENDLESS) {
        tcp.extend(tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4));
        udp.extend(udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4));
    }
    Response::text(200, format!("holds {} sockets\n", tcp.len() + udp.len()))
}

/// An answer with `count` headers of `bytes` bytes each.
pub(crate) fn headers(query: &Query) -> Response {
    let value = "v".repeat(length(query, "bytes", 1));
    let response = Response::text(200, "look at the headers\n");
    (0..query.number("count", 1)).fold(response, |response, number| response.header(&format!("x-n{number}"), &value))
}

/// Asks for `bytes` random bytes at once.
pub(crate) fn random(query: &Query) -> Response {
    let bytes = get_random_bytes(query.number("bytes", ENDLESS));
    Response::text(200, format!("got {} bytes\n", bytes.len()))
}

/// Asks the host for small things for ever: it is in a host call most of the time.
pub(crate) fn host_calls() -> ! {
    loop {
        black_box((monotonic_clock::now(), get_random_u64(), get_random_bytes(64)));
    }
}

/// Overwrites `mb` mebibytes for ever, in single instructions.
pub(crate) fn memory_fill(query: &Query) -> ! {
    let mut memory = vec![0_u8; length(query, "mb", 100).saturating_mul(MEBIBYTE)];
    let mut value = 0_u8;
    loop {
        value = value.wrapping_add(1);
        memory.fill(black_box(value));
        black_box(&mut memory);
    }
}

/// Writes `mb` mebibytes to standard output without a line break.
pub(crate) fn output(query: &Query) -> Response {
    let mebibytes = query.number("mb", 1);
    let piece = vec![b'o'; 4096];
    let mut output = std::io::stdout().lock();
    for _ in 0..mebibytes.saturating_mul(256) {
        if output.write_all(&piece).and_then(|()| output.flush()).is_err() {
            return Response::text(200, "the host takes no more\n");
        }
    }
    Response::text(200, format!("wrote {mebibytes} MiB\n"))
}

/// Opens `count` handles of standard output and leaves a line unfinished on each.
pub(crate) fn outputs(query: &Query) -> Response {
    let piece = vec![b'o'; 4096];
    let mut kept = Vec::new();
    for _ in 0..query.number("count", ENDLESS) {
        let stream = wasip2::cli::stdout::get_stdout();
        stream.blocking_write_and_flush(&piece).ok();
        kept.push(stream);
    }
    Response::text(200, format!("holds {} outputs\n", kept.len()))
}

/// The parameter `name` as a length; `default` when there is none.
pub(crate) fn length(query: &Query, name: &str, default: u64) -> usize {
    usize::try_from(query.number(name, default)).unwrap_or(usize::MAX)
}
