//! Settings as they are at each moment: those of the manifest, those that an operator keeps in NATS, secrets on top.
//!
//! Of NATS it is a key-value bucket for each namespace, with a key `DEPLOYMENT.NAME` for each setting, both escaped. A
//! task watches it; guests read what the task has put together. While NATS is away settings stay as they were.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_nats::jetstream::kv::{self, Entry, Operation};
use futures::StreamExt;
use roadstead_config::{Limits, Namespace, StoreKey};
use roadstead_runtime::{PluginError, plugin::ComponentBinding};
use tokio::{task::JoinHandle, time::Instant};

use super::Settings;
use crate::tenant_nats::TenantClient;

/// Begin of the name of a namespace's bucket; the namespace follows, which has no '_'.
const BUCKET_PREFIX: &str = "roadstead_config_";
/// Size of a bucket that is made here, in bytes.
const BUCKET_BYTES: i64 = 4 << 20;
/// First and longest pause before a watch that ended is begun again.
const WATCH_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A component's settings.
pub(super) struct LiveSettings {
    now: Arc<ArcSwap<Settings>>,
    watching: Option<JoinHandle<()>>,
}

impl LiveSettings {
    /// Settings that stay as they are.
    pub(super) fn fixed(mut plain: Settings, secrets: Settings) -> Self {
        plain.extend(secrets);
        Self { now: Arc::new(ArcSwap::from_pointee(plain)), watching: None }
    }

    /// Settings with NATS' between `plain` and `secrets`. Those that are there have been read when this returns.
    pub(super) async fn watch(
        client: TenantClient,
        binding: &ComponentBinding<'_>,
        plain: Settings,
        secrets: Settings,
        limits: &Arc<Limits>,
    ) -> Result<Self, PluginError> {
        let namespace = &binding.workload.namespace;
        let deployment = binding.deployment.as_str();
        let token = deployment.parse::<StoreKey>().map(|name| name.to_token());
        let prefix =
            token.map_err(|error| PluginError::backend(format!("the name of the workload {deployment}"), error))?;
        let watcher =
            Watcher { client, bucket: bucket_of(namespace), prefix: format!("{prefix}."), limits: limits.clone() };
        let mut layers = Layers { plain, secrets, live: BTreeMap::new() };
        let within = Duration::from_millis(limits.store_call_ms);
        let failed = |reason: String| PluginError::Backend {
            message: format!("the settings in NATS (key-value bucket {}) cannot be read: {reason}", watcher.bucket),
            source: None,
        };
        let begun = tokio::time::timeout(within, watcher.begin(&mut layers)).await;
        let watch =
            begun.map_err(|_| failed(format!("no answer within {} ms", within.as_millis())))?.map_err(failed)?;
        let now = Arc::new(ArcSwap::from_pointee(layers.together()));
        let watching = tokio::spawn(watcher.follow(watch, layers, now.clone()));
        Ok(Self { now, watching: Some(watching) })
    }

    /// The settings at this moment.
    pub(super) fn now(&self) -> Arc<Settings> {
        self.now.load_full()
    }
}

impl Drop for LiveSettings {
    fn drop(&mut self) {
        if let Some(watching) = &self.watching {
            watching.abort();
        }
    }
}

fn bucket_of(namespace: &Namespace) -> String {
    format!("{BUCKET_PREFIX}{namespace}")
}

/// Settings by where they come from.
struct Layers {
    plain: Settings,
    live: Settings,
    secrets: Settings,
}

impl Layers {
    fn together(&self) -> Settings {
        let mut all = self.plain.clone();
        all.extend(self.live.clone());
        all.extend(self.secrets.clone());
        all
    }

    /// Takes over a change, unless the settings would grow too large.
    fn take(&mut self, name: &StoreKey, value: Option<String>, bytes_max: u64) -> Result<(), TooLarge> {
        let Some(value) = value else {
            self.live.remove(name.as_str());
            return Ok(());
        };
        let others = self.live.iter().filter(|(other, _)| *other != name.as_str());
        let bytes: usize = others.map(|(name, value)| name.len() + value.len()).sum();
        if (bytes + name.as_str().len() + value.len()) as u64 > bytes_max {
            return Err(TooLarge);
        }
        self.live.insert(name.as_str().to_owned(), value);
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct TooLarge;

struct Watcher {
    client: TenantClient,
    bucket: String,
    prefix: String,
    limits: Arc<Limits>,
}

impl Watcher {
    /// Begins to watch, and reads what is there.
    async fn begin(&self, layers: &mut Layers) -> Result<kv::Watch, String> {
        if !self.client.is_connected() {
            return Err("the connection to NATS is lost".into());
        }
        let jetstream = self.client.jetstream();
        let store = match jetstream.get_key_value(&self.bucket).await {
            Ok(store) => store,
            Err(_) => self.made().await?,
        };
        let all = format!("{}*", self.prefix);
        let mut watch = store.watch_with_history(&all).await.map_err(|error| error.to_string())?;
        // The first look: a bucket without any such key says nothing, so keys are counted beforehand.
        let mut left = self.count(&store, &all).await?;
        layers.live.clear();
        while left > 0 {
            match watch.next().await {
                Some(Ok(entry)) => self.take(layers, entry),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the watch ended".into()),
            }
            left -= 1;
        }
        Ok(watch)
    }

    async fn made(&self) -> Result<kv::Store, String> {
        let config = kv::Config {
            bucket: self.bucket.clone(),
            description: "settings of wasi:config, made by roadstead".into(),
            history: 1,
            max_bytes: BUCKET_BYTES,
            ..kv::Config::default()
        };
        let jetstream = self.client.jetstream();
        match jetstream.create_key_value(config).await {
            Ok(store) => Ok(store),
            // Another host was faster.
            Err(error) => jetstream.get_key_value(&self.bucket).await.map_err(|_| crate::tenant_nats::in_words(&error)),
        }
    }

    /// Entries that a watch will tell of first.
    async fn count(&self, store: &kv::Store, keys: &str) -> Result<usize, String> {
        let subject = format!("$KV.{}.{keys}", self.bucket);
        let mut subjects = store.stream.info_with_subjects(subject).await.map_err(|error| error.to_string())?;
        let mut count = 0;
        while let Some(subject) = subjects.next().await {
            subject.map_err(|error| error.to_string())?;
            count += 1;
        }
        Ok(count)
    }

    fn take(&self, layers: &mut Layers, entry: Entry) {
        let name = entry.key.strip_prefix(&self.prefix).and_then(StoreKey::from_token);
        let Some(name) = name else { return };
        let value = match entry.operation {
            Operation::Put => match String::from_utf8(entry.value.into()) {
                Ok(value) => Some(value),
                Err(_) => return self.warn(&entry.key, "its value is not UTF-8 text"),
            },
            Operation::Delete | Operation::Purge => None,
        };
        if layers.take(&name, value, self.limits.config_bytes_max) == Err(TooLarge) {
            self.warn(&entry.key, "the settings would be larger than config_bytes_max allows");
        }
    }

    fn warn(&self, key: &str, reason: &'static str) {
        tracing::warn!(bucket = self.bucket, key, "a setting in NATS is left out: {reason}");
    }

    /// Puts the settings together after each change, until the component is no more.
    async fn follow(self, mut watch: kv::Watch, mut layers: Layers, now: Arc<ArcSwap<Settings>>) {
        let mut pause = WATCH_PAUSE.0;
        loop {
            let begun = Instant::now();
            while let Some(Ok(entry)) = watch.next().await {
                self.take(&mut layers, entry);
                now.store(Arc::new(layers.together()));
            }
            if begun.elapsed() > WATCH_PAUSE.1 {
                pause = WATCH_PAUSE.0;
            }
            watch = loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(WATCH_PAUSE.1);
                match self.begin(&mut layers).await {
                    Ok(watch) => break watch,
                    Err(reason) => tracing::warn!(bucket = self.bucket, reason, "settings in NATS cannot be watched"),
                }
            };
            now.store(Arc::new(layers.together()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn secrets_lie_over_live_settings_and_those_over_the_manifest() {
        let layers = Layers {
            plain: settings(&[("a", "plain"), ("b", "plain"), ("c", "plain")]),
            live: settings(&[("b", "live"), ("c", "live")]),
            secrets: settings(&[("c", "secret")]),
        };
        assert_eq!(layers.together(), settings(&[("a", "plain"), ("b", "live"), ("c", "secret")]));
    }

    #[test]
    fn live_settings_are_bounded_together() {
        let mut layers = Layers { plain: Settings::new(), live: Settings::new(), secrets: Settings::new() };
        let name = |text: &str| text.parse::<StoreKey>().unwrap();
        assert_eq!(layers.take(&name("a"), Some("12345".into()), 10), Ok(()));
        assert_eq!(layers.take(&name("b"), Some("1234".into()), 10), Err(TooLarge));
        assert_eq!(layers.take(&name("a"), Some("1".into()), 10), Ok(()));
        assert_eq!(layers.take(&name("b"), Some("1234".into()), 10), Ok(()));
        assert_eq!(layers.take(&name("a"), None, 10), Ok(()));
        assert_eq!(layers.live, settings(&[("b", "1234")]));
    }
}
