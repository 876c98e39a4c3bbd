//! Whether the server can be reached. While it cannot, calls fail at once and nobody but this asks it, more and more
//! seldom; while it can, it is asked now and then, so that readiness does not depend on guests.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{Inner, failure::Failure};

/// Pause before the second attempt to reach the server.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Time between looks at a server that answers.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What the server is asked.
const LOOK: &str = "SELECT 1";

/// The reason for which the server is given up, if it is.
#[derive(Default)]
pub(super) struct Health {
    lost: Mutex<Option<String>>,
    suspected: Arc<Notify>,
}

impl Health {
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn lose(&self, reason: String) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.is_none() {
            tracing::warn!(reason, "the connection to PostgreSQL is lost; reconnecting");
        }
        *lost = Some(reason);
    }

    /// Somebody lost a connection: the server is looked at now.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    fn find(&self) {
        if self.lost.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("PostgreSQL is there again");
        }
    }
}

/// Looks at the server as long as anybody has the database.
pub(super) async fn keep(inner: Weak<Inner>) {
    let mut pause = PAUSE_FIRST;
    loop {
        let Some(here) = inner.upgrade() else { return };
        let (is_lost, suspected) = (here.health.lost().is_some(), here.health.suspected.clone());
        drop(here);
        if is_lost {
            tokio::time::sleep(pause).await;
        } else {
            let _ = timeout(LOOK_EVERY, suspected.notified()).await;
        }
        let Some(here) = inner.upgrade() else { return };
        let mut looked = here.once(LOOK, &[]).await;
        if !is_lost && matches!(looked, Err(Failure::Lost(_))) {
            // That may have been one connection's end; a new one tells.
            here.suspect();
            looked = here.once(LOOK, &[]).await;
        }
        match looked {
            Ok(_) => {
                here.health.find();
                pause = PAUSE_FIRST;
            }
            Err(Failure::Lost(reason)) => {
                here.suspect();
                here.health.lose(reason);
                pause = if is_lost { (pause * 2).min(PAUSE_MAX) } else { PAUSE_FIRST };
            }
            // It answers, or is busy with others.
            Err(Failure::Conflict | Failure::Other(_)) => {}
        }
    }
}
