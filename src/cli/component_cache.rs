//! Where compiled components are kept, and which program compiles them: what `run` and `compile` have in common.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use roadstead_runtime::{compile::CompilerProgram, host::HostBuilder};

use super::compile_child;

/// This program's own file, also after it was replaced on disk by another version, whose code would not fit.
const OWN_FILE: &str = "/proc/self/exe";

/// Flags of the cache.
#[derive(Debug, Args)]
pub(super) struct CacheArguments {
    /// Directory that keeps compiled components for the next start. Made where it is not there; must belong to the
    /// user who runs this, and be closed to others (mode 0700).
    /// [default: $XDG_CACHE_HOME/roadstead/components or ~/.cache/roadstead/components]
    #[arg(long, value_name = "DIR", env = "ROADSTEAD_COMPONENT_CACHE_DIR", verbatim_doc_comment)]
    component_cache_dir: Option<PathBuf>,
}

impl CacheArguments {
    /// The directory that was named, or this user's own; `None` for a user without a home.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        let named = self.component_cache_dir.clone();
        named.or_else(|| default_directory(env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")))
    }
}

/// Flags of a host's cache, which it may do without.
#[derive(Debug, Args)]
pub(super) struct HostCacheArguments {
    #[command(flatten)]
    cache: CacheArguments,
    /// Keep no compiled components, whatever --component-cache-dir says: each start compiles anew.
    #[arg(long)]
    no_component_cache: bool,
}

impl HostCacheArguments {
    /// Lets the host know.
    pub(super) fn tell(&self, builder: HostBuilder) -> HostBuilder {
        match self.cache.directory().filter(|_| !self.no_component_cache) {
            Some(directory) => builder.with_component_cache(directory),
            None => builder,
        }
    }
}

fn default_directory(cache_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let caches = cache_home.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".cache")))?;
    Some(caches.join("roadstead/components"))
}

/// This program as the compiler of components.
///
/// # Errors
/// When the system does not tell where the program is.
pub(super) fn compiler() -> io::Result<CompilerProgram> {
    let own_file = Path::new(OWN_FILE);
    let path = if own_file.exists() { own_file.to_owned() } else { env::current_exe()? };
    Ok(CompilerProgram::new(path, [compile_child::NAME]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_directory_is_the_users_own() {
        let directory = |cache_home: &str, home: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
            default_directory(given(cache_home), given(home))
        };
        assert_eq!(directory("/c", "/home/a").unwrap(), Path::new("/c/roadstead/components"));
        assert_eq!(directory("", "/home/a").unwrap(), Path::new("/home/a/.cache/roadstead/components"));
        assert_eq!(directory("relative", "/home/a").unwrap(), Path::new("/home/a/.cache/roadstead/components"));
        assert_eq!(directory("", ""), None);
    }
}
