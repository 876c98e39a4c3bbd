//! Where things lie in the repository: the one place that spells out its folders. It knows no command.

use std::env;
use std::path::{Path, PathBuf};

/// The folders that the commands read and write.
pub(crate) struct Layout {
    root: PathBuf,
    target: PathBuf,
}

impl Layout {
    /// The repository that this program was started for: cargo names it, and otherwise it is where it was built.
    pub(crate) fn find() -> Self {
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = package.parent().map_or_else(|| package.clone(), Path::to_path_buf);
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Self { root, target }
    }

    /// The root of the repository.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's folder for the host.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Programs that this project installs for itself; not in git.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// The cargo workspace of the components.
    pub(crate) fn guests(&self) -> PathBuf {
        self.root.join("guests")
    }

    /// The cargo workspace of the fuzz targets.
    pub(crate) fn fuzz(&self) -> PathBuf {
        self.root.join("fuzz")
    }

    /// Where tests find every component, as `<name>.wasm`.
    pub(crate) fn test_guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// The folder of an example application.
    pub(crate) fn example(&self, name: &str) -> PathBuf {
        self.root.join("examples").join(name)
    }

    /// A path as it is shown to a person: relative to the repository where it lies inside it.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}
