//! When something that failed is tried again: faults that pass, a few times, with growing pauses. The time for all of it
//! is the caller's to bound.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::PullError;

/// Tries of one thing.
const TRIES_MAX: u32 = 5;
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What the last try failed with, for who bounds the time of all.
pub(super) type LastError = Mutex<Option<String>>;

/// Counts tries.
pub(super) struct Tries<'l> {
    failed: u32,
    last: &'l LastError,
}

impl<'l> Tries<'l> {
    pub(super) fn new(last: &'l LastError) -> Self {
        Self { failed: 0, last }
    }

    /// Waits before the next try; the error, where there is none.
    pub(super) async fn after(&mut self, error: PullError) -> Result<(), PullError> {
        self.failed += 1;
        match self.pause(&error) {
            Some(pause) => {
                let text = crate::error_text(&error);
                tracing::debug!(error = text, ?pause, "a registry is asked again");
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(error),
        }
    }

    fn pause(&self, error: &PullError) -> Option<Duration> {
        if !error.passes() || self.failed >= TRIES_MAX {
            return None;
        }
        let own = FIRST_PAUSE * 2_u32.saturating_pow(self.failed.saturating_sub(1));
        // So that hosts that failed together do not come back together.
        let own = own.mul_f64(rand::random_range(0.75..1.25));
        Some(error.retry_after().unwrap_or_default().max(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset() -> PullError {
        PullError::Connection { host: "a.test".into(), source: std::io::ErrorKind::ConnectionReset.into() }
    }

    #[test]
    fn faults_that_pass_are_tried_again() {
        let last = LastError::default();
        for failed in 1..TRIES_MAX {
            let pause = Tries { failed, last: &last }.pause(&reset()).unwrap();
            let wanted = FIRST_PAUSE * 2_u32.pow(failed - 1);
            assert!(pause >= wanted.mul_f64(0.75) && pause <= wanted.mul_f64(1.25), "{failed}: {pause:?}");
        }
        assert_eq!(Tries { failed: TRIES_MAX, last: &last }.pause(&reset()), None);
    }

    #[tokio::test]
    async fn others_are_not() {
        let last = LastError::default();
        assert!(Tries::new(&last).after(PullError::Manifest("x")).await.is_err());
        Tries::new(&last).after(reset()).await.unwrap();
        assert!(last.lock().unwrap().as_ref().unwrap().contains("a.test"));
        let asked = Duration::from_secs(9);
        let busy = PullError::TooManyRequests { host: "a.test".into(), retry_after: Some(asked) };
        assert_eq!(Tries { failed: 1, last: &last }.pause(&busy), Some(asked));
    }
}
