//! How a host for a fleet is put together, with the names of the published embedding API. Nothing runs here yet.

use std::{sync::Arc, time::Duration};

use crate::{
    HostHandler,
    artifact::ArtifactCleaner,
    host::{BuildError, HostBuilder},
    plugin::HostPlugin,
};

/// The group of a host that names none (published).
const HOST_GROUP_DEFAULT: &str = "default";
/// Longest name of a host or of a group of hosts, in bytes: that of a label's value.
const NAME_BYTES_MAX: usize = 63;

/// Why there is no host for a fleet.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the host has no connection to its scheduler; give it one (with_nats_client)")]
    NoNatsClient,
    #[error(
        "the {what} {found:?} cannot be used; it may have 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.', and \
         begins and ends with a letter or digit"
    )]
    Name { what: &'static str, found: String },
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("the metrics of the control plane cannot be registered")]
    Metrics(#[from] roadstead_metrics::Error),
    #[error("the host cannot listen for commands on {subject}")]
    Subscribe {
        subject: String,
        #[source]
        source: async_nats::SubscribeError,
    },
}

/// Puts a host for a fleet together: its group and name, its connection to the scheduler, and what every host has.
#[derive(Default)]
pub struct ClusterHostBuilder {
    group: Option<String>,
    name: Option<String>,
    environment: Option<String>,
    client: Option<Arc<async_nats::Client>>,
    plugins: Vec<Arc<dyn HostPlugin>>,
    handler: Option<Arc<dyn HostHandler>>,
    cleaner: Option<ArtifactCleaner>,
    host: HostBuilder,
}

/// A host for a fleet, before it runs.
pub struct ClusterHost {
    pub(super) group: String,
    pub(super) name: String,
    pub(super) environment: String,
    pub(super) client: Arc<async_nats::Client>,
    pub(super) host: HostBuilder,
}

impl ClusterHostBuilder {
    /// The group of hosts among which the scheduler chooses; `default` where none is named.
    pub fn with_host_group(self, group: impl Into<String>) -> Self {
        Self { group: Some(group.into()), ..self }
    }

    /// What people call the host. Without it a name is made up.
    pub fn with_host_name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The environment in which the scheduler places workloads that name one.
    pub fn with_environment(self, environment: impl Into<String>) -> Self {
        Self { environment: Some(environment.into()), ..self }
    }

    /// The connection over which the scheduler sends its commands.
    pub fn with_nats_client(self, client: Arc<async_nats::Client>) -> Self {
        Self { client: Some(client), ..self }
    }

    /// Adds a capability.
    ///
    /// # Errors
    /// When a plugin of the same id is there.
    pub fn with_plugin(mut self, plugin: Arc<dyn HostPlugin>) -> Result<Self, BuildError> {
        if self.plugins.iter().any(|other| other.id() == plugin.id()) {
            return Err(BuildError::DuplicatePlugin(plugin.id()));
        }
        self.plugins.push(plugin);
        Ok(self)
    }

    /// Brings HTTP to the host's workloads.
    pub fn with_http_handler(self, handler: Arc<dyn HostHandler>) -> Self {
        Self { handler: Some(handler), ..self }
    }

    /// A host as it is for itself, with limits, a cache and plugins of its own; what this builder is given is added to it.
    pub fn with_host_builder(self, host: HostBuilder) -> Self {
        Self { host, ..self }
    }

    /// Looks at the cache of images every `frequency`, and removes those that nobody has used for `max_age`.
    pub fn with_artifact_cleaner(self, frequency: Duration, max_age: Duration) -> Self {
        Self { cleaner: Some(ArtifactCleaner { frequency, max_age }), ..self }
    }

    /// The host, to be run with [`run_cluster_host`](super::run_cluster_host).
    ///
    /// # Errors
    /// Without a connection to the scheduler, with a name that is none, or with two plugins of one id.
    pub fn build(self) -> Result<ClusterHost, ClusterError> {
        let client = self.client.ok_or(ClusterError::NoNatsClient)?;
        let group = checked("host group", self.group.unwrap_or_else(|| HOST_GROUP_DEFAULT.to_owned()))?;
        let name = checked("host name", self.name.unwrap_or_else(|| format!("roadstead-{}", random_hex::<4>())))?;
        let environment = self.environment.map(|environment| checked("environment", environment)).transpose()?;
        let mut host = self.host.with_host_name(&name);
        // Plugins that were given no connection of their own use the scheduler's.
        if !host.shares::<async_nats::Client>() {
            host = host.with_shared((*client).clone());
        }
        for plugin in self.plugins {
            host = host.with_plugin(plugin)?;
        }
        if let Some(handler) = self.handler {
            host = host.with_http_handler(handler);
        }
        if let Some(cleaner) = self.cleaner {
            host = host.with_artifact_cleaner(cleaner);
        }
        Ok(ClusterHost { group, name, environment: environment.unwrap_or_default(), client, host })
    }
}

fn checked(what: &'static str, text: String) -> Result<String, ClusterError> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edges = [text.bytes().next(), text.bytes().last()];
    let fits = text.len() <= NAME_BYTES_MAX
        && text.bytes().all(inside)
        && edges.iter().all(|edge| edge.is_some_and(|b| b.is_ascii_alphanumeric()));
    if fits { Ok(text) } else { Err(ClusterError::Name { what, found: text.chars().take(NAME_BYTES_MAX).collect() }) }
}

/// So many random bytes as text that fits into names and subjects.
pub(super) fn random_hex<const BYTES: usize>() -> String {
    hex::encode(rand::random::<[u8; BYTES]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_label_values() {
        for good in ["a", "my-cluster", "Group_1.x", &"x".repeat(NAME_BYTES_MAX)] {
            assert!(checked("host group", good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "ä", "a\n", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let error = checked("host group", bad.to_owned()).unwrap_err().to_string();
            assert!(error.starts_with("the host group "), "{error}");
        }
    }

    #[test]
    fn a_host_needs_a_connection() {
        let error = ClusterHostBuilder::default().with_host_group("a").build().err().unwrap();
        assert!(error.to_string().contains("with_nats_client"), "{error}");
    }
}
