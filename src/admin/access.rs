//! Who may ask what of the admin listener: the token, the `Host` header against DNS rebinding, and who asks from another
//! origin. What is answered is not known here.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode, Uri, header, uri::Authority};

use super::token::TokenFile;

/// By which way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over the unix socket, which the system gives to its owner alone.
    Socket,
    /// Over TCP, to this address of the host.
    Tcp(IpAddr),
}

/// What an answer is about, and so who may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Tells nothing of workloads: for balancers and container health checks.
    Nothing,
    /// Tells of workloads of all tenants.
    Reading,
    /// Changes something.
    Changing,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this needs the token of --admin-token-file: Authorization: Bearer TOKEN")]
    TokenMissing,
    #[error("the token is not that of --admin-token-file")]
    TokenWrong,
    #[error(
        "the Host header is no address of this listener; ask by 127.0.0.1, [::1] or localhost, or with the token of \
         --admin-token-file"
    )]
    HostHeader,
    #[error("pages of other origins change nothing here")]
    CrossOrigin,
    #[error("changes are made over the unix socket (--admin-socket), or with the token of --admin-token-file")]
    SocketOrToken,
}

impl Refusal {
    /// The status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::TokenMissing | Self::TokenWrong => StatusCode::UNAUTHORIZED,
            Self::HostHeader | Self::CrossOrigin | Self::SocketOrToken => StatusCode::FORBIDDEN,
        }
    }
}

/// The rules of one listener.
pub(crate) struct Access {
    token: Option<TokenFile>,
}

impl Access {
    pub(crate) fn new(token: Option<TokenFile>) -> Self {
        Self { token }
    }

    /// Whether other machines may be let in.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether a request may have what it asks for.
    ///
    /// # Errors
    /// When it may not, why.
    pub(crate) fn check(&self, way: Way, uri: &Uri, headers: &HeaderMap, needs: Needs) -> Result<(), Refusal> {
        if needs == Needs::Changing && is_cross_origin(headers) {
            return Err(Refusal::CrossOrigin);
        }
        let Way::Tcp(own) = way else { return Ok(()) };
        match (bearer(headers), &self.token) {
            (Some(given), Some(token)) if token.is(given) => return Ok(()),
            (Some(_), Some(_)) if needs != Needs::Nothing => return Err(Refusal::TokenWrong),
            _ => {}
        }
        match needs {
            Needs::Nothing => Ok(()),
            Needs::Reading | Needs::Changing if self.has_token() => Err(Refusal::TokenMissing),
            Needs::Reading if is_own_host(own, uri, headers) => Ok(()),
            Needs::Reading => Err(Refusal::HostHeader),
            Needs::Changing => Err(Refusal::SocketOrToken),
        }
    }
}

/// What follows `Bearer` in a request's one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// A browser says where the page is from that asks.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    own.is_none() || own != host
}

/// Whether the names by which a request asks are this host's: a page of a stranger whose name was made to resolve to this
/// machine asks by that name.
fn is_own_host(own: IpAddr, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else { return false };
    let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    host.is_some_and(|host| is_own(own, host.host())) && uri.host().is_none_or(|host| is_own(own, host))
}

fn is_own(own: IpAddr, name: &str) -> bool {
    let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match literal.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || address == own,
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use super::*;

    const TOKEN: &str = "0123456789abcdef";
    const TCP: Way = Way::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn asked(way: Way, token: Option<&str>, needs: Needs, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let folder = tempfile::tempdir().unwrap();
        let access = Access::new(token.map(|token| {
            let path = folder.path().join("token");
            fs::write(&path, token).unwrap();
            TokenFile::open(&path).unwrap()
        }));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        access.check(way, &Uri::from_static("/"), &map, needs)
    }

    #[test]
    fn reading_needs_an_own_name_or_the_token_where_there_is_one() {
        let read = |token, headers: &[_]| asked(TCP, token, Needs::Reading, headers);
        for host in ["localhost", "LOCALHOST:9090", "127.0.0.1:9090", "127.9.9.9", "[::1]:9090", "[::ffff:127.0.0.1]"] {
            assert_eq!(read(None, &[("host", host)]), Ok(()), "{host}");
        }
        let foreign = ["evil.test", "localhost.evil.test", "10.0.0.1", "127.0.0.1.evil.test", "user@evil.test", ""];
        for host in foreign {
            assert_eq!(read(None, &[("host", host)]), Err(Refusal::HostHeader), "{host}");
        }
        assert_eq!(read(None, &[]), Err(Refusal::HostHeader));
        assert_eq!(read(None, &[("host", "localhost"), ("host", "evil.test")]), Err(Refusal::HostHeader));
        let own = Way::Tcp(IpAddr::from([10, 0, 0, 1]));
        assert_eq!(asked(own, None, Needs::Reading, &[("host", "10.0.0.1:9090")]), Ok(()));

        assert_eq!(read(Some(TOKEN), &[("host", "localhost")]), Err(Refusal::TokenMissing));
        for wrong in ["Bearer 0123456789abcdeX", "Bearer ", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef", "x"] {
            let refused = read(Some(TOKEN), &[("host", "localhost"), ("authorization", wrong)]);
            assert!(matches!(refused, Err(Refusal::TokenWrong | Refusal::TokenMissing)), "{wrong}: {refused:?}");
        }
        let right = ("authorization", "bearer 0123456789abcdef");
        assert_eq!(read(Some(TOKEN), &[("host", "roadstead.example"), right]), Ok(()));
    }

    #[test]
    fn the_listeners_uri_may_not_name_another_host() {
        let access = Access::new(None);
        let headers = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        let of = |uri: &str| access.check(TCP, &uri.parse().unwrap(), &headers, Needs::Reading);
        assert_eq!(of("http://localhost:9090/status"), Ok(()));
        assert_eq!(of("http://evil.test/status"), Err(Refusal::HostHeader));
    }

    #[test]
    fn changes_need_the_socket_or_the_token_and_no_other_origin() {
        let host = ("host", "localhost");
        let right = ("authorization", "Bearer 0123456789abcdef");
        let change = |way, token, headers: &[_]| asked(way, token, Needs::Changing, headers);
        assert_eq!(change(TCP, None, &[host]), Err(Refusal::SocketOrToken));
        assert_eq!(change(TCP, Some(TOKEN), &[host]), Err(Refusal::TokenMissing));
        assert_eq!(change(TCP, Some(TOKEN), &[host, right]), Ok(()));
        assert_eq!(change(Way::Socket, None, &[]), Ok(()));
        for foreign in [("origin", "http://evil.test"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
            assert_eq!(change(TCP, Some(TOKEN), &[host, right, foreign]), Err(Refusal::CrossOrigin), "{foreign:?}");
            assert_eq!(change(Way::Socket, None, &[host, foreign]), Err(Refusal::CrossOrigin), "{foreign:?}");
        }
        for own in [("origin", "http://localhost"), ("sec-fetch-site", "same-origin")] {
            assert_eq!(change(TCP, Some(TOKEN), &[host, right, own]), Ok(()), "{own:?}");
        }
    }

    #[test]
    fn health_needs_nothing() {
        for headers in [&[][..], &[("host", "evil.test")], &[("authorization", "Bearer wrong")]] {
            assert_eq!(asked(TCP, Some(TOKEN), Needs::Nothing, headers), Ok(()));
        }
    }
}
