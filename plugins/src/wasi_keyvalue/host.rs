//! The host's side of `wasi:keyvalue`: what a guest may name and how much it may store. Which backend it is, is not
//! known here.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use roadstead_config::{StoreKey, StoreName};
use roadstead_runtime::{InstanceState, LogText};
use wasmtime::component::Resource;

use super::{
    Bound, Bucket,
    backend::{Buckets, Expected, KeyValueError},
    bindings::wasi::keyvalue::{
        atomics, batch,
        store::{self, Error, KeyResponse},
    },
};
use crate::store_call::CallTime;

/// Keys of one page of a listing.
const KEYS_PER_PAGE_MAX: usize = 1_000;
/// Keys of one call of `batch`.
const KEYS_PER_BATCH_MAX: usize = 1_000;
/// Keys of one call of `batch` that are under way at a time.
const BATCH_AT_ONCE_MAX: usize = 16;
/// Longest text of a guest's that an error repeats, in bytes.
const ECHO_BYTES_MAX: usize = 128;
/// The bucket of a guest that names none.
const DEFAULT_BUCKET: &str = "default";

type Answer<T> = wasmtime::Result<Result<T, Error>>;

fn other(error: impl Display) -> Error {
    Error::Other(error.to_string())
}

impl From<KeyValueError> for Error {
    fn from(error: KeyValueError) -> Self {
        other(error)
    }
}

fn key(text: &str) -> Result<StoreKey, Error> {
    text.parse().map_err(|error| other(format_args!("the key {:?} {error}", shown(text))))
}

fn shown(text: &str) -> String {
    LogText::new(text, ECHO_BYTES_MAX).to_string()
}

/// A bucket that the guest has opened, and what belongs to it.
struct Opened {
    bound: Arc<Bound>,
    buckets: Arc<dyn Buckets>,
    bucket: StoreName,
    time: CallTime,
}

fn opened(state: &mut InstanceState, handle: &Resource<Bucket>) -> wasmtime::Result<Opened> {
    let Bucket { name: bucket, buckets } = state.table().get(handle)?.clone();
    let bound = bound(state)?;
    let time = CallTime::of(state, &bound.limits);
    Ok(Opened { bound, buckets, bucket, time })
}

/// What was bound: without it nothing of this interface is linked.
fn bound(state: &InstanceState) -> wasmtime::Result<Arc<Bound>> {
    state.bound::<Bound>().ok_or_else(|| wasmtime::Error::msg("wasi:keyvalue is not bound to this component"))
}

impl Opened {
    /// Waits for `work` as long as one call may take.
    async fn bounded<T, E: Into<Error>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, Error> {
        self.time.wait(work).await.map_err(other)?.map_err(Into::into)
    }

    fn check_size(&self, value: &[u8]) -> Result<(), Error> {
        let max = self.bound.limits.keyvalue_value_bytes_max;
        match value.len() {
            found if found as u64 > max => {
                Err(other(format_args!("the value is {found} bytes large, at most {max} are allowed")))
            }
            _ => Ok(()),
        }
    }

    async fn get(&self, key: &StoreKey) -> Result<Option<Vec<u8>>, Error> {
        let found = self.buckets.get(&self.bucket, key).await?;
        Ok(found.map(|found| found.value.into()))
    }

    async fn set(&self, key: &StoreKey, value: Vec<u8>) -> Result<(), Error> {
        self.check_size(&value)?;
        Ok(self.buckets.put(&self.bucket, key, Bytes::from(value), Expected::Anything).await?)
    }

    async fn increment(&self, key: &StoreKey, delta: u64) -> Result<u64, Error> {
        Ok(self.buckets.increment(&self.bucket, key, delta).await?)
    }
}

impl store::Host for InstanceState {
    async fn open(&mut self, identifier: String) -> Answer<Resource<Bucket>> {
        let bound = bound(self)?;
        let named = if identifier.is_empty() { DEFAULT_BUCKET } else { &identifier };
        let name: StoreName = match named.parse() {
            Ok(name) => name,
            Err(error) => return Ok(Err(other(format_args!("the bucket {:?} {error}", shown(named))))),
        };
        let buckets = match bound.buckets_of(&name) {
            Ok(buckets) => buckets,
            Err(error) => return Ok(Err(other(format_args!("the bucket {name} {error}")))),
        };
        if let Err(error) = bound.note_bucket(&name) {
            return Ok(Err(other(error)));
        }
        Ok(self.table().push(Bucket { name, buckets }).map_err(other))
    }
}

impl store::HostBucket for InstanceState {
    async fn get(&mut self, handle: Resource<Bucket>, text: String) -> Answer<Option<Vec<u8>>> {
        let opened = opened(self, &handle)?;
        Ok(opened.bounded(async { opened.get(&key(&text)?).await }).await)
    }

    async fn set(&mut self, handle: Resource<Bucket>, text: String, value: Vec<u8>) -> Answer<()> {
        let opened = opened(self, &handle)?;
        Ok(opened.bounded(async { opened.set(&key(&text)?, value).await }).await)
    }

    async fn delete(&mut self, handle: Resource<Bucket>, text: String) -> Answer<()> {
        let opened = opened(self, &handle)?;
        let delete = async { Ok::<_, Error>(opened.buckets.delete(&opened.bucket, &key(&text)?).await?) };
        Ok(opened.bounded(delete).await)
    }

    async fn exists(&mut self, handle: Resource<Bucket>, text: String) -> Answer<bool> {
        let opened = opened(self, &handle)?;
        let look = async { Ok::<_, Error>(opened.buckets.get(&opened.bucket, &key(&text)?).await?.is_some()) };
        Ok(opened.bounded(look).await)
    }

    async fn list_keys(&mut self, handle: Resource<Bucket>, cursor: Option<u64>) -> Answer<KeyResponse> {
        let opened = opened(self, &handle)?;
        let listed = opened.buckets.list(&opened.bucket, cursor.unwrap_or(0), KEYS_PER_PAGE_MAX);
        let page = opened.bounded(listed).await;
        Ok(page.map(|page| KeyResponse {
            keys: page.keys.iter().map(|key| key.as_str().to_owned()).collect(),
            cursor: page.next,
        }))
    }

    async fn drop(&mut self, handle: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table().delete(handle)?;
        Ok(())
    }
}

impl atomics::Host for InstanceState {
    async fn increment(&mut self, handle: Resource<Bucket>, text: String, delta: u64) -> Answer<u64> {
        let opened = opened(self, &handle)?;
        Ok(opened.bounded(async { opened.increment(&key(&text)?, delta).await }).await)
    }
}

impl batch::Host for InstanceState {
    async fn get_many(
        &mut self,
        handle: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let opened = opened(self, &handle)?;
        let max = usize::try_from(opened.bound.limits.hostcall_bytes_max).unwrap_or(usize::MAX);
        let get = async {
            let keys = checked_keys(&keys)?;
            let (mut values, mut bytes) = (Vec::with_capacity(keys.len()), 0_usize);
            let asked: Vec<_> = keys.iter().map(|key| opened.get(key)).collect();
            let mut found = stream::iter(asked).buffered(BATCH_AT_ONCE_MAX);
            for key in &keys {
                let Some(value) = found.try_next().await? else { break };
                bytes = bytes.saturating_add(value.as_ref().map_or(0, Vec::len));
                if bytes > max {
                    return Err(other(format_args!("the values have more than {max} bytes; ask for fewer keys")));
                }
                values.push(value.map(|value| (key.as_str().to_owned(), value)));
            }
            Ok::<_, Error>(values)
        };
        Ok(opened.bounded(get).await)
    }

    async fn set_many(&mut self, handle: Resource<Bucket>, key_values: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let opened = opened(self, &handle)?;
        let set = async {
            let (keys, values): (Vec<_>, Vec<_>) = key_values.into_iter().unzip();
            let keys = checked_keys(&keys)?;
            values.iter().try_for_each(|value| opened.check_size(value))?;
            let pairs = keys.iter().zip(values);
            done_of(pairs.map(|(key, value)| opened.set(key, value)).collect(), "set").await
        };
        Ok(opened.bounded(set).await)
    }

    async fn delete_many(&mut self, handle: Resource<Bucket>, keys: Vec<String>) -> Answer<()> {
        let opened = opened(self, &handle)?;
        let delete = async {
            let keys = checked_keys(&keys)?;
            let one = async |key| Ok(opened.buckets.delete(&opened.bucket, key).await?);
            done_of(keys.iter().map(one).collect(), "deleted").await
        };
        Ok(opened.bounded(delete).await)
    }
}

/// All keys or none: a bad one is found before anything is done.
fn checked_keys(texts: &[String]) -> Result<Vec<StoreKey>, Error> {
    if texts.len() > KEYS_PER_BATCH_MAX {
        let found = texts.len();
        return Err(other(format_args!("{found} keys at once, at most {KEYS_PER_BATCH_MAX} are allowed")));
    }
    texts.iter().map(|text| key(text)).collect()
}

/// Does all, some at a time, up to the first failure; the error tells how many were done. What has begun is waited for: it
/// may be done all the same.
async fn done_of<F: Future<Output = Result<(), Error>>>(work: Vec<F>, what: &str) -> Result<(), Error> {
    let all = work.len();
    let has_failed = AtomicBool::new(false);
    let begun = work.into_iter().take_while(|_| !has_failed.load(Ordering::Relaxed));
    let mut running = stream::iter(begun).buffer_unordered(BATCH_AT_ONCE_MAX);
    let (mut done, mut first) = (0, None);
    while let Some(result) = running.next().await {
        match result {
            Ok(()) => done += 1,
            Err(error) => {
                has_failed.store(true, Ordering::Relaxed);
                first.get_or_insert(error);
            }
        }
    }
    match first {
        None => Ok(()),
        Some(Error::Other(reason)) => Err(other(format_args!("{done} of {all} keys were {what}: {reason}"))),
        Some(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_so_many_keys() {
        let keys = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        assert!(checked_keys(&keys(KEYS_PER_BATCH_MAX)).is_ok());
        assert!(checked_keys(&keys(KEYS_PER_BATCH_MAX + 1)).is_err());
    }

    #[test]
    fn so_much_of_a_bad_key_is_repeated() {
        let Err(Error::Other(text)) = key(&"k".repeat(ECHO_BYTES_MAX + 500)) else { panic!() };
        assert!(
            text.starts_with(&format!("the key \"{}... (500 bytes more)\" is 628 bytes", "k".repeat(ECHO_BYTES_MAX))),
            "{text}"
        );
    }
}
