//! What the fuzz targets call: bytes of a stranger, and what must hold for them. A finding is a panic.
//!
//! `cargo xtask fuzz` has libFuzzer make the bytes; the tests here try the kept ones, `fuzz/seeds`. No part of the host.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a finding is a panic")]

mod connection;
mod origin;
mod proxy_protocol;
mod routes;

use roadstead_config::{Limits, SourceFile};

use crate::io::reference;
pub use connection::connection;
pub use origin::forwarded;
pub use proxy_protocol::proxy_protocol;
pub use routes::route;

/// Longest input, in bytes: the bounds of a chunked body's extensions and trailers, which the slow reading does not
/// know, are beyond it.
pub const LONGEST_INPUT_BYTES: usize = 4000;

/// The lengths of pieces that the first three bytes stand for, and the rest.
fn cut(data: &[u8]) -> Option<([usize; 3], &[u8])> {
    let (lengths, rest) = data.split_first_chunk::<3>()?;
    Some((lengths.map(|length| usize::from(length) + 1), rest)).filter(|_| data.len() <= LONGEST_INPUT_BYTES)
}

/// The head of a request, and a chunked body: three bytes that say where to cut, then the request.
///
/// # Panics
/// When the cuts matter, or httparse or a slow reading of the body disagree with the host.
pub fn request(data: &[u8]) {
    let Some((lengths, bytes)) = cut(data) else { return };
    let body = match reference::head_has_one_meaning(bytes, &lengths, &reference::limits()) {
        Some((length, _)) => bytes.get(length..).unwrap_or_default(),
        None => bytes,
    };
    reference::body_ends_in_one_place(body, &lengths);
}

/// A manifest file.
///
/// # Panics
/// When it is read differently the second time, or a message of it is no single line of printable text.
pub fn manifest(data: &[u8]) {
    let limits =
        Limits { manifest_bytes_max: 8 * 1024, manifest_nodes_max: 2_000, manifest_depth_max: 32, ..Limits::default() };
    let files = [SourceFile { name: "fuzz.yaml".into(), bytes: data.to_vec() }];
    let loaded = roadstead_config::load(&files, &limits);
    assert_eq!(loaded, roadstead_config::load(&files, &limits));
    for problem in loaded.err().unwrap_or_default() {
        let texts = [&problem.field, &problem.found, &problem.expected].into_iter().chain(&problem.help);
        for text in texts {
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        assert!(problem.span.start <= problem.span.end && problem.span.end <= data.len(), "{problem:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Tries all kept inputs of a target.
    fn replay(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
        let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert!(names.len() >= 3, "{} has {} seeds", folder.display(), names.len());
        for name in names {
            let data = fs::read(&name).unwrap();
            assert!(data.len() <= super::LONGEST_INPUT_BYTES, "{} is longer than any input", name.display());
            if let Err(panic) = std::panic::catch_unwind(|| run(&data)) {
                eprintln!("the seed is {}", name.display());
                std::panic::resume_unwind(panic);
            }
        }
    }

    #[test]
    fn kept_requests_have_one_meaning() {
        replay("request", super::request);
    }

    #[test]
    fn kept_connections_are_read_by_pingora_as_they_are_cut() {
        replay("connection", super::connection);
    }

    #[test]
    fn kept_routes_are_found_as_a_slow_router_finds_them() {
        replay("route", super::route);
    }

    #[test]
    fn kept_proxy_headers_are_read_as_they_are_written() {
        replay("proxy_protocol", super::proxy_protocol);
    }

    #[test]
    fn kept_headers_of_proxies_tell_no_made_up_client() {
        replay("forwarded", super::forwarded);
    }

    #[test]
    fn kept_manifests_are_read_or_refused() {
        replay("manifest", super::manifest);
    }
}
