//! Where a component's bytes come from.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{Sha256Digest, path::stays_inside, registry::RegistryHost};

/// Longest image reference, in bytes.
const REFERENCE_BYTES_MAX: usize = 512;
/// Longest name of a repository, in bytes (OCI distribution specification).
const REPOSITORY_BYTES_MAX: usize = 255;
/// Longest tag, in bytes (OCI distribution specification).
const TAG_BYTES_MAX: usize = 128;

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
    #[error("has a repository that is not made of lower-case names, or is longer than {REPOSITORY_BYTES_MAX} bytes")]
    RepositoryName,
    #[error("has a tag that is not made of letters, digits, '_', '.' and '-', or is longer than {TAG_BYTES_MAX} bytes")]
    Tag,
}

/// The `image` of a component or service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ImageReference {
    /// `file:PATH`: a path relative to the manifest's folder that does not leave it.
    File(PathBuf),
    /// In a registry.
    Oci(OciReference),
}

/// An image in a registry: `REGISTRY/REPOSITORY`, with `:TAG` or `@sha256:DIGEST`, or both, of which the digest counts.
/// `http://` before it asks for a registry without TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OciReference {
    written: Arc<str>,
    registry: RegistryHost,
    repository: Arc<str>,
    tag: Option<Arc<str>>,
    digest: Option<Sha256Digest>,
    plain_http: bool,
}

impl OciReference {
    /// The tag of a reference that names neither tag nor digest.
    pub const DEFAULT_TAG: &'static str = "latest";

    /// The reference as its author wrote it.
    pub fn as_written(&self) -> &str {
        &self.written
    }

    /// The registry.
    pub fn registry(&self) -> &RegistryHost {
        &self.registry
    }

    /// The name in the registry, without slashes at its ends.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where no digest is named.
    pub fn tag(&self) -> Option<&str> {
        self.digest.is_none().then(|| self.tag.as_deref().unwrap_or(Self::DEFAULT_TAG))
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<Sha256Digest> {
        self.digest
    }

    /// Whether the registry is to be spoken to without TLS.
    pub fn is_plain_http(&self) -> bool {
        self.plain_http
    }
}

impl FromStr for OciReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        match text.parse()? {
            ImageReference::Oci(reference) => Ok(reference),
            ImageReference::File(_) => Err(ImageError::Repository),
        }
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
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
    let (reference, plain_http) = text.strip_prefix("http://").map_or((text, false), |rest| (rest, true));
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse().map_err(|_| ImageError::Digest)?)),
        None => (reference, None),
    };
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/' | ':' | '[' | ']');
    if let Some(c) = name.chars().find(|c| !allowed(c)) {
        return Err(ImageError::Character(c));
    }
    let (host, path) = name.split_once('/').ok_or(ImageError::Repository)?;
    let registry: RegistryHost = host.parse().map_err(|_| ImageError::Repository)?;
    let (repository, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
    if repository.is_empty() {
        return Err(ImageError::Repository);
    }
    if repository.len() > REPOSITORY_BYTES_MAX || !repository.split('/').all(is_repository_part) {
        return Err(ImageError::RepositoryName);
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(ImageError::Tag);
    }
    let (tag, written, repository) = (tag.map(Into::into), text.into(), repository.into());
    Ok(ImageReference::Oci(OciReference { written, registry, repository, tag, digest, plain_http }))
}

/// One name of a repository's path, as the distribution specification has it.
fn is_repository_part(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    let inside = part.starts_with(alphanumeric) && part.ends_with(alphanumeric);
    inside && part.split(alphanumeric).all(separator)
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first = tag.bytes().next().is_some_and(word);
    first && tag.len() <= TAG_BYTES_MAX && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Oci(reference) => reference.fmt(f),
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
    fn what_a_reference_names() {
        let of = |text: &str| text.parse::<OciReference>().unwrap();
        let tagged = of("http://GHCR.io:5000/org/a-b__c.d/name:V1.0");
        assert_eq!((tagged.registry().as_str(), tagged.repository()), ("ghcr.io:5000", "org/a-b__c.d/name"));
        assert_eq!((tagged.tag(), tagged.digest(), tagged.is_plain_http()), (Some("V1.0"), None, true));
        assert_eq!(of("ghcr.io/a").tag(), Some("latest"));
        let digest = format!("sha256:{}", "ab".repeat(32));
        let pinned = of(&format!("ghcr.io/a:1@{digest}"));
        assert_eq!((pinned.tag(), pinned.digest().unwrap().to_string()), (None, digest));
        assert_eq!("file:a.wasm".parse::<OciReference>(), Err(ImageError::Repository));
    }

    #[test]
    fn names_that_no_registry_takes() {
        let image = |text: &str| text.parse::<ImageReference>();
        for name in ["A", "a//b", "a/", "-a", "a-", "a..b", "a___b", "a._b", "../b", "a/../b"] {
            assert_eq!(image(&format!("ghcr.io/{name}")), Err(ImageError::RepositoryName), "{name}");
        }
        for tag in ["", ".a", "-a", "a:b", "a/b"] {
            assert_eq!(image(&format!("ghcr.io/name:{tag}")), Err(ImageError::Tag), "{tag}");
        }
        let repository = |bytes: usize| image(&format!("ghcr.io/{}", "a".repeat(bytes)));
        assert!(repository(REPOSITORY_BYTES_MAX).is_ok());
        assert_eq!(repository(REPOSITORY_BYTES_MAX + 1), Err(ImageError::RepositoryName));
        let tag = |bytes: usize| image(&format!("ghcr.io/a:{}", "a".repeat(bytes)));
        assert!(tag(TAG_BYTES_MAX).is_ok());
        assert_eq!(tag(TAG_BYTES_MAX + 1), Err(ImageError::Tag));
    }

    #[test]
    fn a_reference_has_a_length() {
        let image = |bytes: usize| format!("file:{}", "a".repeat(bytes - 5)).parse::<ImageReference>();
        assert!(image(REFERENCE_BYTES_MAX).is_ok());
        assert_eq!(image(REFERENCE_BYTES_MAX + 1), Err(ImageError::TooLong));
    }
}
