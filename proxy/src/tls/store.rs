//! What is served just now: certificates by host, and the TLS set-up made of them. A store is never changed: a reload
//! makes another, which takes from the old one what it cannot read anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use roadstead_config::{HostName, HostPattern, Limits};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{
        CryptoProvider,
        ring::{Ticketer, default_provider},
    },
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
        danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use super::{
    Certificate, TlsError, TlsFiles,
    certificate::read_certificates,
    files::{FileState, Look, Place, Seen},
};

/// Protocols inside TLS (ALPN), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Certificates by the hosts that they are for.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    exact: HashMap<String, Arc<Certificate>>,
    suffixes: HashMap<String, Arc<Certificate>>,
    default: Option<Arc<Certificate>>,
}

impl Certificates {
    /// The certificate for who asks for `host`: exact before the longest `*.suffix` before the default.
    pub(super) fn choose(&self, host: Option<&HostName>) -> Option<&Arc<Certificate>> {
        let Some(mut rest) = host.map(HostName::as_str) else { return self.default.as_ref() };
        if let Some(exact) = self.exact.get(rest) {
            return Some(exact);
        }
        while let Some((_, suffix)) = rest.split_once('.') {
            if let Some(found) = self.suffixes.get(suffix) {
                return Some(found);
            }
            rest = suffix;
        }
        self.default.as_ref()
    }

    fn insert(&mut self, place: &Place, certificate: Arc<Certificate>) {
        match place {
            Place::Host(HostPattern::Exact(host)) => drop(self.exact.insert(host.to_string(), certificate)),
            Place::Host(HostPattern::Suffix(suffix)) => drop(self.suffixes.insert(suffix.to_string(), certificate)),
            Place::Host(HostPattern::Any) | Place::Default => self.default = Some(certificate),
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = asked_for(&hello);
        self.choose(host.as_ref()).map(|certificate| certificate.certified.clone())
    }
}

/// The host that a client names, where it is one.
pub(super) fn asked_for(hello: &ClientHello<'_>) -> Option<HostName> {
    hello.server_name()?.parse().ok()
}

/// Who vouches for clients.
#[derive(Debug, Clone)]
struct Authorities {
    state: FileState,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// All that handshakes need, made at one time.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) certificates: Arc<Certificates>,
    pub(super) config: Arc<ServerConfig>,
    loaded: BTreeMap<Place, (Seen, Arc<Certificate>)>,
    authorities: Option<Authorities>,
    tickets: Arc<dyn ProducesTickets>,
    provider: Arc<CryptoProvider>,
}

impl Store {
    /// Reads all files of a look.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    pub(super) fn new(files: &TlsFiles, look: &Look, limits: &Limits) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let tickets = Ticketer::new().map_err(TlsError::Setup)?;
        let authorities = authorities(files, look, limits, &provider)?;
        let mut loaded = BTreeMap::new();
        for (place, seen) in &look.certificates {
            loaded.insert(place.clone(), read(place, seen, limits, &provider)?);
        }
        Self::of(loaded, authorities, tickets, provider)
    }

    /// Reads what has changed. What cannot be read stays as it was, and why is in the list.
    ///
    /// # Errors
    /// When nothing could be served then.
    pub(super) fn renewed(
        &self,
        files: &TlsFiles,
        look: &Look,
        limits: &Limits,
    ) -> Result<(Self, Vec<TlsError>), TlsError> {
        let mut problems = Vec::new();
        let mut loaded = BTreeMap::new();
        for (place, seen) in &look.certificates {
            let old = self.loaded.get(place);
            let certificate = match old {
                Some(old) if old.0 == *seen => Some(old.clone()),
                _ => read(place, seen, limits, &self.provider).map_err(|problem| problems.push(problem)).ok(),
            };
            if let Some(certificate) = certificate.or_else(|| old.cloned()) {
                loaded.insert(place.clone(), certificate);
            }
        }
        let (mut authorities_now, mut tickets) = (self.authorities.clone(), self.tickets.clone());
        if self.authorities.as_ref().is_some_and(|old| old.state != look.authorities) {
            match authorities(files, look, limits, &self.provider) {
                // A ticket stands for a client's certificate that was checked under the old authorities.
                Ok(new) => (authorities_now, tickets) = (new, Ticketer::new().map_err(TlsError::Setup)?),
                Err(problem) => problems.push(problem),
            }
        }
        Ok((Self::of(loaded, authorities_now, tickets, self.provider.clone())?, problems))
    }

    fn of(
        loaded: BTreeMap<Place, (Seen, Arc<Certificate>)>,
        authorities: Option<Authorities>,
        tickets: Arc<dyn ProducesTickets>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut certificates = Certificates::default();
        for (place, (_, certificate)) in &loaded {
            certificates.insert(place, certificate.clone());
        }
        let certificates = Arc::new(certificates);
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
        let builder = match &authorities {
            Some(authorities) => builder.with_client_cert_verifier(authorities.verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = tickets.clone();
        // Tickets are kept by clients: resumption costs the host no memory.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { certificates, config: Arc::new(config), loaded, authorities, tickets, provider })
    }

    /// Whether clients show certificates.
    pub(super) fn knows_clients(&self) -> bool {
        self.authorities.is_some()
    }

    /// Whether a place has a certificate.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.loaded.contains_key(place)
    }

    /// Each certificate with its place.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Place, &Certificate)> {
        self.loaded.iter().map(|(place, (_, certificate))| (place, &**certificate))
    }
}

fn read(
    place: &Place,
    seen: &Seen,
    limits: &Limits,
    provider: &CryptoProvider,
) -> Result<(Seen, Arc<Certificate>), TlsError> {
    let pattern = match place {
        Place::Default => None,
        Place::Host(pattern) => Some(pattern.clone()),
    };
    let certificate = Certificate::read(&seen.files, pattern, limits.tls_file_bytes_max, provider)?;
    Ok((seen.clone(), Arc::new(certificate)))
}

fn authorities(
    files: &TlsFiles,
    look: &Look,
    limits: &Limits,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Authorities>, TlsError> {
    let Some(path) = &files.client_authorities else { return Ok(None) };
    let unusable = |reason: String| TlsError::Authorities { path: path.clone(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path, limits.tls_file_bytes_max)? {
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
    Ok(Some(Authorities { state: look.authorities, verifier }))
}
