//! The head of an outgoing request: what of it is sent, and what is refused before anybody is asked. No I/O.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header,
    request::Parts,
    uri::{PathAndQuery, Scheme},
};
use roadstead_config::{Limits, Target, TargetScheme};

use super::EgressError;
use crate::TraceContext;

/// Longest method, in bytes.
const METHOD_BYTES_MAX: usize = 32;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// Headers that are of a connection, or say how a body is cut, and so are the host's alone (RFC 9110, section 7.6.1).
const FORBIDDEN: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// A head that may be sent to its target.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) target: Target,
    pub(super) method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
}

impl Head {
    /// Reads what a guest asks for.
    pub(super) fn read(parts: Parts, limits: &Limits) -> Result<Self, EgressError> {
        let Parts { method, uri, mut headers, .. } = parts;
        if method == Method::CONNECT || method.as_str().len() > METHOD_BYTES_MAX {
            return Err(EgressError::Method);
        }
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => TargetScheme::Http,
            Some(scheme) if *scheme == Scheme::HTTPS => TargetScheme::Https,
            _ => return Err(EgressError::Path),
        };
        let target = Target::new(scheme, uri.authority().map_or("", |authority| authority.as_str()))?;
        let path = path_of(uri.path_and_query(), limits.target_bytes_max)?;
        // It is written anew from what was checked.
        headers.remove(header::HOST);
        if headers.len() as u64 > limits.header_count_max {
            return Err(EgressError::TooManyHeaders(limits.header_count_max));
        }
        let te_is_of_trailers = headers.get_all(header::TE).iter().all(|value| value == "trailers");
        if !te_is_of_trailers || FORBIDDEN.iter().any(|name| headers.contains_key(name)) {
            return Err(EgressError::Header);
        }
        Ok(Self { target, method, path, headers })
    }

    /// A guest that says nothing of a trace goes on with its call's, at `own`.
    pub(super) fn continue_trace(&mut self, own: &TraceContext) {
        if self.headers.contains_key(TRACEPARENT) {
            return;
        }
        self.headers.remove(TRACESTATE);
        if let Ok(parent) = HeaderValue::try_from(own.to_string()) {
            self.headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = own.state().and_then(|state| HeaderValue::try_from(state).ok()) {
            self.headers.insert(TRACESTATE, state);
        }
        if !self.headers.contains_key(BAGGAGE)
            && let Some(baggage) = own.baggage().and_then(|baggage| HeaderValue::try_from(baggage).ok())
        {
            self.headers.insert(BAGGAGE, baggage);
        }
    }

    /// The request as HTTP/1.1 or HTTP/2 sends it.
    pub(super) fn request<B>(&self, http2: bool, body: B) -> Result<http::Request<B>, EgressError> {
        let authority = self.target.authority();
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if http2 {
            let uri = Uri::builder().scheme(self.target.scheme().as_str()).authority(authority);
            *request.uri_mut() = uri.path_and_query(self.path.clone()).build().map_err(|_| EgressError::Path)?;
            *request.version_mut() = Version::HTTP_2;
        } else {
            // The form that names no host: there is one place where the host is said, and it was checked.
            *request.uri_mut() = Uri::from(self.path.clone());
            let host = HeaderValue::try_from(authority).map_err(|_| EgressError::Path)?;
            request.headers_mut().insert(header::HOST, host);
        }
        Ok(request)
    }
}

/// The path and query, which begin with a slash: a target such as `http://other/` would name a host of its own.
fn path_of(found: Option<&PathAndQuery>, bytes_max: u64) -> Result<PathAndQuery, EgressError> {
    let text = found.map_or("", PathAndQuery::as_str);
    if text.len() as u64 > bytes_max {
        return Err(EgressError::PathTooLong(bytes_max));
    }
    let whole = match text.bytes().next() {
        Some(b'/') => return found.cloned().ok_or(EgressError::Path),
        None | Some(b'?') => format!("/{text}"),
        Some(_) => return Err(EgressError::Path),
    };
    PathAndQuery::try_from(whole).map_err(|_| EgressError::Path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Result<Head, EgressError> {
        let request = build(http::Request::builder().uri("http://a.test/")).body(()).unwrap();
        Head::read(request.into_parts().0, &Limits::default())
    }

    /// GHSA-5qpp-g3j2-8frx: a target that is a whole URL would go out as it is, and name another host.
    #[test]
    fn a_target_names_no_host() {
        for path in ["http://evil.test/", "evil.test/x", "*", "x", "@evil.test/", ":80/"] {
            let uri = Uri::builder().scheme("http").authority("a.test").path_and_query(path).build();
            // Newer versions of the library refuse most of them by themselves.
            if let Ok(uri) = uri {
                assert!(matches!(read(|request| request.uri(uri)), Err(EgressError::Path)), "{path}");
            }
            if let Ok(found) = PathAndQuery::try_from(path) {
                assert!(matches!(path_of(Some(&found), 100), Err(EgressError::Path)), "{path}");
            }
        }
        assert!(matches!(path_of(Some(&PathAndQuery::from_static("*")), 100), Err(EgressError::Path)));
        // This is a path, however it looks, since the host is said elsewhere.
        let request =
            read(|request| request.uri("http://a.test//evil.test/x?y#z")).unwrap().request(false, ()).unwrap();
        assert_eq!(
            (request.uri().to_string().as_str(), &request.headers()["host"]),
            ("//evil.test/x?y", &"a.test".parse::<HeaderValue>().unwrap())
        );
    }

    #[test]
    fn the_host_that_leaves_is_the_one_that_was_checked() {
        for (uri, host) in [
            ("http://A.Test.:80/", "a.test"),
            ("https://a.test:80", "a.test:80"),
            ("http://[::ffff:1.2.3.4]:81?q", "1.2.3.4:81"),
        ] {
            let head =
                read(|request| request.uri(uri).header("host", "evil.test").header("host", "other.test")).unwrap();
            let request = head.request(false, ()).unwrap();
            assert_eq!(request.headers().get_all("host").iter().collect::<Vec<_>>(), [host], "{uri}");
            assert!(request.uri().authority().is_none());
            let request = head.request(true, ()).unwrap();
            assert_eq!(request.uri().authority().map(http::uri::Authority::as_str), Some(host));
            assert!(!request.headers().contains_key("host"));
        }
    }

    #[test]
    fn what_may_not_be_sent() {
        for name in [
            "connection",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ] {
            assert!(matches!(read(|request| request.header(name, "x")), Err(EgressError::Header)), "{name}");
        }
        assert!(matches!(read(|request| request.header("te", "gzip")), Err(EgressError::Header)));
        assert!(read(|request| request.header("te", "trailers")).is_ok());
        assert!(matches!(read(|request| request.method("CONNECT")), Err(EgressError::Method)));
        let method = |bytes: usize| read(|request| request.method("M".repeat(bytes).as_str()));
        assert!(method(METHOD_BYTES_MAX).is_ok() && matches!(method(METHOD_BYTES_MAX + 1), Err(EgressError::Method)));
        let many = |count: u64| read(|request| (0..count).fold(request, |request, _| request.header("x", "y")));
        let header_count_max = Limits::default().header_count_max;
        assert!(many(header_count_max).is_ok());
        assert!(matches!(many(header_count_max + 1), Err(EgressError::TooManyHeaders(_))));
        let path = |bytes: usize| read(|request| request.uri(format!("http://a.test/{}", "p".repeat(bytes - 1))));
        let target_bytes_max = usize::try_from(Limits::default().target_bytes_max).unwrap();
        assert!(path(target_bytes_max).is_ok());
        assert!(matches!(path(target_bytes_max + 1), Err(EgressError::PathTooLong(_))));
    }

    #[test]
    fn a_trace_goes_on_where_the_guest_has_none() {
        let trace = TraceContext::generate();
        let sent = |request: http::request::Builder| {
            let parts = request.uri("http://a.test").body(()).unwrap().into_parts().0;
            let mut head = Head::read(parts, &Limits::default()).unwrap();
            head.continue_trace(&trace);
            head.request(false, ()).unwrap().headers().clone()
        };
        let headers = sent(http::Request::builder().header("tracestate", "of=nothing"));
        assert_eq!(headers["traceparent"].to_str().unwrap(), trace.to_string());
        assert!(!headers.contains_key("tracestate"));
        let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(sent(http::Request::builder().header("traceparent", own))["traceparent"], own);
    }
}
