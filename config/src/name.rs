//! Names of tenants and resources, as Kubernetes defines them.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest DNS label (RFC 1123), in bytes.
const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain (RFC 1123), in bytes.
const SUBDOMAIN_BYTES_MAX: usize = 253;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("is empty")]
    Empty,
    #[error("is {found} bytes long, at most {max} are allowed")]
    TooLong { found: usize, max: usize },
    #[error("has the character {0:?}; a label has lower-case letters, digits and '-'")]
    Character(char),
    #[error("must begin and end with a lower-case letter or a digit")]
    Edge,
}

/// A tenant: everything in one namespace trusts itself, and nothing of another (RFC 1123 label).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// The name of a trigger, deployment, component or volume (RFC 1123 subdomain).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceName(Arc<str>);

impl Namespace {
    /// The namespace of a document that names none.
    pub const DEFAULT: &'static str = "default";

    /// The namespace as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, LABEL_BYTES_MAX)?;
        check_label(text)?;
        Ok(Self(text.into()))
    }
}

impl ResourceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ResourceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        check_length(text, SUBDOMAIN_BYTES_MAX)?;
        text.split('.').try_for_each(check_label)?;
        Ok(Self(text.into()))
    }
}

fn check_length(text: &str, max: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        found if found > max => Err(NameError::TooLong { found, max }),
        _ => Ok(()),
    }
}

fn check_label(label: &str) -> Result<(), NameError> {
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    if let Some(c) = label.chars().find(|c| !allowed(c)) {
        return Err(NameError::Character(c));
    }
    if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Edge);
    }
    Ok(())
}

macro_rules! text_impls {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    )*};
}
text_impls!(Namespace, ResourceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        assert!("team-a".parse::<Namespace>().is_ok());
        assert_eq!("".parse::<Namespace>(), Err(NameError::Empty));
        assert_eq!("Team".parse::<Namespace>(), Err(NameError::Character('T')));
        assert_eq!("a.b".parse::<Namespace>(), Err(NameError::Character('.')));
        assert_eq!("-a".parse::<Namespace>(), Err(NameError::Edge));
        assert!("a.b-c.d0".parse::<ResourceName>().is_ok());
        assert_eq!("a..b".parse::<ResourceName>(), Err(NameError::Edge));
        let long = "a".repeat(64).parse::<Namespace>();
        assert_eq!(long, Err(NameError::TooLong { found: 64, max: LABEL_BYTES_MAX }));
    }

    #[test]
    fn names_have_a_length() {
        let namespace = |bytes: usize| "a".repeat(bytes).parse::<Namespace>().is_ok();
        assert!(namespace(LABEL_BYTES_MAX) && !namespace(LABEL_BYTES_MAX + 1));
        let resource = |bytes: usize| "a".repeat(bytes).parse::<ResourceName>().is_ok();
        assert!(resource(SUBDOMAIN_BYTES_MAX) && !resource(SUBDOMAIN_BYTES_MAX + 1));
    }
}
