//! Certificates that triggers bring (`spec.ingress.tls`): which files they are, and that these are where a manifest may
//! point to. For whom one is served is not decided here.

use std::path::{Path, PathBuf};
use std::{fs, sync::Arc};

use roadstead_config::{HostPattern, Limits, ManifestPath, Namespace, manifest::TriggerCertificate};
use rustls::crypto::CryptoProvider;

use super::{Certificate, CertificateFiles, TlsError, files::Seen};

/// What a trigger asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) namespace: Namespace,
    /// The trigger's host.
    pub(crate) pattern: HostPattern,
    pub(crate) certificate: TriggerCertificate,
}

/// A certificate that a trigger brought.
#[derive(Debug, Clone)]
pub(crate) struct Brought {
    pub(super) claim: Claim,
    pub(super) seen: Seen,
    pub(super) certificate: Arc<Certificate>,
}

impl Claim {
    /// The files as they are now.
    pub(super) fn look(&self) -> Result<Seen, TlsError> {
        let folder = Path::new(&*self.certificate.place.file).parent().unwrap_or(Path::new(""));
        let chain = inside(folder, &self.certificate.chain)?;
        let key = inside(folder, &self.certificate.key)?;
        Ok(Seen::at(CertificateFiles { chain, key }))
    }

    /// Reads the files. Of the names in the certificate none counts: it is for the trigger's host alone.
    pub(super) fn read(self, seen: Seen, limits: &Limits, provider: &CryptoProvider) -> Result<Brought, TlsError> {
        let pattern = Some(self.pattern.clone());
        let certificate = Certificate::read(&seen.files, pattern, limits.tls_file_bytes_max, provider)?;
        Ok(Brought { claim: self, seen, certificate: Arc::new(certificate.without_names()) })
    }
}

impl Brought {
    /// The files where they are not what was read: as they are now, or `None` where that cannot be found out.
    pub(super) fn change(&self) -> Option<Option<Seen>> {
        let now = self.claim.look().ok();
        (now.as_ref() != Some(&self.seen)).then_some(now)
    }
}

/// Resolves links; what is not below the manifest's folder then is another's file.
fn inside(folder: &Path, path: &ManifestPath) -> Result<PathBuf, TlsError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let shown = folder.join(path.as_path());
    let failed = |source| TlsError::Read { path: shown.clone(), source };
    let (whole, root) = (fs::canonicalize(&shown).map_err(failed)?, fs::canonicalize(folder).map_err(failed)?);
    if whole.starts_with(root) { Ok(whole) } else { Err(TlsError::Outside(shown)) }
}
