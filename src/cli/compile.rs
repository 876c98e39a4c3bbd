//! `roadstead compile`: fills the cache of compiled components before a host needs it.

use std::{io, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use roadstead_config::{ImageReference, Limits, PullPolicy, RegistryCredentials, manifest::SourcePlace};
use roadstead_runtime::{
    compile::{CodeSource, PrecompileError, Precompiled, Precompiler},
    error_text,
    host::WorkloadRequest,
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    component_cache::{CacheArguments, compiler},
    fail,
    limits::LimitArguments,
    manifests,
    output::Output,
    registry::{PullSecrets, RegistryArguments},
};

/// Flags of `roadstead compile`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead compile ./apps
  roadstead compile app.yaml --component-cache-dir /var/cache/roadstead
  roadstead compile gateway.wasm worker.wasm --output json

Hosts find the components when they run as the same user, on the same processor type, with the same version of this
program, the same directory and the same --limit flags.")]
pub(super) struct CompileArguments {
    /// Manifest files, folders with *.yaml, *.yml and *.json, or component files (*.wasm).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    pull_secrets: PullSecrets,
    /// Form of the result.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Debug, thiserror::Error)]
enum CompileError {
    #[error("there is no cache directory to fill; name one with --component-cache-dir")]
    NoDirectory,
    #[error("the path of this program cannot be found out")]
    Program(#[source] io::Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Precompile(#[from] PrecompileError),
}

/// A component to compile.
struct Wanted {
    name: String,
    origin: Origin,
}

enum Origin {
    File(PathBuf),
    Image(Box<Image>),
}

/// An image that a manifest names.
struct Image {
    reference: ImageReference,
    place: SourcePlace,
    policy: PullPolicy,
    credentials: Option<RegistryCredentials>,
}

/// What became of it.
struct Outcome {
    name: String,
    result: Result<Precompiled, String>,
}

/// Runs the command; exit code 1 when a component fails.
pub(super) fn main(arguments: &CompileArguments) -> ExitCode {
    let limits = arguments.limits.apply(Limits::default());
    let (files, paths): (Vec<PathBuf>, Vec<PathBuf>) =
        arguments.paths.iter().cloned().partition(|path| path.extension().is_some_and(|e| e == "wasm"));
    let mut wanted: Vec<Wanted> = files.into_iter().map(of_file).collect();
    if !paths.is_empty() {
        match of_manifests(&paths, &limits, &arguments.pull_secrets) {
            Ok(components) => wanted.extend(components),
            Err(code) => return code,
        }
    }
    match compile_all(arguments, limits, wanted) {
        Ok(outcomes) => report(&outcomes, arguments.output),
        Err(error) => fail(&error),
    }
}

fn of_file(path: PathBuf) -> Wanted {
    Wanted { name: path.display().to_string(), origin: Origin::File(path) }
}

/// The components of manifests; problems are printed.
fn of_manifests(paths: &[PathBuf], limits: &Limits, secrets: &PullSecrets) -> Result<Vec<Wanted>, ExitCode> {
    let files = manifests::read(paths, limits).map_err(|error| fail(&error))?;
    let set = manifests::check(&files, limits).map_err(|problems| {
        manifests::print(&problems, &files);
        eprintln!("error: nothing was compiled; correct the manifests first");
        ExitCode::FAILURE
    })?;
    let mut wanted = Vec::new();
    for request in set.documents.iter().filter_map(WorkloadRequest::from_document) {
        let id = request.id;
        let mut credentials = secrets.of_workload(&id.namespace, &request.spec).map_err(|error| fail(&error))?;
        wanted.extend(request.spec.components.into_iter().map(|component| Wanted {
            name: format!("{}/{}/{}", id.namespace, id.name, component.name),
            origin: Origin::Image(Box::new(Image {
                credentials: credentials.remove(&component.name),
                reference: component.image,
                place: component.image_place,
                policy: component.image_pull_policy,
            })),
        }));
    }
    Ok(wanted)
}

fn compile_all(
    arguments: &CompileArguments,
    limits: Limits,
    wanted: Vec<Wanted>,
) -> Result<Vec<Outcome>, CompileError> {
    let directory = arguments.cache.directory().ok_or(CompileError::NoDirectory)?;
    let program = compiler().map_err(CompileError::Program)?;
    let artifacts = arguments.registry.options();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CompileError::Runtime)?;
    runtime.block_on(async move {
        // As many components in memory as are compiled at a time.
        let at_once = usize::try_from(limits.compiles_at_once_max).unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(at_once));
        let precompiler = Arc::new(Precompiler::new(limits, Some(program), directory, artifacts).await?);
        let tasks: Vec<_> = wanted
            .into_iter()
            .map(|Wanted { name, origin }| {
                let (precompiler, places) = (precompiler.clone(), places.clone());
                (name, tokio::spawn(async move { compile_one(&precompiler, &places, origin).await }))
            })
            .collect();
        let mut outcomes = Vec::with_capacity(tasks.len());
        for (name, task) in tasks {
            let result = task.await.unwrap_or_else(|panicked| Err(panicked.to_string()));
            outcomes.push(Outcome { name, result });
        }
        Ok(outcomes)
    })
}

async fn compile_one(precompiler: &Precompiler, places: &Semaphore, origin: Origin) -> Result<Precompiled, String> {
    let _place = places.acquire().await.map_err(|error| error.to_string())?;
    let result = match &origin {
        Origin::File(path) => precompiler.file(path).await,
        Origin::Image(image) => {
            let Image { reference, place, policy, credentials } = image.as_ref();
            precompiler.image(reference, place, *policy, credentials.as_ref()).await
        }
    };
    result.map_err(|error| error_text(&error))
}

fn report(outcomes: &[Outcome], output: Output) -> ExitCode {
    match output {
        Output::Text => outcomes.iter().for_each(print),
        Output::Json => {
            let components: Vec<_> = outcomes.iter().map(as_json).collect();
            println!("{}", json!({ "components": components }));
        }
    }
    if outcomes.iter().all(|outcome| outcome.result.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(outcome: &Outcome) {
    let name = &outcome.name;
    match &outcome.result {
        Ok(done) => {
            println!("{name} sha256:{} {:.3} s {}", done.digest, done.took.as_secs_f64(), how(done.source));
        }
        // The error names its place.
        Err(error) => eprintln!("error: {error}"),
    }
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    match &outcome.result {
        Ok(done) => json!({
            "name": outcome.name,
            "digest": format!("sha256:{}", done.digest),
            "seconds": done.took.as_secs_f64(),
            "source": how(done.source),
        }),
        Err(error) => json!({ "name": outcome.name, "error": error }),
    }
}

/// How a component came into the cache.
fn how(source: CodeSource) -> &'static str {
    match source {
        CodeSource::Memory | CodeSource::Disk => "cached",
        CodeSource::Child | CodeSource::Process => "compiled",
    }
}
