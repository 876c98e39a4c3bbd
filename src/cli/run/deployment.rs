//! From a set of manifests to running workloads, and from one set to the next: only what changed is touched.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use roadstead_config::{ImageReference, ManifestSet};
use roadstead_runtime::{
    WorkloadId,
    host::{Host, HostApi, WorkloadRequest, WorkloadState},
};
use tokio::time::Instant;

use super::super::registry::PullSecrets;

/// First and longest pause before a workload that failed is tried again though nothing of it has changed.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What tells one state of a file from another; `None` while it is not there.
pub(super) type FileState = Option<(u64, SystemTime)>;

/// The state of the file at `path`.
pub(super) fn file_state(path: &Path) -> FileState {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// A workload as it was asked for last, with the state of its components' files.
struct Asked {
    request: WorkloadRequest,
    components: Vec<(PathBuf, FileState)>,
}

impl Asked {
    fn is_same_as(&self, other: &Self) -> bool {
        self.components == other.components && self.request.is_same_as(&other.request)
    }
}

/// When a workload that failed is tried again.
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Retry {
    fn after(pause: Duration) -> Self {
        Self { at: Instant::now() + pause, pause }
    }
}

/// The workloads that the manifests ask for, on a host.
pub(super) struct Deployment {
    host: Arc<Host>,
    secrets: PullSecrets,
    asked: BTreeMap<WorkloadId, Asked>,
    /// Those of them that failed.
    failed: BTreeMap<WorkloadId, Retry>,
    /// Whether what stands behind the plugins was there at the last look.
    backed: bool,
}

/// How many workloads of a set run, and how many were tried.
pub(super) struct Outcome {
    pub(super) running: usize,
    pub(super) changed: usize,
}

impl Deployment {
    pub(super) fn new(host: Arc<Host>, secrets: PullSecrets) -> Self {
        Self { host, secrets, asked: BTreeMap::new(), failed: BTreeMap::new(), backed: true }
    }

    /// Makes the host run what `set` asks for. One workload that fails does not keep the others from running, and
    /// one that fails to replace an older form of itself leaves that running.
    pub(super) async fn apply(&mut self, set: &ManifestSet) -> Outcome {
        let wanted: BTreeMap<WorkloadId, Asked> = set
            .documents
            .iter()
            .filter_map(WorkloadRequest::from_document)
            .map(|request| (request.id.clone(), Asked { components: component_files(&request), request }))
            .collect();
        let gone: Vec<WorkloadId> = self.asked.keys().filter(|id| !wanted.contains_key(id)).cloned().collect();
        for id in &gone {
            self.host.workload_stop(id).await;
            self.failed.remove(id);
        }
        let is_changed =
            |(id, asked): &(&WorkloadId, &Asked)| self.asked.get(*id).is_none_or(|before| !before.is_same_as(asked));
        let changed: Vec<&WorkloadRequest> =
            wanted.iter().filter(is_changed).map(|(_, asked)| &asked.request).collect();
        let outcome_changed = gone.len() + changed.len();
        // A route may pass from one changed workload to another: what fails at first has a second try after the rest.
        let tried = changed.len();
        for request in &changed {
            self.failed.remove(&request.id);
        }
        let mut failed = self.start_all(changed).await;
        if failed.len() < tried {
            failed = self.start_all(failed).await;
        }
        let retries = failed.into_iter().map(|request| (request.id.clone(), Retry::after(RETRY_PAUSE.0)));
        self.failed.extend(retries);
        self.asked = wanted;
        let statuses = self.host.status().workloads;
        let running = statuses.iter().filter(|status| status.state == WorkloadState::Running).count();
        Outcome { running, changed: outcome_changed }
    }

    /// Tries those again that failed and whose pause is over: what kept them from running may lie outside of their
    /// files, like a server that was away.
    pub(super) async fn retry(&mut self) {
        let now = Instant::now();
        let backed = self.host.not_ready().is_empty();
        // What has just come back may be what they failed for.
        let came_back = backed && !std::mem::replace(&mut self.backed, backed);
        for (id, retry) in self.failed.extract_if(.., |_, retry| came_back || retry.at <= now).collect::<Vec<_>>() {
            let Some(asked) = self.asked.get(&id) else { continue };
            if !self.start(&asked.request).await {
                self.failed.insert(id, Retry::after((retry.pause * 2).min(RETRY_PAUSE.1)));
            }
        }
    }

    /// Starts or replaces each; gives back those that failed.
    async fn start_all<'a>(&self, requests: Vec<&'a WorkloadRequest>) -> Vec<&'a WorkloadRequest> {
        let mut failed = Vec::new();
        for request in requests {
            if !self.start(request).await {
                failed.push(request);
            }
        }
        failed
    }

    /// Starts or replaces one, with the credentials that its secrets have now; whether it runs as asked.
    async fn start(&self, request: &WorkloadRequest) -> bool {
        let mut request = request.clone();
        match self.secrets.of_workload(&request.id.namespace, &request.spec) {
            Ok(credentials) => request.registry_credentials = credentials,
            // Without its secret the registry is not asked; the image may still be there.
            Err(error) => return self.host.workload_refuse(request, &error).await.reason.is_none(),
        }
        self.host.workload_apply(request).await.reason.is_none()
    }

    /// The files of all components, in the state in which they were before they were read.
    pub(super) fn components(&self) -> impl Iterator<Item = &(PathBuf, FileState)> {
        self.asked.values().flat_map(|asked| &asked.components)
    }
}

fn component_files(request: &WorkloadRequest) -> Vec<(PathBuf, FileState)> {
    let files = request.spec.components.iter().filter_map(|component| match &component.image {
        ImageReference::File(path) => {
            let folder = Path::new(component.image_place.file.as_ref()).parent().unwrap_or(Path::new(""));
            Some(folder.join(path))
        }
        ImageReference::Oci(_) => None,
    });
    files.map(|path| (path.clone(), file_state(&path))).collect()
}
