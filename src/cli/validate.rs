//! `roadstead validate`: every problem of every document, at once.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use roadstead_config::{Diagnostic, Limits, SourceFile};
use serde_json::json;

use super::{fail, manifests, output::Output};

/// Flags of `roadstead validate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead validate app.yaml
  roadstead validate ./apps --output json")]
pub(super) struct ValidateArguments {
    /// Manifest files, or folders with *.yaml, *.yml and *.json.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Form of the result.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Runs the command; exit code 1 when there is a problem.
pub(super) fn main(arguments: &ValidateArguments) -> ExitCode {
    let limits = Limits::default();
    let files = match manifests::read(&arguments.paths, &limits) {
        Ok(files) => files,
        Err(error) => return fail(&error),
    };
    match manifests::check(&files, &limits) {
        Ok(set) => {
            let count = set.documents.len();
            match arguments.output {
                Output::Text => println!("{count} documents in {} files: valid", files.len()),
                Output::Json => println!("{}", json!({ "valid": true, "documents": count, "problems": [] })),
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            report(&problems, &files, arguments.output);
            ExitCode::FAILURE
        }
    }
}

fn report(problems: &[Diagnostic], files: &[SourceFile], output: Output) {
    match output {
        Output::Text => {
            manifests::print(problems, files);
            eprintln!("{} in {} files", count(problems.len()), files.len());
        }
        Output::Json => {
            let problems: Vec<_> = problems.iter().map(as_json).collect();
            println!("{}", json!({ "valid": false, "problems": problems }));
        }
    }
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 problem".into() } else { format!("{problems} problems") }
}

fn as_json(problem: &Diagnostic) -> serde_json::Value {
    json!({
        "file": &*problem.place.file,
        "line": problem.place.line,
        "column": problem.place.column,
        "field": problem.field,
        "found": problem.found,
        "expected": problem.expected,
        "help": problem.help,
        "related": problem.related.as_ref().map(|(place, why)| json!({ "place": place.to_string(), "why": why })),
        "message": problem.to_string(),
    })
}
