//! The unix socket of the admin listener: where it is when nobody says so, how it is taken, and taken over from a host
//! that is gone. What is said on it is not known here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, fchmod, flock},
    process::geteuid,
};
use tokio::net::{UnixListener, UnixSocket};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG_CONNECTIONS: u32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("there is no folder for it")]
    Nowhere,
    #[error("another host answers at {path}")]
    Taken { path: String },
    #[error("{path} is there and is no socket; remove it, or choose another --admin-socket")]
    NotASocket { path: String },
    #[error("the folder {path} is not this user's alone (mode 0700); choose another --admin-socket")]
    Folder { path: String },
    #[error("the socket {path} cannot be made")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Where the socket is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SocketPlace {
    /// Where the operator says.
    At(PathBuf),
    /// The first of these that can be had; a host without one runs all the same.
    Default(Vec<PathBuf>),
}

impl SocketPlace {
    /// Where the socket of a host of this user is, given the value of XDG_RUNTIME_DIR: in that folder, or in /run for
    /// root and for whoever was given a folder there, or in a folder of this user's alone among the temporary ones.
    pub(crate) fn by_default(runtime_dir: Option<&Path>) -> Self {
        let user = geteuid();
        let mut folders = Vec::new();
        folders.extend(runtime_dir.filter(|folder| folder.is_absolute()).map(|folder| folder.join("roadstead")));
        let run = PathBuf::from("/run/roadstead");
        let is_own = || fs::metadata(&run).is_ok_and(|folder| folder.uid() == user.as_raw());
        if user.is_root() || is_own() {
            folders.push(run);
        }
        folders.push(std::env::temp_dir().join(format!("roadstead-{}", user.as_raw())));
        Self::Default(folders.into_iter().map(|folder| folder.join("admin.sock")).collect())
    }
}

/// A socket that is this host's. It is removed with this.
pub(crate) struct TakenSocket {
    path: PathBuf,
    /// Locked for as long as the socket is somebody's: a socket whose lock is free was left behind.
    _lock: File,
}

impl TakenSocket {
    /// Takes the place at `path`; in a folder of this user's alone, which is made, where `private` says so.
    pub(crate) fn take(path: &Path, private: bool) -> Result<(Self, UnixListener), SocketError> {
        let shown = || path.display().to_string();
        let failed = |source| SocketError::Io { path: shown(), source };
        if private {
            make_private_folder(path.parent().unwrap_or(Path::new("/")))?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(lock_path).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SocketError::Taken { path: shown() }),
            Err(error) => return Err(failed(error.into())),
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(SocketError::NotASocket { path: shown() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = listen(path).map_err(failed)?;
        Ok((Self { path: path.to_owned(), _lock: lock }, listener))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TakenSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A listening socket for this user alone, from the moment that it has a name: the file has the mode of the socket.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG_CONNECTIONS)
}

fn make_private_folder(folder: &Path) -> Result<(), SocketError> {
    let shown = || folder.display().to_string();
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_private(folder) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(SocketError::Folder { path: shown() }),
        Err(source) => Err(SocketError::Io { path: shown(), source }),
    }
}

/// Whether nobody but this user could have put something into `folder`.
fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0)
}

/// Whether a client may believe what is said at a socket: its folder is that of this user, or of root.
pub(crate) fn is_trusted(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new("/"));
    geteuid().is_root() && !folder.starts_with(std::env::temp_dir()) || is_private(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_is_its_owners_alone_and_goes_with_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/admin.sock");
        let (taken, _listener) = TakenSocket::take(&path, true).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop(taken);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_taken, _listener) = TakenSocket::take(&path, false).unwrap();
        let second = TakenSocket::take(&path, false).err().unwrap();
        assert!(matches!(second, SocketError::Taken { .. }), "{second}");
        std::os::unix::net::UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn no_file_is_removed_and_no_folder_of_others_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(TakenSocket::take(&path, false), Err(SocketError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(TakenSocket::take(&open.join("admin.sock"), true), Err(SocketError::Folder { .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(matches!(TakenSocket::take(&link.join("admin.sock"), true), Err(SocketError::Folder { .. })));
    }

    #[test]
    fn the_default_is_in_the_users_runtime_folder_first() {
        let SocketPlace::Default(places) = SocketPlace::by_default(Some(Path::new("/run/user/7"))) else { panic!() };
        assert_eq!(places[0], Path::new("/run/user/7/roadstead/admin.sock"));
        let SocketPlace::Default(places) = SocketPlace::by_default(Some(Path::new("relative"))) else { panic!() };
        assert!(places.iter().all(|place| place.is_absolute()), "{places:?}");
    }
}
