//! Programs of Debian that tests call: clients of the host, honest ones and others, and a registry, which speak
//! TLS and HTTP with code that is none of ours, a browser among them; what gives a test a network of its own; and what
//! reads the files in deploy/.

use super::{Finding, apt};
use crate::process;

/// Each program, with its package.
const PROGRAMS: [(&str, &str); 10] = [
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("h2load", "nghttp2-client"),
    ("slowhttptest", "slowhttptest"),
    ("docker-registry", "docker-registry"),
    ("chromium", "chromium"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("docker-compose", "docker-compose"),
];

/// The Debian packages of the programs that are missing.
pub(crate) fn packages() -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| process::on_path(program).is_none());
    missing.map(|(_, package)| *package).collect()
}

/// Each program, found or not.
pub(crate) fn find() -> Vec<Finding> {
    let finding = |(part, package): &(&'static str, &'static str)| match process::on_path(part) {
        Some(path) => Finding::Present { part, detail: path.display().to_string() },
        None => Finding::Missing { part, remedy: format!("`{}`", apt::command_line(&[package])) },
    };
    PROGRAMS.iter().map(finding).collect()
}
