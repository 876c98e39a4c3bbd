//! Which certificate files there are and in what state: a look at them, without reading one. What they hold is not
//! known here.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use roadstead_config::{HostPattern, Limits};
use roadstead_runtime::WorkloadId;

use super::{CertificateFiles, TlsError, TlsFiles};

/// How the name of a wildcard's file begins: a `*` in a file's name asks for trouble in shells.
const WILDCARD: &str = "_.";

/// For whom a certificate is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// Whoever no other is for.
    Default,
    /// The clients that name a host.
    Host(HostPattern),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Host(pattern) => pattern.fmt(f),
        }
    }
}

/// What changes when a file does; `None` where there is none.
pub(super) type FileState = Option<(u64, SystemTime, u64)>;

/// A certificate's files, and their state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) files: CertificateFiles,
    pub(super) state: [FileState; 2],
}

impl Seen {
    pub(super) fn at(files: CertificateFiles) -> Self {
        let state = [state(&files.chain), state(&files.key)];
        Self { files, state }
    }
}

/// All files at one look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) certificates: BTreeMap<Place, Seen>,
    pub(super) authorities: FileState,
    /// Of the certificates that triggers brought those whose files have changed since they were read.
    pub(super) brought: BTreeMap<WorkloadId, Option<Seen>>,
}

impl Look {
    /// Looks at the operator's files.
    ///
    /// # Errors
    /// When the folder cannot be read, has too many certificates, or two for one host, or a name that is none.
    pub(super) fn at(files: &TlsFiles, limits: &Limits) -> Result<Self, TlsError> {
        let mut certificates = BTreeMap::new();
        if let Some(pair) = &files.default {
            certificates.insert(Place::Default, Seen::at(pair.clone()));
        }
        if let Some(directory) = &files.directory {
            look_into(directory, limits, &mut certificates)?;
        }
        if let (true, Some(directory)) = (certificates.is_empty(), &files.directory) {
            return Err(TlsError::Nothing(directory.clone()));
        }
        let authorities = files.client_authorities.as_deref().and_then(state);
        Ok(Self { certificates, authorities, brought: BTreeMap::new() })
    }
}

/// Finds `HOST.crt` and `HOST.key`. One without the other is found as well, and then cannot be read.
fn look_into(directory: &Path, limits: &Limits, found: &mut BTreeMap<Place, Seen>) -> Result<(), TlsError> {
    let failed = |source: io::Error| TlsError::Read { path: directory.into(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("crt" | "key")) {
            continue;
        }
        let place = place(&path)?;
        let chain = path.with_extension("crt");
        if let Some(known) = found.get(&place) {
            if known.files.chain == chain {
                continue;
            }
            return Err(TlsError::Twice { first: known.files.chain.clone(), second: chain });
        }
        if found.len() as u64 >= limits.tls_certificates_max {
            return Err(TlsError::TooMany { path: directory.into(), count_max: limits.tls_certificates_max });
        }
        let key = path.with_extension("key");
        found.insert(place, Seen::at(CertificateFiles { chain, key }));
    }
    Ok(())
}

/// The hosts that a file is for, by its name.
fn place(path: &Path) -> Result<Place, TlsError> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let pattern = match stem.strip_prefix(WILDCARD) {
        Some(suffix) => suffix.parse().map(HostPattern::Suffix),
        None => stem.parse().map(HostPattern::Exact),
    };
    pattern.map(Place::Host).map_err(|source| TlsError::Name { path: PathBuf::from(path), source })
}

fn state(path: &Path) -> FileState {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
}
