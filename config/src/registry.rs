//! Who a registry is, who asks it, and where else it may be asked. Knows nothing of how registries are spoken to.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest host of a registry with its port, in bytes: a DNS name and five digits.
const REGISTRY_BYTES_MAX: usize = 259;
/// Longest path that a mirror puts before repositories, in bytes.
const MIRROR_PATH_BYTES_MAX: usize = 255;
/// Longest user name for a registry, in bytes.
const USERNAME_BYTES_MAX: usize = 1_024;
/// Longest password or token for a registry, in bytes.
const PASSWORD_BYTES_MAX: usize = 16_384;

/// Why a text names no registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("is no registry such as ghcr.io or 127.0.0.1:5000")]
    Host,
    #[error("is longer than {REGISTRY_BYTES_MAX} bytes")]
    TooLong,
    #[error("is not REGISTRY=MIRROR; write for example ghcr.io=127.0.0.1:5000")]
    Form,
    #[error("has a path that is not made of lower-case names, or is longer than {MIRROR_PATH_BYTES_MAX} bytes")]
    Path,
}

/// Why a name and a password are no credentials. Says nothing of their text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("the user name is longer than {USERNAME_BYTES_MAX} bytes")]
    UsernameTooLong,
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    PasswordTooLong,
    #[error("the user name has a ':' or a control character")]
    Username,
    #[error("the password has a control character")]
    Password,
}

/// A user name and a password for a registry. Neither is ever shown: not by `Debug`, not in an error.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryCredentials {
    username: Arc<str>,
    password: Arc<str>,
}

impl RegistryCredentials {
    /// Credentials for a registry (RFC 7617: a user name has no colon).
    ///
    /// # Errors
    /// When one is too long, or has a character that no registry takes.
    pub fn new(username: &str, password: &str) -> Result<Self, CredentialsError> {
        if username.len() > USERNAME_BYTES_MAX {
            return Err(CredentialsError::UsernameTooLong);
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(CredentialsError::PasswordTooLong);
        }
        if username.chars().any(|c| c == ':' || c.is_control()) {
            return Err(CredentialsError::Username);
        }
        if password.chars().any(char::is_control) {
            return Err(CredentialsError::Password);
        }
        Ok(Self { username: username.into(), password: password.into() })
    }

    /// The user name, to be sent to the registry and nowhere else.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, to be sent to the registry and nowhere else.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RegistryCredentials(..)")
    }
}

/// A registry: the host that a reference begins with, with a port where it names one. Lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistryHost(Arc<str>);

impl RegistryHost {
    /// The host as references write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryHost {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        if text.len() > REGISTRY_BYTES_MAX {
            return Err(RegistryError::TooLong);
        }
        if is_registry(text) { Ok(Self(text.to_ascii_lowercase().into())) } else { Err(RegistryError::Host) }
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the first part of a reference is a registry and not a folder of one, as all OCI clients tell them apart; and
/// whether it is a host at all, with nothing after its port.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let bracketed = text.starts_with('[');
    let name = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_host = if bracketed { host.parse::<std::net::Ipv6Addr>().is_ok() } else { host.split('.').all(name) };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number != 0));
    let told_apart = bracketed || port.is_some() || host == "localhost" || host.contains('.');
    is_host && is_port && told_apart
}

/// Where the images of one registry are fetched instead: `REGISTRY=MIRROR`, such as `ghcr.io=127.0.0.1:5000` or
/// `ghcr.io=mirror.example/ghcr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryMirror {
    /// The registry that references name.
    pub from: RegistryHost,
    /// The registry that is asked.
    pub to: RegistryHost,
    /// What goes before the repository there, without slashes at its ends; empty for none.
    pub path: Arc<str>,
}

impl FromStr for RegistryMirror {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let (from, to) = text.split_once('=').ok_or(RegistryError::Form)?;
        let (to, path) = to.split_once('/').unwrap_or((to, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        let part = |part: &str| {
            let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
            part.bytes().all(allowed) && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        };
        if path.len() > MIRROR_PATH_BYTES_MAX || !(path.is_empty() || path.split('/').all(part)) {
            return Err(RegistryError::Path);
        }
        Ok(Self { from: from.parse()?, to: to.parse()?, path: path.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_show_nothing_and_have_bounds() {
        let credentials = RegistryCredentials::new("anna", "hunter2").unwrap();
        assert_eq!((credentials.username(), credentials.password()), ("anna", "hunter2"));
        assert_eq!(format!("{credentials:?}"), "RegistryCredentials(..)");
        let new = |name: usize, password: usize| RegistryCredentials::new(&"n".repeat(name), &"p".repeat(password));
        assert!(new(USERNAME_BYTES_MAX, PASSWORD_BYTES_MAX).is_ok());
        assert_eq!(new(USERNAME_BYTES_MAX + 1, 1), Err(CredentialsError::UsernameTooLong));
        assert_eq!(new(1, PASSWORD_BYTES_MAX + 1), Err(CredentialsError::PasswordTooLong));
        assert_eq!(RegistryCredentials::new("a:b", "c"), Err(CredentialsError::Username));
        assert_eq!(RegistryCredentials::new("a", "c\r\nX: y"), Err(CredentialsError::Password));
    }

    #[test]
    fn registries_are_told_from_folders() {
        for good in ["ghcr.io", "localhost", "127.0.0.1:5000", "registry:5000", "[::1]:5000", "GHCR.io"] {
            assert!(good.parse::<RegistryHost>().is_ok(), "{good}");
        }
        for bad in [
            "", "name", ".", "..", "a..b", "a:", "a:0", "a:99999", "-a.b", "[::1", "[::1]5", "a.b/c", "a@b.c",
            "a.b:1:2",
        ] {
            assert_eq!(bad.parse::<RegistryHost>(), Err(RegistryError::Host), "{bad}");
        }
        assert_eq!("GHCR.io".parse::<RegistryHost>().unwrap().as_str(), "ghcr.io");
        let long = |bytes: usize| format!("{}.b", "a".repeat(bytes - 2)).parse::<RegistryHost>();
        assert!(long(REGISTRY_BYTES_MAX).is_ok());
        assert_eq!(long(REGISTRY_BYTES_MAX + 1), Err(RegistryError::TooLong));
    }

    #[test]
    fn mirrors_take_a_path() {
        let mirror = |text: &str| text.parse::<RegistryMirror>();
        let of = mirror("ghcr.io=mirror.test:5000/ghcr/all/").unwrap();
        assert_eq!((of.from.as_str(), of.to.as_str(), &*of.path), ("ghcr.io", "mirror.test:5000", "ghcr/all"));
        assert_eq!(&*mirror("ghcr.io=127.0.0.1:5000").unwrap().path, "");
        assert_eq!(mirror("ghcr.io"), Err(RegistryError::Form));
        assert_eq!(mirror("ghcr.io=name"), Err(RegistryError::Host));
        for path in ["..", "a//b", "A", "a?b"] {
            assert_eq!(mirror(&format!("ghcr.io=a.test/{path}")), Err(RegistryError::Path), "{path}");
        }
        let long = |bytes: usize| mirror(&format!("ghcr.io=a.test/{}", "a".repeat(bytes)));
        assert!(long(MIRROR_PATH_BYTES_MAX).is_ok());
        assert_eq!(long(MIRROR_PATH_BYTES_MAX + 1), Err(RegistryError::Path));
    }
}
