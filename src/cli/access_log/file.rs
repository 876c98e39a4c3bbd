//! The access log's file, which programs that rotate logs may move away.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::collector::Sink;

/// How often it is looked whether the file has been moved away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The log tells of clients: it is for its owner and group.
const MODE: u32 = 0o640;

/// A file that is written at its end. When it was moved or removed, another one is made at its place.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked: Instant,
}

impl LogFile {
    /// # Errors
    /// When it cannot be written, or made where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        Ok(Self { path: path.to_owned(), file, looked: Instant::now() })
    }

    /// Whether the path still leads to the file that is open.
    fn is_in_place(&self) -> bool {
        let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
        matches!((fs::metadata(&self.path), self.file.metadata()), (Ok(of_path), Ok(own)) if same(&of_path, &own))
    }

    fn follow_the_path(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        // Where another file cannot be made, the one that is open takes the lines.
        if !self.is_in_place()
            && let Ok(other) = Self::open(&self.path)
        {
            *self = other;
        }
    }
}

impl Sink for LogFile {
    fn take<'a>(&mut self, lines: &'a [u8]) -> &'a [u8] {
        self.follow_the_path();
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A disk that is full now may have room for the next lines.
                Ok(_) | Err(_) => break,
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_gets_a_successor() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut file = LogFile::open(&path).unwrap();
        assert!(file.take(b"one\n").is_empty());
        fs::rename(&path, &moved).unwrap();
        assert!(file.take(b"two\n").is_empty());
        file.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        assert!(file.take(b"three\n").is_empty());
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        assert_eq!(LogFile::open(Path::new("/nowhere/at/all.log")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
