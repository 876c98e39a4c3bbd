//! The removal of pieces that are no object's any more, and of objects whose writers are gone. It knows no tenant: what it
//! removes nobody can reach.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::tenant_postgres::{Effect, Parameter, QueryError, TenantDatabase};

/// Pieces that one statement removes: 16 MiB.
const PIECES_AT_ONCE: i64 = 128;
/// Objects without a writer that one statement gives up.
const OBJECTS_AT_ONCE: i64 = 16;
/// Time between looks for what hosts have left that are no more.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Statements of one look; what is left then waits for the next.
const STATEMENTS_PER_LOOK_MAX: u32 = 1_000;

const SWEEP: &str = "SELECT roadstead.blob_sweep($1)";
const GIVE_UP: &str = "SELECT roadstead.blob_give_up_expired($1)";

pub(super) struct Sweeper {
    database: TenantDatabase,
    woken: Arc<Notify>,
}

impl Sweeper {
    /// Looks now and then, as long as anybody has this.
    pub(super) fn start(database: TenantDatabase) -> Arc<Self> {
        let sweeper = Arc::new(Self { database, woken: Arc::default() });
        tokio::spawn(look(Arc::downgrade(&sweeper)));
        sweeper
    }

    /// There is something to remove.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// One statement; whether there was something.
    async fn step(&self) -> Result<bool, QueryError> {
        let rows = self.database.query(Effect::Changes, SWEEP, vec![Parameter::Number(PIECES_AT_ONCE)]).await?;
        QueryError::only(&rows)
    }

    async fn all(&self) -> Result<(), QueryError> {
        for _ in 0..STATEMENTS_PER_LOOK_MAX {
            let rows = self.database.query(Effect::Changes, GIVE_UP, vec![Parameter::Number(OBJECTS_AT_ONCE)]).await?;
            let given_up: i64 = QueryError::only(&rows)?;
            if given_up > 0 {
                tracing::info!(objects = given_up, "objects were given up whose writers are gone");
            }
            if !self.step().await? && given_up == 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}

async fn look(sweeper: Weak<Sweeper>) {
    loop {
        let Some(here) = sweeper.upgrade() else { return };
        if let Err(error) = here.all().await
            && error != QueryError::Disconnected
        {
            tracing::warn!(%error, "what is no object's any more cannot be removed now");
        }
        let woken = here.woken.clone();
        drop(here);
        // A host that removes much removes it a part at a time.
        let _ = timeout(LOOK_EVERY, woken.notified()).await;
    }
}
