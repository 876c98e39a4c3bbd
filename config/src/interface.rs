//! Names and versions of WIT interfaces, and when two versions are the same to a host.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest part of an interface name, in bytes.
const PART_BYTES_MAX: usize = 64;

/// Why a text is not part of an interface name, or not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceError {
    #[error("is empty")]
    Empty,
    #[error("is longer than {PART_BYTES_MAX} bytes")]
    TooLong,
    #[error("has the character {0:?}; lower-case letters, digits and '-' are allowed")]
    Character(char),
    #[error("is no semantic version such as 0.2.0 or 0.1.0-draft")]
    Version,
    #[error("is no interface name such as wasi:http/types@0.2.0")]
    Form,
}

/// A package: `wasi:http`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageName {
    namespace: Arc<str>,
    package: Arc<str>,
}

impl PackageName {
    /// Checks both parts of a package's name.
    pub fn new(namespace: &str, package: &str) -> Result<Self, InterfaceError> {
        check_part(namespace)?;
        check_part(package)?;
        Ok(Self { namespace: namespace.into(), package: package.into() })
    }

    /// The part before the colon.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The part after the colon.
    pub fn package(&self) -> &str {
        &self.package
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.package)
    }
}

/// Checks one part of an interface name (a WIT identifier in its plain form).
pub fn check_part(text: &str) -> Result<(), InterfaceError> {
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    match text.chars().find(|c| !allowed(c)) {
        _ if text.is_empty() => Err(InterfaceError::Empty),
        _ if text.len() > PART_BYTES_MAX => Err(InterfaceError::TooLong),
        Some(c) => Err(InterfaceError::Character(c)),
        None => Ok(()),
    }
}

/// The version of a package, compared by canonical semver: 0.2.1 and 0.2.6 are one track, while 0.0.x and
/// pre-releases are the same only when they are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceVersion(semver::Version);

impl InterfaceVersion {
    /// Whether a component that asks for `self` is served by an implementation of `offered`.
    pub fn is_same_track(&self, offered: &Self) -> bool {
        let (a, b) = (&self.0, &offered.0);
        if !a.pre.is_empty() || !b.pre.is_empty() || (a.major == 0 && a.minor == 0) {
            return a == b;
        }
        a.major == b.major && (a.major > 0 || a.minor == b.minor)
    }
}

impl FromStr for InterfaceVersion {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        if text.len() > PART_BYTES_MAX {
            return Err(InterfaceError::TooLong);
        }
        semver::Version::parse(text).map(Self).map_err(|_| InterfaceError::Version)
    }
}

impl fmt::Display for InterfaceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The full name of an interface as components carry it: `wasmcloud:messaging/consumer@0.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName {
    pub package: PackageName,
    pub interface: Arc<str>,
    pub version: Option<InterfaceVersion>,
}

impl FromStr for InterfaceName {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        let (path, version) = match text.split_once('@') {
            Some((path, version)) => (path, Some(version.parse()?)),
            None => (text, None),
        };
        let (package, interface) = path.split_once('/').ok_or(InterfaceError::Form)?;
        let (namespace, package) = package.split_once(':').ok_or(InterfaceError::Form)?;
        check_part(interface)?;
        Ok(Self { package: PackageName::new(namespace, package)?, interface: interface.into(), version })
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.package, self.interface)?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_track() {
        let same = |a: &str, b: &str| {
            let parse = |t: &str| t.parse::<InterfaceVersion>().ok();
            parse(a).zip(parse(b)).is_some_and(|(a, b)| a.is_same_track(&b))
        };
        assert!(same("0.2.1", "0.2.6"));
        assert!(!same("0.2.1", "0.3.0"));
        assert!(same("1.2.0", "1.9.0"));
        assert!(!same("0.0.1", "0.0.2"));
        assert!(same("0.0.1", "0.0.1"));
        assert!(!same("0.2.0-draft", "0.2.0"));
        assert!(same("0.2.0-draft", "0.2.0-draft"));
    }

    #[test]
    fn names() {
        let name: InterfaceName = match "wasi:http/types@0.2.3".parse() {
            Ok(name) => name,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(name.to_string(), "wasi:http/types@0.2.3");
        assert_eq!("wasi-http".parse::<InterfaceName>(), Err(InterfaceError::Form));
        assert_eq!("wasi:http/types@x".parse::<InterfaceName>(), Err(InterfaceError::Version));
    }

    #[test]
    fn a_part_has_a_length() {
        assert_eq!(check_part(&"a".repeat(PART_BYTES_MAX)), Ok(()));
        assert_eq!(check_part(&"a".repeat(PART_BYTES_MAX + 1)), Err(InterfaceError::TooLong));
    }
}
