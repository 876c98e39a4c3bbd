//! PostgreSQL for capabilities that store things: a bounded pool of connections to one database, what is done when one is
//! lost, and whether the server can be reached. What is stored is not known here.
//!
//! A statement is a text of the program's own with parameters, never made from what guests say: its type is `&'static str`.
//! Each is a transaction by itself, so that no connection and no lock waits for a guest or for the network.

mod failure;
mod health;
mod parameter;
mod schema;
mod tls;
mod url;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
    TimeoutType, Timeouts,
};
use roadstead_config::{Limits, Namespace};
use roadstead_metrics::{
    Error, Metrics, Sample,
    catalogue::{POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS_MAX, POSTGRES_WAITING},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_postgres::{Row, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use failure::PostgresError;
pub(crate) use failure::QueryError;
pub(crate) use parameter::Parameter;
pub use url::{PostgresUrl, PostgresUrlError};

use failure::Failure;
use health::Health;

/// Attempts of one statement that others' transactions came in the way of.
const CONFLICT_ATTEMPTS_MAX: u32 = 5;
/// Longest pause before such an attempt; it is chosen at random.
const CONFLICT_PAUSE_MAX: Duration = Duration::from_millis(20);
/// Attempts of a statement that changes nothing, when its connection is lost.
const READ_ATTEMPTS_MAX: u32 = 2;
/// What a server has beyond its own bound on a statement to say so.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// Largest number of milliseconds that PostgreSQL takes for a bound of its own.
const SERVER_MS_MAX: u64 = 2_147_483_647;

/// Whether a statement may be sent a second time, when nobody knows what became of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing.
    Reads,
    /// It does.
    Changes,
}

/// One database, for all namespaces. Cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: Pool,
    health: Health,
    /// Time that a statement may take, on the server.
    call: Duration,
    /// Time that one waits for a connection.
    wait: Duration,
    /// Connections that one namespace has at a time.
    share: usize,
    shares: Mutex<BTreeMap<Namespace, Weak<Semaphore>>>,
    /// Whether it is among a host's metrics.
    shown: AtomicBool,
}

/// The database as one namespace uses it.
#[derive(Clone)]
pub(crate) struct TenantDatabase {
    inner: Arc<Inner>,
    turns: Arc<Semaphore>,
    namespace: Arc<str>,
}

impl Database {
    /// Connects, and brings the schema `roadstead` up to date. A server that is not there is waited for, a minute at most.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses us, or when the schema is newer than this program. None has the
    /// password.
    pub async fn open(url: &PostgresUrl, limits: &Limits) -> Result<Self, PostgresError> {
        schema::bring_up_to_date(url).await?;
        let call_ms = limits.store_call_ms.clamp(1, SERVER_MS_MAX);
        let connections = usize::try_from(limits.postgres_connections_max).unwrap_or(usize::MAX);
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        let wait = Duration::from_millis(limits.postgres_wait_ms);
        let pool = pool(url, call_ms, connections, wait)?;
        let inner = Arc::new(Inner {
            pool,
            health: Health::default(),
            call: Duration::from_millis(call_ms),
            wait,
            share: connections.div_ceil(2),
            shares: Mutex::default(),
            shown: AtomicBool::new(false),
        });
        tokio::spawn(health::keep(Arc::downgrade(&inner)));
        tracing::info!(server = url.shown(), connections, "PostgreSQL keeps what workloads store");
        Ok(Self(inner))
    }

    /// Shows its connections with a host's metrics, once.
    ///
    /// # Errors
    /// When they show another database already.
    pub(crate) fn show(&self, metrics: &Metrics) -> Result<(), Error> {
        if self.0.shown.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let status = |database: &Weak<Inner>| database.upgrade().map(|database| database.pool.status());
        let shown = Arc::downgrade(&self.0);
        metrics.poll(&POSTGRES_CONNECTIONS, move || {
            let Some(status) = status(&shown) else { return Vec::new() };
            // What is counted as available is not yet open, or idle.
            let idle = status.available.min(status.size);
            let of = |state, count| Sample { labels: [state], value: number(count) };
            vec![of("busy", status.size - idle), of("idle", idle)]
        })?;
        let shown = Arc::downgrade(&self.0);
        metrics.poll(&POSTGRES_CONNECTIONS_MAX, move || one(status(&shown).map(|status| status.max_size)))?;
        let shown = Arc::downgrade(&self.0);
        metrics.poll(&POSTGRES_WAITING, move || one(status(&shown).map(|status| status.waiting)))
    }

    /// The database for one namespace, of whose statements half of the connections may be busy.
    pub(crate) fn of(&self, namespace: &Namespace) -> TenantDatabase {
        let mut shares = self.0.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, turns| turns.strong_count() > 0);
        let known = shares.get(namespace).and_then(Weak::upgrade);
        let turns = known.unwrap_or_else(|| Arc::new(Semaphore::new(self.0.share)));
        shares.insert(namespace.clone(), Arc::downgrade(&turns));
        TenantDatabase { inner: self.0.clone(), turns, namespace: namespace.to_string().into() }
    }

    /// For work that is nobody's.
    pub(crate) fn of_the_host(&self) -> TenantDatabase {
        TenantDatabase { inner: self.0.clone(), turns: Arc::new(Semaphore::new(1)), namespace: "".into() }
    }

    /// Whether the server can be reached; the reason when it cannot.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        match self.0.health.lost() {
            Some(reason) => Err(format!("the connection to PostgreSQL is lost; reconnecting ({reason})")),
            None => Ok(()),
        }
    }
}

fn one(count: Option<usize>) -> Vec<Sample<'static, 0>> {
    count.map(|count| Sample { labels: [], value: number(count) }).into_iter().collect()
}

#[expect(clippy::cast_precision_loss, reason = "there are never so many")]
fn number(count: usize) -> f64 {
    count as f64
}

fn pool(url: &PostgresUrl, call_ms: u64, connections: usize, wait: Duration) -> Result<Pool, PostgresError> {
    let mut config = url.config.clone();
    // Of our own numbers alone. What the server's configuration says of isolation is not to change what is exact here.
    config.options(format!(
        "-c statement_timeout={call_ms} -c lock_timeout={call_ms} -c idle_in_transaction_session_timeout={call_ms} \
         -c default_transaction_isolation=read\\ committed -c search_path=pg_catalog"
    ));
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config, MakeRustlsConnect::new(url.tls.as_ref().clone()), manager);
    let timeouts = Timeouts { wait: Some(wait), create: Some(url.connect_within()), recycle: Some(wait) };
    let within = url.connect_within();
    let is_ours = Hook::async_fn(move |client: &mut ClientWrapper, _| {
        Box::pin(async move {
            let checked = timeout(within, schema::check(client)).await;
            let checked = checked.map_err(|_| HookError::message("a new connection says nothing"))?;
            checked.map_err(|error| HookError::message(error.to_string()))
        })
    });
    Pool::builder(manager)
        .max_size(connections)
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1)
        .post_create(is_ours)
        .build()
        .map_err(|error| PostgresError::Pool(error.to_string()))
}

impl TenantDatabase {
    /// Whose it is; the first parameter of most statements.
    pub(crate) fn namespace(&self) -> Parameter {
        Parameter::Text(self.namespace.clone())
    }

    /// Whether the server can be reached.
    pub(crate) fn is_lost(&self) -> bool {
        self.inner.health.lost().is_some()
    }

    /// The rows of a statement. It goes on when nobody waits for it any more, so that its connection is there for the
    /// next as soon as the server has answered; what has no connection yet is given up.
    pub(crate) async fn query(
        &self,
        effect: Effect,
        statement: &'static str,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Row>, QueryError> {
        if self.is_lost() {
            return Err(QueryError::Disconnected);
        }
        let turn = timeout(self.inner.wait, self.turns.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(QueryError::Busy)?;
        let (alive, caller) = tokio::sync::oneshot::channel::<()>();
        let inner = self.inner.clone();
        let asked = tokio::spawn(async move {
            let answer = inner.query(effect, statement, &parameters, &alive).await;
            drop::<OwnedSemaphorePermit>(turn);
            answer
        });
        let answer = asked.await;
        drop(caller);
        answer.unwrap_or_else(|_| Err(QueryError::Failed("it was broken off".into())))
    }
}

impl Inner {
    async fn query(
        &self,
        effect: Effect,
        statement: &'static str,
        parameters: &[Parameter],
        caller: &tokio::sync::oneshot::Sender<()>,
    ) -> Result<Vec<Row>, QueryError> {
        let (mut losses, mut conflicts) = (0, 0);
        loop {
            if caller.is_closed() {
                return Err(QueryError::Busy);
            }
            match self.once(statement, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(Failure::Lost(reason)) => {
                    tracing::debug!(reason, "a connection to PostgreSQL is of no use");
                    losses += 1;
                    self.suspect();
                    if effect == Effect::Changes || losses >= READ_ATTEMPTS_MAX {
                        return Err(QueryError::Disconnected);
                    }
                }
                Err(Failure::Conflict) => {
                    conflicts += 1;
                    if conflicts >= CONFLICT_ATTEMPTS_MAX {
                        return Err(QueryError::Conflict { attempts: CONFLICT_ATTEMPTS_MAX });
                    }
                    tokio::time::sleep(CONFLICT_PAUSE_MAX.mul_f64(rand::random::<f64>())).await;
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
    }

    /// One connection was lost: the next is a new one, and somebody looks whether there can be one.
    fn suspect(&self) {
        self.pool.retain(|_, _| false);
        self.health.suspect();
    }

    async fn once(&self, statement: &'static str, parameters: &[Parameter]) -> Result<Vec<Row>, Failure> {
        let client = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => Failure::Other(QueryError::Busy),
            PoolError::Timeout(_) => Failure::Lost("no connection was made in time".into()),
            PoolError::Backend(error) => Failure::Lost(failure::in_words(&error)),
            PoolError::PostCreateHook(error) => Failure::Lost(error.to_string()),
            other => Failure::Lost(other.to_string()),
        })?;
        let within = self.call + ANSWER_GRACE;
        let asked = timeout(within, async {
            let prepared = client.prepare_cached(statement).await?;
            let parameters: Vec<&(dyn ToSql + Sync)> =
                parameters.iter().map(|parameter| parameter as &(dyn ToSql + Sync)).collect();
            client.query(&prepared, &parameters).await
        });
        match asked.await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(Failure::of(&error, self.call)),
            Err(_) => {
                // What is asked next is not to wait behind this.
                drop(Object::take(client));
                Err(Failure::Lost(format!("no answer within {} ms", within.as_millis())))
            }
        }
    }
}
