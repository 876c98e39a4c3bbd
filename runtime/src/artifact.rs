//! Where a component's bytes come from, and whether they are a component at all. Checked before anything compiles them.

mod options;

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use roadstead_config::{ImageReference, manifest::SourcePlace};

pub use options::{ArtifactCleaner, ArtifactOptions, CLEAN_EVERY_DEFAULT, PULL_TIMEOUT_DEFAULT, UNUSED_FOR_DEFAULT};

use crate::DeployError;

/// `\0asm`, how every WebAssembly binary begins.
const MAGIC: [u8; 4] = *b"\0asm";
/// Version and layer of a component.
const COMPONENT_LAYER: [u8; 4] = [0x0d, 0x00, 0x01, 0x00];
/// Version and layer of a core module.
const MODULE_LAYER: [u8; 4] = [0x01, 0x00, 0x00, 0x00];

/// Reads the component that `image` names. A file is looked up from the folder of the manifest that names it.
pub(crate) async fn read_component(
    image: &ImageReference,
    place: &SourcePlace,
    bytes_max: u64,
) -> Result<Bytes, DeployError> {
    let path = match image {
        ImageReference::File(path) => path,
        ImageReference::Oci(_) => {
            return Err(DeployError::Unsupported {
                place: place.clone(),
                feature: "an image in a registry",
                reason: "this version reads components from files; write file:PATH.wasm",
            });
        }
    };
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
