//! `--postgres-url`: where the server is, as whom, and how TLS is done, as libpq spells it. No text that is made here has
//! a password in it; what is asked of the server is not known here.

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{SslMode, TargetSessionAttrs},
};
use url::{Host, Url};

use super::tls::{self, TlsFileError, Trust};

/// Port of a server that names none.
const DEFAULT_PORT: u16 = 5432;
/// Time to make a connection, with the server's answer to who we are.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Time after which bytes that nobody has acknowledged end a connection.
const UNACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// Longest `application_name` that the server keeps, in bytes.
const APPLICATION_NAME_BYTES_MAX: usize = 63;
/// What the server's list of connections calls ours.
const DEFAULT_APPLICATION_NAME: &str = "roadstead";
/// Parameters of libpq that have nothing behind them here: named in the refusal. Others are not repeated, since a part of
/// a password that is not percent-encoded looks like one.
const PARAMETERS_OF_LIBPQ: [&str; 22] = [
    "channel_binding",
    "client_encoding",
    "dbname",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "require_auth",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Why a text is no address of a PostgreSQL server. No variant has the text.
#[derive(Debug, thiserror::Error)]
pub enum PostgresUrlError {
    /// It cannot be taken apart.
    #[error(
        "it is no URL ({0}); write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with '@', ':', '/', '?', '#' and '%' in \
         USER and PASSWORD percent-encoded"
    )]
    Form(url::ParseError),
    /// It is another kind of URL.
    #[error("it does not begin with postgres:// or postgresql://")]
    Scheme,
    /// It names no server, or several.
    #[error("it names no host, or several; write one, as in postgres://USER@HOST/DATABASE")]
    Host,
    /// It names nobody.
    #[error("it names no user; write one, as in postgres://USER@HOST/DATABASE")]
    User,
    /// A part of it is no text.
    #[error("it has a {0} that is no UTF-8 when it is percent-decoded, or has a NUL in it")]
    Text(&'static str),
    /// It has a parameter that nothing is done with.
    #[error(
        "it has the parameter {0}, which is not supported; sslmode, sslrootcert, application_name and connect_timeout are"
    )]
    Unsupported(&'static str),
    /// It has a parameter that is none.
    #[error(
        "it has an unknown parameter; sslmode, sslrootcert, application_name and connect_timeout are known (a '?' in a \
         password is written %3F)"
    )]
    Unknown,
    /// It has a parameter twice.
    #[error("it has the parameter {0} twice")]
    Twice(&'static str),
    /// It has a parameter with a value that is none.
    #[error("it has a wrong value of {name}: {expected}")]
    Value { name: &'static str, expected: &'static str },
    /// Its authorities would not be looked at.
    #[error("it has sslrootcert, which is not looked at with sslmode={0}; write verify-full, or leave sslrootcert out")]
    NoUse(&'static str),
    /// Its authorities cannot be read.
    #[error("it names in sslrootcert a file of no use")]
    Authorities(#[source] TlsFileError),
}

/// Where a PostgreSQL server is, as whom, and how TLS is done there. Neither `Debug` nor [`PostgresUrl::shown`] has the
/// password.
#[derive(Clone)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) tls: Arc<rustls::ClientConfig>,
    shown: String,
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PostgresUrl").field(&self.shown).finish()
    }
}

/// The parameters, each at most once.
#[derive(Default)]
struct Parameters {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    application_name: Option<String>,
    connect_timeout: Option<String>,
}

impl Parameters {
    fn read(url: &Url) -> Result<Self, PostgresUrlError> {
        let mut read = Self::default();
        for (name, value) in url.query_pairs() {
            let (known, place) = match &*name {
                "sslmode" => ("sslmode", &mut read.sslmode),
                "sslrootcert" => ("sslrootcert", &mut read.sslrootcert),
                "application_name" => ("application_name", &mut read.application_name),
                "connect_timeout" => ("connect_timeout", &mut read.connect_timeout),
                other => {
                    let of_libpq = PARAMETERS_OF_LIBPQ.into_iter().find(|known| *known == other);
                    return Err(of_libpq.map_or(PostgresUrlError::Unknown, PostgresUrlError::Unsupported));
                }
            };
            if value.contains('\0') {
                return Err(PostgresUrlError::Text("parameter"));
            }
            if place.replace(value.into_owned()).is_some() {
                return Err(PostgresUrlError::Twice(known));
            }
        }
        Ok(read)
    }

    /// Whether TLS is spoken, and whom it trusts.
    fn trust(&self) -> Result<(SslMode, Trust), PostgresUrlError> {
        let file = self.sslrootcert.as_ref().map(PathBuf::from);
        Ok(match (self.sslmode.as_deref(), file) {
            (Some("disable"), None) => (SslMode::Disable, Trust::Anybody),
            (Some("disable"), Some(_)) => return Err(PostgresUrlError::NoUse("disable")),
            (Some("prefer"), Some(_)) => return Err(PostgresUrlError::NoUse("prefer")),
            (None | Some("prefer"), None) => (SslMode::Prefer, Trust::Anybody),
            (Some("require"), None) => (SslMode::Require, Trust::Anybody),
            // As libpq has it: whoever names authorities wants them looked at.
            (Some("require" | "verify-ca"), file) => (SslMode::Require, Trust::Authorities(file)),
            (Some("verify-full"), file) => (SslMode::Require, Trust::AuthoritiesAndName(file)),
            (None, file) => (SslMode::Require, Trust::AuthoritiesAndName(file)),
            (Some(_), _) => {
                let expected = "disable, prefer, require, verify-ca and verify-full are known";
                return Err(PostgresUrlError::Value { name: "sslmode", expected });
            }
        })
    }

    fn connect_within(&self) -> Result<Duration, PostgresUrlError> {
        let expected = "write whole seconds from 1 to 60";
        let Some(text) = &self.connect_timeout else { return Ok(CONNECT_WITHIN) };
        let seconds = text.parse().ok().filter(|seconds| (1..=60).contains(seconds));
        seconds.map(Duration::from_secs).ok_or(PostgresUrlError::Value { name: "connect_timeout", expected })
    }
}

fn decoded<'a>(text: &'a str, what: &'static str) -> Result<Cow<'a, str>, PostgresUrlError> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| PostgresUrlError::Text(what))?;
    if text.contains('\0') { Err(PostgresUrlError::Text(what)) } else { Ok(text) }
}

impl PostgresUrl {
    /// Reads a URL, and the file that its `sslrootcert` names.
    ///
    /// # Errors
    /// When it is none, or has something that nothing is done with. No error has the password, or any part of the text
    /// that could be one.
    pub fn parse(text: &str) -> Result<Self, PostgresUrlError> {
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => PostgresUrlError::Host,
            other => PostgresUrlError::Form(other),
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(PostgresUrlError::Scheme);
        }
        let host = match url.host() {
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(name)) if !name.is_empty() && !name.contains([',', '%', '/']) => name.to_owned(),
            _ => return Err(PostgresUrlError::Host),
        };
        let user = decoded(url.username(), "user")?;
        if user.is_empty() {
            return Err(PostgresUrlError::User);
        }
        let path = decoded(url.path().strip_prefix('/').unwrap_or_default(), "database")?;
        let database = if path.is_empty() { user.clone() } else { path };
        let port = url.port().unwrap_or(DEFAULT_PORT);
        let parameters = Parameters::read(&url)?;
        let (mode, trust) = parameters.trust()?;
        let application_name = parameters.application_name.as_deref().unwrap_or(DEFAULT_APPLICATION_NAME);
        if application_name.len() > APPLICATION_NAME_BYTES_MAX {
            let expected = "at most 63 bytes are kept by the server";
            return Err(PostgresUrlError::Value { name: "application_name", expected });
        }
        let mut config = Config::new();
        config
            .host(&host)
            .port(port)
            .user(&*user)
            .dbname(&*database)
            .application_name(application_name)
            .ssl_mode(mode)
            .connect_timeout(parameters.connect_within()?)
            .tcp_user_timeout(UNACKNOWLEDGED_WITHIN)
            // A server that only reads, a standby say, is none for us.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if let Some(password) = url.password() {
            config.password(&*decoded(password, "password")?);
        }
        let shown = format!("{host}:{port}/{database}");
        let tls = tls::client(&trust).map_err(PostgresUrlError::Authorities)?;
        Ok(Self { config, tls: Arc::new(tls), shown })
    }

    /// The server, port and database, for people.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn connect_within(&self) -> Duration {
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        PostgresUrl::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = PostgresUrl::parse("postgres://me:p%40ss@db.test:6000/stores?sslmode=disable").unwrap();
        assert_eq!(url.config.get_user(), Some("me"));
        assert_eq!(url.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(url.config.get_dbname(), Some("stores"));
        assert_eq!(url.config.get_application_name(), Some("roadstead"));
        assert_eq!(url.shown(), "db.test:6000/stores");
        let url = PostgresUrl::parse("postgresql://me@[::1]?application_name=a&connect_timeout=2").unwrap();
        assert_eq!((url.shown(), url.connect_within()), ("::1:5432/me", Duration::from_secs(2)));
        assert_eq!(url.config.get_ssl_mode(), SslMode::Prefer);
        assert_eq!(url.config.get_application_name(), Some("a"));
        for (mode, spoken) in [("require", SslMode::Require), ("verify-ca", SslMode::Require)] {
            let url = PostgresUrl::parse(&format!("postgres://me@a?sslmode={mode}")).unwrap();
            assert_eq!(url.config.get_ssl_mode(), spoken);
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let long = format!("postgres://me@a?application_name={}", "n".repeat(APPLICATION_NAME_BYTES_MAX + 1));
        for (text, reason) in [
            ("localhost", "is no URL"),
            ("mysql://me@a/b", "does not begin with postgres"),
            ("postgres://a/b", "names no user"),
            ("postgres://me@/b", "names no host"),
            ("postgres://me@a,b/c", "several"),
            ("postgres://me@a?sslcert=x", "the parameter sslcert, which is not supported"),
            ("postgres://me@a?options=-c%20x", "the parameter options"),
            ("postgres://me@a?sslmod=require", "an unknown parameter"),
            ("postgres://me@a?sslmode=require&sslmode=disable", "sslmode twice"),
            ("postgres://me@a?sslmode=allow", "verify-full are known"),
            ("postgres://me@a?sslmode=disable&sslrootcert=/x", "not looked at"),
            ("postgres://me@a?sslrootcert=/no/such/file", "of no use"),
            ("postgres://me@a?connect_timeout=0", "whole seconds"),
            ("postgres://%00@a", "a user that is no"),
            (&long, "at most 63 bytes"),
        ] {
            let found = error(text);
            assert!(found.contains(reason), "{text}: {found}");
        }
    }

    #[test]
    fn nothing_that_is_said_has_the_password() {
        let url = PostgresUrl::parse("postgres://me:hunter2@a/b").unwrap();
        assert!(!format!("{url:?} {}", url.shown()).contains("hunter2"));
        for text in [
            "postgres://me:hunter2@a?hunter2=1",
            "postgres://me:1?hunter2@a/b",
            "postgres://me:hunter2/x@a/b",
            "postgres://me:hunter2#x@a/b",
            "postgres:hunter2",
            "postgres://me:hunter2@a?sslmode=hunter2",
            "postgres://me:hunter2@a:99999/b",
            "postgres://me:hunter2%ff@a/b",
        ] {
            let error = PostgresUrl::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{text}: {error:?}");
        }
    }
}
