//! A certificate with its key, from two files: read within bounds, and refused at once where a client would refuse it
//! later for a mistake that can be seen here.

use std::{
    fs::File,
    io::Read,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use roadstead_config::{HostName, HostPattern};
use rustls::{
    InconsistentKeys,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::CertifiedKey,
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use super::{CertificateFiles, TlsError};

/// Certificates of one chain; real ones have two to four.
const CHAIN_MAX: usize = 16;
/// Permissions of others than the owner and the group.
const OTHERS: u32 = 0o007;

/// A certificate that can be served.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// What the file's name is for; `None` for the default certificate.
    pub(super) pattern: Option<HostPattern>,
    /// The names in it that are host names.
    hosts: Vec<HostPattern>,
    addresses: Vec<IpAddr>,
    /// The last second at which it is valid, counted from 1970.
    pub(super) expires_at_s: i64,
}

impl Certificate {
    /// Reads a certificate and its key. What is odd but can be served is said in the log.
    pub(super) fn read(
        files: &CertificateFiles,
        pattern: Option<HostPattern>,
        bytes_max: u64,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let chain = read_certificates(&files.chain, bytes_max)?;
        if chain.len() > CHAIN_MAX {
            return Err(TlsError::LongChain { path: files.chain.clone(), count_max: CHAIN_MAX });
        }
        let key = PrivateKeyDer::from_pem_slice(&read_file(&files.key, bytes_max)?).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey(files.key.clone()),
            error => bad_pem(&files.key, &error),
        })?;
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|source| TlsError::Key { path: files.key.clone(), source })?;
        let unreadable = |reason: String| TlsError::Certificate { path: files.chain.clone(), reason };
        let first = chain.first().ok_or_else(|| TlsError::NoCertificate(files.chain.clone()))?.clone();
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // The second cannot be: the keys of this provider all know their public half.
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsError::Mismatch(files.clone())),
            Err(error) => return Err(unreadable(error.to_string())),
        }
        let (_, parsed) = X509Certificate::from_der(&first).map_err(|error| unreadable(error.to_string()))?;
        let (hosts, addresses) = names(&parsed);
        let expires_at_s = parsed.validity().not_after.timestamp();
        let certificate = Self { certified: Arc::new(certified), pattern, hosts, addresses, expires_at_s };
        certificate.remark(files);
        Ok(certificate)
    }

    fn remark(&self, files: &CertificateFiles) {
        let (chain, key) = (files.chain.display(), files.key.display());
        if readable_by_others(&files.key) {
            tracing::warn!(%key, "a private key can be read by every user of this machine; chmod 600 it");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.expires_at_s < i64::try_from(now).unwrap_or(i64::MAX) {
            tracing::warn!(certificate = %chain, "a certificate has expired; clients will refuse it");
        }
        let covered = match &self.pattern {
            Some(HostPattern::Exact(host)) => self.names(host),
            Some(wildcard @ HostPattern::Suffix(_)) => self.hosts.contains(wildcard),
            Some(HostPattern::Any) | None => true,
        };
        if !covered {
            tracing::warn!(certificate = %chain, "a certificate does not name its host; clients will refuse it");
        }
    }

    /// The same for the host of its place alone.
    pub(super) fn without_names(self) -> Self {
        Self { hosts: Vec::new(), addresses: Vec::new(), ..self }
    }

    /// Whether it is for a host: by a name in it, or by the name of its file.
    pub(crate) fn covers(&self, host: &HostName) -> bool {
        self.names(host) || self.pattern.as_ref().is_some_and(|pattern| matches(pattern, host))
    }

    /// Whether a name in it is the host's, as clients compare them: `*` stands for one label (RFC 9525).
    fn names(&self, host: &HostName) -> bool {
        let literal = host.as_str().trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = literal.parse() {
            return self.addresses.contains(&address);
        }
        let parent = host.as_str().split_once('.').map(|(_, parent)| parent);
        self.hosts.iter().any(|name| match name {
            HostPattern::Exact(name) => name == host,
            HostPattern::Suffix(suffix) => parent == Some(suffix.as_str()),
            HostPattern::Any => false,
        })
    }
}

/// Whether a file's pattern takes a host: `*` stands for one or more labels, as in routes.
fn matches(pattern: &HostPattern, host: &HostName) -> bool {
    match pattern {
        HostPattern::Exact(name) => name == host,
        HostPattern::Suffix(suffix) => {
            host.as_str().strip_suffix(suffix.as_str()).is_some_and(|label| label.ends_with('.'))
        }
        HostPattern::Any => true,
    }
}

/// The hosts and addresses that a certificate names. Its subject is none: no client looks there any more.
fn names(certificate: &X509Certificate<'_>) -> (Vec<HostPattern>, Vec<IpAddr>) {
    let (mut hosts, mut addresses) = (Vec::new(), Vec::new());
    let extension = certificate.subject_alternative_name().ok().flatten();
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => hosts.extend(name.parse::<HostPattern>()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                addresses.extend(v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
            _ => {}
        }
    }
    (hosts, addresses)
}

/// The certificates of a file, at least one.
pub(super) fn read_certificates(path: &Path, bytes_max: u64) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read_file(path, bytes_max)?;
    let certificates = CertificateDer::pem_slice_iter(&text).map(|found| found.map_err(|error| bad_pem(path, &error)));
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(path.into())) } else { Ok(certificates) }
}

fn bad_pem(path: &Path, error: &pem::Error) -> TlsError {
    // The library's words may have bytes of the file in them, which may be a key's.
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a section does not end",
        pem::Error::IllegalSectionStart { .. } => "a section begins in a wrong way",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it cannot be read",
    };
    TlsError::Pem { path: path.into(), reason: reason.to_owned() }
}

fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.into(), source };
    // Asked before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(TlsError::NoFile(path.into()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(TlsError::TooLarge { path: path.into(), bytes_max });
    }
    Ok(bytes)
}

fn readable_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & OTHERS != 0)
}

/// Subject of a client's certificate, in the order in which it is written there (RFC 4514 has it the other way
/// round).
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.subject().to_string())
}
