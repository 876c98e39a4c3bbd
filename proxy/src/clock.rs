//! Deadlines that cannot overflow, whatever an embedder's limits and timeouts are.

use std::time::Duration;

use tokio::time::Instant;

/// What stands for "never": longer than any host runs.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The moment that is `limit` after `start`.
pub(crate) fn after(start: Instant, limit: Duration) -> Instant {
    start + limit.min(FAR)
}

/// The moment that is `limit` from now.
pub(crate) fn from_now(limit: Duration) -> Instant {
    after(Instant::now(), limit)
}
