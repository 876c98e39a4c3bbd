//! Puts a new project's files into its folder, all of them or none. It must not know what is in them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::template::File;

/// What was written.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) folder: PathBuf,
    /// Paths in the folder, in the order of the template.
    pub(super) files: Vec<&'static str>,
}

/// Why there is no new project. The folder is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProjectError {
    #[error("{} is not empty: name another folder with --path, or empty this one", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} is no folder: name another with --path", .0.display())]
    NoFolder(PathBuf),
    #[error("the folder {} cannot be looked at", .folder.display())]
    Read {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the project cannot be written to {}", .folder.display())]
    Write {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes the files into `folder`, which is empty or not there; the folder that it is in must be there.
///
/// They are written aside and moved when they are complete, so that a failure leaves nothing.
///
/// # Errors
/// [`ProjectError`]; nothing is left of the project then.
pub(super) fn write(folder: &Path, files: &[File]) -> Result<Made, ProjectError> {
    let is_there = is_there(folder)?;
    let failed = |source| ProjectError::Write { folder: folder.to_owned(), source };
    let aside = if is_there { folder } else { parent(folder) };
    // As any new folder, what others may do in it is the process's mask's to say.
    let mask = fs::Permissions::from_mode(0o777);
    let staged = tempfile::Builder::new().prefix(".unfinished-").permissions(mask).tempdir_in(aside).map_err(failed)?;
    write_all(staged.path(), files).map_err(failed)?;
    if is_there {
        move_entries(staged.path(), folder).map_err(failed)?;
    } else {
        // Another's folder with something in it, made meanwhile, is not replaced: that is an error of rename.
        fs::rename(staged.path(), folder).map_err(failed)?;
        let _moved = staged.keep();
    }
    Ok(Made { folder: folder.to_owned(), files: files.iter().map(|file| file.path).collect() })
}

/// Whether the folder is there, empty.
fn is_there(folder: &Path) -> Result<bool, ProjectError> {
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(ProjectError::Read { folder: folder.to_owned(), source }),
        Ok(_) => {}
    }
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(true),
        Ok(false) => Err(ProjectError::NotEmpty(folder.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(ProjectError::NoFolder(folder.to_owned())),
        Err(source) => Err(ProjectError::Read { folder: folder.to_owned(), source }),
    }
}

fn parent(folder: &Path) -> &Path {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_all(root: &Path, files: &[File]) -> io::Result<()> {
    for file in files {
        let path = root.join(file.path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, &file.text)?;
    }
    Ok(())
}

/// Moves what is in one folder into another on the same file system; what was moved is removed again when one fails.
fn move_entries(from: &Path, to: &Path) -> io::Result<()> {
    let mut moved = Vec::new();
    let result = fs::read_dir(from)?.try_for_each(|entry| {
        let entry = entry?;
        let target = to.join(entry.file_name());
        fs::rename(entry.path(), &target)?;
        moved.push(target);
        Ok(())
    });
    if result.is_err() {
        for path in moved {
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<File> {
        vec![File { path: "a/b.txt", text: "b".into() }, File { path: ".c", text: "c".into() }]
    }

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_made_or_filled() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("empty");
        fs::create_dir(&empty).unwrap();
        for folder in [root.path().join("new"), empty] {
            let made = write(&folder, &files()).unwrap();
            assert_eq!(made.files, ["a/b.txt", ".c"]);
            assert_eq!(entries(&folder), [".c", "a"]);
            assert_eq!(fs::read(folder.join("a/b.txt")).unwrap(), b"b");
        }
        assert_eq!(entries(root.path()), ["empty", "new"]);
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let full = root.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("mine"), "mine").unwrap();
        assert!(matches!(write(&full, &files()), Err(ProjectError::NotEmpty(_))));
        assert!(matches!(write(&full.join("mine"), &files()), Err(ProjectError::NoFolder(_))));
        let dangling = root.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert!(matches!(write(&dangling, &files()), Err(ProjectError::Read { .. })));
        assert!(matches!(write(&root.path().join("no/parent"), &files()), Err(ProjectError::Write { .. })));
        assert_eq!(
            (entries(root.path()), entries(&full)),
            (vec!["dangling".into(), "full".into()], vec!["mine".into()])
        );
    }

    #[test]
    fn nothing_half_written_is_left() {
        let root = tempfile::tempdir().unwrap();
        // A file where a folder is wanted: the second cannot be written.
        let clash = || vec![File { path: "a", text: String::new() }, File { path: "a/b", text: String::new() }];
        assert!(matches!(write(&root.path().join("new"), &clash()), Err(ProjectError::Write { .. })));
        assert!(matches!(write(root.path(), &clash()), Err(ProjectError::Write { .. })));
        assert_eq!(entries(root.path()), [""; 0]);
    }
}
