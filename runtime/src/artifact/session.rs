//! A conversation with one registry about one repository: who we are there, where it sends us, and what its refusals
//! mean. Credentials go to the registry, and to the place for tokens that it names over TLS; never along a redirection
//! to another host. Knows no manifests and no caches.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::{
    PullError,
    address::Nearness,
    auth::{self, Challenge},
    docker_config::Login,
    wire::{Reply, Wire, shown},
};

/// Redirections that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Size of a refusal that is looked at for its code.
const REFUSAL_BYTES_MAX: u64 = 65_536;
/// The codes of the OCI distribution specification, and Docker's: what of a refusal is repeated.
const CODES: [&str; 16] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DENIED",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "TOOMANYREQUESTS",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "UNKNOWN",
    "UNSUPPORTED",
];

/// The registry that is asked, and as whom.
pub(super) struct Session {
    wire: Wire,
    /// `https://HOST/v2/REPOSITORY/`.
    base: Url,
    /// The repository as the registry knows it.
    repository: String,
    login: Option<Login>,
    /// Where TLS fails because the peer speaks none, it is asked without.
    may_fall_back: bool,
    write: bool,
    authorization: Option<HeaderValue>,
}

/// What is to be asked.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Ask {
    pub(super) fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// The registry and the repository of a session, and how far it may go.
pub(super) struct Place<'p> {
    /// A host with its port.
    pub(super) registry: &'p str,
    pub(super) repository: &'p str,
    /// Without TLS from the beginning.
    pub(super) plain_http: bool,
    pub(super) allow_insecure: bool,
    /// Asks for the right to send as well.
    pub(super) write: bool,
}

impl Session {
    /// A session in which nothing has been said yet.
    pub(super) fn new(wire: Wire, place: &Place<'_>, login: Option<Login>) -> Result<Self, PullError> {
        if place.plain_http && !place.allow_insecure {
            return Err(PullError::InsecureReference);
        }
        let scheme = if place.plain_http { "http" } else { "https" };
        // The one registry that is not where its name says.
        let host = if place.registry == "docker.io" { "registry-1.docker.io" } else { place.registry };
        let base = format!("{scheme}://{host}/v2/{}/", place.repository);
        Ok(Self {
            wire,
            base: Url::parse(&base).map_err(|error| PullError::Internal(error.to_string()))?,
            repository: place.repository.to_owned(),
            login,
            may_fall_back: place.allow_insecure,
            write: place.write,
            authorization: None,
        })
    }

    /// The registry as errors name it.
    pub(super) fn host(&self) -> String {
        shown(&self.base)
    }

    /// The URL of something in the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url, PullError> {
        self.base.join(path).map_err(|error| PullError::Internal(error.to_string()))
    }

    /// Asks, logs in where that is wanted, and follows redirections of what is read. The answer is a success, or a 404
    /// where `missing_is_an_answer`.
    pub(super) async fn ask(&mut self, mut ask: Ask, missing_is_an_answer: bool) -> Result<Reply, PullError> {
        let first = self.try_once(&ask).await;
        let first = match first {
            Err(PullError::NotTls { .. }) if self.may_fall_back && self.base.scheme() == "https" => {
                self.without_tls(&mut ask)?;
                self.try_once(&ask).await?
            }
            other => other?,
        };
        let reply = if first.status == StatusCode::UNAUTHORIZED {
            self.log_in(&first).await?;
            let second = self.try_once(&ask).await?;
            if second.status == StatusCode::UNAUTHORIZED {
                return Err(self.unauthorized(second).await);
            }
            second
        } else {
            first
        };
        let reply = self.follow(&ask, reply).await?;
        match reply.status {
            status if status.is_success() => Ok(reply),
            StatusCode::NOT_FOUND if missing_is_an_answer => Ok(reply),
            _ => Err(refusal(self.host(), reply).await),
        }
    }

    /// The place to send something to, which an answer from `asked` named. Over TLS where the registry is.
    pub(super) fn upload_url(&self, asked: &Url, location: &str) -> Option<Url> {
        let url = asked.join(location).ok()?;
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && self.base.scheme() == "http");
        is_safe.then_some(url)
    }

    async fn try_once(&self, ask: &Ask) -> Result<Reply, PullError> {
        let mut headers = ask.headers.clone();
        if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_own(&ask.url)) {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        self.wire.send(&ask.url, ask.method.clone(), headers, ask.body.clone(), None).await
    }

    /// From now on without TLS.
    fn without_tls(&mut self, ask: &mut Ask) -> Result<(), PullError> {
        let internal = || PullError::Internal("a URL has no scheme".into());
        for url in [&mut self.base, &mut ask.url] {
            // A port that was not written stays the scheme's own.
            url.set_scheme("http").map_err(|()| internal())?;
        }
        tracing::warn!(registry = self.host(), "the registry speaks no TLS: images and credentials go in the clear");
        Ok(())
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Does what the challenge of `refused` asks for.
    async fn log_in(&mut self, refused: &Reply) -> Result<(), PullError> {
        let host = self.host();
        let login = self.login.as_ref();
        let no_credentials = || PullError::NoCredentials { host: host.clone(), code: None };
        let challenge = auth::challenge(&refused.headers)
            .map_err(|why| PullError::Challenge { host: host.clone(), why })?
            .ok_or_else(no_credentials)?;
        let authorization = match challenge {
            Challenge::Basic => auth::basic(&login.ok_or_else(no_credentials)?.credentials)?,
            Challenge::Bearer { realm, service, scope } => {
                let unsafe_realm = self.base.scheme() == "https" && realm.scheme() != "https";
                if unsafe_realm || !matches!(realm.scheme(), "http" | "https") {
                    return Err(PullError::Challenge { host, why: "its place for tokens is without TLS" });
                }
                let actions = if self.write { "pull,push" } else { "pull" };
                let scope = scope.unwrap_or_else(|| format!("repository:{}:{actions}", self.repository));
                let ask = auth::TokenAsk { realm, service, scope };
                auth::token(&self.wire, ask, login, refused.nearness).await?
            }
        };
        self.authorization = Some(authorization);
        Ok(())
    }

    async fn unauthorized(&self, reply: Reply) -> PullError {
        let (host, code) = (self.host(), code_of(reply).await);
        match self.login {
            Some(_) => PullError::CredentialsRefused { host, code },
            None => PullError::NoCredentials { host, code },
        }
    }

    /// Goes where the answer leads, for what is only read.
    async fn follow(&self, ask: &Ask, mut reply: Reply) -> Result<Reply, PullError> {
        let leader: Nearness = reply.nearness;
        let mut url = ask.url.clone();
        for _ in 0..REDIRECTS_MAX {
            let is_redirection = matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirection || !matches!(ask.method, Method::GET | Method::HEAD) {
                return Ok(reply);
            }
            let refuse = |why| PullError::Redirect { host: shown(&url), why };
            let location = reply.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| refuse("it names no place"))?;
            let next = url.join(location).map_err(|_| refuse("the place is no URL"))?;
            if !matches!(next.scheme(), "http" | "https") {
                return Err(refuse("the place is not of HTTP"));
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(refuse("from TLS to a place without"));
            }
            let mut headers = ask.headers.clone();
            if let Some(authorization) = self.authorization.as_ref().filter(|_| self.is_own(&next)) {
                headers.insert(header::AUTHORIZATION, authorization.clone());
            }
            reply = self.wire.send(&next, ask.method.clone(), headers, Bytes::new(), Some(leader)).await?;
            url = next;
        }
        Err(PullError::Redirect { host: shown(&url), why: "too many times" })
    }
}

/// What an answer that is no success means.
async fn refusal(host: String, reply: Reply) -> PullError {
    let (status, retry_after) = (reply.status, auth::retry_after(&reply.headers));
    let code = code_of(reply).await;
    match status {
        StatusCode::UNAUTHORIZED => PullError::NoCredentials { host, code },
        StatusCode::FORBIDDEN => PullError::Denied { host, code },
        StatusCode::NOT_FOUND => PullError::NotFound { host, code },
        StatusCode::TOO_MANY_REQUESTS => PullError::TooManyRequests { host, retry_after },
        _ => PullError::Status { host, status: status.as_u16(), code },
    }
}

/// The code in the body of a refusal, if it is one that is known.
async fn code_of(reply: Reply) -> Option<&'static str> {
    let body = reply.body.whole("refusal", REFUSAL_BYTES_MAX).await.ok()?;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let code = body.get("errors")?.get(0)?.get("code")?.as_str()?;
    CODES.into_iter().find(|known| *known == code)
}
