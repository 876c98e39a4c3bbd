//! Keeping up with certificate files that change, without a connection noticing. What cannot be read leaves in place
//! what was there.
//!
//! It looks, as `--watch` does, and for the same reasons: that works on every file system and for mounted Secrets.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{TlsError, TlsServer, files::Look};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a look found; a text where it failed, so that it can be compared.
type Found = Result<Look, String>;

/// Looks until the host drains. What is served was read after the look `read`.
pub(super) async fn keep_up(tls: Arc<TlsServer>, read: Look, draining: CancellationToken) {
    let mut applied: Found = Ok(read);
    let mut last = applied.clone();
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = sleep(LOOK_EVERY) => {}
        }
        let (tls, before, previous) = (tls.clone(), applied.clone(), last.clone());
        // Files may be on a network: nothing else waits for them.
        let looked = spawn_blocking(move || tls.look_again(before, &previous)).await;
        match looked {
            Ok(looked) => (applied, last) = looked,
            Err(error) => tracing::error!(%error, "looking for new certificates failed"),
        }
    }
}

impl TlsServer {
    /// One look: returns what has been dealt with, and what is there now. A change counts once it has been the same for
    /// two looks: nothing is read while it is being written.
    fn look_again(&self, applied: Found, last: &Found) -> (Found, Found) {
        let now = Look::at(&self.files, &self.limits).map_err(|error| one_line(&error));
        if now == applied || now != *last {
            return (applied, now);
        }
        match &now {
            Ok(look) => self.take_over(look),
            Err(error) => self.failed(error),
        }
        (now.clone(), now)
    }

    fn take_over(&self, look: &Look) {
        match self.store.load().renewed(&self.files, look, &self.limits) {
            Ok((store, problems)) => {
                self.metrics.certificates(&store);
                let certificates = store.all().count();
                self.store.store(Arc::new(store));
                for problem in &problems {
                    self.failed(&one_line(problem));
                }
                if problems.is_empty() {
                    self.metrics.reload(true);
                    tracing::info!(certificates, "certificates reloaded");
                }
            }
            Err(error) => self.failed(&one_line(&error)),
        }
    }

    fn failed(&self, error: &str) {
        self.metrics.reload(false);
        tracing::error!(error, "a change of the certificates cannot be used; what was served before goes on");
    }
}

fn one_line(error: &TlsError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
