//! Components written for a test: a core module with a handler, in the shell that makes it an HTTP component.

use std::{fs, path::Path};

/// The component of `module`, the text of a module that exports `handle`.
pub fn http_component(module: &str) -> Vec<u8> {
    let shell = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/no-response.wat");
    let shell = fs::read_to_string(shell).unwrap();
    let (before, rest) = shell.split_once("(core module $module").unwrap();
    let (_, after) = rest.split_once("(core instance").unwrap();
    let module = module.trim_start().strip_prefix("(module").unwrap();
    let text = format!("{before}(core module $module{module}\n  (core instance{after}");
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{module}"))
}
