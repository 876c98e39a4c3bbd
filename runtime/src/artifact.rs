//! Where a component's bytes come from, and whether they are a component at all. Checked before anything compiles them.

mod address;
mod auth;
mod cache;
mod docker_config;
mod error;
mod fetch;
mod inspect;
mod manifest;
mod options;
mod push;
mod retry;
mod session;
mod store;
mod wire;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use roadstead_config::{ImageReference, PullPolicy, RegistryCredentials, manifest::SourcePlace};

use crate::DeployError;
pub use cache::ArtifactLease;
pub use docker_config::{PullSecretError, pull_secret};
pub use error::PullError;
pub use fetch::digest_of;
pub use inspect::{Declaration, Inspected};
pub use options::{
    ArtifactCleaner, ArtifactOptions, CLEAN_EVERY_DEFAULT, PULL_TIMEOUT_DEFAULT, PullProgress, UNUSED_FOR_DEFAULT,
};
pub use store::{ArtifactStore, PullSource, Pulled};

/// `\0asm`, how every WebAssembly binary begins.
const MAGIC: [u8; 4] = *b"\0asm";
/// Version and layer of a component.
const COMPONENT_LAYER: [u8; 4] = [0x0d, 0x00, 0x01, 0x00];
/// Version and layer of a core module.
const MODULE_LAYER: [u8; 4] = [0x01, 0x00, 0x00, 0x00];

/// A component to read: the image, with all that decides from where.
pub(crate) struct Wanted<'w> {
    pub(crate) image: &'w ImageReference,
    pub(crate) place: &'w SourcePlace,
    pub(crate) policy: PullPolicy,
    pub(crate) credentials: Option<&'w RegistryCredentials>,
}

/// A component's bytes, checked to be one.
pub(crate) struct Read {
    pub(crate) bytes: Bytes,
    /// Keeps the image in the cache for as long as the component is in use.
    pub(crate) lease: Option<Arc<ArtifactLease>>,
}

/// Reads the component that an image names. A file is looked up from the folder of the manifest that names it.
pub(crate) async fn read_component(
    store: &ArtifactStore,
    wanted: Wanted<'_>,
    bytes_max: u64,
) -> Result<Read, DeployError> {
    let Wanted { image, place, policy, credentials } = wanted;
    match image {
        ImageReference::File(path) => {
            let bytes = read_beside(path, place, bytes_max).await?;
            Ok(Read { bytes, lease: None })
        }
        ImageReference::Oci(image) => {
            let failed = |source| DeployError::Image { place: place.clone(), image: image.to_string(), source };
            let pulled = store.pull(image, policy, credentials).await.map_err(failed)?;
            check_layer(&pulled.bytes, place, image.as_written())?;
            Ok(Read { bytes: pulled.bytes, lease: pulled.lease })
        }
    }
}

async fn read_beside(path: &Path, place: &SourcePlace, bytes_max: u64) -> Result<Bytes, DeployError> {
    if !place.is_in_file() {
        return Err(DeployError::Unsupported {
            place: place.clone(),
            feature: "an image of file:",
            reason: "what names it is no file beside which it could be; name an image in a registry",
        });
    }
    let shown = path.display().to_string();
    let read = |source| DeployError::Read { place: place.clone(), path: shown.clone(), source };
    let folder = Path::new(place.file.as_ref()).parent().unwrap_or(Path::new(""));
    let full = inside(folder, path).await.map_err(read)?;
    read_file(&full, shown, place, bytes_max).await
}

/// Reads the component file at `path`; errors call it `shown`.
pub(crate) async fn read_file(
    path: &Path,
    shown: String,
    place: &SourcePlace,
    bytes_max: u64,
) -> Result<Bytes, DeployError> {
    let read = |source| DeployError::Read { place: place.clone(), path: shown.clone(), source };
    let found = tokio::fs::metadata(path).await.map_err(read)?.len();
    if found > bytes_max {
        return Err(DeployError::TooLarge { place: place.clone(), path: shown, found, max: bytes_max });
    }
    let bytes = Bytes::from(tokio::fs::read(path).await.map_err(read)?);
    check_layer(&bytes, place, &shown)?;
    Ok(bytes)
}

/// Resolves links and keeps the result inside the manifest's folder.
async fn inside(folder: &Path, path: &Path) -> io::Result<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = tokio::fs::canonicalize(folder).await?;
    let full = tokio::fs::canonicalize(folder.join(path)).await?;
    if full.starts_with(&folder) {
        Ok(full)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the path leads out of the manifest's folder"))
    }
}

fn check_layer(bytes: &[u8], place: &SourcePlace, path: &str) -> Result<(), DeployError> {
    let (place, path) = (place.clone(), path.to_owned());
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(magic), Some(layer)) if magic == MAGIC && layer == COMPONENT_LAYER => Ok(()),
        (Some(magic), Some(layer)) if magic == MAGIC && layer == MODULE_LAYER => {
            Err(DeployError::CoreModule { place, path })
        }
        _ => Err(DeployError::NotWasm { place, path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a control plane commands has no folder: not that of the manifests, and not the one in which the host runs.
    #[tokio::test]
    async fn a_command_names_no_file_of_the_host() {
        let place = SourcePlace::outside_files("command start-1, component gateway");
        let error = read_beside(Path::new("Cargo.toml"), &place, u64::MAX).await.unwrap_err().to_string();
        assert!(error.starts_with("command start-1, component gateway: an image of file: cannot be used"), "{error}");
    }
}
