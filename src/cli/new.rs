//! `roadstead new`: a project of two components to begin with. It must not know what the components do: their text is in
//! the template, and where it goes is in `project`.

mod name;
mod project;
mod template;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use roadstead_config::Namespace;
use serde_json::json;

use super::{fail, output::Output};
use name::ProjectName;
use project::Made;

/// Flags of `roadstead new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead new hello                       writes the folder hello
  roadstead new hello --namespace my-team   the tenant that its workloads belong to
  roadstead new hello --path ~/src/hello

Then, in that folder, with Rust and `rustup target add wasm32-wasip2`:
  cargo build
  roadstead run .")]
pub(super) struct NewArguments {
    /// Name of the application: lower-case letters, digits and '-', the first a letter. It becomes the host name NAME.localhost,
    /// the subject tasks.NAME and the beginning of the workloads' names.
    #[arg(value_name = "NAME")]
    name: ProjectName,
    /// Namespace of the workloads.
    #[arg(long, default_value = Namespace::DEFAULT)]
    namespace: Namespace,
    /// Folder to write, which is empty or not there yet; NAME in this folder where it is not given.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
    /// Form of the result.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Runs the command.
pub(super) fn main(arguments: &NewArguments) -> ExitCode {
    let folder = arguments.path.clone().unwrap_or_else(|| PathBuf::from(arguments.name.as_str()));
    let files = template::files(&arguments.name, &arguments.namespace);
    match project::write(&folder, &files) {
        Ok(made) => {
            match arguments.output {
                Output::Text => print(arguments, &made),
                Output::Json => println!("{}", as_json(arguments, &made)),
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn print(arguments: &NewArguments, made: &Made) {
    let NewArguments { name, namespace, .. } = arguments;
    for file in &made.files {
        println!("  wrote {}", made.folder.join(file).display());
    }
    println!("\n{name}: a gateway that answers HTTP and a worker that it asks, in the namespace {namespace}. Next:\n");
    println!("  cd {}", quoted(&made.folder.display().to_string()));
    for line in template::steps(name) {
        println!("  {line}");
    }
    println!("\nREADME.md in that folder says the rest.");
}

fn as_json(arguments: &NewArguments, made: &Made) -> serde_json::Value {
    json!({
        "name": arguments.name.as_str(),
        "namespace": arguments.namespace.as_str(),
        "folder": made.folder.display().to_string(),
        "files": made.files,
        "next": template::steps(&arguments.name),
    })
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("a/b-c"), "a/b-c");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
    }
}
