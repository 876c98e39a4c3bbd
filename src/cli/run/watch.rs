//! `--watch`: looks at manifests and component files for changes, and deploys what they ask for; what failed is tried
//! again after a while.
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

/// Files and their state at one look.
type Snapshot = Vec<(PathBuf, FileState)>;

/// Watches for ever.
pub(super) async fn watch(mut deployment: Deployment, paths: Vec<PathBuf>, limits: Limits) {
    let mut deployed = look(&deployment, &paths);
    let mut last = deployed.clone();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = look(&deployment, &paths);
        // A change counts once it has been the same for two looks: nothing is read while it is being written.
        if now != deployed && now == last {
            reload(&mut deployment, &paths, &limits).await;
            deployed = look(&deployment, &paths);
        }
        deployment.retry().await;
        last = now;
    }
}

fn look(deployment: &Deployment, paths: &[PathBuf]) -> Snapshot {
    let manifests = manifests::files(paths).unwrap_or_default();
    let components = deployment.component_paths().map(PathBuf::from);
    manifests.into_iter().chain(components).map(|path| (path.clone(), file_state(&path))).collect()
}

/// Deploys the manifests as they are now; when they are not valid, nothing changes.
async fn reload(deployment: &mut Deployment, paths: &[PathBuf], limits: &Limits) {
    let unchanged = "the manifests are not valid; what was running goes on unchanged";
    let files = match manifests::read(paths, limits) {
        Ok(files) => files,
        Err(error) => return tracing::error!(%error, "{unchanged}"),
    };
    match manifests::check(&files, limits) {
        Ok(set) => {
            let outcome = deployment.apply(&set).await;
            tracing::info!(running = outcome.running, changed = outcome.changed, "reloaded");
        }
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            tracing::error!(problems = problems.len(), "{unchanged}");
        }
    }
}
