//! A compiler for components, as a user has one after `rustup target add wasm32-wasip2`: the compiler in use where it has
//! that target, otherwise the one that `cargo xtask setup` made.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The environment in which `cargo build` finds the target.
pub fn environment() -> Vec<(&'static str, OsString)> {
    if in_use_has_target() {
        return Vec::new();
    }
    let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/guest-toolchain/bin");
    assert!(bin.join("cargo").is_file(), "no compiler for wasm32-wasip2: `cargo xtask setup` makes one");
    let inherited = env::var_os("PATH").unwrap();
    let path = env::join_paths([bin.clone()].into_iter().chain(env::split_paths(&inherited))).unwrap();
    vec![("PATH", path), ("RUSTC", bin.join("rustc").into()), ("RUSTDOC", bin.join("rustdoc").into())]
}

fn in_use_has_target() -> bool {
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", "wasm32-wasip2"]).output().unwrap();
    let folder = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("libstd-")))
    })
}
