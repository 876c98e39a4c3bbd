//! The folder of `--data-dir`: one host's alone, and of a form that this version knows. What lies in it is not known here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file that says what the folder is, and that a host has locked as long as it uses the folder.
const FORMAT_FILE: &str = "roadstead-data";
/// What the file says.
const FORMAT: &str = "roadstead data 1\n";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("{path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It holds something else.
    #[error(
        "{path} has files in it and is no data folder of Roadstead; name an empty folder, or one that is not there"
    )]
    Foreign { path: PathBuf },
    /// Another version made it.
    #[error(
        "{path} is a data folder of another version (its file {FORMAT_FILE} says {found:?}, this one writes \
         {FORMAT:?}); use that version, or name another folder"
    )]
    Format { path: PathBuf, found: String },
    /// Another process has it.
    #[error("{path} is used by another host; each needs a folder of its own")]
    InUse { path: PathBuf },
}

/// The folder, locked until this is dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the folder at `path`, made with what leads to it where it is not there. Blocks.
    ///
    /// # Errors
    /// When another host uses it, when it is of another kind or version, when the file system refuses.
    pub fn open(path: &Path) -> Result<Arc<Self>, DataDirError> {
        let io = |source| DataDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let format = path.join(FORMAT_FILE);
        let is_new = !fs::exists(&format).map_err(io)?;
        if is_new && !is_empty(path).map_err(io)? {
            return Err(DataDirError::Foreign { path: path.to_owned() });
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&format);
        let mut file = file.map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DataDirError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let mut found = String::new();
        // One byte more than it has in this version: enough to see that it is another.
        (&mut file).take(FORMAT.len() as u64 + 1).read_to_string(&mut found).map_err(io)?;
        match &*found {
            FORMAT => {}
            // Whoever made it got no further.
            "" => {
                file.write_all(FORMAT.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
                File::open(path).and_then(|folder| folder.sync_all()).map_err(io)?;
            }
            _ => return Err(DataDirError::Format { path: path.to_owned(), found }),
        }
        Ok(Arc::new(Self { path: path.to_owned(), _lock: file }))
    }

    /// Where something of the folder lies.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// What file systems make by themselves does not count.
fn is_empty(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse { .. })));
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn what_is_no_data_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(DataDir::open(folder.path()), Err(DataDirError::Foreign { .. })));
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join(FORMAT_FILE), "roadstead data 2\n").unwrap();
        let Err(error) = DataDir::open(other.path()) else { panic!() };
        assert!(error.to_string().contains("roadstead data 2"), "{error}");
    }
}
