//! The images of a host: by what policy they are fetched, who may use which copy, and that no two fetches of one
//! component happen at once. What is said to a registry is in `session` and `fetch`, what is on disk in `cache`.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use roadstead_config::{Limits, OciReference, PullPolicy, RegistryCredentials, Sha256Digest};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    ArtifactOptions, PullError,
    cache::{ArtifactLease, CacheHome, Record},
    docker_config::{Login, host_login},
    fetch::{self, Resolved},
    manifest::Layer,
    options::ProgressSink,
    retry::LastError,
    session::{Place, Session},
    wire::Wire,
};
use crate::metrics::ImageMetrics;

/// Fetches images, and keeps them. Cheap to clone.
#[derive(Clone)]
pub struct ArtifactStore(Arc<Inner>);

struct Inner {
    options: ArtifactOptions,
    limits: Arc<Limits>,
    metrics: ImageMetrics,
    cache: CacheHome,
    wire: OnceCell<Wire>,
    /// One permit for each fetch that may happen at a time (`artifact_pulls_at_once_max`).
    places: Semaphore,
    downloads: Mutex<HashMap<Sha256Digest, Weak<Download>>>,
}

/// One component that is being fetched: who holds it fetches, the others wait and find it here.
type Download = tokio::sync::Mutex<Option<(Bytes, Option<Arc<ArtifactLease>>)>>;

/// An image that is here.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The component.
    pub bytes: Bytes,
    /// Of the manifest, or of the index that the reference names.
    pub manifest: Sha256Digest,
    /// Of the component.
    pub component: Sha256Digest,
    pub source: PullSource,
    /// Keeps it in the cache; `None` where it is not there.
    pub lease: Option<Arc<ArtifactLease>>,
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullSource {
    /// From the cache; the registry was not asked.
    Cache,
    /// From the cache, after the registry said that it is still what the reference stands for.
    Confirmed,
    /// From the registry.
    Registry,
}

impl PullSource {
    /// The source as metric labels and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Confirmed => "confirmed",
            Self::Registry => "registry",
        }
    }
}

/// Which registry is asked for an image, under which name.
struct Target<'t> {
    registry: &'t str,
    repository: String,
    is_mirror: bool,
}

impl ArtifactStore {
    /// Opens the cache that `options` names. One that cannot be used is warned of and replaced by a temporary folder.
    ///
    /// # Errors
    /// When the file with authorities cannot be read.
    pub(crate) async fn open(
        options: ArtifactOptions,
        limits: Arc<Limits>,
        metrics: ImageMetrics,
    ) -> Result<Self, PullError> {
        let ArtifactOptions { cache_directory, temporary_directory, ca_file, .. } = options.clone();
        let bounds = limits.clone();
        let opened = move || {
            let cache = CacheHome::open(cache_directory.as_deref(), temporary_directory, bounds);
            (cache, ca_file.map(|path| Wire::new(Some(&path))))
        };
        let (cache, wire) = blocking(opened).await?;
        let wire = wire.transpose()?;
        let places = usize::try_from(limits.artifact_pulls_at_once_max).unwrap_or(usize::MAX);
        let inner = Arc::new(Inner {
            cache,
            wire: OnceCell::new_with(wire),
            places: Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)),
            downloads: Mutex::default(),
            options,
            limits,
            metrics,
        });
        if let Some(cleaner) = inner.options.cleaner {
            tokio::spawn(clean(Arc::downgrade(&inner), cleaner.frequency, cleaner.max_age));
        }
        Ok(Self(inner))
    }

    /// A store for programs that fetch or send images and run none.
    ///
    /// # Errors
    /// When the file with authorities cannot be read.
    pub async fn new(options: ArtifactOptions, limits: Limits) -> Result<Self, PullError> {
        Self::open(options, Arc::new(limits), ImageMetrics::hidden()).await
    }

    /// Gets an image as `policy` says: for `credentials`, or else for what the host itself has for the registry.
    ///
    /// # Errors
    /// When it is not in the cache and cannot be fetched, or is none.
    pub async fn pull(
        &self,
        image: &OciReference,
        policy: PullPolicy,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Pulled, PullError> {
        let begun = Instant::now();
        let result = self.0.pull(image, policy, credentials).await;
        let outcome = result.as_ref().map_or_else(PullError::kind, |pulled| pulled.source.as_str());
        self.0.metrics.count(outcome);
        if let Ok(pulled) = &result
            && pulled.source == PullSource::Registry
        {
            self.0.metrics.fetched(pulled.bytes.len() as u64, begun.elapsed().as_secs_f64());
            tracing::info!(
                image = image.as_written(),
                digest = %pulled.manifest,
                bytes = pulled.bytes.len(),
                seconds = begun.elapsed().as_secs_f64(),
                "image fetched"
            );
        }
        result
    }

    /// A conversation about an image's repository, in which it may be written to.
    pub(super) async fn session_to_write(&self, image: &OciReference) -> Result<Session, PullError> {
        let target = self.0.target(image);
        self.0.session(image, &target, None, true).await
    }
}

impl Inner {
    async fn pull(
        &self,
        image: &OciReference,
        policy: PullPolicy,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Pulled, PullError> {
        if image.is_plain_http() && !self.options.allow_insecure {
            return Err(PullError::InsecureReference);
        }
        if policy != PullPolicy::Always
            && let Some(pulled) = self.remembered(image, credentials).await
        {
            return Ok(pulled);
        }
        if policy == PullPolicy::Never {
            return Err(PullError::NotPresent);
        }
        let time = self.options.pull_timeout;
        let Ok(Ok(_place)) = tokio::time::timeout(time, self.places.acquire()).await else {
            return Err(PullError::Busy { max: self.limits.artifact_pulls_at_once_max });
        };
        let last = LastError::default();
        match tokio::time::timeout(time, self.fetch(image, credentials, &last)).await {
            Ok(result) => result,
            Err(_) => {
                let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
                Err(PullError::TimedOut { after: time, last })
            }
        }
    }

    /// The copy that the reference stood for, when it was asked for with these credentials or with the host's own, which
    /// anybody may use.
    async fn remembered(&self, image: &OciReference, credentials: Option<&RegistryCredentials>) -> Option<Pulled> {
        let cache = self.cache.to_read()?;
        let (name, credentials) = (canonical(image), credentials.cloned());
        let read = move || -> io::Result<Option<Pulled>> {
            let own = cache.key(&name, credentials.as_ref());
            let hosts = cache.key(&name, None);
            let record = match cache.recall(&own)? {
                Some(record) => Some(record),
                None => cache.recall(&hosts)?,
            };
            let Some(Record(Resolved { digest, layer })) = record else { return Ok(None) };
            Ok(cache.read(&layer)?.map(|(bytes, lease)| Pulled {
                bytes,
                manifest: digest,
                component: layer.digest,
                source: PullSource::Cache,
                lease: Some(lease),
            }))
        };
        let read = blocking(read).await.and_then(|read| read.map_err(|error| PullError::Internal(error.to_string())));
        read.unwrap_or_else(|error| {
            tracing::warn!(image = image.as_written(), "the image cache cannot be read: {error}");
            None
        })
    }

    async fn fetch(
        &self,
        image: &OciReference,
        credentials: Option<&RegistryCredentials>,
        last: &LastError,
    ) -> Result<Pulled, PullError> {
        let target = self.target(image);
        let mut session = self.session(image, &target, credentials, false).await?;
        let digest = image.digest();
        let name = digest.map_or_else(|| image.tag().unwrap_or_default().to_owned(), |digest| digest.to_string());
        let resolved = fetch::resolve(&mut session, &name, digest, last).await?;
        let max = self.limits.component_bytes_max;
        if resolved.layer.bytes > max {
            return Err(PullError::ComponentTooLarge { found: resolved.layer.bytes, max });
        }
        let (bytes, lease, source) = self.component(&mut session, image, resolved.layer, last).await?;
        self.remember(image, credentials.filter(|_| !target.is_mirror), resolved).await;
        Ok(Pulled { bytes, manifest: resolved.digest, component: resolved.layer.digest, source, lease })
    }

    /// A component whose digest the registry has just named to this very asker.
    async fn component(
        &self,
        session: &mut Session,
        image: &OciReference,
        layer: Layer,
        last: &LastError,
    ) -> Result<(Bytes, Option<Arc<ArtifactLease>>, PullSource), PullError> {
        let download = self.download(layer.digest);
        let mut download = download.lock().await;
        if let Some((bytes, lease)) = download.clone() {
            return Ok((bytes, lease, PullSource::Confirmed));
        }
        if let Some(cache) = self.cache.to_read() {
            match blocking(move || cache.read(&layer)).await? {
                Ok(Some((bytes, lease))) => return Ok((bytes, Some(lease), PullSource::Confirmed)),
                Ok(None) => {}
                Err(error) => tracing::warn!(image = image.as_written(), "the image cache cannot be read: {error}"),
            }
        }
        let watcher = self.options.progress.as_deref();
        let progress = ProgressSink { image: image.as_written(), watcher };
        let bytes = fetch::blob(session, layer, &progress, last).await?;
        let lease = self.keep(image, layer, bytes.clone()).await;
        *download = Some((bytes.clone(), lease.clone()));
        Ok((bytes, lease, PullSource::Registry))
    }

    /// Writes a component to the cache. A host without room on its disk runs what it fetched all the same.
    async fn keep(&self, image: &OciReference, layer: Layer, bytes: Bytes) -> Option<Arc<ArtifactLease>> {
        let cache = self.cache.to_write().await?;
        let written = blocking(move || cache.write(&layer, &bytes)).await;
        written.unwrap_or_else(|error| Err(io::Error::other(error))).unwrap_or_else(|error| {
            tracing::warn!(
                image = image.as_written(),
                "the image cannot be kept, and is fetched again next time: {error}"
            );
            self.metrics.count("not-kept");
            None
        })
    }

    async fn remember(&self, image: &OciReference, credentials: Option<&RegistryCredentials>, resolved: Resolved) {
        let Some(cache) = self.cache.to_write().await else { return };
        let (name, credentials) = (canonical(image), credentials.cloned());
        let written =
            blocking(move || cache.remember(&cache.key(&name, credentials.as_ref()), &Record(resolved))).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(image = image.as_written(), "what the image stands for cannot be remembered: {error}");
        }
    }

    /// The place where a component is fetched, shared by all who want it now.
    fn download(&self, digest: Sha256Digest) -> Arc<Download> {
        let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
        downloads.retain(|_, download| download.strong_count() > 0);
        if let Some(download) = downloads.get(&digest).and_then(Weak::upgrade) {
            return download;
        }
        let download = Arc::new(Download::default());
        downloads.insert(digest, Arc::downgrade(&download));
        download
    }

    fn target<'t>(&'t self, image: &'t OciReference) -> Target<'t> {
        let mirror = self.options.mirrors.iter().find(|mirror| mirror.from == *image.registry());
        let repository = image.repository();
        // On Docker Hub a name without an owner is an official image.
        let hub = image.registry().as_str() == "docker.io" && !repository.contains('/');
        let repository = if hub { format!("library/{repository}") } else { repository.to_owned() };
        match mirror {
            None => Target { registry: image.registry().as_str(), repository, is_mirror: false },
            Some(mirror) => {
                let repository =
                    if mirror.path.is_empty() { repository } else { format!("{}/{repository}", mirror.path) };
                Target { registry: mirror.to.as_str(), repository, is_mirror: true }
            }
        }
    }

    async fn session(
        &self,
        image: &OciReference,
        target: &Target<'_>,
        credentials: Option<&RegistryCredentials>,
        write: bool,
    ) -> Result<Session, PullError> {
        let authorities = || async { blocking(|| Wire::new(None)).await? };
        let wire = self.wire.get_or_try_init(authorities).await?.clone();
        let place = Place {
            registry: target.registry,
            repository: &target.repository,
            plain_http: image.is_plain_http(),
            allow_insecure: self.options.allow_insecure,
            write,
        };
        // A workload's credentials are for the registry that it names, not for a mirror that the host has chosen.
        let login = match (credentials.filter(|_| !target.is_mirror), &self.options.docker_config) {
            (Some(credentials), _) => Some(Login { credentials: credentials.clone(), is_identity_token: false }),
            (None, Some(path)) => host_login(path, target.registry, &target.repository).await?,
            (None, None) => None,
        };
        Session::new(wire, &place, login)
    }
}

/// The name under which it is remembered what an image stands for: the registry that it names, whatever mirror is asked.
fn canonical(image: &OciReference) -> String {
    let (registry, repository) = (image.registry(), image.repository());
    match image.digest() {
        Some(digest) => format!("{registry}/{repository}@{digest}"),
        None => format!("{registry}/{repository}:{}", image.tag().unwrap_or_default()),
    }
}

/// Cleans for as long as the host lives.
async fn clean(store: Weak<Inner>, frequency: Duration, max_age: Duration) {
    // A round without a pause would be all that the host does.
    let frequency = frequency.max(CLEAN_EVERY_LEAST);
    loop {
        tokio::time::sleep(frequency).await;
        let Some(cache) = store.upgrade().map(|store| store.cache.to_read()) else { return };
        let Some(cache) = cache else { continue };
        match blocking(move || cache.clean(Some(max_age))).await {
            Ok(Ok(cleaned)) if cleaned.removed > 0 => {
                tracing::info!(files = cleaned.removed, bytes = cleaned.bytes, "unused images removed");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("the image cache cannot be cleaned: {error}"),
            Err(error) => tracing::warn!("the image cache cannot be cleaned: {error}"),
        }
    }
}

/// The shortest time between two rounds of the cleaner.
const CLEAN_EVERY_LEAST: Duration = Duration::from_millis(100);

/// Work that would keep a thread of the runtime from other work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PullError::Internal(error.to_string()))
}
