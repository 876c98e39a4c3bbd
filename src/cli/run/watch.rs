//! What a host does with its manifests after the start: workloads that failed are tried again after a while, and with
//! `--watch` it looks at manifests and component files for changes, and deploys what they ask for.
//!
//! It looks, rather than being told: that works on every file system, and for a mounted ConfigMap, where the file
//! that a person names never changes itself.

use std::{path::PathBuf, time::Duration};

use roadstead_config::Limits;

use super::{
    super::manifests,
    deployment::{Deployment, FileState, file_state},
};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Files and their state.
pub(super) type Snapshot = Vec<(PathBuf, FileState)>;

/// What was seen at one look.
#[derive(Clone, PartialEq)]
struct Look {
    manifests: Snapshot,
    components: Snapshot,
}

impl Look {
    fn now(deployment: &Deployment, paths: &[PathBuf]) -> Self {
        let components = deployment.components().map(|(path, _)| (path.clone(), file_state(path))).collect();
        Self { manifests: manifests_at(paths), components }
    }

    /// What is deployed, when its manifests were read after they had been seen in this state. Looked at afterwards, a
    /// change that came in between would pass for deployed.
    fn deployed(deployment: &Deployment, manifests: Snapshot) -> Self {
        Self { manifests, components: deployment.components().cloned().collect() }
    }
}

/// The manifests that `paths` name, in their state just now.
pub(super) fn manifests_at(paths: &[PathBuf]) -> Snapshot {
    let files = manifests::files(paths).unwrap_or_default();
    files.into_iter().map(|path| (path.clone(), file_state(&path))).collect()
}

/// Watches for ever. What runs was read from manifests that were in the state `read` before.
pub(super) async fn watch(mut deployment: Deployment, paths: Vec<PathBuf>, limits: Limits, read: Snapshot) {
    let mut deployed = Look::deployed(&deployment, read);
    let mut last = deployed.clone();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Look::now(&deployment, &paths);
        // A change counts once it has been the same for two looks: nothing is read while it is being written.
        if now != deployed && now == last {
            deployed = match reload(&mut deployment, &paths, &limits).await {
                true => Look::deployed(&deployment, now.manifests.clone()),
                false => now.clone(),
            };
        }
        deployment.retry().await;
        last = now;
    }
}

/// Tries what failed again for ever, without a look at any file.
pub(super) async fn retry(mut deployment: Deployment) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        deployment.retry().await;
    }
}

/// Deploys the manifests as they are now; when they are not valid, nothing changes, and it is `false`.
async fn reload(deployment: &mut Deployment, paths: &[PathBuf], limits: &Limits) -> bool {
    let unchanged = "the manifests are not valid; what was running goes on unchanged";
    let files = match manifests::read(paths, limits) {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(%error, "{unchanged}");
            return false;
        }
    };
    match manifests::check(&files, limits) {
        Ok(set) => {
            let outcome = deployment.apply(&set).await;
            tracing::info!(running = outcome.running, changed = outcome.changed, "reloaded");
            true
        }
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            tracing::error!(problems = problems.len(), "{unchanged}");
            false
        }
    }
}
