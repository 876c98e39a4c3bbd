//! Numbers among the values, and how one is increased by a backend that can only put a value in the place of another.
//! Which backend it is, is not known here.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use bytes::Bytes;
use roadstead_config::{StoreKey, StoreName};
use tokio::sync::{Mutex, MutexGuard};

use super::backend::{Buckets, Expected, KeyValueError};

/// Attempts of one increment, each of which somebody else's change came before.
pub(super) const SWAP_ATTEMPTS_MAX: u32 = 100;
/// Longest pause before such an attempt; it is chosen at random, and longer with each.
const SWAP_PAUSE_MAX: Duration = Duration::from_millis(20);

/// Queues of one namespace in which increments wait for each other; keys that share one wait in vain, and briefly.
const QUEUES_MAX: usize = 64;

/// Lets increments of the same key on one host come one after the other, in the order in which they came. Without it all of them
/// read, one of them writes, and the others begin anew: N at a time need up to N attempts each.
pub(super) struct Turns {
    queues: [Mutex<()>; QUEUES_MAX],
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { queues: [const { Mutex::const_new(()) }; QUEUES_MAX], hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the turn of who increments `key`, and has it until the guard is dropped.
    pub(super) async fn take(&self, bucket: &StoreName, key: &StoreKey) -> Option<MutexGuard<'_, ()>> {
        let hash = self.hasher.hash_one((bucket.as_str(), key.as_str()));
        let queue = usize::try_from(hash % QUEUES_MAX as u64).ok().and_then(|index| self.queues.get(index))?;
        Some(queue.lock().await)
    }
}

/// The number of a value, 0 where there is none, and `delta`. Numbers are decimal text, as the published hosts keep them.
pub(super) fn sum(value: Option<&[u8]>, delta: u64) -> Result<u64, KeyValueError> {
    let old = value.map_or(Ok(0), number)?;
    old.checked_add(delta).ok_or(KeyValueError::NumberTooLarge)
}

fn number(value: &[u8]) -> Result<u64, KeyValueError> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(KeyValueError::NoNumber)
}

/// Reads, adds and puts in the place of what was read, until nobody was faster.
pub(super) async fn by_swaps<B: Buckets + ?Sized>(
    buckets: &B,
    bucket: &StoreName,
    key: &StoreKey,
    delta: u64,
) -> Result<u64, KeyValueError> {
    for attempt in 1..=SWAP_ATTEMPTS_MAX {
        let found = buckets.get(bucket, key).await?;
        let sum = sum(found.as_ref().map(|found| &*found.value), delta)?;
        let expected = Expected::Revision(found.map_or(0, |found| found.revision));
        match buckets.put(bucket, key, Bytes::from(sum.to_string()), expected).await {
            Err(KeyValueError::Changed) => tokio::time::sleep(pause(attempt)).await,
            done => return done.map(|()| sum),
        }
    }
    Err(KeyValueError::Contended)
}

fn pause(attempt: u32) -> Duration {
    let longest = Duration::from_millis(u64::from(attempt)).min(SWAP_PAUSE_MAX);
    longest.mul_f64(rand::random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_text() {
        assert_eq!(number(b"18446744073709551615").ok(), Some(u64::MAX));
        for bad in [&b"-1"[..], b"+1", b" 1", b"1.0", b"18446744073709551616", b"\xff", b"", b"one"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
        assert!(matches!(sum(Some(b"1"), u64::MAX), Err(KeyValueError::NumberTooLarge)));
        assert_eq!(sum(None, 3).unwrap(), 3);
    }

    #[tokio::test]
    async fn increments_of_one_key_take_turns_and_those_of_others_do_not_wait() {
        let turns = Turns::default();
        let (bucket, key): (StoreName, StoreKey) = ("counts".parse().unwrap(), "n".parse().unwrap());
        let first = turns.take(&bucket, &key).await;
        assert!(first.is_some());
        let wait = Duration::from_millis(1);
        assert!(tokio::time::timeout(wait, turns.take(&bucket, &key)).await.is_err());
        // Of twice as many keys as there are queues (`QUEUES_MAX`), most are in another.
        let mut free = 0;
        for number in 0..2 * QUEUES_MAX {
            let key: StoreKey = format!("other-{number}").parse().unwrap();
            free += usize::from(tokio::time::timeout(wait, turns.take(&bucket, &key)).await.is_ok());
        }
        assert!(free > QUEUES_MAX, "{free}");
        drop(first);
        assert!(turns.take(&bucket, &key).await.is_some());
    }

    #[test]
    fn pauses_are_short() {
        assert!((1..=SWAP_ATTEMPTS_MAX).all(|attempt| pause(attempt) <= SWAP_PAUSE_MAX));
    }
}
