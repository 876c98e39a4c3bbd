//! A Vulkan driver, without which the host finds no GPU: Mesa's lavapipe, which computes on the processor, where the
//! machine has none of its own. It starts no driver: it looks for what Vulkan's loader would find.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, apt};

const PART: &str = "Vulkan driver";
/// The loader, and the drivers of Mesa, lavapipe among them.
const PACKAGES: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];
/// Where drivers are announced.
const ICD_FOLDERS: [&str; 3] = ["/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];
/// The loader itself.
const LOADER: &str = "libvulkan.so.1";
/// Mesa's driver that needs no GPU is announced by a file whose name begins so.
const SOFTWARE: &str = "lvp_icd.";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// The one that needs no GPU: the tests' figures are for it.
    Software,
    /// Any.
    Any,
}

/// The Debian packages that bring the driver, where it is missing.
pub(crate) fn packages(driver: Driver) -> Vec<&'static str> {
    if found(driver).is_some() { Vec::new() } else { PACKAGES.to_vec() }
}

/// What there is.
pub(crate) fn find(driver: Driver) -> Finding {
    match found(driver) {
        Some(file) => Finding::Present { part: PART, detail: file.display().to_string() },
        None => Finding::Missing { part: PART, remedy: format!("`{}`", apt::command_line(&PACKAGES)) },
    }
}

/// Installs a driver where the loader would find none.
///
/// # Errors
/// When it is missing and could not be installed, with the command that installs it.
pub(crate) fn ensure(driver: Driver) -> anyhow::Result<()> {
    let packages = packages(driver);
    if packages.is_empty() { Ok(()) } else { apt::install(&packages) }
}

/// The file that announces the driver, where the loader is there as well.
fn found(driver: Driver) -> Option<PathBuf> {
    if !loader_is_there() {
        return None;
    }
    let files = ICD_FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut drivers: Vec<PathBuf> = files.map(|file| file.path()).filter(|path| announces(path, driver)).collect();
    drivers.sort();
    drivers.into_iter().next()
}

fn announces(path: &Path, driver: Driver) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.ends_with(".json") && (driver == Driver::Any || name.starts_with(SOFTWARE))
}

fn loader_is_there() -> bool {
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let multiarch = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let multiarch = multiarch.filter(|path| path.to_string_lossy().ends_with("-linux-gnu"));
    folders.into_iter().chain(multiarch).any(|folder| folder.join(LOADER).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_known_by_the_file_that_announces_it() {
        let software = Path::new("/usr/share/vulkan/icd.d/lvp_icd.x86_64.json");
        let other = Path::new("/etc/vulkan/icd.d/nvidia_icd.json");
        assert!(announces(software, Driver::Software) && announces(software, Driver::Any));
        assert!(!announces(other, Driver::Software) && announces(other, Driver::Any));
        assert!(!announces(Path::new("/etc/vulkan/icd.d/readme.txt"), Driver::Any));
    }
}
