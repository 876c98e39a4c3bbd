//! Paths that manifests name, as text. What is at them is not known here.

use std::{
    path::{Component, Path, PathBuf},
    str::FromStr,
};

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// Why a text is no path for a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestPathError {
    #[error("is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    #[error("has the character {0:?}")]
    Character(char),
    #[error("leaves that folder, or names nothing in it")]
    Outside,
}

/// A path relative to the manifest's folder, which by its text does not leave it. Links are for who opens it to resolve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManifestPath(PathBuf);

impl ManifestPath {
    /// The path, relative to the manifest's folder.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for ManifestPath {
    type Err = ManifestPathError;

    fn from_str(text: &str) -> Result<Self, ManifestPathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(ManifestPathError::TooLong);
        }
        if let Some(c) = text.chars().find(|c| c.is_control()) {
            return Err(ManifestPathError::Character(c));
        }
        let path = PathBuf::from(text);
        if stays_inside(&path) { Ok(Self(path)) } else { Err(ManifestPathError::Outside) }
    }
}

/// Whether a path names something below the folder that it begins in.
pub(crate) fn stays_inside(path: &Path) -> bool {
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    inside && path.components().any(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_the_manifests_folder() {
        let path = |text: &str| text.parse::<ManifestPath>();
        assert_eq!(path("tls/a b.crt").unwrap().as_path(), Path::new("tls/a b.crt"));
        assert!(path("./a.crt").is_ok());
        for outside in ["", ".", "/etc/a.crt", "../a.crt", "a/../../b.crt"] {
            assert_eq!(path(outside), Err(ManifestPathError::Outside), "{outside}");
        }
        assert_eq!(path("a\nb"), Err(ManifestPathError::Character('\n')));
        assert!(path(&"a".repeat(PATH_BYTES_MAX)).is_ok());
        assert_eq!(path(&"a".repeat(PATH_BYTES_MAX + 1)), Err(ManifestPathError::TooLong));
    }
}
