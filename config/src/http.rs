//! Host names, host patterns and route paths of an HTTP trigger.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest host name, in bytes (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// Longest route path, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("is empty")]
    Empty,
    #[error("is {found} bytes long, at most {HOST_BYTES_MAX} are allowed")]
    TooLong { found: usize },
    #[error("has the character {0:?}, which no host name has")]
    Character(char),
    #[error("has an empty label or one that begins or ends with '-'")]
    Label,
    #[error("may have '*' only alone or as the whole first label, as in '*.example.com'")]
    Wildcard,
    #[error("names a port; a trigger is chosen by host name alone")]
    Port,
}

/// A host name as routing compares it: lower case, no port, no trailing dot. IPv6 literals keep their brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The normal form as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the authority of a request (`Host` header or `:authority`), whose port is dropped.
    pub fn from_authority(authority: &str) -> Result<Self, HostError> {
        strip_port(authority)?.parse()
    }
}

/// Splits a port off an authority, leaving the brackets of an IPv6 literal.
fn strip_port(authority: &str) -> Result<&str, HostError> {
    let host_end = if authority.starts_with('[') {
        authority.find(']').map(|end| end + 1).ok_or(HostError::Character('['))?
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(host_end);
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(host),
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(host),
        _ => Err(HostError::Port),
    }
}

impl FromStr for HostName {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text.len() > HOST_BYTES_MAX {
            return Err(HostError::TooLong { found: text.len() });
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: std::net::Ipv6Addr = inner.parse().map_err(|_| HostError::Character('['))?;
            return Ok(Self(format!("[{address}]").into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        // '_' is no letter of a host name, but service names in clusters have it and clients send it.
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        match name.chars().find(|c| !allowed(c)) {
            Some('*') => return Err(HostError::Wildcard),
            Some(':') => return Err(HostError::Port),
            Some(c) => return Err(HostError::Character(c)),
            None => {}
        }
        if name.split('.').any(|l| l.is_empty() || l.starts_with('-') || l.ends_with('-')) {
            return Err(HostError::Label);
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The hosts that a trigger answers for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// One host.
    Exact(HostName),
    /// `*.suffix`: one or more labels before the suffix, never the bare suffix.
    Suffix(HostName),
    /// `*`: every host that nothing else matches.
    Any,
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            _ if text == "*" => Ok(Self::Any),
            Some(suffix) => Ok(Self::Suffix(suffix.parse()?)),
            None => Ok(Self::Exact(text.parse()?)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// Why a text is not a route path, or a request's path cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("must begin with '/'")]
    NotAbsolute,
    #[error("is {found} bytes long, at most {PATH_BYTES_MAX} are allowed")]
    TooLong { found: usize },
    #[error("has the character {0:?}; percent-encode it")]
    Character(char),
    #[error("has a '%' that is not followed by two hexadecimal digits")]
    Escape,
    #[error("has the escape {0}, which would change what a segment is")]
    EscapedSeparator(&'static str),
    #[error("climbs above '/'")]
    AboveRoot,
}

/// The one canonical form of a path, used for routing and handed to the guest alike.
///
/// Dot segments are resolved, runs of `/` become one, percent-escapes of unreserved characters are decoded, the
/// others written in upper case (RFC 3986, section 6.2.2). `%2F`, `%5C` and `%00` are refused: decoded they would
/// mean another path than the one that was routed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoutePath(Arc<str>);

impl RoutePath {
    /// The canonical path, which begins with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments between the slashes; none for `/`. A trailing slash adds no segment.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        segments(&self.0)
    }
}

impl FromStr for RoutePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong { found: text.len() });
        }
        Ok(Self(canonical_path(text)?.into()))
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The segments of a canonical path.
pub fn segments(canonical: &str) -> impl Iterator<Item = &str> {
    canonical.split('/').filter(|segment| !segment.is_empty())
}

/// Brings a request's path (no query) to the form that [`RoutePath`] describes; borrowed when it is that already.
pub fn canonical_path(path: &str) -> Result<std::borrow::Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if let Some(bad) = path.chars().find(|c| !is_path_character(*c)) {
        return Err(PathError::Character(bad));
    }
    if !path.contains('%') && !path.contains("//") && !path.contains("/.") {
        return Ok(path.into());
    }
    let decoded = normalise_escapes(path)?;
    resolve_segments(&decoded).map(Into::into)
}

fn is_path_character(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | '?' | '#')
}

fn normalise_escapes(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after.get(..2).ok_or(PathError::Escape)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PathError::Escape);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| PathError::Escape)?;
        match byte {
            b'/' => return Err(PathError::EscapedSeparator("%2F")),
            b'\\' => return Err(PathError::EscapedSeparator("%5C")),
            0 => return Err(PathError::EscapedSeparator("%00")),
            b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = after.get(2..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

fn resolve_segments(path: &str) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    for segment in segments(path) {
        match segment {
            "." => {}
            ".." => {
                kept.pop().ok_or(PathError::AboveRoot)?;
            }
            _ => kept.push(segment),
        }
    }
    let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if kept.is_empty() || directory {
        out.push('/');
    }
    Ok(out)
}

/// How a route path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathMatchKind {
    /// The whole canonical path.
    Exact,
    /// A prefix on segment boundaries: `/foo` matches `/foo` and `/foo/x`, never `/foobar`.
    Prefix,
}

/// One path of a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathMatch {
    pub path: RoutePath,
    pub kind: PathMatchKind,
}

impl PathMatch {
    /// `/` as a prefix: every path. What a trigger that lists no paths gets.
    pub fn everything() -> Self {
        Self { path: RoutePath("/".into()), kind: PathMatchKind::Prefix }
    }

    /// Whether it is a match for `path`, which is canonical.
    pub fn matches(&self, path: &str) -> bool {
        match self.kind {
            PathMatchKind::Exact => self.path.as_str() == path,
            PathMatchKind::Prefix => {
                let rest = path.strip_prefix(self.path.as_str().trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            PathMatchKind::Exact => "Exact",
            PathMatchKind::Prefix => "Prefix",
        };
        write!(f, "{kind} {}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_whole_or_by_its_first_segments() {
        let matches = |kind, listed: &str, path: &str| PathMatch { path: listed.parse().unwrap(), kind }.matches(path);
        for (listed, path, exact, prefix) in [
            ("/", "/", true, true),
            ("/", "/a/b", false, true),
            ("/foo", "/foo", true, true),
            ("/foo", "/foo/x", false, true),
            ("/foo", "/foobar", false, false),
            ("/foo/", "/foo", false, true),
            ("/foo", "/", false, false),
        ] {
            let found = (matches(PathMatchKind::Exact, listed, path), matches(PathMatchKind::Prefix, listed, path));
            assert_eq!(found, (exact, prefix), "{listed} and {path}");
        }
    }

    #[test]
    fn hosts_are_brought_to_one_form() {
        let host = |text: &str| HostName::from_authority(text).map(|h| h.as_str().to_owned());
        assert_eq!(host("Example.COM:8080"), Ok("example.com".into()));
        assert_eq!(host("example.com."), Ok("example.com".into()));
        assert_eq!(host("[::0:1]:80"), Ok("[::1]".into()));
        assert_eq!(host("127.0.0.1:1"), Ok("127.0.0.1".into()));
        assert_eq!(host("a b"), Err(HostError::Character(' ')));
        assert_eq!(host("a:b"), Err(HostError::Port));
        assert_eq!(host(""), Err(HostError::Empty));
        assert_eq!(host("a..b"), Err(HostError::Label));
        assert_eq!(host("*.b"), Err(HostError::Wildcard));
    }

    #[test]
    fn patterns() {
        assert_eq!("*".parse(), Ok(HostPattern::Any));
        assert!(matches!("*.Example.com".parse(), Ok(HostPattern::Suffix(s)) if s.as_str() == "example.com"));
        assert_eq!("a.*.b".parse::<HostPattern>(), Err(HostError::Wildcard));
        assert_eq!("a.b:80".parse::<HostPattern>(), Err(HostError::Port));
    }

    #[test]
    fn paths_are_brought_to_one_form() {
        let path = |text: &str| canonical_path(text).map(|p| p.into_owned());
        assert_eq!(path("/a/b"), Ok("/a/b".into()));
        assert_eq!(path("/a//b/./c/../d/"), Ok("/a/b/d/".into()));
        assert_eq!(path("/%61%2d%e4%3a"), Ok("/a-%E4%3A".into()));
        assert_eq!(path("/a/.."), Ok("/".into()));
        assert_eq!(path("/a/%2e%2E/b"), Ok("/b".into()));
        assert_eq!(path("/.."), Err(PathError::AboveRoot));
        assert_eq!(path("/a%2Fb"), Err(PathError::EscapedSeparator("%2F")));
        assert_eq!(path("/a%5cb"), Err(PathError::EscapedSeparator("%5C")));
        assert_eq!(path("/a%00"), Err(PathError::EscapedSeparator("%00")));
        assert_eq!(path("/a%4"), Err(PathError::Escape));
        assert_eq!(path("/a%+1"), Err(PathError::Escape));
        assert_eq!(path("a"), Err(PathError::NotAbsolute));
        assert_eq!(path("/é"), Err(PathError::Character('é')));
        assert_eq!(path("/.well-known/x"), Ok("/.well-known/x".into()));
    }

    #[test]
    fn hosts_and_paths_have_a_length() {
        let host = |bytes: usize| "a".repeat(bytes).parse::<HostName>();
        assert!(host(HOST_BYTES_MAX).is_ok());
        assert_eq!(host(HOST_BYTES_MAX + 1), Err(HostError::TooLong { found: HOST_BYTES_MAX + 1 }));
        let path = |bytes: usize| format!("/{}", "a".repeat(bytes - 1)).parse::<RoutePath>();
        assert!(path(PATH_BYTES_MAX).is_ok());
        assert_eq!(path(PATH_BYTES_MAX + 1), Err(PathError::TooLong { found: PATH_BYTES_MAX + 1 }));
    }
}
