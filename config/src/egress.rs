//! Where components may send requests: the text form of `allowedHosts[]`, `[scheme://]host[:port]`, and what it lets
//! through. No I/O: names are resolved, and connections made, elsewhere.

mod address;
mod target;

use std::{fmt, str::FromStr};

use crate::{http::HostError, http::HostPattern, manifest::AllowedHost};

pub use address::{AddressClass, EgressNetworks, ProhibitedAddress};
pub use target::{Target, TargetError, TargetHost, TargetScheme};

/// Why a text is not an allowed host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowedHostError {
    #[error("has a scheme other than http and https")]
    Scheme,
    #[error("has a path, a query or a user; a host is allowed as a whole")]
    Path,
    #[error("has a port that is not from 1 to 65535")]
    Port,
    #[error(transparent)]
    Host(#[from] HostError),
    /// It would let nothing through.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, AllowedHostError> {
        let (scheme, authority) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                known @ ("http" | "https") => (Some(known.into()), rest),
                _ => return Err(AllowedHostError::Scheme),
            },
        };
        if authority.contains(['/', '?', '#', '@']) {
            return Err(AllowedHostError::Path);
        }
        // The colons of an IPv6 literal are inside its brackets.
        let after_literal = authority.rfind(']').map_or(0, |end| end + 1);
        let colon = authority.get(after_literal..).and_then(|rest| rest.find(':')).map(|at| after_literal + at);
        let (host, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
            None => (authority, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        };
        let port = port.map(read_port).transpose()?;
        let host: HostPattern = host.parse()?;
        if let HostPattern::Exact(exact) = &host {
            Target::new(TargetScheme::Http, exact.as_str())?;
        }
        Ok(Self { scheme, host, port })
    }
}

impl AllowedHost {
    /// Whether requests may go to `target`: the scheme, the host and the port all fit. Without a scheme both do, without
    /// a port the scheme's own. A `*.suffix` is one of names: no address literal fits, nor the bare suffix.
    pub fn allows(&self, target: &Target) -> bool {
        let scheme_fits = self.scheme.as_deref().is_none_or(|scheme| scheme == target.scheme().as_str());
        let port_fits = target.port() == self.port.unwrap_or_else(|| target.scheme().port());
        let host = target.host();
        let host_fits = match &self.host {
            HostPattern::Any => true,
            HostPattern::Exact(exact) => host.is(exact),
            HostPattern::Suffix(suffix) => host.name().is_some_and(|name| {
                let before = name.as_str().strip_suffix(suffix.as_str()).and_then(|rest| rest.strip_suffix('.'));
                before.is_some_and(|labels| !labels.is_empty())
            }),
        };
        scheme_fits && port_fits && host_fits
    }
}

fn read_port(digits: &str) -> Result<u16, AllowedHostError> {
    match digits.parse() {
        Ok(port @ 1..) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(AllowedHostError::Port),
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        self.host.fmt(f)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        for text in ["*", "a.test", "*.a.test", "https://a.test", "http://*.a.test:8080", "[::1]", "https://[::1]:1"] {
            assert_eq!(text.parse::<AllowedHost>().map(|host| host.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("HTTPS://A.test".parse::<AllowedHost>().map(|h| h.to_string()).as_deref(), Ok("https://a.test"));
    }

    #[test]
    fn what_is_none() {
        let error = |text: &str| text.parse::<AllowedHost>().err();
        assert_eq!(error("ftp://a"), Some(AllowedHostError::Scheme));
        assert_eq!(error("https://a/"), Some(AllowedHostError::Path));
        assert_eq!(error("u@a"), Some(AllowedHostError::Path));
        for port in ["a:", "a:0", "a:65536", "a:+1", "a:1:2"] {
            assert_eq!(error(port), Some(AllowedHostError::Port), "{port}");
        }
        assert_eq!(error(""), Some(AllowedHostError::Host(HostError::Empty)));
        assert_eq!(error("a.*"), Some(AllowedHostError::Host(HostError::Wildcard)));
        assert!(error("::1").is_some());
        for text in ["127.1", "0x7f.0.0.1", "http://0177.0.0.1:80"] {
            assert_eq!(error(text), Some(AllowedHostError::Target(TargetError::Number)), "{text}");
        }
    }
}
