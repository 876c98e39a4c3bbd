//! Reads manifest files and shows what is wrong with them.

use std::{
    fs,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use roadstead_config::{Diagnostic, Limits, ManifestSet, SourceFile, load};

/// Extensions of manifest files, for folders.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Why manifests cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{path} cannot be read")]
    Io {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the folder {path} has no manifest ({})", EXTENSIONS.map(|e| format!("*.{e}")).join(", "))]
    EmptyFolder { path: String },
    #[error("{path} is larger than the {bytes_max} bytes that a manifest may have")]
    TooLarge { path: String, bytes_max: u64 },
}

/// The files that the command line names: each file itself, of each folder its manifests in the order of their names.
pub(super) fn read(paths: &[PathBuf], limits: &Limits) -> Result<Vec<SourceFile>, ReadError> {
    files(paths)?.iter().map(|file| read_file(file, limits.manifest_bytes_max)).collect()
}

/// The paths of those files.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(expand(path)?);
    }
    Ok(files)
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let io = |source| ReadError::Io { path: path.display().to_string(), source };
    if !fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_manifest = |file: &PathBuf| {
        file.is_file() && file.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e))
    };
    let entries = fs::read_dir(path).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    if files.is_empty() {
        return Err(ReadError::EmptyFolder { path: path.display().to_string() });
    }
    Ok(files)
}

fn read_file(path: &Path, bytes_max: u64) -> Result<SourceFile, ReadError> {
    let name = path.display().to_string();
    let io = |source| ReadError::Io { path: name.clone(), source };
    if fs::metadata(path).map_err(io)?.len() > bytes_max {
        return Err(ReadError::TooLarge { path: name, bytes_max });
    }
    let bytes = fs::read(path).map_err(io)?;
    Ok(SourceFile { name: name.into(), bytes })
}

/// Parses and checks `files` as a whole; on failure all problems are printed to standard error.
pub(super) fn check(files: &[SourceFile], limits: &Limits) -> Result<ManifestSet, Vec<Diagnostic>> {
    load(files, limits)
}

/// Prints problems for people: one line each, and on a terminal the line of the manifest with a mark under it.
pub(super) fn print(problems: &[Diagnostic], files: &[SourceFile]) {
    let terminal = std::io::stderr().is_terminal();
    for problem in problems {
        match files.iter().find(|file| file.name == problem.place.file) {
            Some(file) if terminal => eprintln!("{}\n", with_source(problem, file)),
            _ => eprintln!("{problem}"),
        }
    }
}

fn with_source(problem: &Diagnostic, file: &SourceFile) -> String {
    let source = String::from_utf8_lossy(&file.bytes);
    let start = source.floor_char_boundary(problem.span.start.min(source.len()));
    let end = source.ceil_char_boundary(problem.span.end.min(source.len()));
    // A mark under a whole mapping says nothing: its first line is enough.
    let first_line_end = source.get(start..end).and_then(|marked| marked.find('\n')).map_or(end, |len| start + len);
    let title = format!("{}: found {}, expected {}", problem.field, problem.found, problem.expected);
    let label = problem.help.clone().unwrap_or_default();
    let snippet = Snippet::source(source.as_ref())
        .path(problem.place.file.as_ref())
        .annotation(AnnotationKind::Primary.span(start..first_line_end.max(start)).label(label));
    let mut group = Level::ERROR.primary_title(title).element(snippet);
    if let Some((place, why)) = &problem.related {
        group = group.element(Level::NOTE.message(format!("{why}: {place}")));
    }
    Renderer::styled().render(&[group])
}
