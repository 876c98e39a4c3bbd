//! Cargo manifests of the host: each takes the workspace's lints, and a library is a dependency only of the crates that
//! may know it. Development dependencies are free: tests may talk to anything.

use std::path::Path;

use super::Findings;

/// Dependencies whose name begins so belong to these folders alone.
const OWNERS: [(&str, &[&str]); 9] = [
    ("prometheus", &["metrics"]),
    ("pingora", &["proxy"]),
    ("wasmtime", &["runtime", "plugins", "bench"]),
    ("async-nats", &["runtime", "plugins", "bench"]),
    ("tokio", &["", "runtime", "plugins", "proxy", "telemetry", "bench"]),
    ("tokio-postgres", &["plugins", "bench"]),
    ("deadpool-postgres", &["plugins"]),
    ("wgpu", &["gpu", "gpu/wire", "bench"]),
    ("wgpu-types", &["gpu/wire"]),
];

/// Which of our crates each crate may import; the root package may import all.
const LAYERS: [(&str, &[&str]); 10] = [
    ("bench", &["roadstead-config", "roadstead-metrics", "roadstead-proxy", "roadstead-runtime"]),
    ("config", &[]),
    ("gpu", &["roadstead-gpu-wire"]),
    ("gpu/wire", &[]),
    ("metrics", &[]),
    ("runtime", &["roadstead-config", "roadstead-metrics"]),
    (
        "plugins",
        &["roadstead-config", "roadstead-gpu-wire", "roadstead-metrics", "roadstead-runtime", "roadstead-telemetry"],
    ),
    ("proxy", &["roadstead-config", "roadstead-metrics", "roadstead-runtime"]),
    ("telemetry", &["roadstead-metrics"]),
    ("xtask", &["roadstead-config", "roadstead-metrics"]),
];

pub(super) fn check(file: &Path, text: &str, findings: &mut Findings<'_>) {
    if !text.contains("[package]") {
        return;
    }
    if !text.contains("[lints]\nworkspace = true")
        && !text.contains("lints.workspace = true")
        && !text.contains("[lints.")
    {
        findings.whole("takes no lints: add `[lints]` with `workspace = true`");
    }
    let folder = file.parent().and_then(Path::to_str).unwrap_or("");
    if folder.starts_with("guests") || folder.starts_with("examples") {
        return;
    }
    for (line, name) in dependencies(text) {
        for (library, owners) in OWNERS {
            let is_it = name == library || name.strip_prefix(library).is_some_and(|rest| rest.starts_with('-'));
            if is_it && !owners.contains(&folder) {
                findings.at(line, format!("`{name}` belongs to {} alone", owners.join(", ")));
            }
        }
        let layer = LAYERS.iter().find(|(crate_folder, _)| *crate_folder == folder);
        if let Some((_, allowed)) = layer
            && name.starts_with("roadstead-")
            && !allowed.contains(&name)
        {
            findings.at(line, format!("this crate may not import `{name}`"));
        }
    }
}

/// The names in `[dependencies]` and `[build-dependencies]`, with their lines from 1.
fn dependencies(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section == "dependencies" || section == "build-dependencies";
            let own = ["dependencies.", "build-dependencies."].iter().find_map(|kind| section.strip_prefix(kind));
            found.extend(own.map(|name| (index + 1, name)));
        } else if inside
            && let Some(name) = line.split(['=', '.']).next().map(str::trim)
            && !name.is_empty()
            && !name.starts_with('#')
        {
            found.push((index + 1, name));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::problems;

    fn found(file: &str, text: &str) -> Vec<String> {
        problems(file, |file, findings| super::check(file, text, findings))
    }

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn a_library_has_its_home() {
        let text = format!("[package]\n[dependencies]\nwasmtime.workspace = true\npingora-core = \"1\"\n{LINTS}");
        assert_eq!(
            found("proxy/Cargo.toml", &text),
            ["proxy/Cargo.toml:3: `wasmtime` belongs to runtime, plugins, bench alone"]
        );
        assert_eq!(found("plugins/Cargo.toml", &text), ["plugins/Cargo.toml:4: `pingora-core` belongs to proxy alone"]);
        let test_only = format!("[package]\n[dev-dependencies]\nasync-nats = \"1\"\n{LINTS}");
        assert!(found("proxy/Cargo.toml", &test_only).is_empty());
    }

    #[test]
    fn layers_point_one_way() {
        let text = format!("[package]\n[dependencies]\nroadstead-plugins.workspace = true\n{LINTS}");
        assert_eq!(
            found("proxy/Cargo.toml", &text),
            ["proxy/Cargo.toml:3: this crate may not import `roadstead-plugins`"]
        );
        assert!(found("Cargo.toml", &text).is_empty());
    }

    #[test]
    fn lints_come_from_the_workspace() {
        assert_eq!(
            found("a/Cargo.toml", "[package]\n"),
            ["a/Cargo.toml: takes no lints: add `[lints]` with `workspace = true`"]
        );
    }
}
