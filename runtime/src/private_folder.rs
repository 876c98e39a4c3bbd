//! A directory that is this user's alone, and its files. Held open, and its files opened relative to it, so that what
//! was checked is what is used whatever happens to the path. Knows nothing of what the files hold.

use std::{
    fs::{DirBuilder, File},
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW},
    io::Errno,
    process::geteuid,
};

/// How the name of a file begins that is being written.
const UNFINISHED: &str = "unfinished-";
/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Tries to find a name that is free.
const NAME_TRIES: usize = 16;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("the directory {path} cannot be used")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the directory {path} belongs to user {owner}, not to user {user} who runs this; choose another")]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("the directory {path} is open to other users (mode {mode:04o}); run `chmod go-rwx` on it")]
    Mode { path: PathBuf, mode: u32 },
}

/// The name is of a file that is being written, or was when its writer ended.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED)
}

/// A file of the directory.
pub(crate) struct FileInfo {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) modified: SystemTime,
}

/// The directory, checked and open.
pub(crate) struct PrivateFolder(OwnedFd);

impl PrivateFolder {
    /// Opens the directory at `path`, made with what leads to it where it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let io = |source| FolderError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io(error.into()))?;
        let stat = rustix::fs::fstat(&folder).map_err(|error| io(error.into()))?;
        let user = geteuid().as_raw();
        if stat.st_uid != user {
            return Err(FolderError::Owner { path: path.to_owned(), owner: stat.st_uid, user });
        }
        if permissions(&stat) & OTHERS != 0 {
            return Err(FolderError::Mode { path: path.to_owned(), mode: permissions(&stat) });
        }
        Ok(Self(folder))
    }

    /// Reads a file whole; `None` when there is none. A file that another user could have written, or that has more
    /// than `bytes_max` bytes, is an error.
    pub(crate) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{name} {why}")));
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return refuse("is not a regular file");
        }
        if stat.st_uid != geteuid().as_raw() || permissions(&stat) & OTHERS != 0 {
            return refuse("is open to other users, or theirs");
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > bytes_max {
            return refuse("is larger than such a file may be");
        }
        let mut contents = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        File::from(file).take(bytes_max).read_to_end(&mut contents)?;
        Ok(Some(contents))
    }

    /// Opens a file that [`PrivateFolder::write`] wrote; `None` when there is none.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a file whole, in the place of an older one of its name.
    pub(crate) fn write(&self, name: &str, pieces: &[&[u8]]) -> io::Result<()> {
        let unfinished = self.write_aside(pieces)?;
        let renamed = rustix::fs::renameat(&self.0, &unfinished, &self.0, name);
        if renamed.is_err() {
            let _ = self.remove(&unfinished);
        }
        renamed?;
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Writes a file whole, unless there is one of its name.
    pub(crate) fn write_once(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let unfinished = self.write_aside(&[contents])?;
        let linked = rustix::fs::linkat(&self.0, &unfinished, &self.0, name, AtFlags::empty());
        self.remove(&unfinished)?;
        match linked {
            Ok(()) => Ok(rustix::fs::fsync(&self.0)?),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file, if it is there still.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a file the most recently used.
    pub(crate) fn touch(&self, name: &str) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(&self.0, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The regular files of the directory.
    pub(crate) fn files(&self) -> io::Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        for item in Dir::read_from(&self.0)? {
            let item = item?;
            let Ok(name) = item.file_name().to_str() else { continue };
            // Another host may have removed it meanwhile.
            let Ok(stat) = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                files.push(FileInfo { name: name.to_owned(), bytes, modified: modified(&stat) });
            }
        }
        Ok(files)
    }

    /// Writes a file of a name of its own, to the disk; gives the name. Nothing stays behind when that fails.
    fn write_aside(&self, pieces: &[&[u8]]) -> io::Result<String> {
        let (name, mut file) = self.create_aside()?;
        let written = pieces.iter().try_for_each(|piece| file.write_all(piece)).and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = self.remove(&name);
        }
        written.map(|()| name)
    }

    fn create_aside(&self) -> io::Result<(String, File)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..NAME_TRIES {
            let name = format!("{UNFINISHED}{:016x}", rand::random::<u64>());
            match rustix::fs::openat(&self.0, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok((name, File::from(file))),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }
}

fn permissions(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}
