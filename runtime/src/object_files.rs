//! Objects of settings and secrets as folders: a file for each value, laid out as Kubernetes mounts them. What the values are
//! for is not known here, and errors name files and never what is in them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use roadstead_config::{Namespace, ResourceName};

/// Most values of one object.
pub(crate) const VALUES_MAX: usize = 1_000;

/// Why an object, or a value of it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The object is not there.
    #[error("there is no folder {}; it would have a file for each value", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder is there, and cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A value is larger than one may be, in bytes.
    #[error("{} is more than {max} bytes large (config_file_bytes_max)", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it may have.
        max: u64,
    },
    /// The object has too many values.
    #[error("{} has more than {VALUES_MAX} files", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
}

/// Where in `root`, a folder of `--config-dir` or `--secret-dir`, a namespace's object of that name is: a file for each
/// value. Names have no slash: what is one tenant's is out of another's reach.
pub fn object_folder(root: &Path, namespace: &Namespace, name: &ResourceName) -> PathBuf {
    match namespace.as_str() {
        Namespace::DEFAULT => root.join(name.as_str()),
        namespace => root.join(namespace).join(name.as_str()),
    }
}

/// The values of the object in `folder`: their names, and the files with them.
///
/// # Errors
/// When the folder is not there, cannot be read or has too many files.
pub fn object_values(folder: &Path) -> Result<Vec<(String, PathBuf)>, ObjectError> {
    let read = |source| ObjectError::Read { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(|source| match is_absent(&source) {
        true => ObjectError::Missing { path: folder.to_owned() },
        false => read(source),
    })?;
    let mut values = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        // Kubernetes keeps its own files under names that begin with two dots.
        let key = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with(".."));
        let Some(key) = key.map(str::to_owned).filter(|_| path.is_file()) else { continue };
        if values.len() == VALUES_MAX {
            return Err(ObjectError::TooMany { path: folder.to_owned() });
        }
        values.push((key, path));
    }
    Ok(values)
}

/// Opens a value and says how many bytes it has, at most `bytes_max`; `None` where there is no file. Links are followed: Kubernetes
/// mounts values as such.
///
/// # Errors
/// When it is larger, or cannot be read.
pub fn open_value(path: &Path, bytes_max: u64) -> Result<Option<(File, u64)>, ObjectError> {
    let failed = |source| ObjectError::Read { path: path.to_owned(), source };
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // A pipe would be waited for.
    if !about.is_file() {
        return Ok(None);
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // Of the file that is open: another may have taken its place.
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > bytes_max {
        return Err(ObjectError::TooLarge { path: path.to_owned(), max: bytes_max });
    }
    Ok(Some((file, bytes)))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_so_many_files() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..VALUES_MAX {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        fs::write(folder.path().join("..data"), "of Kubernetes itself").unwrap();
        assert_eq!(object_values(folder.path()).unwrap().len(), VALUES_MAX);
        fs::write(folder.path().join("one-more"), "").unwrap();
        assert!(matches!(object_values(folder.path()), Err(ObjectError::TooMany { .. })));
        assert!(matches!(object_values(&folder.path().join("none")), Err(ObjectError::Missing { .. })));
    }

    #[test]
    fn a_value_has_a_size() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), "12345").unwrap();
        assert_eq!(open_value(&folder.path().join("key"), 5).unwrap().map(|(_, bytes)| bytes), Some(5));
        assert!(matches!(open_value(&folder.path().join("key"), 4), Err(ObjectError::TooLarge { max: 4, .. })));
        assert!(open_value(&folder.path().join("none"), 5).unwrap().is_none());
        assert!(open_value(folder.path(), 5).unwrap().is_none());
    }
}
