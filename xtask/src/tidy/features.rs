//! What is compiled in of the libraries whose features decide about isolation: exactly the features that
//! docs/vulnerabilities.md was written for, and none of the crates that it calls absent. Asks cargo, since a feature may
//! be turned on by any dependency.

use anyhow::Result;
use std::path::Path;

use super::Problem;
use crate::process;

const PAGE: &str = "docs/vulnerabilities.md";

/// The features of each, with those that they bring along.
const COMPILED_IN: [(&str, &[&str]); 6] = [
    (
        "wasmtime",
        &[
            "async",
            "component-model",
            "cranelift",
            "demangle",
            "once_cell",
            "parallel-compilation",
            "pooling-allocator",
            "runtime",
            "std",
            "wasmtime-jit-icache-coherence",
        ],
    ),
    ("wasmtime-wasi", &["p2"]),
    ("wasmtime-wasi-http", &["p2"]),
    ("pingora-cache", &["rustls"]),
    ("pingora-core", &["any_tls", "ouroboros", "pingora-rustls", "rustls"]),
    ("pingora-proxy", &["any_tls", "rustls"]),
];

/// Crates that are not there at all: another compiler, and the bindings of older WASI.
const ABSENT: [&str; 3] = ["wasmtime-internal-winch", "wiggle", "winch-codegen"];

/// Compares what cargo would compile for the host with the lists.
///
/// # Errors
/// When cargo cannot tell.
pub(super) fn check(root: &Path, problems: &mut Vec<Problem>) -> Result<()> {
    let mut tree = process::cargo(root);
    tree.args([
        "tree",
        "--locked",
        "--workspace",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}|{f}",
    ]);
    problems.extend(judge(&process::output(&mut tree)?).into_iter().map(|what| Problem {
        file: "Cargo.toml".into(),
        line: None,
        what,
    }));
    Ok(())
}

/// Problems of a tree, whose lines are `NAME vVERSION|FEATURE,FEATURE`.
fn judge(tree: &str) -> Vec<String> {
    let mut found: Vec<(&str, Vec<&str>)> = tree.lines().filter_map(package).collect();
    found.sort();
    found.dedup();
    let mut problems = Vec::new();
    for (name, wanted) in COMPILED_IN {
        let versions: Vec<_> = found.iter().filter(|(other, _)| *other == name).collect();
        if versions.is_empty() {
            problems.push(format!("`{name}` is no dependency any more: take it out of the list in tidy"));
        }
        for (_, features) in versions {
            let more: Vec<_> = features.iter().copied().filter(|feature| !wanted.contains(feature)).collect();
            if !more.is_empty() {
                let more = more.join(", ");
                problems.push(format!("`{name}` has the features {more}: {PAGE} takes them for off"));
            }
            let less: Vec<_> = wanted.iter().copied().filter(|feature| !features.contains(feature)).collect();
            if !less.is_empty() {
                problems.push(format!("`{name}` lacks the features {}: {PAGE} takes them for on", less.join(", ")));
            }
        }
    }
    let absent = found.iter().filter(|(name, _)| ABSENT.contains(name));
    problems.extend(absent.map(|(name, _)| format!("`{name}` is compiled in: {PAGE} takes it for absent")));
    problems
}

/// The name of a line's package and its features.
fn package(line: &str) -> Option<(&str, Vec<&str>)> {
    // What was printed before is marked.
    let (package, features) = line.trim_end_matches(" (*)").split_once('|')?;
    Some((package.split(' ').next()?, features.split(',').filter(|feature| !feature.is_empty()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as it is to be, with `change` made to it.
    fn tree(change: impl Fn(String) -> String) -> String {
        let lines = COMPILED_IN.iter().map(|(name, features)| format!("{name} v1.2.3|{}\n", features.join(",")));
        change(lines.collect())
    }

    #[test]
    fn a_feature_that_is_on_by_accident_is_found() {
        assert_eq!(judge(&tree(|tree| tree.clone() + "wasmtime-environ v1.2.3|gc,threads\n" + &tree)), [""; 0]);
        assert_eq!(
            judge(&tree(|tree| tree.replace("wasmtime v1.2.3|async,", "wasmtime v1.2.3|async,gc,"))),
            ["`wasmtime` has the features gc: docs/vulnerabilities.md takes them for off"]
        );
        assert_eq!(
            judge(&tree(|tree| tree + "wasmtime-wasi v1.2.4|p2,p3 (*)\n")),
            ["`wasmtime-wasi` has the features p3: docs/vulnerabilities.md takes them for off"]
        );
        assert_eq!(
            judge(&tree(|tree| tree.replace("pingora-cache v1.2.3|rustls", "pingora-cache v1.2.3|"))),
            ["`pingora-cache` lacks the features rustls: docs/vulnerabilities.md takes them for on"]
        );
        assert_eq!(
            judge(&tree(|tree| tree + "winch-codegen v1.2.3|\n")),
            ["`winch-codegen` is compiled in: docs/vulnerabilities.md takes it for absent"]
        );
        assert_eq!(judge("").len(), COMPILED_IN.len());
    }
}
