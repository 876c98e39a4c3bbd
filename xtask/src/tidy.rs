//! `cargo xtask tidy`: rules of this repository that neither compiler nor clippy checks. It also runs as a test of this
//! package. The rules themselves are in the files below, by the kind of file that they read.

mod container;
mod features;
mod fixed_bounds;
mod limits_page;
mod manifest;
mod markdown;
mod metrics_page;
mod rust_source;
mod test_index;
mod whitespace;

use anyhow::{Context, Result, bail};
use clap::Args;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::report;

/// Check the rules that no compiler checks
#[derive(Args)]
#[command(
    long_about = "Checks the rules of this repository that no compiler checks: what each file must begin with and
how long it may be, which crate may know which library, links between documents, white space, that docs/limits.md says
what the table of limits, the sources and the tests say and that no limit is without a test, that of the engine and the
ingress no other features are compiled in than docs/vulnerabilities.md says, and that the container image has no more in
it than docs/threat-model.md says."
)]
#[command(after_help = "Examples:
  cargo xtask tidy             prints every problem as file:line: what is wrong
  cargo xtask tidy --write     writes docs/limits.md and docs/metrics.md anew, then checks")]
pub(crate) struct Arguments {
    /// Write the generated pages anew
    #[arg(long)]
    write: bool,
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    file: PathBuf,
    /// From 1; none when it is about the whole file.
    line: Option<usize>,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.what),
            None => write!(f, "{}: {}", self.file.display(), self.what),
        }
    }
}

/// Problems of one file, as a rule finds them.
struct Findings<'a> {
    file: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Findings<'_> {
    fn at(&mut self, line: usize, what: impl Into<String>) {
        self.problems.push(Problem { file: self.file.to_owned(), line: Some(line), what: what.into() });
    }

    fn whole(&mut self, what: impl Into<String>) {
        self.problems.push(Problem { file: self.file.to_owned(), line: None, what: what.into() });
    }
}

/// Runs the command.
///
/// # Errors
/// When a rule is broken; the problems are printed before.
pub(crate) fn run(layout: &Layout, arguments: &Arguments) -> Result<()> {
    if arguments.write {
        limits_page::write(layout.root())?;
        metrics_page::write(layout.root())?;
    }
    check(layout)?;
    report::note("tidy");
    Ok(())
}

/// Prints all problems.
///
/// # Errors
/// When there are any.
pub(crate) fn check(layout: &Layout) -> Result<()> {
    let problems = find(layout.root())?;
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("rules broken: {} (printed above as file:line)", problems.len());
    }
    Ok(())
}

fn find(root: &Path) -> Result<Vec<Problem>> {
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    files.sort();
    let mut problems = Vec::new();
    for file in &files {
        if !is_read(file) {
            continue;
        }
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        let mut findings = Findings { file, problems: &mut problems };
        whitespace::check(&text, &mut findings);
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => rust_source::check(file, &text, &mut findings),
            Some("md") => markdown::check(root, file, &text, &mut findings),
            Some("toml") if file.ends_with("Cargo.toml") => manifest::check(file, &text, &mut findings),
            _ => {}
        }
    }
    limits_page::check(root, &mut problems)?;
    metrics_page::check(root, &mut problems)?;
    features::check(root, &mut problems)?;
    container::check(root, &mut problems)?;
    Ok(problems)
}

fn is_read(file: &Path) -> bool {
    const EXTENSIONS: [&str; 8] = ["rs", "toml", "md", "yaml", "yml", "sh", "wit", "html"];
    let extension = file.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) || file.starts_with(".ci")
}

/// All files under `root`, relative to it, but those that are made by builds or belong to tools.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    const SKIPPED: [&str; 2] = ["target", "node_modules"];
    const HIDDEN_BUT_OURS: [&str; 3] = [".ci", ".cargo", ".github"];
    let entries = fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let shown = name.to_string_lossy();
        let skipped = SKIPPED.contains(&&*shown) || (shown.starts_with('.') && !HIDDEN_BUT_OURS.contains(&&*shown));
        let kind = entry.file_type()?;
        if kind.is_dir() && !skipped {
            walk(root, &folder.join(&name), files)?;
        } else if kind.is_file() {
            files.push(folder.join(&name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Problems of one made-up file, in their printed form.
    pub(super) fn problems(file: &str, rule: impl FnOnce(&Path, &mut Findings<'_>)) -> Vec<String> {
        let mut problems = Vec::new();
        let file = Path::new(file);
        rule(file, &mut Findings { file, problems: &mut problems });
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_repository_is_tidy() {
        let problems = find(Layout::find().root()).unwrap();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "run `cargo xtask tidy`:\n{}", shown.join("\n"));
    }
}
