//! Paths on which the component reaches for what lies outside of it: other hosts, names, files, standard input, sockets.
//! They answer what came of it. Must not know messages or logs.

use std::fmt::Write as _;
use std::io::Read as _;

use super::hoarding::length;
use guest_http::{Query, Response};
use wasip2::filesystem::preopens::get_directories;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

/// Asks `authority` over HTTP, for its root or, with `path-bytes`, for a path of that length: 200 with its status, or
/// 502 with the reason why there is none.
pub(crate) fn fetch(query: &Query) -> Response {
    let path = format!("/{}", "p".repeat(length(query, "path-bytes", 1).saturating_sub(1)));
    match get(query.text("authority").unwrap_or_default(), &path) {
        Ok(status) => Response::text(200, format!("status {status}\n")),
        Err(reason) => Response::text(502, format!("{reason}\n")),
    }
}

fn get(authority: &str, path: &str) -> Result<u16, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "the host refuses the scheme".to_owned())?;
    request.set_authority(Some(authority)).map_err(|()| "the host refuses the authority".to_owned())?;
    request.set_path_with_query(Some(path)).map_err(|()| "the host refuses the path".to_owned())?;
    let response = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    loop {
        match response.get() {
            Some(Ok(Ok(response))) => return Ok(response.status()),
            Some(Ok(Err(code))) => return Err(format!("{code:?}")),
            Some(Err(())) => return Err("the response was taken before".to_owned()),
            None => response.subscribe().block(),
        }
    }
}

/// What there is of names, files, standard input and other sockets, a line each.
pub(crate) fn reach() -> Response {
    let mut text = format!("address of localhost: {:?}\n", look_up("localhost"));
    writeln!(text, "open directories: {}", get_directories().len()).ok();
    writeln!(text, "bytes of /etc/passwd: {:?}", std::fs::read("/etc/passwd").map(|bytes| bytes.len()).ok()).ok();
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input);
    writeln!(text, "bytes of standard input: {} ({})", input.len(), if read.is_ok() { "ended" } else { "failed" }).ok();
    let connected = connect().map_or_else(|code| code.name(), |()| "there");
    writeln!(text, "connection to 127.0.0.1: {connected}").ok();
    Response::text(200, text)
}

/// Connects to the discard port of the host's own machine.
fn connect() -> Result<(), ErrorCode> {
    let socket = create_tcp_socket(IpAddressFamily::Ipv4)?;
    let address = IpSocketAddress::Ipv4(Ipv4SocketAddress { port: 9, address: (127, 0, 0, 1) });
    socket.start_connect(&instance_network(), address)?;
    loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            outcome => return outcome.map(drop),
        }
    }
}

fn look_up(name: &str) -> Result<Option<IpAddress>, ErrorCode> {
    let addresses = resolve_addresses(&instance_network(), name)?;
    loop {
        match addresses.resolve_next_address() {
            Err(ErrorCode::WouldBlock) => addresses.subscribe().block(),
            outcome => return outcome,
        }
    }
}
