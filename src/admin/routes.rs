//! What is answered on which path, who may have it, and the headers of every answer. What the answers tell is in the
//! modules of the routes.

use std::{convert::Infallible, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use serde::Serialize;

use super::{
    AdminState,
    access::{Needs, Way},
    control, health, logs, page, workloads,
};

/// Bytes of a request's body.
pub(super) const BODY_BYTES_MAX: usize = 4_096;

/// The body of an answer: at once, or as it comes.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Infallible>;

/// An answer. Headers that a route sets itself are kept.
pub(super) type Answer = Response<AnswerBody>;

/// Where something is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// On this path.
    Path(&'static str),
    /// On all paths that begin so, and are longer.
    Below(&'static str),
}

/// One line of the table. A HEAD is answered as the GET without its body.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) at: At,
    pub(super) needs: Needs,
    pub(super) answer: fn(&Asked<'_>) -> Answer,
}

impl Route {
    pub(super) const fn get(at: At, needs: Needs, answer: fn(&Asked<'_>) -> Answer) -> Self {
        Self { method: Method::GET, at, needs, answer }
    }

    const fn change(method: Method, at: At, answer: fn(&Asked<'_>) -> Answer) -> Self {
        Self { method, at, needs: Needs::Changing, answer }
    }
}

/// What a route is asked.
pub(super) struct Asked<'a> {
    pub(super) state: &'a Arc<AdminState>,
    /// What follows the beginning of a path in [`At::Below`].
    pub(super) rest: &'a str,
    query: Option<&'a str>,
    /// At most [`BODY_BYTES_MAX`].
    pub(super) body: Bytes,
    /// Whether the asker may read what tells of workloads; for routes that need nothing.
    pub(super) may_read: bool,
}

impl Asked<'_> {
    /// A parameter of the query that is there and is well formed. Names of workloads need no %-codes: there are none.
    pub(super) fn parameter<T: FromStr>(&self, name: &str) -> Option<T> {
        let pairs = self.query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(found, _)| *found == name).find_map(|(_, value)| value.parse().ok())
    }
}

/// Every path, but for those of other modules.
static ROUTES: &[Route] = &[
    Route::get(At::Path("/healthz"), Needs::Nothing, health::alive),
    Route::get(At::Path("/readyz"), Needs::Nothing, health::readiness),
    Route::get(At::Path("/metrics"), Needs::Reading, health::metrics),
    Route::get(At::Path("/status"), Needs::Reading, health::status),
    Route::get(At::Path("/v1/workloads"), Needs::Reading, workloads::list),
    Route::get(At::Below("/v1/workloads/"), Needs::Reading, workloads::one),
    Route::get(At::Path("/v1/triggers"), Needs::Reading, workloads::triggers),
    Route::get(At::Path("/v1/hosts"), Needs::Reading, workloads::hosts),
    Route::get(At::Path("/v1/events"), Needs::Reading, workloads::events),
    Route::get(At::Path("/v1/logs"), Needs::Reading, logs::answer),
    Route::get(At::Path("/v1/log-level"), Needs::Reading, control::log_level),
    Route::change(Method::PUT, At::Path("/v1/log-level"), control::set_log_level),
    Route::change(Method::POST, At::Path("/v1/drain"), control::drain),
];

/// The tables, in which no path is twice.
fn tables() -> impl Iterator<Item = &'static Route> {
    [ROUTES, page::ROUTES].into_iter().flatten()
}

/// Answers one request.
pub(super) async fn answer(
    state: &Arc<AdminState>,
    way: Way,
    request: Request<Incoming>,
    body_timeout: Duration,
) -> Answer {
    let mut answer = answer_plainly(state, way, request, body_timeout).await;
    for (name, value) in &SECURITY_HEADERS {
        answer.headers_mut().entry(name.clone()).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// No page of a stranger may show, read or keep anything of here.
static SECURITY_HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

async fn answer_plainly(
    state: &Arc<AdminState>,
    way: Way,
    request: Request<Incoming>,
    body_timeout: Duration,
) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let Some((route, rest)) = tables().find_map(|route| Some((route, rest_of(route, path, &head.method)?))) else {
        return not_found(path, &head.method);
    };
    let allowed = |needs| state.access.check(way, &head.uri, &head.headers, needs);
    if let Err(refusal) = allowed(route.needs) {
        let mut answer = text(refusal.status(), format!("{refusal}\n"));
        if refusal.status() == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        return answer;
    }
    let read = tokio::time::timeout(body_timeout, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let Ok(Ok(body)) = read else {
        let why = format!("the request's body did not come, or has more than {BODY_BYTES_MAX} bytes\n");
        return closing(text(StatusCode::PAYLOAD_TOO_LARGE, why));
    };
    let may_read = allowed(Needs::Reading).is_ok();
    (route.answer)(&Asked { state, rest, query: head.uri.query(), body: body.to_bytes(), may_read })
}

fn rest_of<'a>(route: &Route, path: &'a str, method: &Method) -> Option<&'a str> {
    let is_method = route.method == method || (route.method == Method::GET && method == Method::HEAD);
    let rest = match route.at {
        At::Path(of_route) => (path == of_route).then_some(""),
        At::Below(beginning) => path.strip_prefix(beginning).filter(|rest| !rest.is_empty()),
    };
    rest.filter(|_| is_method)
}

/// A path that is not there, or not for this method.
fn not_found(path: &str, method: &Method) -> Answer {
    let methods: Vec<&Method> =
        tables().filter(|route| rest_of(route, path, &route.method).is_some()).map(|route| &route.method).collect();
    if methods.is_empty() {
        let known =
            "try / in a browser, /metrics, /healthz, /readyz or /status, or what docs/operations.md lists below /v1/\n";
        return text(StatusCode::NOT_FOUND, known);
    }
    let allow = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not answered here, {allow} is\n"));
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        answer.headers_mut().insert(header::ALLOW, allow);
    }
    answer
}

/// The connection is of no use any more: a part of the request is still to come.
fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Plain text.
pub(super) fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    bytes(status, "text/plain; charset=utf-8", body.into())
}

/// JSON, for people as well.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec_pretty(value) {
        Ok(body) => bytes(status, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Anything.
pub(super) fn bytes(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Answer {
    stream(status, content_type, Full::new(body.into()).boxed_unsync())
}

/// What comes bit by bit.
pub(super) fn stream(status: StatusCode, content_type: &str, body: AnswerBody) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_path_is_twice_and_nothing_but_health_is_open() {
        let mut seen = BTreeSet::new();
        for route in tables() {
            assert!(seen.insert(format!("{} {:?}", route.method, route.at)), "{:?}", route.at);
            if route.needs == Needs::Nothing {
                let is_open = matches!(route.at, At::Path("/healthz" | "/readyz" | "/"));
                // The page's own text is the same on every host.
                let is_page = matches!(route.at, At::Path(path) if path.starts_with("/page/"));
                assert!(is_open || is_page, "{:?} tells strangers of workloads", route.at);
            }
            let changes = !matches!(route.method, Method::GET | Method::HEAD);
            assert_eq!(changes, route.needs == Needs::Changing, "{:?}", route.at);
        }
    }
}
