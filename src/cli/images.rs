//! `roadstead pull`, `push` and `inspect`: images by themselves, without a host.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use bytes::Bytes;
use clap::Args;
use roadstead_config::{ImageReference, Limits, OciReference, PullPolicy, Sha256Digest};
use roadstead_runtime::artifact::{ArtifactStore, Declaration, Inspected, PullError, Pulled};
use serde_json::json;

use super::{fail, limits::LimitArguments, log, output::Output, registry::RegistryArguments};

/// Flags of `roadstead pull`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead pull ghcr.io/org/gateway:0.3.0                       writes gateway.wasm
  roadstead pull ghcr.io/org/gateway:0.3.0 --to /tmp/g.wasm
  roadstead pull ghcr.io/org/gateway:0.3.0 --oci-cache-dir /var/cache/roadstead-images
  roadstead pull http://127.0.0.1:5000/gateway:dev --allow-insecure-registries")]
pub(super) struct PullArguments {
    /// The image, such as ghcr.io/org/name:tag or ghcr.io/org/name@sha256:...
    #[arg(value_name = "REF")]
    image: OciReference,
    /// File to write. Without it the component goes into the cache that --oci-cache-dir names, or else to NAME.wasm in
    /// this folder.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Flags of `roadstead push`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead push gateway.wasm ghcr.io/org/gateway:0.3.0
  roadstead push gateway.wasm http://127.0.0.1:5000/gateway:dev --allow-insecure-registries

Credentials are those of --docker-config, as `docker login` writes them. The same component has the same digest whenever
and from wherever it is sent.")]
pub(super) struct PushArguments {
    /// The component.
    file: PathBuf,
    /// Where to send it, with a tag.
    #[arg(value_name = "REF")]
    image: OciReference,
    #[command(flatten)]
    common: Common,
}

/// Flags of `roadstead inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  roadstead inspect gateway.wasm
  roadstead inspect ghcr.io/org/gateway:0.3.0 --output json

What a manifest must declare is what the component imports beyond the base that every component has.")]
pub(super) struct InspectArguments {
    /// A component file (ending in .wasm, or with a path), or an image in a registry.
    #[arg(value_name = "REF|FILE")]
    subject: String,
    /// Form of the result.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    common: Common,
}

/// Flags of all three.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    registry: RegistryArguments,
    #[command(flatten)]
    limits: LimitArguments,
    #[command(flatten)]
    log: log::LogArguments,
}

#[derive(Debug, thiserror::Error)]
enum ImageCommandError {
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("{image} cannot be fetched")]
    Pull {
        image: String,
        #[source]
        source: PullError,
    },
    #[error("{image} cannot be sent")]
    Push {
        image: String,
        #[source]
        source: PullError,
    },
    #[error("images cannot be fetched")]
    Store(#[source] PullError),
    #[error("{} cannot be read", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is {found} bytes large; a component may have {max} (component_bytes_max)", .path.display())]
    TooLarge { path: PathBuf, found: u64, max: u64 },
    #[error("{} cannot be written", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{subject} is no component, but {instead}")]
    NoComponent { subject: String, instead: String },
    #[error("{subject:?} is neither a file nor an image: it {source}")]
    Subject {
        subject: String,
        #[source]
        source: roadstead_config::ImageError,
    },
}

/// Runs `roadstead pull`.
pub(super) fn pull(arguments: &PullArguments) -> ExitCode {
    ended(&arguments.common, async |store: ArtifactStore| {
        let pulled = fetch(&store, &arguments.image).await?;
        Inspected::of(&pulled.bytes)
            .map_err(|instead| ImageCommandError::NoComponent { subject: arguments.image.to_string(), instead })?;
        let path = match &arguments.to {
            Some(path) => Some(path.clone()),
            None if arguments.common.registry.keeps() && pulled.lease.is_some() => None,
            None => Some(file_name(&arguments.image)),
        };
        if let Some(path) = &path {
            let failed = |source| ImageCommandError::Write { path: path.clone(), source };
            write_whole(path, &pulled.bytes).map_err(failed)?;
        }
        let place = path.map_or_else(|| "in the cache".to_owned(), |path| path.display().to_string());
        println!("{} {} {} bytes {place}", arguments.image, pulled.manifest, pulled.bytes.len());
        Ok(())
    })
}

/// Runs `roadstead push`.
pub(super) fn push(arguments: &PushArguments) -> ExitCode {
    ended(&arguments.common, async |store: ArtifactStore| {
        let bytes = read(&arguments.file, &arguments.common.limits.apply(Limits::default()))?;
        let size = bytes.len();
        let failed = |source| ImageCommandError::Push { image: arguments.image.to_string(), source };
        let digest = store.push(&arguments.image, bytes).await.map_err(failed)?;
        println!("{} {digest} {size} bytes", arguments.image);
        Ok(())
    })
}

/// Runs `roadstead inspect`.
pub(super) fn inspect(arguments: &InspectArguments) -> ExitCode {
    ended(&arguments.common, async |store: ArtifactStore| {
        let subject = &arguments.subject;
        let path = Path::new(subject.strip_prefix("file:").unwrap_or(subject));
        let (bytes, manifest) = if path.is_file() || subject.ends_with(".wasm") {
            (read(path, &arguments.common.limits.apply(Limits::default()))?, None)
        } else {
            let image = subject.parse().and_then(|image| match image {
                ImageReference::Oci(image) => Ok(image),
                ImageReference::File(_) => Err(roadstead_config::ImageError::Repository),
            });
            let failed = |source| ImageCommandError::Subject { subject: subject.clone(), source };
            let pulled = fetch(&store, &image.map_err(failed)?).await?;
            (pulled.bytes, Some(pulled.manifest))
        };
        let no_component = |instead| ImageCommandError::NoComponent { subject: subject.clone(), instead };
        let inspected = Inspected::of(&bytes).map_err(no_component)?;
        match arguments.output {
            Output::Text => print(subject, &bytes, manifest, &inspected),
            Output::Json => println!("{}", as_json(subject, &bytes, manifest, &inspected)),
        }
        Ok(())
    })
}

/// Does something with a store, and says how it ended.
fn ended(common: &Common, work: impl AsyncFnOnce(ArtifactStore) -> Result<(), ImageCommandError>) -> ExitCode {
    let _log = match log::start(&common.log, None, None) {
        Ok(log) => log,
        Err(error) => return fail(&error),
    };
    let limits = common.limits.apply(Limits::default());
    let result =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ImageCommandError::Runtime).and_then(
            |runtime| {
                runtime.block_on(async {
                    let store = ArtifactStore::new(common.registry.options(), limits).await;
                    work(store.map_err(ImageCommandError::Store)?).await
                })
            },
        );
    result.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// The image as the registry has it now: a tag may stand for another one than it did.
async fn fetch(store: &ArtifactStore, image: &OciReference) -> Result<Pulled, ImageCommandError> {
    let failed = |source| ImageCommandError::Pull { image: image.to_string(), source };
    store.pull(image, PullPolicy::Always, None).await.map_err(failed)
}

fn read(path: &Path, limits: &Limits) -> Result<Bytes, ImageCommandError> {
    let failed = |source| ImageCommandError::Read { path: path.to_owned(), source };
    let (found, max) = (fs::metadata(path).map_err(failed)?.len(), limits.component_bytes_max);
    if found > max {
        return Err(ImageCommandError::TooLarge { path: path.to_owned(), found, max });
    }
    fs::read(path).map(Bytes::from).map_err(failed)
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".unfinished");
    let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn file_name(image: &OciReference) -> PathBuf {
    let name = image.repository().rsplit('/').next().unwrap_or_default();
    PathBuf::from(format!("{name}.wasm"))
}

fn print(subject: &str, bytes: &[u8], manifest: Option<Sha256Digest>, inspected: &Inspected) {
    println!("{subject}");
    println!("  size     {} bytes", bytes.len());
    println!("  digest   {}", digest_of(bytes));
    if let Some(manifest) = manifest {
        println!("  manifest {manifest}");
    }
    for (title, names) in [("imports", &inspected.imports), ("exports", &inspected.exports)] {
        println!("{title}");
        names.iter().for_each(|name| println!("  {}", name.escape_debug()));
    }
    let declarations = inspected.to_declare();
    if declarations.is_empty() {
        println!("a manifest need declare nothing for it");
    } else {
        println!("a manifest must declare");
        println!("  hostInterfaces:");
        declarations.iter().for_each(|declaration| println!("    - {}", flow(declaration)));
    }
}

/// A declaration as YAML in one line.
fn flow(declaration: &Declaration) -> String {
    let Declaration { namespace, package, version, interfaces } = declaration;
    let version = version.as_ref().map(|version| format!(", version: '{version}'")).unwrap_or_default();
    format!("{{namespace: {namespace}, package: {package}{version}, interfaces: [{}]}}", interfaces.join(", "))
}

fn as_json(subject: &str, bytes: &[u8], manifest: Option<Sha256Digest>, inspected: &Inspected) -> serde_json::Value {
    let declarations: Vec<_> = inspected
        .to_declare()
        .into_iter()
        .map(|Declaration { namespace, package, version, interfaces }| {
            let mut entry = json!({ "namespace": namespace, "package": package, "interfaces": interfaces });
            if let (Some(version), Some(entry)) = (version, entry.as_object_mut()) {
                entry.insert("version".into(), version.into());
            }
            entry
        })
        .collect();
    json!({
        "subject": subject,
        "bytes": bytes.len(),
        "digest": digest_of(bytes).to_string(),
        "manifest": manifest.map(|digest| digest.to_string()),
        "imports": inspected.imports,
        "exports": inspected.exports,
        "hostInterfaces": declarations,
    })
}

fn digest_of(bytes: &[u8]) -> Sha256Digest {
    roadstead_runtime::artifact::digest_of(bytes)
}
