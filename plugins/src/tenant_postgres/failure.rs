//! What PostgreSQL and the way to it say when something is wrong, sorted by what is to be done. No text has a password or
//! a parameter in it.

use std::time::Duration;

use tokio_postgres::{Row, error::SqlState, types::FromSql};

use super::PostgresUrlError;

/// Why there is no database at the start.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The URL is none.
    #[error("--postgres-url is not as it has to be")]
    Url(#[from] PostgresUrlError),
    /// Nobody answers.
    #[error(
        "PostgreSQL at {server} cannot be reached: {reason} (--postgres-url; tried for {} s)", .waited.as_secs()
    )]
    Unreachable { server: String, reason: String, waited: Duration },
    /// The server, or TLS, refuses us.
    #[error("PostgreSQL at {server} refuses the connection: {reason} (--postgres-url)")]
    Refused { server: String, reason: String },
    /// The schema could not be made or changed.
    #[error(
        "the schema roadstead at {server} cannot be brought up to date: {reason}; the user of --postgres-url needs to own \
         it, or the right to create it"
    )]
    Schema { server: String, reason: String },
    /// The schema is another program's.
    #[error(
        "the schema roadstead at {server} is of version {found}, this program knows it up to version {known}: start a \
         newer roadstead, or give this one a database of its own"
    )]
    Newer { server: String, found: i64, known: i64 },
    /// The pool cannot be made.
    #[error("no pool of connections to PostgreSQL: {0}")]
    Pool(String),
}

/// Why a statement has no answer, as a guest may hear it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The server cannot be reached, or the connection was lost on the way.
    #[error("the database cannot be reached just now")]
    Disconnected,
    /// All connections that the namespace may have are in use.
    #[error("the database is busy: no connection within the time for that (postgres_wait_ms)")]
    Busy,
    /// The server gave it up.
    #[error("the database did not do it within {call_ms} ms (store_call_ms)")]
    TookTooLong { call_ms: u128 },
    /// Others came in the way each time.
    #[error("others' changes came in the way of each of {attempts} attempts; nothing was changed")]
    Conflict { attempts: u32 },
    /// The server has no room.
    #[error("the database has no room left on its disk")]
    NoRoom,
    /// Anything else; what the server said of it is in the host's log.
    #[error("the database failed: {0}")]
    Failed(String),
}

impl QueryError {
    /// The only value of the only row.
    pub(crate) fn only<'a, T: FromSql<'a>>(rows: &'a [Row]) -> Result<T, Self> {
        let row = rows.first().ok_or_else(|| Self::Failed("no row".into()))?;
        row.try_get(0).map_err(Self::of_row)
    }

    /// A row is not as the program's own schema has it.
    #[expect(clippy::needless_pass_by_value, reason = "what `map_err` calls is given the error")]
    pub(crate) fn of_row(error: tokio_postgres::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What is to be done about an error.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is of no use; nobody knows what became of the statement.
    Lost(String),
    /// Nothing was changed, and a second attempt may well succeed.
    Conflict,
    Other(QueryError),
}

impl Failure {
    /// `call` is what the server lets a statement take.
    pub(super) fn of(error: &tokio_postgres::Error, call: Duration) -> Self {
        let Some(code) = error.code() else {
            // Only what we send can be wrong here; everything else is the connection.
            return match error.to_string() {
                said if said.starts_with("error serializing") => Self::Other(QueryError::Failed(said)),
                _ => Self::Lost(in_words(error)),
            };
        };
        match code.clone() {
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Self::Conflict,
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => {
                Self::Other(QueryError::TookTooLong { call_ms: call.as_millis() })
            }
            SqlState::DISK_FULL => Self::Other(QueryError::NoRoom),
            _ if is_of_connection(code) || *code == SqlState::READ_ONLY_SQL_TRANSACTION => Self::Lost(in_words(error)),
            _ => {
                tracing::warn!(reason = in_words(error), "PostgreSQL refused a statement of the host");
                Self::Other(QueryError::Failed(format!("SQLSTATE {}", code.code())))
            }
        }
    }
}

/// The server, or something in front of it, ends the connection or has no room for one.
fn is_of_connection(code: &SqlState) -> bool {
    // The classes of connections, of operators' interventions and of too few resources, less what is in them besides.
    matches!(
        *code,
        SqlState::ADMIN_SHUTDOWN
            | SqlState::CRASH_SHUTDOWN
            | SqlState::CANNOT_CONNECT_NOW
            | SqlState::TOO_MANY_CONNECTIONS
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
    ) || code.code().starts_with("08")
}

/// Whether waiting may help where no connection was made: nobody is there yet, or it is too early, or too full.
pub(super) fn may_come(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => is_of_connection(code),
        None => {
            let said = error.to_string();
            ["error connecting to server", "timeout waiting", "connection closed", "error communicating"]
                .iter()
                .any(|begin| said.starts_with(begin))
                && !in_words(error).contains("certificate")
        }
    }
}

/// An error and its causes in one line; of a server's error its text and code alone, no hint and no statement.
pub(super) fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        None => crate::tenant_nats::in_words(error),
    }
}
