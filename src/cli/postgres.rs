//! `--postgres-url`: the database that keeps what workloads store, from a flag or one of two variables. The URL may have a
//! password in it, so it is looked at by nobody but the one who connects.

use std::{convert::Infallible, fmt, str::FromStr};

use clap::Args;
use roadstead_config::Limits;
use roadstead_plugins::tenant_postgres::{Database, PostgresError, PostgresUrl};

/// The name by which the published tool reads `--postgres-url`.
const PUBLISHED_POSTGRES_URL: &str = "WASH_POSTGRES_URL";

/// Flags of the database.
#[derive(Debug, Args)]
pub(super) struct PostgresArguments {
    /// PostgreSQL server that keeps keys and objects: postgres://USER:PASSWORD@HOST:PORT/DATABASE, with the parameters
    /// sslmode, sslrootcert, application_name and connect_timeout. A password in a variable is in no list of processes;
    /// WASH_POSTGRES_URL is read as well, where the other one is not set [default: none].
    #[arg(long, value_name = "URL", env = "ROADSTEAD_POSTGRES_URL", hide_env_values = true)]
    postgres_url: Option<Unread>,
}

/// A text that is not to be shown.
#[derive(Clone, PartialEq, Eq)]
struct Unread(String);

impl FromStr for Unread {
    type Err = Infallible;

    /// Takes any text: an error of the command line's parser would repeat it.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl PostgresArguments {
    /// The database, where one is named.
    ///
    /// # Errors
    /// When the URL is none, or the database cannot be had.
    pub(super) async fn database(&self, limits: &Limits) -> Result<Option<Database>, PostgresError> {
        let published = std::env::var(PUBLISHED_POSTGRES_URL).ok().map(Unread);
        match self.chosen(published) {
            Some(Unread(text)) => Ok(Some(Database::open(&PostgresUrl::parse(&text)?, limits).await?)),
            None => Ok(None),
        }
    }

    /// Our own flag and variable before the published one; an empty one is none.
    fn chosen(&self, published: Option<Unread>) -> Option<Unread> {
        let own = self.postgres_url.clone();
        [own, published].into_iter().flatten().find(|Unread(text)| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_name_comes_first() {
        let unread = |text: &str| Some(Unread(text.to_owned()));
        let chosen = |own, published| PostgresArguments { postgres_url: own }.chosen(published);
        assert_eq!(chosen(unread("own"), unread("published")), unread("own"));
        assert_eq!(chosen(None, unread("published")), unread("published"));
        assert_eq!(chosen(unread(""), unread("published")), unread("published"));
        assert_eq!(chosen(unread(""), unread("")), None);
        assert_eq!(format!("{:?}", unread("hunter2")), "Some((not shown))");
    }
}
