//! Rust sources: how a file begins, how long it is, what it may name. Looks at code only: comments and literals are
//! blanked out first, and inline test modules are left out where a rule is not about tests.

mod mask;

use std::path::Path;

use super::Findings;

const LINES_MAX: usize = 500;

/// Paths that only some folders may name: the first segment begins so, and a file elsewhere breaks an invariant.
const HOMES: [(&str, &[&str]); 6] = [
    ("prometheus", &["metrics"]),
    ("pingora", &["proxy"]),
    ("wasmtime", &["runtime", "plugins"]),
    ("async_nats", &["plugins", "runtime/src/washlet"]),
    ("tokio_postgres", &["plugins"]),
    ("deadpool_postgres", &["plugins"]),
];

/// The folders of the host that the invariants of ARCHITECTURE.md speak of.
const HOST: [&str; 7] = ["config", "metrics", "runtime", "plugins", "proxy", "telemetry", "src"];

pub(super) fn check(file: &Path, text: &str, findings: &mut Findings<'_>) {
    if !text.starts_with("//!") {
        findings.at(1, "begins without `//!`: say why the file exists and what it must not know");
    }
    if file.file_name().is_some_and(|name| name == "mod.rs") {
        findings.whole("`mod.rs`: name the file after its module, beside the folder");
    }
    let masked = mask::code_only(text);
    let lines: Vec<&str> = masked.lines().collect();
    let before_tests = inline_tests(&lines).unwrap_or(lines.len());
    if before_tests > LINES_MAX {
        findings
            .whole(format!("{before_tests} lines before its tests, more than {LINES_MAX}: the design wants a look"));
    }
    for (index, line) in lines.iter().enumerate() {
        for (word, _) in words(line).filter(|(_, after)| after.starts_with('!')) {
            if ["dbg", "todo", "unimplemented"].contains(&word) {
                findings.at(index + 1, format!("`{word}!` is for work under way"));
            }
        }
        if index < before_tests && is_host_code(file) {
            check_paths(file, index + 1, line, findings);
        }
    }
}

/// Libraries and the environment, where the line names them by a path.
fn check_paths(file: &Path, line_number: usize, line: &str, findings: &mut Findings<'_>) {
    for (word, _) in words(line).filter(|(_, after)| after.starts_with("::")) {
        for (library, homes) in HOMES {
            let is_it = word == library || word.strip_prefix(library).is_some_and(|rest| rest.starts_with('_'));
            let at_home = homes.iter().any(|home| {
                let home = Path::new(home);
                file.starts_with(home) || file == home.with_extension("rs")
            });
            if is_it && !at_home {
                findings.at(line_number, format!("`{word}` is only known to {}", homes.join(" and ")));
            }
        }
        if word == "env" && !file.starts_with("src") {
            findings.at(line_number, "only the root package reads the environment: pass the value in");
        }
    }
    if line.contains("std::env;") && !file.starts_with("src") {
        findings.at(line_number, "only the root package reads the environment: pass the value in");
    }
}

/// Sources that are part of the host: not its tests, not its build scripts.
fn is_host_code(file: &Path) -> bool {
    let of_tests = file.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
    let build_script = file.file_name().is_some_and(|name| name == "build.rs");
    HOST.iter().any(|folder| file.starts_with(folder)) && !of_tests && !build_script
}

/// The index of the line at which an inline test module begins.
fn inline_tests(lines: &[&str]) -> Option<usize> {
    lines.windows(2).position(|pair| match pair {
        [first, second] => {
            first.starts_with("#[cfg(test)]") && second.starts_with("mod ") && second.trim_end().ends_with('{')
        }
        _ => false,
    })
}

/// The identifiers of a line, each with what follows it.
pub(super) fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let mut rest = line;
    std::iter::from_fn(move || {
        let start = rest.find(is_part)?;
        let word_on = rest.get(start..)?;
        let end = word_on.find(|character| !is_part(character)).unwrap_or(word_on.len());
        let (word, after) = word_on.split_at(end);
        rest = after;
        Some((word, after))
    })
}

#[cfg(test)]
mod tests {
    use crate::tidy::tests::problems;

    fn found(file: &str, text: &str) -> Vec<String> {
        problems(file, |file, findings| super::check(file, text, findings))
    }

    #[test]
    fn a_file_says_why_it_exists() {
        let wanted = "begins without `//!`: say why the file exists and what it must not know";
        assert_eq!(found("src/a.rs", "fn a() {}\n"), [format!("src/a.rs:1: {wanted}")]);
        let named = "src/a/mod.rs: `mod.rs`: name the file after its module, beside the folder";
        assert_eq!(found("src/a/mod.rs", "//! A.\n"), [named]);
    }

    #[test]
    fn a_file_has_an_end() {
        let long = format!("//! A.\n{}", "fn a() {}\n".repeat(500));
        assert_eq!(
            found("src/a.rs", &long),
            ["src/a.rs: 501 lines before its tests, more than 500: the design wants a look"]
        );
        let tested = format!("//! A.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(900));
        assert!(found("src/a.rs", &tested).is_empty());
    }

    #[test]
    fn libraries_stay_at_home() {
        let use_wasmtime = "//! A.\nuse wasmtime_wasi::p2;\n";
        assert_eq!(
            found("proxy/src/a.rs", use_wasmtime),
            ["proxy/src/a.rs:2: `wasmtime_wasi` is only known to runtime and plugins"]
        );
        assert!(found("plugins/src/a.rs", use_wasmtime).is_empty());
        let use_nats = "//! A.\nuse async_nats::Client;\n";
        assert!(found("runtime/src/washlet.rs", use_nats).is_empty());
        assert!(found("runtime/src/washlet/commands.rs", use_nats).is_empty());
        assert_eq!(found("runtime/src/pool.rs", use_nats).len(), 1);
        assert!(found("tests/it/a.rs", use_nats).is_empty());
        assert!(found("src/a.rs", "//! A.\n// wasmtime::Engine\nconst A: &str = \"wasmtime::Engine\";\n").is_empty());
    }

    #[test]
    fn the_environment_is_read_at_the_root() {
        let text = "//! A.\nlet a = std::env::var(\"A\");\n";
        assert_eq!(
            found("runtime/src/a.rs", text),
            ["runtime/src/a.rs:2: only the root package reads the environment: pass the value in"]
        );
        assert!(found("src/a.rs", text).is_empty());
        assert!(found("runtime/src/a.rs", "//! A.\nconst A: &str = env!(\"A\");\n").is_empty());
        assert!(found("runtime/src/a.rs", &format!("//! A.\n#[cfg(test)]\nmod tests {{\n{text}}}\n")).is_empty());
    }

    #[test]
    fn work_under_way_does_not_land() {
        assert_eq!(found("src/a.rs", "//! A.\nfn a() { todo!() }\n"), ["src/a.rs:2: `todo!` is for work under way"]);
        assert!(found("src/a.rs", "//! A.\n// todo!()\n").is_empty());
    }
}
