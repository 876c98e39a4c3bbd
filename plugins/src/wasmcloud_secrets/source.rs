//! Where secrets are: files as Kubernetes mounts them, and values that the host was given. It knows names that were checked
//! and no guest; what it reads is wiped when it is no longer needed, and its errors name files and never what is in them.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use roadstead_config::{Namespace, ResourceName, SecretKey};
use roadstead_runtime::{ObjectError, object_folder, object_values, open_value};
use secrecy::{ExposeSecret, SecretSlice};

/// The value of a secret: shown nowhere, and wiped when it is dropped.
#[derive(Debug)]
pub struct SecretBytes(SecretSlice<u8>);

impl SecretBytes {
    /// Of bytes, which are copied.
    pub fn of(bytes: &[u8]) -> Self {
        let mut own = Vec::with_capacity(bytes.len());
        own.extend_from_slice(bytes);
        // As large as it has room for, it becomes the slice without a further copy.
        Self(own.into())
    }

    /// Of text, which is copied.
    pub fn of_text(text: &str) -> Self {
        Self::of(text.as_bytes())
    }

    /// The bytes, for who is about to hand them to the component that they are for.
    pub fn reveal(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The host has no folder of secrets, and was given no value of this name.
    #[error("the host has no folder for it; start it with --secret-dir DIR, or give values with --secret-env")]
    NoFolder,
    /// It is not there, or cannot be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The host is about to end.
    #[error("the host is stopping")]
    Stopping,
}

/// A folder with the secrets of all namespaces.
pub(super) struct Folders {
    root: PathBuf,
}

impl Folders {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of one secret.
    pub(super) fn of(&self, namespace: &Namespace, name: &ResourceName) -> PathBuf {
        object_folder(&self.root, namespace, name)
    }
}

/// What a name of a manifest stands for.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) folder: Option<PathBuf>,
    pub(super) values: BTreeMap<SecretKey, Arc<SecretBytes>>,
}

impl Object {
    /// Whether it is there, and no larger than it may be.
    pub(super) async fn check(&self, bytes_max: u64) -> Result<(), SecretError> {
        let object = self.clone();
        blocking(move || object.look(bytes_max)).await
    }

    fn look(&self, bytes_max: u64) -> Result<(), SecretError> {
        let Some(folder) = &self.folder else {
            return if self.values.is_empty() { Err(SecretError::NoFolder) } else { Ok(()) };
        };
        let values = match object_values(folder) {
            Err(ObjectError::Missing { .. }) if !self.values.is_empty() => return Ok(()),
            values => values?,
        };
        // Also whether they can be read.
        let secrets = values.iter().filter(|(key, _)| key.parse::<SecretKey>().is_ok());
        secrets.map(|(_, path)| read(path, bytes_max)).try_for_each(|read| read.map(drop))
    }

    fn value(&self, key: &SecretKey, bytes_max: u64) -> Result<Option<Arc<SecretBytes>>, SecretError> {
        let of_file = match &self.folder {
            Some(folder) => read(&folder.join(key.as_str()), bytes_max)?.map(Arc::new),
            None => None,
        };
        Ok(of_file.or_else(|| self.values.get(key).cloned()))
    }
}

/// The value of `key` in the first of `objects` that has one, as it is now.
pub(super) async fn find(
    objects: Arc<[Object]>,
    key: SecretKey,
    bytes_max: u64,
) -> Result<Option<Arc<SecretBytes>>, SecretError> {
    blocking(move || {
        for object in objects.iter() {
            if let Some(value) = object.value(&key, bytes_max)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
) -> Result<T, SecretError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| SecretError::Stopping)?
}

/// A file, where there is one.
fn read(path: &Path, bytes_max: u64) -> Result<Option<SecretBytes>, SecretError> {
    let Some((mut file, bytes)) = open_value(path, bytes_max)? else { return Ok(None) };
    let too_large = || ObjectError::TooLarge { path: path.to_owned(), max: bytes_max };
    let failed = |source| ObjectError::Read { path: path.to_owned(), source };
    let mut room = SecretSlice::from(vec![0; usize::try_from(bytes).map_err(|_| too_large())?]);
    let filled = fill(&mut file, secrecy::ExposeSecretMut::expose_secret_mut(&mut room)).map_err(failed)?;
    // One that is written in place while it is read may be shorter than it was.
    let value = if filled as u64 == bytes {
        room
    } else {
        SecretBytes::of(room.expose_secret().get(..filled).unwrap_or_default()).0
    };
    Ok(Some(SecretBytes(value)))
}

/// Reads until `room` is full or the file ends; gives the number of bytes.
fn fill(file: &mut File, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, process::Command};

    use super::*;

    const VALUE: &str = "a value that is shown nowhere";

    fn folder() -> (tempfile::TempDir, Object) {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("payment");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("key"), VALUE).unwrap();
        fs::write(folder.path().join("outside"), VALUE).unwrap();
        let folders = Folders::new(folder.path().to_owned());
        let object = Object {
            folder: Some(folders.of(&Namespace::default(), &"payment".parse().unwrap())),
            values: BTreeMap::from([(key("given"), Arc::new(SecretBytes::of_text("given")))]),
        };
        (folder, object)
    }

    fn key(text: &str) -> SecretKey {
        text.parse().unwrap()
    }

    fn text(value: &SecretBytes) -> &str {
        std::str::from_utf8(value.reveal()).unwrap()
    }

    #[test]
    fn a_value_shows_nothing() {
        let value = SecretBytes::of_text(VALUE);
        assert!(!format!("{value:?} {:?}", Arc::new(SecretBytes::of_text(VALUE))).contains("value that"));
        assert_eq!(text(&value), VALUE);
    }

    #[test]
    fn files_come_before_values_and_are_read_anew() {
        let (folder, object) = folder();
        let get = |name: &str| object.value(&key(name), 100).unwrap().map(|value| text(&value).to_owned());
        assert_eq!(get("key").as_deref(), Some(VALUE));
        assert_eq!(get("given").as_deref(), Some("given"));
        assert_eq!(get("outside"), None);
        fs::write(folder.path().join("payment/given"), "newer").unwrap();
        assert_eq!(get("given").as_deref(), Some("newer"));
        fs::remove_file(folder.path().join("payment/given")).unwrap();
        assert_eq!(get("given").as_deref(), Some("given"));
    }

    #[test]
    fn mounts_of_kubernetes_are_read_and_replaced_at_once() {
        let (folder, object) = folder();
        let own = folder.path().join("payment");
        for (time, value) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(own.join(time)).unwrap();
            fs::write(own.join(time).join("mounted"), value).unwrap();
            symlink(time, own.join("..new")).unwrap();
            fs::rename(own.join("..new"), own.join("..data")).unwrap();
            if time == "..1" {
                symlink("..data/mounted", own.join("mounted")).unwrap();
            }
            assert_eq!(
                object.value(&key("mounted"), 100).unwrap().map(|found| text(&found).to_owned()).unwrap(),
                value
            );
        }
    }

    #[test]
    fn what_is_too_large_or_no_file_is_named_and_not_shown() {
        let (folder, object) = folder();
        let error = object.value(&key("key"), 10).unwrap_err().to_string();
        assert!(error.contains("payment/key is more than 10 bytes large") && !error.contains(VALUE), "{error}");
        let error = object.look(10).unwrap_err().to_string();
        assert!(error.contains("config_file_bytes_max") && !error.contains(VALUE), "{error}");
        // A pipe that nobody writes to, and a folder.
        let pipe = folder.path().join("payment/pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs::create_dir(folder.path().join("payment/folder")).unwrap();
        assert!(object.value(&key("pipe"), 100).unwrap().is_none());
        assert!(object.value(&key("folder"), 100).unwrap().is_none());
        object.look(100).unwrap();
    }

    #[test]
    fn what_is_not_there_is_named() {
        let (_folder, object) = folder();
        let missing = Object { folder: object.folder.map(|path| path.with_file_name("none")), values: BTreeMap::new() };
        assert!(missing.look(100).unwrap_err().to_string().contains("/none; it would have a file"));
        let none = Object { folder: None, values: BTreeMap::new() };
        assert!(matches!(none.look(100), Err(SecretError::NoFolder)));
        assert!(Object { folder: missing.folder, values: object.values }.look(100).is_ok());
    }
}
