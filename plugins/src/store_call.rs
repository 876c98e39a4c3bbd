//! What calls to stored things have in common: the time that one may take. Which store it is, is not known here.

use std::time::Duration;

use roadstead_config::Limits;
use roadstead_runtime::InstanceState;

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store did not answer within {} ms", .0.as_millis())]
pub(crate) struct TookTooLong(Duration);

/// The time that one call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTime(Duration);

impl CallTime {
    /// As long as any call to a store, and no longer than the guest's own call goes on.
    pub(crate) fn of(state: &InstanceState, limits: &Limits) -> Self {
        Self(Duration::from_millis(limits.store_call_ms).min(state.call().remaining()))
    }

    /// As long as the guest's own call goes on: for what takes the longer, the larger it is.
    pub(crate) fn of_transfer(state: &InstanceState) -> Self {
        Self(state.call().remaining())
    }

    /// Waits for `work`.
    pub(crate) async fn wait<T>(self, work: impl Future<Output = T>) -> Result<T, TookTooLong> {
        tokio::time::timeout(self.0, work).await.map_err(|_| TookTooLong(self.0))
    }
}
