//! `wasmcloud:messaging@0.2.0`: components that ask (`consumer`) and components that are asked (`handler`).
//!
//! One core for both brokers: the one inside the process and NATS. What a guest may name, what it learns of others'
//! reply subjects, and how a worker's failure reaches the one who asked, is decided here, not in a broker.

mod bindings;
mod broker;
mod consumer;
mod headers;
mod in_process;
mod intake;
mod metrics;
mod nats;
mod queue;
mod reply;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use roadstead_config::{
    InterfaceName, Limits, QueueGroup, Subject, SubjectPattern,
    interface::InterfaceError,
    messaging::{ConsumerGroup, KEYS, MessagingConfig},
};
use roadstead_runtime::{
    BoundState, ComponentHandle, InstanceState, PluginError,
    plugin::{Activation, ComponentBinding, HostPlugin, InterfaceOffer, PluginContext},
};
use wasmtime::component::{HasSelf, Linker};

pub use broker::{Broker, BrokerError, Delivery, Headers, Message, Requester, Subscription};
pub use in_process::InProcessBroker;
pub use nats::{AccountError, ConnectError, CredentialsError, NatsBroker, NatsServer, connect_nats, connect_scheduler};

use bindings::wasmcloud::messaging as wit;
use intake::Intake;
use metrics::{MessagingMetrics, WorkloadMetrics};
pub(crate) use nats::NatsAccounts;

use crate::tenant_nats::NatsClients;
use nats::ConnectionMetrics;

/// The plugin, over any broker.
pub struct Messaging {
    brokers: Brokers,
    /// Of the connections that are made here.
    connections: Option<ConnectionMetrics>,
    /// The same connections, for other capabilities.
    clients: Option<NatsClients>,
    subjects: TenantSubjects,
    offers: Vec<InterfaceOffer>,
    started: OnceLock<Started>,
}

/// Whose messages go where.
enum Brokers {
    /// All tenants' through one broker.
    Shared(Arc<dyn Broker>),
    /// Each tenant's over a connection of its own.
    Accounts(Arc<NatsAccounts>),
}

/// Which subjects a workload may send to whose manifest has no `publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TenantSubjects {
    /// All that are not reserved.
    #[default]
    Open,
    /// None.
    Strict,
}

/// What the host gave at its start.
struct Started {
    limits: Arc<Limits>,
    metrics: MessagingMetrics,
}

/// Messaging through an existing NATS connection.
pub struct NatsMessaging;

impl NatsMessaging {
    /// The plugin over `client`'s connection, which must hear what it sends itself (not made with `no_echo`).
    #[expect(clippy::new_ret_no_self, reason = "the published embedding API names the backend, the plugin is one")]
    pub fn new(client: async_nats::Client) -> Messaging {
        Messaging::new(Arc::new(NatsBroker::new(client)))
    }
}

/// What the plugin keeps for one component.
pub(crate) struct Bound {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) config: MessagingConfig,
    pub(crate) limits: Arc<Limits>,
    pub(crate) metrics: WorkloadMetrics,
    pub(crate) may_send: MaySend,
}

/// Where a component's messages may go.
pub(crate) enum MaySend {
    /// To all subjects that are not reserved.
    Everywhere,
    Listed(Vec<SubjectPattern>),
}

impl MaySend {
    fn new(listed: Option<Vec<SubjectPattern>>, subjects: TenantSubjects) -> Self {
        match (listed, subjects) {
            (Some(listed), _) => Self::Listed(listed),
            (None, TenantSubjects::Strict) => Self::Listed(Vec::new()),
            (None, TenantSubjects::Open) => Self::Everywhere,
        }
    }

    pub(crate) fn to(&self, subject: &Subject) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Listed(listed) => listed.iter().any(|pattern| pattern.matches(subject.as_str())),
        }
    }
}

impl Messaging {
    /// The plugin over `broker`, which all tenants share.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self::over(Brokers::Shared(broker), None, None)
    }

    fn over(brokers: Brokers, connections: Option<ConnectionMetrics>, clients: Option<NatsClients>) -> Self {
        let offers = Self::offer().into_iter().collect();
        Self { brokers, connections, clients, subjects: TenantSubjects::Open, offers, started: OnceLock::new() }
    }

    /// The plugin over a connection to the NATS server at `url`. Where the server is not there yet, messages fail and
    /// the host is not ready until it is.
    ///
    /// # Errors
    /// When the server refuses the connection.
    pub async fn nats(url: &str) -> Result<Self, ConnectError> {
        Self::nats_at(&NatsServer::at(url)).await
    }

    /// The same with TLS and credentials.
    ///
    /// # Errors
    /// When the server refuses the connection, or a file cannot be used.
    pub async fn nats_at(server: &NatsServer) -> Result<Self, ConnectError> {
        let metrics = ConnectionMetrics::default();
        let broker = NatsBroker::connect(server, &metrics).await?;
        let clients = NatsClients::shared(broker.client());
        Ok(Self::over(Brokers::Shared(Arc::new(broker)), Some(metrics), Some(clients)))
    }

    /// The plugin over the NATS server at `url`, with a connection for each namespace that has workloads: made when the
    /// first is deployed, with `NAMESPACE.creds`, `NAMESPACE.nk` or `NAMESPACE.user` of `folder`. A namespace without
    /// such a file cannot use messaging.
    ///
    /// # Errors
    /// When `url` is no address.
    pub fn nats_accounts(url: &str, folder: PathBuf) -> Result<Self, ConnectError> {
        Self::nats_accounts_at(&NatsServer::at(url), folder)
    }

    /// The same with TLS. Credentials of the host's own are not used.
    ///
    /// # Errors
    /// When its URL is no address.
    pub fn nats_accounts_at(server: &NatsServer, folder: PathBuf) -> Result<Self, ConnectError> {
        let metrics = ConnectionMetrics::default();
        let accounts = Arc::new(NatsAccounts::new(server, folder, metrics.clone())?);
        let clients = NatsClients::accounts(accounts.clone());
        Ok(Self::over(Brokers::Accounts(accounts), Some(metrics), Some(clients)))
    }

    /// Says where workloads may send whose manifest does not.
    #[must_use]
    pub fn with_tenant_subjects(mut self, subjects: TenantSubjects) -> Self {
        self.subjects = subjects;
        self
    }

    /// The connections that were made here, for capabilities that store over NATS; `None` where none were.
    pub fn nats_clients(&self) -> Option<NatsClients> {
        self.clients.clone()
    }

    /// The plugin over a broker inside this process.
    pub fn in_process() -> Self {
        Self::new(Arc::new(InProcessBroker::default()))
    }

    fn offer() -> Result<InterfaceOffer, InterfaceError> {
        let offer = InterfaceOffer::new("wasmcloud", "messaging", "0.2.0")?;
        Ok(offer.with_imports(&["consumer"]).with_types(&["types"]).with_exports(&["handler"]))
    }

    fn started(&self) -> Result<&Started, PluginError> {
        self.started.get().ok_or_else(|| PluginError::Configuration("the messaging plugin is not started".into()))
    }
}

#[async_trait]
impl HostPlugin for Messaging {
    fn id(&self) -> &'static str {
        "wasmcloud-messaging"
    }

    fn offers(&self) -> &[InterfaceOffer] {
        &self.offers
    }

    async fn start(&self, context: &PluginContext) -> Result<(), PluginError> {
        let metrics = MessagingMetrics::new(&context.metrics)
            .map_err(|error| PluginError::backend("the messaging metrics cannot be registered", error))?;
        if let Some(connections) = &self.connections {
            connections
                .show(&context.metrics)
                .map_err(|error| PluginError::backend("the metrics of NATS cannot be registered", error))?;
        }
        let _ = self.started.set(Started { limits: context.limits.clone(), metrics });
        Ok(())
    }

    async fn bind(&self, binding: ComponentBinding<'_>) -> Result<Option<BoundState>, PluginError> {
        let started = self.started()?;
        let config = merged_config(&binding);
        let config = MessagingConfig::from_variables(&config)
            .map_err(|error| PluginError::backend("the messaging configuration is not valid", error))?;
        if config.subscriptions.is_empty() && !binding.exports.is_empty() {
            tracing::warn!(
                namespace = %binding.workload.namespace,
                workload = %binding.workload.name,
                component = %binding.component,
                "the component handles messages, but the manifest has no `subscriptions`: it will get none"
            );
        }
        let metrics = started.metrics.for_workload(binding.workload);
        let limits = started.limits.clone();
        let broker = match &self.brokers {
            Brokers::Shared(broker) => broker.clone(),
            Brokers::Accounts(accounts) => accounts
                .of(&binding.workload.namespace)
                .await
                .map_err(|error| PluginError::backend("the namespace cannot use messaging", error))?,
        };
        let may_send = MaySend::new(config.publish.clone(), self.subjects);
        Ok(Some(Arc::new(Bound { broker, config, limits, metrics, may_send })))
    }

    fn link(&self, interfaces: &[InterfaceName], linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
        wit::types::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?;
        if interfaces.iter().any(|name| &*name.interface == "consumer") {
            wit::consumer::add_to_linker::<_, HasSelf<InstanceState>>(linker, |state| state)?;
        }
        Ok(())
    }

    async fn activate(&self, component: Arc<ComponentHandle>) -> Result<Option<Box<dyn Activation>>, PluginError> {
        let Some(bound) = component.bound::<Bound>() else { return Ok(None) };
        let handles = component
            .granted_exports()
            .iter()
            .any(|name| name.package.to_string() == "wasmcloud:messaging" && &*name.interface == "handler");
        if !handles {
            return Ok(None);
        }
        let group = queue_group(&bound.config.consumer_group, &component);
        let mut intake = Intake::new(component, bound.clone())?;
        for pattern in &bound.config.subscriptions {
            let subscribed = bound.broker.subscribe(pattern, group.as_ref(), &bound.limits, &bound.metrics.waiting);
            let within = Duration::from_millis(bound.limits.broker_call_ms);
            let subscription = tokio::time::timeout(within, subscribed)
                .await
                .map_err(|_| BrokerError::NotConfirmed { pattern: pattern.clone(), waited: within })
                .and_then(|result| result)
                .map_err(|error| PluginError::backend(format!("cannot subscribe to {pattern}"), error))?;
            intake.listen(pattern.clone(), subscription);
        }
        Ok(Some(Box::new(intake)))
    }

    fn subscriptions(&self, component: &ComponentHandle) -> Vec<String> {
        let bound = component.bound::<Bound>().filter(|_| !component.granted_exports().is_empty());
        bound.map_or(Vec::new(), |bound| bound.config.subscriptions.iter().map(ToString::to_string).collect())
    }

    fn readiness(&self) -> Result<(), String> {
        match &self.brokers {
            Brokers::Shared(broker) => broker.readiness(),
            Brokers::Accounts(accounts) => accounts.readiness(),
        }
    }
}

/// The configuration of the workload's entries, under that of the component itself.
fn merged_config(binding: &ComponentBinding<'_>) -> BTreeMap<String, String> {
    let mut merged = BTreeMap::new();
    for entry in binding.interfaces {
        merged.extend(entry.config.config.clone());
    }
    let known = |key: &&String| KEYS.contains(&key.as_str());
    let local = binding.local_config.iter().filter(|(key, _)| known(key));
    merged.extend(local.map(|(key, value)| (key.clone(), value.clone())));
    merged
}

/// The group in which a component's replicas share messages: named after the deployment, never after a replica.
fn queue_group(asked: &ConsumerGroup, component: &ComponentHandle) -> Option<QueueGroup> {
    match asked {
        ConsumerGroup::Broadcast => None,
        ConsumerGroup::Named(group) => Some(group.clone()),
        ConsumerGroup::Default => {
            let namespace = &component.workload().namespace;
            format!("{namespace}.{}.{}", component.deployment(), component.name()).parse().ok()
        }
    }
}
