//! The access log's file, which programs that rotate logs may move away.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::collector::{NotTaken, Sink};

/// How often it is looked whether the file has been moved away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The log tells of clients: it is for its owner and group.
const MODE: u32 = 0o640;

/// A file that is written at its end. When it was moved or removed, another one is made at its place.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether its last line is a part of one that was not taken whole.
    is_torn: bool,
    looked: Instant,
}

impl LogFile {
    /// # Errors
    /// When it cannot be written, or made where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        Ok(Self { path: path.to_owned(), file, is_torn: false, looked: Instant::now() })
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
    fn take<'a>(&mut self, lines: &'a [u8]) -> Result<(), NotTaken<'a>> {
        self.follow_the_path();
        if self.is_torn {
            write_all(&mut self.file, b"\n").map_err(|(_, error)| NotTaken { rest: lines, error })?;
            self.is_torn = false;
        }
        write_all(&mut self.file, lines).map_err(|(written, error)| {
            let (taken, rest) = lines.split_at_checked(written).unwrap_or_default();
            self.is_torn = taken.last().is_some_and(|byte| *byte != b'\n');
            NotTaken { rest, error }
        })
    }
}

/// As the library's, and says how many bytes were written before an error.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_gets_a_successor() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut file = LogFile::open(&path).unwrap();
        assert!(file.take(b"one\n").is_ok());
        fs::rename(&path, &moved).unwrap();
        assert!(file.take(b"two\n").is_ok());
        file.looked = Instant::now().checked_sub(LOOK_EVERY).unwrap();
        assert!(file.take(b"three\n").is_ok());
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_line_that_was_not_taken_whole_does_not_spoil_the_next() {
        /// Has room for so many bytes.
        struct Small(usize);
        impl Write for Small {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = bytes.len().min(self.0);
                self.0 -= taken;
                if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (written, error) = write_all(&mut Small(6), b"one\ntwo\n").unwrap_err();
        assert_eq!((written, error.kind()), (6, io::ErrorKind::StorageFull));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        fs::write(&path, "one\ntw").unwrap();
        let mut file = LogFile { is_torn: true, ..LogFile::open(&path).unwrap() };
        assert!(file.take(b"three\n").is_ok() && file.take(b"four\n").is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");

        let mut full = LogFile::open(Path::new("/dev/full")).unwrap();
        let refused = full.take(b"one\n").unwrap_err();
        assert_eq!(
            (refused.rest, refused.error.kind(), full.is_torn),
            (&b"one\n"[..], io::ErrorKind::StorageFull, false)
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        assert_eq!(LogFile::open(Path::new("/nowhere/at/all.log")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
