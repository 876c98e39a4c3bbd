//! The component that is written in Python: made by componentize-py out of `guests/python-hello` and the WIT of
//! `wasi:http` that the host's own library carries. It does not know what the component does.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::layout::Layout;
use crate::process;
use crate::report::Step;
use crate::setup::{COMPONENTIZE_PY, TestParts};

const NAME: &str = "python-hello";
/// The Python module that exports the world.
const MODULE: &str = "app";
const WORLD: &str = "wasi:http/proxy";
/// The library whose package carries the WIT of the interfaces that the host offers.
const WIT_PACKAGE: &str = "wasmtime-wasi-http";
const STAMP: &str = "made-from";
/// What the console script `componentize-py` runs; the script itself names an interpreter by its path and may be stale.
const RUN: &str = "import sys; from componentize_py import script; sys.exit(script())";

/// Makes `target/guests/python-hello.wasm` where its source, the WIT or componentize-py changed.
///
/// # Errors
/// When componentize-py is not installed or fails, or when the WIT cannot be found.
pub(crate) fn step(layout: &Layout) -> Result<Duration> {
    let step = Step::begin("python guest", "componentizing Python (about 15 seconds the first time)");
    let parts = TestParts::ready(layout).context("no componentize-py: run `cargo xtask setup`")?;
    let source = layout.guests().join(NAME);
    let wit = wit_folder(layout)?;
    let component = layout.test_guests().join(format!("{NAME}.wasm"));
    let work = layout.target().join(NAME);
    let stamp = wanted_stamp(&source, &wit)?;
    if component.is_file() && fs::read_to_string(work.join(STAMP)).is_ok_and(|made_from| made_from == stamp) {
        return Ok(step.done("unchanged"));
    }

    // The Python in the component writes its cache beside the source, so it is given a copy.
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    let copy = work.join("source");
    copy_folder(&source, &copy)?;
    let made = work.join("made.wasm");
    let mut componentize = process::command(&parts.python, &copy);
    componentize.args(["-c", RUN, "--wit-path"]).arg(&wit).args(["--world", WORLD]);
    componentize.args(["componentize", MODULE, "--python-path", ".", "--output"]).arg(&made);
    // Its errors are Python's; a backtrace through the tool would bury them.
    process::output(componentize.env_remove("RUST_BACKTRACE"))?;

    fs::create_dir_all(layout.test_guests())?;
    fs::rename(&made, &component).with_context(|| format!("cannot write {}", component.display()))?;
    fs::write(work.join(STAMP), stamp)?;
    Ok(step.done(layout.shown(&component)))
}

/// The folder `wit` of the package, of the version in Cargo.lock, wherever cargo keeps it.
fn wit_folder(layout: &Layout) -> Result<PathBuf> {
    let host = process::output(process::command("rustc", layout.root()).args(["--print", "host-tuple"]))?;
    let mut cargo = process::cargo(layout.root());
    // Without the filter, cargo would fetch what only other systems need.
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &host]);
    let wit = wit_beside_manifest(&process::output(&mut cargo)?)?;
    if !wit.is_dir() {
        bail!("there is no {}: does {WIT_PACKAGE} still carry its WIT?", wit.display());
    }
    Ok(wit)
}

fn wit_beside_manifest(metadata: &str) -> Result<PathBuf> {
    let metadata: Value = serde_json::from_str(metadata).context("`cargo metadata` told no JSON")?;
    let packages = metadata.get("packages").and_then(Value::as_array);
    let mut found = packages.into_iter().flatten().filter(|package| package.get("name") == Some(&WIT_PACKAGE.into()));
    let (Some(package), None) = (found.next(), found.next()) else {
        bail!("Cargo.lock must have one {WIT_PACKAGE}");
    };
    let manifest = package.get("manifest_path").and_then(Value::as_str).map(Path::new);
    let folder = manifest.and_then(Path::parent).context("`cargo metadata` told no manifest_path")?;
    Ok(folder.join("wit"))
}

/// All that the component depends on. The digests may differ between releases of the compiler: then it is made anew.
fn wanted_stamp(source: &Path, wit: &Path) -> Result<String> {
    let mut lines = vec![COMPONENTIZE_PY.to_owned(), format!("{WORLD} {MODULE}")];
    for folder in [source, wit] {
        let mut digest = DefaultHasher::new();
        for file in files(folder)? {
            let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy();
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            for part in [name.as_bytes(), &bytes] {
                digest.write_usize(part.len());
                digest.write(part);
            }
        }
        lines.push(format!("{:016x} {}", digest.finish(), folder.display()));
    }
    Ok(lines.join("\n") + "\n")
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let copy = to.join(file.strip_prefix(from)?);
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(&file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// The files under a folder, in the order of their paths; what Python caches is left out.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            found.push(path);
        } else if path.file_name().is_some_and(|name| name != "__pycache__") {
            found.extend(files(&path)?);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wit_lies_beside_the_manifest() {
        let package = r#"{"name":"wasmtime-wasi-http","manifest_path":"/r/wasmtime-wasi-http-1.0.0/Cargo.toml"}"#;
        let metadata = |packages: &str| format!(r#"{{"packages":[{{"name":"anyhow"}}{packages}]}}"#);
        let found = wit_beside_manifest(&metadata(&format!(",{package}"))).unwrap();
        assert_eq!(found, Path::new("/r/wasmtime-wasi-http-1.0.0/wit"));
        for packages in [String::new(), format!(",{package},{package}")] {
            let error = wit_beside_manifest(&metadata(&packages)).unwrap_err().to_string();
            assert_eq!(error, "Cargo.lock must have one wasmtime-wasi-http");
        }
    }

    #[test]
    fn the_stamp_follows_source_and_wit_but_not_python_s_cache() {
        let folder = std::env::temp_dir().join(format!("xtask-python-{}", std::process::id()));
        let (source, wit) = (folder.join("source"), folder.join("wit"));
        for folder in [&source.join("__pycache__"), &wit.join("deps")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(source.join("app.py"), "one").unwrap();
        let first = wanted_stamp(&source, &wit).unwrap();
        fs::write(source.join("__pycache__/app.pyc"), "cached").unwrap();
        assert_eq!(wanted_stamp(&source, &wit).unwrap(), first);
        fs::write(source.join("app.py"), "two").unwrap();
        let second = wanted_stamp(&source, &wit).unwrap();
        assert_ne!(second, first);
        fs::write(wit.join("deps/io.wit"), "three").unwrap();
        assert_ne!(wanted_stamp(&source, &wit).unwrap(), second);
        fs::remove_dir_all(&folder).unwrap();
    }
}
