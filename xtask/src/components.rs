//! Which crates of the guest workspace are components and which are plain libraries, read from their manifests so that a
//! new guest needs no word here. It builds nothing.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::Layout;

/// A crate of the guest workspace.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Cargo's name of the crate.
    pub(crate) package: String,
    /// Its folder, relative to the guest workspace.
    pub(crate) folder: PathBuf,
    /// Whether it is built into a component; otherwise it is a library that is tested natively.
    pub(crate) component: bool,
    /// The features of a component: each makes a second one, `NAME-FEATURE`, out of the same source.
    pub(crate) features: Vec<String>,
}

impl Guest {
    /// The name under which the component is used: its folder's.
    pub(crate) fn name(&self) -> String {
        self.folder.file_name().map_or_else(|| self.package.clone(), |name| name.to_string_lossy().into_owned())
    }

    /// The file that cargo makes.
    pub(crate) fn artifact(&self) -> String {
        format!("{}.wasm", self.package.replace('-', "_"))
    }

    /// The example application that this component belongs to: `X` for a crate in `X/NAME` where `examples/X` is there.
    pub(crate) fn example(&self, layout: &Layout) -> Option<PathBuf> {
        let application = self.folder.parent()?.to_str().filter(|name| !name.is_empty())?;
        Some(layout.example(application)).filter(|folder| folder.is_dir())
    }
}

/// The members of the guest workspace, in their order.
///
/// # Errors
/// When a manifest cannot be read or names no package.
pub(crate) fn find(layout: &Layout) -> Result<Vec<Guest>> {
    let workspace = layout.guests();
    let manifest = read(&workspace.join("Cargo.toml"))?;
    let mut guests = Vec::new();
    for folder in members(&manifest) {
        let path = workspace.join(&folder).join("Cargo.toml");
        let manifest = read(&path)?;
        let Some(package) = package_name(&manifest) else { bail!("{} names no package", path.display()) };
        let component = manifest.lines().any(|line| line.starts_with("crate-type") && line.contains("\"cdylib\""));
        let features = if component { features(&manifest) } else { Vec::new() };
        guests.push(Guest { package, folder: folder.into(), component, features });
    }
    Ok(guests)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The folders in `members = [...]`.
pub(crate) fn members(manifest: &str) -> Vec<String> {
    let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let Some((list, _)) = list else { return Vec::new() };
    list.split(',').map(|item| item.trim().trim_matches('"').to_owned()).filter(|item| !item.is_empty()).collect()
}

/// The names in `[features]`, but for `default`.
fn features(manifest: &str) -> Vec<String> {
    let table = manifest.lines().skip_while(|line| *line != "[features]").skip(1);
    let lines = table.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().to_owned());
    names.filter(|name| name != "default").collect()
}

fn package_name(manifest: &str) -> Option<String> {
    let (_, package) = manifest.split_once("[package]")?;
    let line = package.lines().find(|line| line.starts_with("name"))?;
    let (_, value) = line.split_once('=')?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_over_several_lines() {
        assert_eq!(members("[workspace]\nmembers = [\n  \"a\",\n  \"b/c\",\n]\n"), ["a", "b/c"]);
        assert_eq!(members("[package]\n"), Vec::<String>::new());
    }

    #[test]
    fn features_are_read_from_their_table() {
        let manifest =
            "[package]\nname = \"x\"\n\n[features]\n# Words = more.\ngpu = [\"dep:y\"]\n\n[dependencies]\ny = \"1\"\n";
        assert_eq!(features(manifest), ["gpu"]);
        assert_eq!(features("[package]\nname = \"x\"\n"), Vec::<String>::new());
    }

    #[test]
    fn a_component_is_named_after_its_folder() {
        let (package, folder) = ("harbor-watch-sar".into(), "harbor-watch/sar".into());
        let guest = Guest { package, folder, component: true, features: Vec::new() };
        assert_eq!(guest.name(), "sar");
        assert_eq!(guest.artifact(), "harbor_watch_sar.wasm");
        assert_eq!(package_name("[package]\nname = \"x\"\n"), Some("x".into()));
    }
}
