//! A request's head: from what pingora read to what a workload is handed, with everything checked that routing and
//! the workload rely on. It touches no body.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{self, Entry, GetAll},
    uri::PathAndQuery,
};
use pingora_http::RequestHeader;
use roadstead_config::{HostName, Limits, http::canonical_path};
use roadstead_runtime::TraceContext;

use super::origin::Origin;
use crate::respond::Refusal;

/// Headers that speak of one connection and go no further (RFC 9110, section 7.6.1), and `expect`, which is answered
/// here.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request that may be routed.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) method: Method,
    pub(crate) host: HostName,
    /// The canonical path and the query, nothing else.
    pub(crate) uri: Uri,
    /// What the workload sees; has `host`.
    pub(crate) headers: HeaderMap,
    pub(crate) origin: Origin,
    /// `x-request-id`, as the workload sees it.
    pub(crate) id: HeaderValue,
    /// The request's own position in its trace.
    pub(crate) trace: TraceContext,
    /// What it is below, where a proxy said so.
    pub(crate) trace_parent: Option<TraceContext>,
    /// How long the sender waits, where it says so.
    pub(crate) patience: Option<Duration>,
    /// The declared length of the body.
    pub(crate) length: Option<u64>,
    /// The client waits for leave before it sends the body.
    pub(crate) expects_continue: bool,
}

impl Received {
    /// Checks a head that pingora read.
    pub(crate) fn read(head: &RequestHeader, origin: Origin, limits: &Limits) -> Result<Self, Refusal> {
        if head.method == Method::CONNECT {
            return Err(Refusal::NotImplemented("this ingress opens no tunnels (CONNECT)"));
        }
        if !head.headers.get_all(header::UPGRADE).iter().all(|protocol| protocol == "h2c") {
            return Err(Refusal::NotImplemented("this ingress does not change protocols (upgrade)"));
        }
        if head.headers.len() as u64 > limits.header_count_max {
            return Err(Refusal::HeadersTooLarge);
        }
        let (host, authority) = authority(head)?;
        let uri = canonical_uri(&head.uri, limits)?;
        let (trace, trace_parent) = origin.trace(&head.headers);
        let patience = origin.patience(&head.headers);
        let length = head.headers.get(header::CONTENT_LENGTH).map(parse_length).transpose()?;
        let expectation = head.headers.get(header::EXPECT).filter(|_| head.version == Version::HTTP_11);
        let expects_continue = expectation.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let mut headers = forwarded_headers(head, authority, &origin);
        let id = origin.tell(&mut headers, &head.headers, trace.trace_id());
        let method = head.method.clone();
        Ok(Self { method, host, uri, headers, origin, id, trace, trace_parent, patience, length, expects_continue })
    }
}

/// The host that the request is for. pingora has compared the URI's authority with `host` where both are there.
fn authority(head: &RequestHeader) -> Result<(HostName, HeaderValue), Refusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let value = match (hosts.next(), hosts.next(), head.uri.authority()) {
        (Some(value), None, _) => value.clone(),
        (None, None, Some(authority)) => HeaderValue::from_str(authority.as_str())
            .map_err(|_| Refusal::Malformed("the authority is no host name"))?,
        (None, None, None) => return Err(Refusal::Malformed("there is no host header")),
        (_, Some(_), _) => return Err(Refusal::Malformed("there is more than one host header")),
    };
    let host = value.to_str().ok().and_then(|text| HostName::from_authority(text).ok());
    host.map(|host| (host, value)).ok_or(Refusal::Malformed("the host header is no host name"))
}

/// The request target with its path in the one form that is routed and handed on.
fn canonical_uri(uri: &Uri, limits: &Limits) -> Result<Uri, Refusal> {
    const BAD_PATH: Refusal = Refusal::Malformed("the path cannot be brought to its canonical form");
    let target = uri.path_and_query().ok_or(Refusal::Malformed("the request has no path"))?;
    if target.as_str().len() as u64 > limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    let path = canonical_path(target.path()).map_err(|_| BAD_PATH)?;
    let canonical = match (path, target.query()) {
        (std::borrow::Cow::Borrowed(_), _) => target.clone(),
        (path, None) => PathAndQuery::try_from(path.into_owned()).map_err(|_| BAD_PATH)?,
        (path, Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")).map_err(|_| BAD_PATH)?,
    };
    Ok(Uri::from(canonical))
}

fn parse_length(value: &HeaderValue) -> Result<u64, Refusal> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(Refusal::Malformed("content-length is not a number"))
}

/// The headers without those of the connection and those that are not believed, and with `host`. There is room for
/// what [`Origin::tell`] adds.
fn forwarded_headers(head: &RequestHeader, authority: HeaderValue, origin: &Origin) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 4);
    headers.insert(header::HOST, authority);
    let connection = head.headers.get_all(header::CONNECTION);
    for (name, value) in &head.headers {
        if name == header::HOST || origin.withholds(name) || is_hop_by_hop(name, &connection) {
            continue;
        }
        if name == header::COOKIE {
            join_cookie(&mut headers, value);
        } else {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// HTTP/2 may split a cookie over several fields; elsewhere it is one (RFC 9113, section 8.2.3).
fn join_cookie(headers: &mut HeaderMap, value: &HeaderValue) {
    match headers.entry(header::COOKIE) {
        Entry::Vacant(place) => {
            place.insert(value.clone());
        }
        Entry::Occupied(mut place) => {
            let joined = [place.get().as_bytes(), b"; ", value.as_bytes()].concat();
            if let Ok(joined) = HeaderValue::from_bytes(&joined) {
                place.insert(joined);
            }
        }
    }
}

/// Whether a header speaks of the connection, by its name or because one of the `connection` headers says so.
pub(super) fn is_hop_by_hop(name: &HeaderName, connection: &GetAll<'_, HeaderValue>) -> bool {
    if HOP_BY_HOP.contains(&name.as_str()) {
        return true;
    }
    let mut options = connection.iter().filter_map(|value| value.to_str().ok());
    let named = options.any(|list| list.split(',').any(|option| option.trim().eq_ignore_ascii_case(name.as_str())));
    named && *name != header::CONTENT_LENGTH
}
