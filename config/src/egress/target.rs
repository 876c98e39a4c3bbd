//! Where one request is to go, read from what a guest says. One target has one form: what is compared, resolved, dialled
//! and written into the `Host` header is the same value. Knows nothing of rules or connections.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::http::{HostError, HostName};

/// Longest label of a name, in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// Why an authority is none that a request can go to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("has a user or a password")]
    User,
    #[error("has a port that is not from 1 to 65535")]
    Port,
    #[error("has a zone, or is no IPv6 address in brackets")]
    Literal,
    #[error("looks like an IPv4 address and is not written as four decimal numbers")]
    Number,
    #[error("has a label of more than {LABEL_BYTES_MAX} bytes")]
    Label,
    #[error(transparent)]
    Host(#[from] HostError),
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetScheme {
    Http,
    Https,
}

impl TargetScheme {
    /// The scheme as URLs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port of an authority that names none.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetHost {
    /// To be resolved.
    Name(HostName),
    /// An address literal in its canonical form.
    Address(IpAddr),
}

impl TargetHost {
    /// The name, where it is one.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    /// Whether `host`, which may be an address literal as well, is this one.
    pub(super) fn is(&self, host: &HostName) -> bool {
        match self {
            Self::Name(name) => name == host,
            Self::Address(address) => literal(host.as_str()) == Some(*address),
        }
    }
}

/// The address that a literal of a manifest stands for.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical()),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A name, or an address as an authority has it.
impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Scheme, host and port of one request. Shown as `scheme://host:port`, without anything that a log should not have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    scheme: TargetScheme,
    host: TargetHost,
    port: u16,
}

impl Target {
    /// Reads the authority of a request.
    ///
    /// A trailing dot goes, letters become small, an IPv4 address in IPv6 form becomes itself. What some parsers take
    /// for an IPv4 address and others do not (octal, hexadecimal, short, one number) is no target.
    ///
    /// # Errors
    /// When it is no `host[:port]` of that kind.
    pub fn new(scheme: TargetScheme, authority: &str) -> Result<Self, TargetError> {
        if authority.contains('@') {
            return Err(TargetError::User);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (inner, after) = rest.split_once(']').ok_or(TargetError::Literal)?;
                let address: Ipv6Addr = inner.parse().map_err(|_| TargetError::Literal)?;
                let port = match after.strip_prefix(':') {
                    None if after.is_empty() => None,
                    None => return Err(TargetError::Literal),
                    Some(port) => Some(port),
                };
                (TargetHost::Address(IpAddr::V6(address).to_canonical()), port)
            }
            None => {
                let (host, port) = match authority.split_once(':') {
                    None => (authority, None),
                    Some((host, port)) => (host, Some(port)),
                };
                (named(host)?, port)
            }
        };
        let port = port.map_or(Ok(scheme.port()), |digits| super::read_port(digits).map_err(|_| TargetError::Port))?;
        Ok(Self { scheme, host, port })
    }

    pub fn scheme(&self) -> TargetScheme {
        self.scheme
    }

    pub fn host(&self) -> &TargetHost {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` header says: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.as_str(), self.host, self.port)
    }
}

fn named(text: &str) -> Result<TargetHost, TargetError> {
    let name: HostName = text.parse()?;
    let labels = || name.as_str().split('.');
    let last = labels().next_back().unwrap_or_default();
    // What ends in a number is an address to those who read URLs (WHATWG), whatever it is to a resolver.
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    if number {
        let address: Ipv4Addr = name.as_str().parse().map_err(|_| TargetError::Number)?;
        return Ok(TargetHost::Address(IpAddr::V4(address)));
    }
    match labels().any(|label| label.len() > LABEL_BYTES_MAX) {
        true => Err(TargetError::Label),
        false => Ok(TargetHost::Name(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(authority: &str) -> Result<String, TargetError> {
        Target::new(TargetScheme::Http, authority).map(|target| target.authority())
    }

    #[test]
    fn one_target_has_one_form() {
        for (text, authority) in [
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("a.test:80", "a.test"),
            ("a.test:443", "a.test:443"),
            ("a_b.test:8080", "a_b.test:8080"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.:81", "127.0.0.1:81"),
            ("[::1]", "[::1]"),
            ("[0:0::0:1]:81", "[::1]:81"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("[::FFFF:7f00:1]:81", "127.0.0.1:81"),
        ] {
            assert_eq!(http(text).as_deref(), Ok(authority), "{text}");
        }
        let target = Target::new(TargetScheme::Https, "a.test").unwrap();
        assert_eq!((target.port(), target.to_string().as_str()), (443, "https://a.test:443"));
    }

    #[test]
    fn what_is_no_target() {
        for text in [
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.1",
            "127.1",
            "0177.0.0.1",
            "127.0.0.01",
            "1.2.3.4.5",
            "0x",
        ] {
            assert_eq!(http(text), Err(TargetError::Number), "{text}");
        }
        for text in ["u@a.test", "u:p@a.test", "a.test@b.test", "@a.test"] {
            assert_eq!(http(text), Err(TargetError::User), "{text}");
        }
        for text in ["a.test:", "a.test:0", "a.test:65536", "a.test:+1", "a.test:80:80", "::1", "[::1]:"] {
            let found = http(text);
            assert!(matches!(found, Err(TargetError::Port | TargetError::Host(_))), "{text}: {found:?}");
        }
        for text in ["[::1", "[::1]x", "[fe80::1%eth0]", "[fe80::1%25eth0]", "[127.0.0.1]", "[]", "[v1.x]"] {
            assert_eq!(http(text), Err(TargetError::Literal), "{text}");
        }
        for text in [
            "",
            ".",
            "a..test",
            "a.test..",
            "-a.test",
            "a b",
            "a.test/x",
            "a\\b",
            "*.test",
            "ä.test",
            "a%2etest",
            "a\u{3002}test",
        ] {
            assert!(matches!(http(text), Err(TargetError::Host(_))), "{text}");
        }
        assert_eq!(http(&format!("{}.test", "a".repeat(LABEL_BYTES_MAX + 1))), Err(TargetError::Label));
        assert!(http(&format!("{}.test", "a".repeat(LABEL_BYTES_MAX))).is_ok());
    }
}
