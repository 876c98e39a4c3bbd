//! The schema `roadstead` and its versions. Hosts that start together wait for each other under a lock of the server's;
//! a version is made in one transaction, or not at all.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{Client, GenericClient};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresError, PostgresUrl, failure};

/// What makes each version out of the one before, from version 1 on. What has been released stays as it is.
const VERSIONS: [&str; 1] = [include_str!("schema/001.sql")];
/// The lock that hosts take while they look at the version: `roadstea` as a number, unlike other programs'.
const LOCK: i64 = 0x726f_6164_7374_6561;
/// Time that a server that is not there is waited for at the start.
const REACHED_WITHIN: Duration = Duration::from_secs(60);
/// Pause between attempts to reach it.
const REACH_PAUSE: Duration = Duration::from_millis(500);
/// Time that a change of the schema may take, or wait for another host's, in milliseconds.
const CHANGE_MS_MAX: u32 = 60_000;

const BOOKS: &str = "\
    CREATE TABLE roadstead.schema_version (
        version bigint PRIMARY KEY,
        made_at timestamptz NOT NULL DEFAULT now(),
        made_by text NOT NULL
    );";

/// The newest version that this program knows.
pub(super) const KNOWN: i64 = VERSIONS.len() as i64;

/// Connects, and makes what is missing.
pub(super) async fn bring_up_to_date(url: &PostgresUrl) -> Result<(), PostgresError> {
    let mut client = reach(url).await?;
    let wrong = |error: tokio_postgres::Error| PostgresError::Schema {
        server: url.shown().to_owned(),
        reason: failure::in_words(&error),
    };
    let transaction = client.transaction().await.map_err(wrong)?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(wrong)?;
    let found = version(&transaction).await.map_err(wrong)?;
    if found.unwrap_or(0) > KNOWN {
        return Err(PostgresError::Newer { server: url.shown().to_owned(), found: found.unwrap_or(0), known: KNOWN });
    }
    if found.is_none() {
        let there = "SELECT to_regnamespace('roadstead') IS NOT NULL";
        let there: bool = transaction.query_one(there, &[]).await.and_then(|row| row.try_get(0)).map_err(wrong)?;
        if !there {
            transaction.batch_execute("CREATE SCHEMA roadstead").await.map_err(wrong)?;
        }
        transaction.batch_execute(BOOKS).await.map_err(wrong)?;
    }
    for (number, statements) in (1_i64..).zip(VERSIONS) {
        if number > found.unwrap_or(0) {
            transaction.batch_execute(statements).await.map_err(wrong)?;
            let note = "INSERT INTO roadstead.schema_version (version, made_by) VALUES ($1, $2)";
            transaction.execute(note, &[&number, &env!("CARGO_PKG_VERSION")]).await.map_err(wrong)?;
            tracing::info!(server = url.shown(), version = number, "the schema roadstead was brought up to date");
        }
    }
    transaction.commit().await.map_err(wrong)
}

/// Whether what was there at the start is there: a connection to a database that was replaced is of no use. A newer version,
/// which another host may have made meanwhile, has what this one asks for.
pub(super) async fn check(client: &Client) -> Result<(), NotOurs> {
    match version(client).await {
        Ok(Some(KNOWN..)) => Ok(()),
        Ok(Some(found)) => Err(NotOurs::Version { found }),
        Ok(None) => Err(NotOurs::None),
        Err(error) => Err(NotOurs::Failed(failure::in_words(&error))),
    }
}

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOurs {
    #[error("its schema roadstead is of version {found}, this program has version {KNOWN}; start it again")]
    Version { found: i64 },
    #[error("its schema roadstead is gone; start the host again to have it made")]
    None,
    #[error("{0}")]
    Failed(String),
}

/// The version of what is there; `None` where nothing is.
async fn version(client: &impl GenericClient) -> Result<Option<i64>, tokio_postgres::Error> {
    let there = "SELECT to_regclass('roadstead.schema_version') IS NOT NULL";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM roadstead.schema_version";
    Ok(Some(client.query_one(newest, &[]).await?.try_get(0)?))
}

async fn reach(url: &PostgresUrl) -> Result<Client, PostgresError> {
    let mut config = url.config.clone();
    config.options(format!(
        "-c statement_timeout={CHANGE_MS_MAX} -c lock_timeout={CHANGE_MS_MAX} \
         -c default_transaction_isolation=read\\ committed -c search_path=pg_catalog"
    ));
    let begun = Instant::now();
    loop {
        // A server that takes the connection and says nothing is none.
        let tls = MakeRustlsConnect::new(url.tls.as_ref().clone());
        let connected = tokio::time::timeout(url.connect_within() * 2, config.connect(tls)).await;
        let reason = match connected {
            Ok(Ok((client, connection))) => {
                // It ends with the client.
                tokio::spawn(connection);
                return Ok(client);
            }
            Ok(Err(error)) if !failure::may_come(&error) => {
                let (server, reason) = (url.shown().to_owned(), failure::in_words(&error));
                return Err(PostgresError::Refused { server, reason });
            }
            Ok(Err(error)) => failure::in_words(&error),
            Err(_) => "no answer".to_owned(),
        };
        if begun.elapsed() >= REACHED_WITHIN {
            let server = url.shown().to_owned();
            return Err(PostgresError::Unreachable { server, reason, waited: REACHED_WITHIN });
        }
        tracing::warn!(server = url.shown(), reason, "PostgreSQL cannot be reached yet; trying again");
        tokio::time::sleep(REACH_PAUSE).await;
    }
}
