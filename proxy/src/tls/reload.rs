//! Keeping up with certificate files that change, without a connection noticing. What cannot be read leaves in place
//! what was there.
//!
//! It looks, as `--watch` does, and for the same reasons: that works on every file system and for mounted Secrets.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use roadstead_runtime::WorkloadId;
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Claim, TlsError, TlsServer, brought::Brought, files::Look, store::Store};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Time after which files that could not be used are tried again, though nothing has changed.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a look found; a text where it failed, so that it can be compared.
type Found = Result<Look, String>;

/// What has been seen so far.
struct Watch {
    /// What has been dealt with.
    applied: Found,
    /// The look before this one.
    last: Found,
    /// When something could not be used.
    failed_at: Option<Instant>,
}

impl Watch {
    /// Nothing has changed since the look after which everything was read.
    fn new(read: Look) -> Self {
        Self { applied: Ok(read.clone()), last: Ok(read), failed_at: None }
    }

    /// One look. A change counts once it has been the same for two looks: nothing is read while it is being written.
    fn look(&mut self, tls: &TlsServer) {
        let now = Look::at(&tls.files, &tls.limits).map_err(|error| one_line(&error));
        let now = now.map(|look| Look { brought: tls.store.load().changes(), ..look });
        let due = self.failed_at.is_some_and(|failed| failed.elapsed() >= RETRY_AFTER);
        if now == self.last && (now != self.applied || due) {
            self.failed_at = match tls.apply(&now) {
                true => None,
                false => Some(Instant::now()),
            };
            // What has been taken over is no change any more.
            self.applied = now.clone().map(|look| Look { brought: tls.store.load().changes(), ..look });
        }
        self.last = now;
    }
}

/// Looks until the host drains. What is served was read after the look `read`.
pub(super) async fn keep_up(tls: Arc<TlsServer>, read: Look, draining: CancellationToken) {
    let watch = Arc::new(Mutex::new(Watch::new(read)));
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let (tls, watch) = (tls.clone(), watch.clone());
        // Files may be on a network: nothing else waits for them.
        let looked = spawn_blocking(move || watch.lock().unwrap_or_else(PoisonError::into_inner).look(&tls)).await;
        if let Err(error) = looked {
            tracing::error!(%error, "looking for new certificates failed");
        }
    }
}

impl TlsServer {
    /// Serves what was found from now on; `false` when not all of it can be used.
    fn apply(&self, found: &Found) -> bool {
        let problems = match found {
            Ok(look) => self.take_over(look),
            Err(problem) => vec![problem.clone()],
        };
        for problem in &problems {
            tracing::error!(error = problem, "a change of the certificates cannot be used; what was served goes on");
        }
        self.metrics.reload(problems.is_empty());
        problems.is_empty()
    }

    fn take_over(&self, look: &Look) -> Vec<String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.store.load_full();
        match old.renewed(&self.files, look, &self.limits) {
            Ok((new, problems)) => {
                self.put(new);
                tracing::info!(certificates = self.store.load().all().count(), "certificates reloaded");
                problems.iter().map(one_line).collect()
            }
            Err(error) => vec![one_line(&error)],
        }
    }

    fn put(&self, new: Store) {
        self.metrics.certificates(&new);
        self.store.store(Arc::new(new));
    }

    /// Reads the certificate that a trigger asks for. It is not served yet.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn read_brought(&self, owner: &WorkloadId, claim: Claim) -> Result<Brought, String> {
        self.store.load().read_brought(owner, claim, &self.limits).map_err(|error| one_line(&error))
    }

    /// Serves from now on what a trigger brings, and not what it brought before.
    pub(crate) fn bring(&self, owner: &WorkloadId, brought: Option<Brought>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.store.load_full();
        if brought.is_none() && !old.has_brought(owner) {
            return;
        }
        match old.with_brought(owner, brought) {
            Ok(new) => self.put(new),
            Err(error) => tracing::error!(error = one_line(&error), "a trigger's certificate cannot be served"),
        }
    }
}

fn one_line(error: &TlsError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use roadstead_config::Limits;
    use roadstead_metrics::Metrics;

    use super::*;
    use crate::{route::DynamicRouter, tls::TlsFiles};

    fn write(folder: &std::path::Path, host: &str) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        fs::write(folder.join(format!("{host}.crt")), made.cert.pem()).unwrap();
        fs::write(folder.join(format!("{host}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_could_not_be_used_is_tried_again_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "a.test");
        let files = TlsFiles { directory: Some(folder.path().into()), ..TlsFiles::default() };
        let (tls, read) =
            TlsServer::new(files, Arc::new(Limits::default()), &Metrics::default(), DynamicRouter::default()).unwrap();
        let mut watch = Watch::new(read);
        let reloads = |outcome| tls.metrics.reloads(outcome);
        watch.look(&tls);
        assert_eq!((reloads("ok"), reloads("failed")), (0, 0));
        fs::write(folder.path().join("a.test.key"), "half a ke").unwrap();
        watch.look(&tls);
        assert_eq!(reloads("failed"), 0, "it may be written just now");
        for _ in 0..3 {
            watch.look(&tls);
            assert_eq!(reloads("failed"), 1);
        }
        watch.failed_at = Instant::now().checked_sub(RETRY_AFTER);
        watch.look(&tls);
        assert_eq!(reloads("failed"), 2);
        write(folder.path(), "a.test");
        watch.look(&tls);
        watch.look(&tls);
        assert_eq!((reloads("ok"), reloads("failed")), (1, 2));
        assert!(watch.failed_at.is_none());
    }
}
