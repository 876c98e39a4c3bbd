//! How a connection to NATS comes to be, and what is done to keep it: the options of the client, and the first attempts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{ConnectErrorKind, ConnectOptions};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::{
    credentials::{self, Credentials, CredentialsError},
    health::ConnectionHealth,
};

/// What the host calls itself at the server.
const NAME: &str = "roadstead";
/// Messages of a subscription that the client holds until they are looked at, which is as soon as they are there: they
/// are refused then, or wait as `subscription_messages_max` allows.
const BURST_MESSAGES_MAX: usize = 65_536;
/// The same for commands of a scheduler, each of which may be as large as the server lets it be.
const COMMANDS_WAITING_MAX: usize = 1_024;
/// First and longest pause between two attempts to connect.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Time that a first connection may take, all attempts together.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// The same for the connection of one tenant, for which the others wait meanwhile.
const TENANT_CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// First and longest pause before a connection that was lost is tried again.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Time that one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time after which the server is asked for a sign of life. A connection without three of them is given up.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Why there is no connection to NATS.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{url} is no NATS address; write nats://HOST:PORT")]
    Address { url: String },
    #[error("NATS at {url} cannot be reached after {attempts} attempts; is nats-server running there?")]
    Unreachable {
        url: String,
        attempts: u32,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error(transparent)]
    Credentials(CredentialsError),
    #[error(
        "there can be no TLS with NATS at {url}; check its certificate, and the files with authorities and certificates \
         that this host has"
    )]
    Tls {
        url: String,
        #[source]
        source: async_nats::ConnectError,
    },
    #[error("NATS at {url} refuses this host; check its credentials")]
    Refused {
        url: String,
        #[source]
        source: async_nats::ConnectError,
    },
}

/// How a NATS server is reached, and what it is shown.
#[derive(Debug, Clone, Default)]
pub struct NatsServer {
    /// `nats://HOST:PORT`, with a user and a password or a token where it wants them.
    pub url: String,
    /// Authorities (PEM) by one of which the server's certificate must have been issued, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The host's own certificate (PEM) with its chain, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// TLS begins with the connection, before the server says anything (`handshake_first` there).
    pub is_tls_first: bool,
    /// A user's JWT and seed, as `nsc` writes them.
    pub credentials_file: Option<PathBuf>,
}

impl NatsServer {
    /// The server at `url`, with nothing else.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

/// An address of NATS, and what belongs to it.
#[derive(Clone)]
pub(super) struct Server {
    address: async_nats::ServerAddr,
    /// As a log may show it.
    shown: String,
    ca_file: Option<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    is_tls_first: bool,
    /// The text of the file with credentials.
    credentials: Option<Arc<str>>,
    /// Messages of a subscription that the client holds.
    burst_messages_max: usize,
}

impl Server {
    /// Reads the address and the credentials.
    pub(super) async fn read(server: &NatsServer) -> Result<Self, ConnectError> {
        let credentials = match &server.credentials_file {
            Some(path) => Some(credentials::read_creds(path).await.map_err(ConnectError::Credentials)?.into()),
            None => None,
        };
        Ok(Self { credentials, ..Self::without_credentials(server)? })
    }

    /// The same without the credentials: each connection has others.
    pub(super) fn without_credentials(server: &NatsServer) -> Result<Self, ConnectError> {
        let shown = without_password(&server.url);
        let address = server.url.parse().map_err(|_| ConnectError::Address { url: shown.clone() })?;
        Ok(Self {
            address,
            shown,
            ca_file: server.ca_file.clone(),
            certificate: server.certificate.clone(),
            is_tls_first: server.is_tls_first,
            credentials: None,
            burst_messages_max: BURST_MESSAGES_MAX,
        })
    }

    /// For a connection on which commands come and nothing else.
    pub(super) fn of_scheduler(self) -> Self {
        Self { burst_messages_max: COMMANDS_WAITING_MAX, ..self }
    }

    /// The host's own connection, made later where the server is not there yet.
    pub(super) async fn connect_some_day(
        &self,
        health: &Arc<ConnectionHealth>,
    ) -> Result<async_nats::Client, ConnectError> {
        let options = || self.kept(self.own_options(), health.clone());
        let url = self.shown.clone();
        let connected = match options().connect(self.address.clone()).await {
            Err(error) if !is_refusal(&error) => {
                tracing::warn!(url, %error, "NATS cannot be reached yet; what needs no message is served meanwhile");
                options().retry_on_initial_connect().connect(self.address.clone()).await
            }
            connected => connected,
        };
        connected.map_err(|source| refusal(url, source))
    }

    /// The host's own connection, waited for.
    pub(super) async fn connect(&self, health: &Arc<ConnectionHealth>) -> Result<async_nats::Client, ConnectError> {
        self.attempts(|| self.own_options(), health, CONNECT_WITHIN).await
    }

    /// The connection of one tenant.
    pub(super) async fn connect_as(
        &self,
        credentials: &Credentials,
        health: &Arc<ConnectionHealth>,
    ) -> Result<async_nats::Client, ConnectError> {
        let name = format!("{NAME} {}", credentials.namespace());
        self.attempts(|| credentials.options().name(&name), health, TENANT_CONNECT_WITHIN).await
    }

    /// The host's own, with the user and password, or the token, of the address: the client itself does not look there.
    fn own_options(&self) -> ConnectOptions {
        let options = match &self.credentials {
            // It was looked at when it was read.
            Some(text) => ConnectOptions::with_credentials(text).unwrap_or_default(),
            None => ConnectOptions::new(),
        };
        let options = options.name(NAME);
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        match (self.address.username(), self.address.password()) {
            (Some(user), Some(password)) => options.user_and_password(plain(user), plain(password)),
            (Some(token), None) => options.token(plain(token)),
            (None, _) => options,
        }
    }

    /// Tries until it succeeds, the server refuses, or time is up; each attempt is logged.
    async fn attempts(
        &self,
        options: impl Fn() -> ConnectOptions,
        health: &Arc<ConnectionHealth>,
        within: Duration,
    ) -> Result<async_nats::Client, ConnectError> {
        let begun = Instant::now();
        let mut pause = RETRY_PAUSE.0;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let url = self.shown.clone();
            match self.kept(options(), health.clone()).connect(self.address.clone()).await {
                Ok(client) => return Ok(client),
                Err(source) if is_refusal(&source) => return Err(refusal(url, source)),
                Err(source) if begun.elapsed() + pause > within => {
                    return Err(ConnectError::Unreachable { url, attempts, source });
                }
                Err(error) => tracing::warn!(
                    url,
                    %error,
                    "NATS cannot be reached yet; trying again in {} ms",
                    pause.as_millis()
                ),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE.1);
        }
    }

    fn with_tls(&self, options: ConnectOptions) -> ConnectOptions {
        let is_asked_for = self.ca_file.is_some() || self.certificate.is_some();
        let mut options = if is_asked_for { options.require_tls(true) } else { options };
        if let Some(ca_file) = &self.ca_file {
            options = options.add_root_certificates(ca_file.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        if self.is_tls_first { options.tls_first() } else { options }
    }

    /// What holds for every connection.
    fn kept(&self, options: ConnectOptions, health: Arc<ConnectionHealth>) -> ConnectOptions {
        let url = self.shown.clone();
        self.with_tls(options)
            .subscription_capacity(self.burst_messages_max)
            .request_timeout(None)
            .connection_timeout(ATTEMPT_TIMEOUT)
            .ping_interval(PING_EVERY)
            .reconnect_delay_callback(move |attempts| {
                // Twice as seldom each time.
                if attempts > 1 && attempts.is_power_of_two() {
                    tracing::warn!(url, attempts, "NATS cannot be reached; trying again");
                }
                reconnect_pause(attempts)
            })
            .event_callback(move |event| {
                let health = health.clone();
                async move { health.note(&event) }
            })
    }
}

/// Doubles from attempt to attempt.
fn reconnect_pause(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    (RECONNECT_PAUSE.0 * 2_u32.pow(doublings)).min(RECONNECT_PAUSE.1)
}

/// Whether another attempt would end the same: the server does not want this host, or the host does not believe the
/// server, or a file that it needs for either cannot be used.
fn is_refusal(error: &async_nats::ConnectError) -> bool {
    use ConnectErrorKind as Kind;
    match error.kind() {
        Kind::Authentication | Kind::AuthorizationViolation | Kind::Tls => true,
        Kind::Io => is_of_tls(error),
        _ => false,
    }
}

fn refusal(url: String, source: async_nats::ConnectError) -> ConnectError {
    match source.kind() {
        ConnectErrorKind::Tls | ConnectErrorKind::Io => ConnectError::Tls { url, source },
        _ => ConnectError::Refused { url, source },
    }
}

/// A failed handshake, or a file with certificates, comes as an error of input and output.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::{Error, ErrorKind as Kind};
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let kind = cause.downcast_ref::<Error>().map(Error::kind);
        matches!(kind, Some(Kind::InvalidData | Kind::InvalidInput | Kind::NotFound | Kind::PermissionDenied))
    })
}

/// The address as a log may show it.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_logs() {
        assert_eq!(without_password("nats://a:b@host:4222"), "nats://host:4222");
        assert_eq!(without_password("a:b@host:4222"), "host:4222");
        assert_eq!(without_password("nats://host:4222"), "nats://host:4222");
    }

    #[test]
    fn a_lost_connection_is_tried_again_soon_and_for_ever() {
        let pauses = [0, 1, 2, 5, 6, 100, usize::MAX].map(|attempts| reconnect_pause(attempts).as_millis());
        assert_eq!(pauses, [50, 50, 100, 800, 1_000, 1_000, 1_000]);
        assert_eq!(reconnect_pause(usize::MAX), RECONNECT_PAUSE.1);
    }
}
