//! Where the built test components lie.

use std::path::PathBuf;

/// The component called `name`.
pub fn path(name: &str) -> PathBuf {
    let folder = std::env::var_os("ROADSTEAD_TEST_GUESTS")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/guests"));
    let path = folder.join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing; build the test components with `cargo xtask guests`", path.display());
    path
}
