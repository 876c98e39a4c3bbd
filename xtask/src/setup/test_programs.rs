//! Programs of Debian that tests call: clients of the host, honest ones and others, and a registry, which speak
//! TLS and HTTP with code that is none of ours, a browser among them; what gives a test a network of its own; and what
//! reads the files in deploy/.

use std::fs;
use std::path::PathBuf;

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

/// A module of Debian's own Python, by which a test filters system calls; its file's name, and its package.
const MODULE: (&str, &str) = ("seccomp.", "python3-seccomp");
/// Where Debian has such modules.
const MODULES: &str = "/usr/lib/python3/dist-packages";

/// The Debian packages of what is missing.
pub(crate) fn packages() -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| process::on_path(program).is_none());
    let module = module().is_none().then_some(MODULE.1);
    missing.map(|(_, package)| *package).chain(module).collect()
}

fn module() -> Option<PathBuf> {
    let files = fs::read_dir(MODULES).into_iter().flatten().flatten();
    files
        .map(|file| file.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(MODULE.0)))
}

/// Each program, found or not.
pub(crate) fn find() -> Vec<Finding> {
    let finding = |(part, package): &(&'static str, &'static str)| match process::on_path(part) {
        Some(path) => Finding::Present { part, detail: path.display().to_string() },
        None => Finding::Missing { part, remedy: format!("`{}`", apt::command_line(&[package])) },
    };
    let module = match module() {
        Some(path) => Finding::Present { part: MODULE.1, detail: path.display().to_string() },
        None => Finding::Missing { part: MODULE.1, remedy: format!("`{}`", apt::command_line(&[MODULE.1])) },
    };
    PROGRAMS.iter().map(finding).chain([module]).collect()
}
