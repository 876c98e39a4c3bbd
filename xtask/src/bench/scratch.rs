//! A temporary folder that goes away with the measurement. It does not know what is put into it.

use anyhow::{Context, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of our own, removed when the value is dropped.
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// Makes the folder.
    pub(crate) fn new() -> Result<Self> {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let name = format!("roadstead-bench-{}-{}", std::process::id(), since_epoch.subsec_nanos());
        let folder = env::temp_dir().join(name);
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    /// A folder in it, made where it is not there.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// A file in it with this content.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let file = self.folder.join(name);
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            crate::report::note(format_args!("cannot remove {}: {error}", self.folder.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;

    #[test]
    fn nothing_stays_behind() {
        let scratch = Scratch::new().unwrap();
        scratch.folder("a").unwrap();
        let file = scratch.file("a/b", b"c").unwrap();
        let folder = scratch.path().to_owned();
        assert!(file.starts_with(&folder) && file.is_file());
        drop(scratch);
        assert!(!folder.exists());
    }
}
