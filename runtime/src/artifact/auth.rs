//! What a registry asks for before it answers, and how it is given: HTTP Basic (RFC 7617), and tokens of the
//! distribution's token protocol (`Bearer`). Whom to give it to is decided by the caller.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use roadstead_config::RegistryCredentials;
use serde::Deserialize;
use url::Url;

use super::{
    PullError,
    address::Nearness,
    docker_config::Login,
    wire::{Wire, shown},
};

/// Longest challenge that is read, in bytes.
const CHALLENGE_BYTES_MAX: usize = 4_096;
/// Size of the answer that has a token.
const TOKEN_BYTES_MAX: u64 = 65_536;
/// The longest time for which a registry is left alone because it asks so.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// What the host calls itself to a place for tokens.
const CLIENT_ID: &str = "roadstead";

/// What a registry asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

/// A token to ask for.
pub(super) struct TokenAsk {
    pub(super) realm: Url,
    pub(super) service: Option<String>,
    pub(super) scope: String,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The first challenge that can be met, `Bearer` before `Basic`.
pub(super) fn challenge(headers: &HeaderMap) -> Result<Option<Challenge>, &'static str> {
    let mut basic = false;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let text = value.to_str().map_err(|_| "its challenge is no text")?;
        if text.len() > CHALLENGE_BYTES_MAX {
            return Err("its challenge is too long");
        }
        for found in http_auth::parse_challenges(text).map_err(|_| "its challenge cannot be read")? {
            let parameter = |name: &str| {
                let of_name = found.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                of_name.map(|(_, value)| value.to_unescaped())
            };
            if found.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm").ok_or("it names no place for tokens")?;
                let realm = Url::parse(&realm).map_err(|_| "its place for tokens is no URL")?;
                return Ok(Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") }));
            }
            basic |= found.scheme.eq_ignore_ascii_case("basic");
        }
    }
    match basic {
        true => Ok(Some(Challenge::Basic)),
        false if headers.contains_key(header::WWW_AUTHENTICATE) => Err("neither Basic nor Bearer"),
        false => Ok(None),
    }
}

/// The value of `Authorization` for HTTP Basic.
pub(super) fn basic(credentials: &RegistryCredentials) -> Result<HeaderValue, PullError> {
    let joined = format!("{}:{}", credentials.username(), credentials.password());
    authorization("Basic", &base64::engine::general_purpose::STANDARD.encode(joined))
        .ok_or_else(|| PullError::Internal("credentials make no header".into()))
}

fn authorization(scheme: &str, value: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {value}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Asks for a token, as `login` says or as nobody, and gives the value of `Authorization` for it.
pub(super) async fn token(
    wire: &Wire,
    ask: TokenAsk,
    login: Option<&Login>,
    led_by: Nearness,
) -> Result<HeaderValue, PullError> {
    let TokenAsk { realm: mut url, service, scope } = ask;
    let host = shown(&url);
    let mut headers = HeaderMap::new();
    let fields = service.iter().map(|service| ("service", service.as_str())).chain([("scope", scope.as_str())]);
    let (method, body) = match login {
        Some(Login { credentials, is_identity_token: true }) => {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(fields)
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", CLIENT_ID)
                .append_pair("refresh_token", credentials.password())
                .finish();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            (Method::POST, Bytes::from(form))
        }
        login => {
            url.query_pairs_mut().extend_pairs(fields);
            if let Some(login) = login {
                headers.insert(header::AUTHORIZATION, basic(&login.credentials)?);
            }
            (Method::GET, Bytes::new())
        }
    };
    let reply = wire.send(&url, method, headers, body, Some(led_by)).await?;
    match reply.status.as_u16() {
        200 => {}
        401 | 403 if login.is_some() => return Err(PullError::CredentialsRefused { host, code: None }),
        401 | 403 => return Err(PullError::NoCredentials { host, code: None }),
        429 => return Err(PullError::TooManyRequests { host, retry_after: retry_after(&reply.headers) }),
        status => return Err(PullError::Status { host, status, code: None }),
    }
    let body = reply.body.whole("token", TOKEN_BYTES_MAX).await?;
    let no_token = || PullError::Challenge { host: host.clone(), why: "its place for tokens gives none" };
    let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| no_token())?;
    let token = answer.token.or(answer.access_token).ok_or_else(&no_token)?;
    authorization("Bearer", &token).ok_or_else(&no_token)
}

/// How long `Retry-After` asks to wait, where it says so in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(challenges: &[&str]) -> Result<Option<Challenge>, &'static str> {
        let mut headers = HeaderMap::new();
        for text in challenges {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let bearer = r#"Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a:pull""#;
        let wanted = Challenge::Bearer {
            realm: Url::parse("https://auth.test/token").unwrap(),
            service: Some("registry.test".into()),
            scope: Some("repository:a:pull".into()),
        };
        assert_eq!(of(&["Basic realm=\"x\"", bearer]), Ok(Some(wanted)));
        assert_eq!(of(&["basic realm=\"x\""]), Ok(Some(Challenge::Basic)));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["Negotiate"]), Err("neither Basic nor Bearer"));
        assert_eq!(of(&["Bearer service=\"x\""]), Err("it names no place for tokens"));
        assert_eq!(of(&["Bearer realm=\"/token\""]), Err("its place for tokens is no URL"));
        let long = |bytes: usize| of(&[&format!("Basic realm=\"{}\"", "a".repeat(bytes - 14))]);
        assert_eq!(long(CHALLENGE_BYTES_MAX), Ok(Some(Challenge::Basic)));
        assert_eq!(long(CHALLENGE_BYTES_MAX + 1), Err("its challenge is too long"));
    }

    #[test]
    fn a_registry_is_left_alone_for_a_bounded_time() {
        let of = |text: &'static str| {
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]))
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("999999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(of("-1"), None);
        assert_eq!(of("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }

    #[test]
    fn credentials_are_never_printed() {
        let value = basic(&RegistryCredentials::new("anna", "hunter2").unwrap()).unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic YW5uYTpodW50ZXIy");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
