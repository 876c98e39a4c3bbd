//! Where a component's bytes come from.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{path::stays_inside, registry::is_registry};

/// Longest image reference, in bytes.
const REFERENCE_BYTES_MAX: usize = 512;

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error("is empty; write an OCI reference or file:PATH.wasm")]
    Empty,
    #[error("is longer than {REFERENCE_BYTES_MAX} bytes")]
    TooLong,
    #[error("has the character {0:?}")]
    Character(char),
    #[error("leaves the manifest's folder; after file: write a path relative to it")]
    Path,
    #[error("has a digest that is not sha256: and 64 hexadecimal digits")]
    Digest,
    #[error("has no registry host or repository; write for example ghcr.io/org/name:tag")]
    Repository,
}

/// The `image` of a component or service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageReference {
    /// `file:PATH`: a path relative to the manifest's folder that does not leave it.
    File(PathBuf),
    /// An OCI reference, `registry/repository` with `:tag` or `@sha256:digest`, kept as written.
    Oci(Arc<str>),
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.is_empty() {
            return Err(ImageError::Empty);
        }
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(ImageError::TooLong);
        }
        if let Some(c) = text.chars().find(|c| c.is_control() || c.is_whitespace()) {
            return Err(ImageError::Character(c));
        }
        match text.strip_prefix("file:") {
            Some(path) => relative_path(path),
            None => oci(text),
        }
    }
}

fn relative_path(path: &str) -> Result<ImageReference, ImageError> {
    let path = PathBuf::from(path);
    if stays_inside(&path) { Ok(ImageReference::File(path)) } else { Err(ImageError::Path) }
}

fn oci(text: &str) -> Result<ImageReference, ImageError> {
    let reference = text.strip_prefix("http://").unwrap_or(text);
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").ok_or(ImageError::Digest)?;
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ImageError::Digest);
        }
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | ':' | '[' | ']');
    if let Some(c) = name.chars().find(|c| !allowed(c)) {
        return Err(ImageError::Character(c));
    }
    match name.split_once('/') {
        Some((host, repository)) if is_registry(host) && !repository.is_empty() => Ok(ImageReference::Oci(text.into())),
        _ => Err(ImageError::Repository),
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Oci(reference) => f.write_str(reference),
        }
    }
}

/// When an image is fetched although a copy is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    Always,
    #[default]
    IfNotPresent,
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let image = |text: &str| text.parse::<ImageReference>();
        assert_eq!(image("file:a/b.wasm"), Ok(ImageReference::File("a/b.wasm".into())));
        assert_eq!(image("file:../b.wasm"), Err(ImageError::Path));
        assert_eq!(image("file:/b.wasm"), Err(ImageError::Path));
        assert_eq!(image("file:"), Err(ImageError::Path));
        assert!(image("ghcr.io/org/name:0.1.0").is_ok());
        assert!(image("http://localhost:5000/name:0.1.0").is_ok());
        assert_eq!(image("name"), Err(ImageError::Repository));
        assert_eq!(image("build/name.wasm"), Err(ImageError::Repository));
        assert_eq!(image("./name.wasm"), Err(ImageError::Repository));
        assert!(image("localhost/name").is_ok());
        assert_eq!(image("ghcr.io/a@sha256:12"), Err(ImageError::Digest));
        assert_eq!(image("ghcr.io/a b"), Err(ImageError::Character(' ')));
    }

    #[test]
    fn a_reference_has_a_length() {
        let image = |bytes: usize| format!("file:{}", "a".repeat(bytes - 5)).parse::<ImageReference>();
        assert!(image(REFERENCE_BYTES_MAX).is_ok());
        assert_eq!(image(REFERENCE_BYTES_MAX + 1), Err(ImageError::TooLong));
    }
}
