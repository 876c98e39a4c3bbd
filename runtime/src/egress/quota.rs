//! What the bodies of one call's requests and responses may have together. Must not know what is in them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// The bytes of one call, in both directions. Clones are of the same call.
#[derive(Debug, Clone)]
pub(super) struct Quota(Arc<Directions>);

#[derive(Debug)]
struct Directions {
    requests: Bytes,
    responses: Bytes,
}

#[derive(Debug)]
struct Bytes {
    max: u64,
    left: AtomicU64,
}

/// Whether a request's body was ended because it was larger than what its call had left.
#[derive(Debug, Clone, Default)]
pub(super) struct Exceeded(Arc<AtomicBool>);

impl Bytes {
    fn new(max: u64) -> Self {
        Self { max, left: AtomicU64::new(max) }
    }

    /// Takes `bytes`, or nothing and says how many there may be.
    fn take(&self, bytes: usize) -> Result<(), u64> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| self.max)
    }
}

impl Quota {
    /// So many bytes of requests and of responses.
    pub(super) fn new(request_bytes_max: u64, response_bytes_max: u64) -> Self {
        let (requests, responses) = (Bytes::new(request_bytes_max), Bytes::new(response_bytes_max));
        Self(Arc::new(Directions { requests, responses }))
    }

    /// # Errors
    /// The bytes that all requests of the call may have.
    pub(super) fn take_of_requests(&self, bytes: usize) -> Result<(), u64> {
        self.0.requests.take(bytes)
    }

    /// # Errors
    /// The bytes that all responses of the call may have.
    pub(super) fn take_of_responses(&self, bytes: usize) -> Result<(), u64> {
        self.0.responses.take(bytes)
    }

    /// The bytes that all requests of the call may have.
    pub(super) fn request_bytes_max(&self) -> u64 {
        self.0.requests.max
    }
}

impl Exceeded {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
