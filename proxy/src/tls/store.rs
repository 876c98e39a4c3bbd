//! What is served just now: certificates by host, and the TLS set-up made of them. A store is never changed: a reload
//! makes another, which takes from the old one what it cannot read anew.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use roadstead_config::{HostName, HostPattern, Limits, Namespace};
use roadstead_runtime::WorkloadId;
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
    Certificate, Claim, TlsError, TlsFiles,
    brought::Brought,
    certificate::read_certificates,
    files::{FileState, Look, Place, Seen},
};
use crate::route::DynamicRouter;

/// Protocols inside TLS (ALPN), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Something for hosts, exact ones and `*.suffix`.
#[derive(Debug)]
struct ByHost<T> {
    exact: HashMap<String, T>,
    suffixes: HashMap<String, T>,
}

impl<T> Default for ByHost<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), suffixes: HashMap::new() }
    }
}

impl<T> ByHost<T> {
    /// What is for a host: the exact before the longest `*.suffix`.
    fn candidates<'a, 'h>(&'a self, host: &'h HostName) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let parent = |rest: &&'h str| rest.split_once('.').map(|(_, suffix)| suffix);
        let suffixes = std::iter::successors(parent(&host.as_str()), parent);
        let wider = suffixes.filter_map(|suffix| self.suffixes.get(suffix));
        self.exact.get(host.as_str()).into_iter().chain(wider)
    }

    /// Puts in what nothing is in place of.
    fn insert(&mut self, pattern: &HostPattern, value: T) {
        match pattern {
            HostPattern::Exact(host) => drop(self.exact.entry(host.to_string()).or_insert(value)),
            HostPattern::Suffix(suffix) => drop(self.suffixes.entry(suffix.to_string()).or_insert(value)),
            HostPattern::Any => {}
        }
    }
}

/// Certificates by the hosts that they are for.
#[derive(Debug)]
pub(super) struct Certificates {
    operators: ByHost<Arc<Certificate>>,
    default: Option<Arc<Certificate>>,
    /// With the namespaces of the triggers that brought them.
    brought: ByHost<(Namespace, Arc<Certificate>)>,
    /// Knows whose a host is.
    router: DynamicRouter,
}

impl Certificates {
    fn of(parts: &Parts) -> Self {
        let mut all = Self {
            operators: ByHost::default(),
            default: None,
            brought: ByHost::default(),
            router: parts.router.clone(),
        };
        for (place, (_, certificate)) in &parts.loaded {
            match place {
                Place::Host(HostPattern::Any) | Place::Default => all.default = Some(certificate.clone()),
                Place::Host(pattern) => all.operators.insert(pattern, certificate.clone()),
            }
        }
        for Brought { claim, certificate, .. } in parts.brought.values() {
            all.brought.insert(&claim.pattern, (claim.namespace.clone(), certificate.clone()));
        }
        all
    }

    /// The certificate for who asks for `host`: the operator's for it, then that of a trigger of the namespace that the
    /// host belongs to, then the default.
    pub(super) fn choose(&self, host: Option<&HostName>) -> Option<&Arc<Certificate>> {
        let chosen = host.and_then(|host| {
            let operators = self.operators.candidates(host).next();
            operators.or_else(|| {
                let mut brought = self.brought.candidates(host).peekable();
                brought.peek()?;
                let owner = self.router.claimant_of(host)?;
                brought.find(|(namespace, _)| *namespace == owner).map(|(_, certificate)| certificate)
            })
        });
        chosen.or(self.default.as_ref())
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
    parts: Parts,
}

/// What a store is made of.
#[derive(Debug, Clone)]
struct Parts {
    loaded: BTreeMap<Place, (Seen, Arc<Certificate>)>,
    /// By the triggers that brought them: of several for a host the first counts.
    brought: BTreeMap<WorkloadId, Brought>,
    authorities: Option<Authorities>,
    tickets: Arc<dyn ProducesTickets>,
    provider: Arc<CryptoProvider>,
    router: DynamicRouter,
}

impl Store {
    /// Reads all files of a look.
    ///
    /// # Errors
    /// With the first file that cannot be used.
    pub(super) fn new(files: &TlsFiles, look: &Look, limits: &Limits, router: DynamicRouter) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let tickets = Ticketer::new().map_err(TlsError::Setup)?;
        let authorities = authorities(files, look, limits, &provider)?;
        let mut loaded = BTreeMap::new();
        for (place, seen) in &look.certificates {
            loaded.insert(place.clone(), read(place, seen, limits, &provider)?);
        }
        Self::of(Parts { loaded, brought: BTreeMap::new(), authorities, tickets, provider, router })
    }

    /// Reads the certificate that a trigger asks for.
    ///
    /// # Errors
    /// When it cannot be used, or there are as many as may be.
    pub(super) fn read_brought(&self, owner: &WorkloadId, claim: Claim, limits: &Limits) -> Result<Brought, TlsError> {
        let others = self.parts.brought.keys().filter(|other| *other != owner).count();
        if (others + self.parts.loaded.len()) as u64 >= limits.tls_certificates_max {
            return Err(TlsError::NoRoom { count_max: limits.tls_certificates_max });
        }
        let seen = claim.look()?;
        claim.read(seen, limits, &self.parts.provider)
    }

    /// The same with what a trigger brings now; `None` where it brings nothing.
    ///
    /// # Errors
    /// When the TLS library refuses its set-up.
    pub(super) fn with_brought(&self, owner: &WorkloadId, brought: Option<Brought>) -> Result<Self, TlsError> {
        let mut parts = self.parts.clone();
        match brought {
            Some(brought) => drop(parts.brought.insert(owner.clone(), brought)),
            None => drop(parts.brought.remove(owner)),
        }
        Self::of(parts)
    }

    /// Whether a trigger has brought a certificate.
    pub(super) fn has_brought(&self, owner: &WorkloadId) -> bool {
        self.parts.brought.contains_key(owner)
    }

    /// What has changed of the files that triggers brought.
    pub(super) fn changes(&self) -> BTreeMap<WorkloadId, Option<Seen>> {
        let brought = self.parts.brought.iter();
        brought.filter_map(|(owner, brought)| Some((owner.clone(), brought.change()?))).collect()
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
        let mut parts = Parts { loaded: BTreeMap::new(), ..self.parts.clone() };
        for (place, seen) in &look.certificates {
            let old = self.parts.loaded.get(place);
            let certificate = match old {
                Some(old) if old.0 == *seen => Some(old.clone()),
                _ => read(place, seen, limits, &parts.provider).map_err(|problem| problems.push(problem)).ok(),
            };
            if let Some(certificate) = certificate.or_else(|| old.cloned()) {
                parts.loaded.insert(place.clone(), certificate);
            }
        }
        for (owner, seen) in &look.brought {
            let Some(old) = parts.brought.get_mut(owner) else { continue };
            // One that could not be looked at says why now.
            let seen = seen.clone().map_or_else(|| old.claim.look(), Ok);
            match seen.and_then(|seen| old.claim.clone().read(seen, limits, &parts.provider)) {
                Ok(new) => *old = new,
                Err(problem) => problems.push(problem),
            }
        }
        if parts.authorities.as_ref().is_some_and(|old| old.state != look.authorities) {
            match authorities(files, look, limits, &parts.provider) {
                // A ticket stands for a client's certificate that was checked under the old authorities.
                Ok(new) => (parts.authorities, parts.tickets) = (new, Ticketer::new().map_err(TlsError::Setup)?),
                Err(problem) => problems.push(problem),
            }
        }
        Ok((Self::of(parts)?, problems))
    }

    fn of(parts: Parts) -> Result<Self, TlsError> {
        let certificates = Arc::new(Certificates::of(&parts));
        let builder = ServerConfig::builder_with_provider(parts.provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
        let builder = match &parts.authorities {
            Some(authorities) => builder.with_client_cert_verifier(authorities.verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = parts.tickets.clone();
        // Tickets are kept by clients: resumption costs the host no memory.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { certificates, config: Arc::new(config), parts })
    }

    /// Whether clients show certificates.
    pub(super) fn knows_clients(&self) -> bool {
        self.parts.authorities.is_some()
    }

    /// Each certificate with its place; of two for one place that which is served comes last.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, &Certificate)> {
        let brought = self.parts.brought.values().rev();
        let brought = brought.map(|brought| (Place::Host(brought.claim.pattern.clone()), &*brought.certificate));
        brought.chain(self.parts.loaded.iter().map(|(place, (_, certificate))| (place.clone(), &**certificate)))
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
