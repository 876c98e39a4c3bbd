//! Where a request comes from: the client behind the trusted proxies, and what these may say for it. The word of
//! anybody else about it is dropped. It knows headers and addresses, neither connections nor workloads.

use std::{borrow::Cow, io::Write, net::IpAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header, uri::Scheme};
use roadstead_config::TrustedProxies;
use roadstead_runtime::{TraceContext, TraceId};

use super::forwarded::{self, node_address};
use crate::facts::{ConnectionFacts, Peer, address_value};

/// Proxies behind each other that are followed to the client.
const HOPS_MAX: usize = 32;
/// Longest `x-request-id` of a proxy that is kept, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

// Made once: every request gets these or is asked for them.
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Who sent a request, and how, as far as it can be believed.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The address nearest to the client that a trusted proxy vouches for; without one the connection's own. `None`
    /// when the connection was gone before it was asked.
    pub(crate) client: Option<IpAddr>,
    /// The same as `x-forwarded-for` says it.
    client_text: Option<HeaderValue>,
    /// How the client spoke to the first of us.
    pub(crate) scheme: Scheme,
    /// A trusted proxy hands the request on.
    by_proxy: bool,
}

impl Origin {
    /// Reads the origin of a request that came over a connection of which `facts` are known.
    pub(crate) fn read(facts: Option<&ConnectionFacts>, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        let scheme = match facts.and_then(|facts| facts.tls.as_ref()) {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        };
        let Some(Peer { address, text, .. }) = facts.map(|facts| &facts.peer) else {
            return Self { client: None, client_text: None, scheme, by_proxy: false };
        };
        if proxies.contains(*address) {
            return Self::through(*address, scheme, headers, proxies);
        }
        Self { client: Some(*address), client_text: Some(text.clone()), scheme, by_proxy: false }
    }

    /// What a trusted proxy says. `forwarded` counts only where there is no `x-forwarded-for`: a proxy that writes one
    /// of the two hands on the other as the client wrote it.
    fn through(proxy: IpAddr, scheme: Scheme, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        let (client, said) = if headers.contains_key(&X_FORWARDED_FOR) {
            let hops = values_backwards(headers, &X_FORWARDED_FOR);
            follow(proxy, hops.map(|hop| (hop.and_then(node_address), None)), proxies)
        } else {
            let elements = forwarded::elements_backwards(headers.get_all(header::FORWARDED));
            follow(proxy, elements.map(|element| (element.client, element.scheme)), proxies)
        };
        let told = values_backwards(headers, &X_FORWARDED_PROTO).next().flatten().and_then(forwarded::scheme);
        let scheme = told.or(said).unwrap_or(scheme);
        Self { client: Some(client), client_text: Some(address_value(client)), scheme, by_proxy: true }
    }

    /// Whether the header goes no further: what is said of the way to here by somebody who is not trusted with it, or
    /// what is written anew.
    ///
    /// To a component that takes headers for variables, as CGI does, `x_forwarded_for` is the same as `x-forwarded-for`.
    pub(super) fn withholds(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        if name.contains('_') { self.withholds_spelt(&name.replace('_', "-")) } else { self.withholds_spelt(name) }
    }

    fn withholds_spelt(&self, name: &str) -> bool {
        match name {
            "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-request-id" => true,
            "traceparent" | "tracestate" | "baggage" | "x-real-ip" => !self.by_proxy,
            _ => !self.by_proxy && (name.starts_with("x-forwarded-") || name.starts_with("x-envoy-")),
        }
    }

    /// Writes what the workload is told of the way to here, and returns the request's id.
    pub(super) fn tell(&self, headers: &mut HeaderMap, head: &HeaderMap, trace: TraceId) -> HeaderValue {
        if let Some(client) = &self.client_text {
            headers.insert(&X_FORWARDED_FOR, client.clone());
        }
        let scheme = if self.scheme == Scheme::HTTPS { "https" } else { "http" };
        headers.insert(&X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
        let id = self.request_id(head, trace);
        headers.insert(&X_REQUEST_ID, id.clone());
        id
    }

    /// The id that a trusted proxy gave the request, or else one of ours.
    fn request_id(&self, head: &HeaderMap, trace: TraceId) -> HeaderValue {
        if !self.by_proxy {
            return id_value(trace);
        }
        let mut given = head.get_all(&X_REQUEST_ID).iter();
        let fit = |id: &&HeaderValue| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        match (given.next().filter(fit), given.next()) {
            (Some(id), None) => id.clone(),
            // Several requests may belong to a trace that somebody else began.
            _ => id_value(TraceContext::generate().trace_id()),
        }
    }

    /// The trace that the request belongs to. One that a client begins by itself is not taken up: it could join that
    /// of somebody else, or have everything sampled.
    ///
    /// Returns the request's own position, and that of the proxy's which it is below.
    pub(super) fn trace(&self, headers: &HeaderMap) -> (TraceContext, Option<TraceContext>) {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if !self.by_proxy {
            return (TraceContext::generate(), None);
        }
        let baggage = baggage(headers);
        let given = text("traceparent").and_then(|parent| TraceContext::parse(parent, text("tracestate")));
        match given {
            Some(parent) => {
                let parent = parent.admitted().with_baggage(baggage.as_deref());
                (parent.child(), Some(parent))
            }
            None => (TraceContext::generate().with_baggage(baggage.as_deref()), None),
        }
    }

    /// How long the sender itself waits. Anybody may wait for less than the trigger's timeout: a gRPC client says so
    /// in a header of its own, a proxy in Envoy's.
    pub(crate) fn patience(&self, headers: &HeaderMap) -> Option<Duration> {
        let of_caller = headers.get(&GRPC_TIMEOUT).and_then(|value| value.to_str().ok()).and_then(grpc_timeout);
        let of_proxy = || {
            let milliseconds = headers.get("x-envoy-expected-rq-timeout-ms")?.to_str().ok().and_then(digits)?;
            (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
        };
        match (of_caller, self.by_proxy.then(of_proxy).flatten()) {
            (Some(of_caller), Some(of_proxy)) => Some(of_caller.min(of_proxy)),
            (one, other) => one.or(other),
        }
    }
}

/// The members of all `baggage` headers (W3C Baggage, section 3.3: several are one list); none where one is no text.
fn baggage(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut lists = headers.get_all("baggage").iter().map(|list| list.to_str().ok());
    let first = lists.next()??;
    lists.try_fold(Cow::Borrowed(first), |all, list| list.map(|list| Cow::Owned(format!("{all},{list}"))))
}

/// Goes from proxy to proxy, from the nearest on, as long as each is trusted; returns the first that is not, or the
/// last that could be told, and what was said together with it.
fn follow<T>(
    mut at: IpAddr,
    hops: impl Iterator<Item = (Option<IpAddr>, Option<T>)>,
    proxies: &TrustedProxies,
) -> (IpAddr, Option<T>) {
    let mut said = None;
    for (hop, with_it) in hops.take(HOPS_MAX) {
        let Some(hop) = hop else { break };
        (at, said) = (hop, with_it);
        if !proxies.contains(at) {
            break;
        }
    }
    (at, said)
}

/// The items of a header's comma lists from the last to the first; `None` for one that is no text.
fn values_backwards<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> + use<'h> {
    let lists = headers.get_all(name).iter().rev();
    lists.flat_map(|list| {
        let text = list.to_str().ok();
        let items = text.map(|text| text.rsplit(',').map(str::trim)).into_iter().flatten().map(Some);
        items.chain(text.is_none().then_some(None))
    })
}

fn id_value(id: TraceId) -> HeaderValue {
    let mut text = [0; 32];
    // Neither can fail: the id is written in as many hexadecimal digits.
    let _ = write!(text.as_mut_slice(), "{id}");
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// A whole number in digits alone.
fn digits(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count = digits(count).filter(|_| count.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const FORWARDED: &str = "forwarded";
    const X_FORWARDED_FOR: &str = "x-forwarded-for";
    const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
    const X_REQUEST_ID: &str = "x-request-id";

    fn proxies() -> TrustedProxies {
        ["10.0.0.0/8", "fd00::/8"].into_iter().map(|text| text.parse::<roadstead_config::Network>().unwrap()).collect()
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), value.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    fn origin(peer: &str, fields: &[(&'static str, &str)]) -> Origin {
        let facts = ConnectionFacts::plain(SocketAddr::new(peer.parse().unwrap(), 80));
        Origin::read(Some(&facts), &headers(fields), &proxies())
    }

    fn client(peer: &str, fields: &[(&'static str, &str)]) -> String {
        origin(peer, fields).client.unwrap().to_string()
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_trusted() {
        for (said, found) in [
            ("203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("203.0.113.7,10.0.0.3 , fd00::2", "203.0.113.7"),
            ("10.0.0.4, 10.0.0.3", "10.0.0.4"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]:80", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, unknown", "10.0.0.1"),
            ("203.0.113.7, , 10.0.0.2", "10.0.0.2"),
            ("", "10.0.0.1"),
            ("203.0.113.7, \u{e9}", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, said)]), found, "{said:?}");
        }
        let two = [(X_FORWARDED_FOR, "198.51.100.1"), (X_FORWARDED_FOR, "203.0.113.7")];
        assert_eq!(client("10.0.0.1", &two), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn whoever_is_not_trusted_is_the_client() {
        let lies = [
            (X_FORWARDED_FOR, "198.51.100.1"),
            (FORWARDED, "for=198.51.100.1;proto=https"),
            (X_FORWARDED_PROTO, "https"),
            ("x-envoy-expected-rq-timeout-ms", "1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ];
        let origin = origin("203.0.113.7", &lies);
        assert_eq!(origin.client.unwrap().to_string(), "203.0.113.7");
        assert_eq!(origin.scheme, Scheme::HTTP);
        assert_eq!(origin.patience(&headers(&lies)), None);
        assert_ne!(origin.trace(&headers(&lies)).0.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn forwarded_is_read_where_there_is_nothing_else() {
        let standard = (FORWARDED, "for=198.51.100.1, for=203.0.113.7;proto=https, For=\"[fd00::2]:4711\";proto=http");
        let read = origin("10.0.0.1", &[standard]);
        assert_eq!((read.client.unwrap().to_string(), read.scheme), ("203.0.113.7".into(), Scheme::HTTPS));
        let both = origin("10.0.0.1", &[standard, (X_FORWARDED_FOR, "192.0.2.1")]);
        assert_eq!((both.client.unwrap().to_string(), both.scheme), ("192.0.2.1".into(), Scheme::HTTP));
        assert_eq!(client("10.0.0.1", &[(FORWARDED, "for=203.0.113.7, for=_hidden")]), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        for (said, found) in [
            ("https", Scheme::HTTPS),
            ("HTTPS", Scheme::HTTPS),
            ("http", Scheme::HTTP),
            ("http, https", Scheme::HTTPS),
            ("ftp", Scheme::HTTP),
        ] {
            assert_eq!(origin("10.0.0.1", &[(X_FORWARDED_PROTO, said)]).scheme, found, "{said}");
        }
    }

    #[test]
    fn so_many_proxies_are_followed_and_no_more() {
        let behind = |proxies: usize| format!("203.0.113.7{}", ", 10.0.0.2".repeat(proxies));
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, &behind(HOPS_MAX - 1))]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &[(X_FORWARDED_FOR, &behind(HOPS_MAX))]), "10.0.0.2");
    }

    #[test]
    fn an_id_is_kept_where_it_is_fit_and_comes_from_a_proxy() {
        let trace = TraceContext::generate().trace_id();
        let id = |peer: &str, fields: &[(&'static str, &str)]| {
            let text = origin(peer, fields).request_id(&headers(fields), trace);
            text.to_str().unwrap().to_owned()
        };
        assert_eq!(id("10.0.0.1", &[(X_REQUEST_ID, "a-1")]), "a-1");
        assert_eq!(id("203.0.113.7", &[(X_REQUEST_ID, "a-1")]), trace.to_string());
        let (longest, too_long) = ("x".repeat(REQUEST_ID_BYTES_MAX), "x".repeat(REQUEST_ID_BYTES_MAX + 1));
        assert_eq!(id("10.0.0.1", &[(X_REQUEST_ID, &longest)]), longest);
        for unfit in ["", "a b", &too_long] {
            assert_eq!(id("10.0.0.1", &[(X_REQUEST_ID, unfit)]).len(), 32, "{unfit}");
        }
        assert_eq!(id("10.0.0.1", &[(X_REQUEST_ID, "a"), (X_REQUEST_ID, "b")]).len(), 32);
    }

    #[test]
    fn the_shortest_patience_counts() {
        let patience = |peer: &str, fields: &[(&'static str, &str)]| {
            origin(peer, fields).patience(&headers(fields)).map(|patience| patience.as_millis())
        };
        let envoy = ("x-envoy-expected-rq-timeout-ms", "250");
        assert_eq!(patience("10.0.0.1", &[envoy]), Some(250));
        assert_eq!(patience("10.0.0.1", &[envoy, ("grpc-timeout", "1S")]), Some(250));
        assert_eq!(patience("203.0.113.7", &[envoy, ("grpc-timeout", "1S")]), Some(1000));
        for (text, milliseconds) in [("2M", 120_000), ("1H", 3_600_000), ("30m", 30), ("5000u", 5), ("0n", 0)] {
            assert_eq!(patience("203.0.113.7", &[("grpc-timeout", text)]), Some(milliseconds), "{text}");
        }
        for text in ["", "S", "123456789S", "1", "1x", "-1S", "1.5S", "1\u{e9}"] {
            assert_eq!(patience("203.0.113.7", &[("grpc-timeout", text)]), None, "{text}");
        }
        for text in ["0", "-1", "+1", "soon"] {
            assert_eq!(patience("10.0.0.1", &[("x-envoy-expected-rq-timeout-ms", text)]), None, "{text}");
        }
    }
}
