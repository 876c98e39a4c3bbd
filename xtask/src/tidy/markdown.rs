//! Links between documents: the file that a relative link names must be there. Addresses on the web are not asked for.

use std::path::Path;

use super::Findings;

pub(super) fn check(root: &Path, file: &Path, text: &str, findings: &mut Findings<'_>) {
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") || start.starts_with("~~~") {
            in_code = !in_code;
        } else if !in_code {
            for target in targets(line) {
                if let Some(what) = broken(root, folder, &target) {
                    findings.at(index + 1, what);
                }
            }
        }
    }
}

/// The targets of the links in a line of prose, without code spans.
fn targets(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next().map(str::to_owned));
    let mut found: Vec<String> = inline.collect();
    if line.starts_with('[')
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.push(target.to_owned());
    }
    found
}

fn broken(root: &Path, folder: &Path, target: &str) -> Option<String> {
    let target = target.split_whitespace().next()?.trim_matches(['<', '>']);
    let (path, _anchor) = target.split_once('#').unwrap_or((target, ""));
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    if path.starts_with('/') {
        return Some(format!("link to `{path}`: write it relative to this file"));
    }
    (!root.join(folder).join(path).exists()).then(|| format!("link to `{path}`, which is not there"))
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::problems;
    use std::path::Path;

    fn found(text: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        problems("src/a.md", |file, findings| super::check(root, file, text, findings))
    }

    #[test]
    fn a_link_must_lead_to_a_file() {
        assert_eq!(
            found("[a](main.rs) [b](../Cargo.toml#x \"title\") [c](https://example.test/) [d](#here)\n"),
            [""; 0]
        );
        assert_eq!(found("[a](gone.md)\n"), ["src/a.md:1: link to `gone.md`, which is not there"]);
        assert_eq!(found("\n[a]: gone.md\n"), ["src/a.md:2: link to `gone.md`, which is not there"]);
        assert_eq!(found("[a](/main.rs)\n"), ["src/a.md:1: link to `/main.rs`: write it relative to this file"]);
    }

    #[test]
    fn code_is_not_read() {
        assert_eq!(found("`[a](gone.md)`\n```\n[a](gone.md)\n```\n"), [""; 0]);
    }
}
