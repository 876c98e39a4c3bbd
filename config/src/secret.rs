//! Names of secrets: the key that a guest asks for, and which variable of the host's environment stands for one. A key can
//! stand in a path as it is; where secrets are kept is not known here.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Namespace, ResourceName, name::NameError};

/// Longest key of a secret, in bytes, as Kubernetes has it.
const SECRET_KEY_BYTES_MAX: usize = 253;
/// Longest name of a variable, in bytes.
const VARIABLE_BYTES_MAX: usize = 128;

/// Why a text is no key of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// It has no character.
    #[error("is empty")]
    Empty,
    /// It is too long, in bytes.
    #[error("is {found} bytes long, at most {SECRET_KEY_BYTES_MAX} are allowed")]
    TooLong { found: usize },
    /// It has a character that keys do not have.
    #[error("has the character {0:?}; letters, digits, '-', '_' and '.' are allowed")]
    Character(char),
    /// It is a name that leads elsewhere, or one of those that Kubernetes keeps for itself.
    #[error("is \".\" or begins with \"..\"")]
    Dots,
}

/// The key of a value in a secret: 1 to 253 letters, digits, '-', '_' and '.' of ASCII, not beginning with "..". It is the
/// name of a file, and never leads out of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretKey(Arc<str>);

impl SecretKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretKey {
    type Err = SecretKeyError;

    fn from_str(text: &str) -> Result<Self, SecretKeyError> {
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
            _ if text.is_empty() => Err(SecretKeyError::Empty),
            _ if text.len() > SECRET_KEY_BYTES_MAX => Err(SecretKeyError::TooLong { found: text.len() }),
            Some(c) => Err(SecretKeyError::Character(c)),
            None if text == "." || text.starts_with("..") => Err(SecretKeyError::Dots),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text does not say which variable stands for which secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretVariableError {
    /// It has another form.
    #[error("is not [NAMESPACE/]NAME/KEY=VARIABLE; write for example payment/api-key=PAYMENT_API_KEY")]
    Form,
    /// The namespace is none.
    #[error("has a namespace that {0}")]
    Namespace(#[source] NameError),
    /// The name of the secret is none.
    #[error("has a name of a secret that {0}")]
    Name(#[source] NameError),
    /// The key is none.
    #[error("has a key that {0}")]
    Key(#[from] SecretKeyError),
    /// A variable cannot be called so.
    #[error("has a variable that is not 1 to {VARIABLE_BYTES_MAX} letters, digits and '_', not beginning with a digit")]
    Variable,
}

/// A variable of the host's environment that stands for a value of a secret: `[NAMESPACE/]NAME/KEY=VARIABLE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVariable {
    /// Whose secret it is; without one in the text that of [`Namespace::DEFAULT`].
    pub namespace: Namespace,
    /// The name that `secretFrom` has.
    pub name: ResourceName,
    /// The key that guests ask for.
    pub key: SecretKey,
    /// The variable.
    pub variable: String,
}

impl FromStr for SecretVariable {
    type Err = SecretVariableError;

    fn from_str(text: &str) -> Result<Self, SecretVariableError> {
        let (path, variable) = text.split_once('=').ok_or(SecretVariableError::Form)?;
        let mut parts = path.split('/');
        let (namespace, name, key) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(key), None, None) => (Namespace::default(), name, key),
            (Some(namespace), Some(name), Some(key), None) => {
                (namespace.parse().map_err(SecretVariableError::Namespace)?, name, key)
            }
            _ => return Err(SecretVariableError::Form),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_variable = !variable.starts_with(|c: char| c.is_ascii_digit())
            && (1..=VARIABLE_BYTES_MAX).contains(&variable.len())
            && variable.chars().all(plain);
        if !is_variable {
            return Err(SecretVariableError::Variable);
        }
        let name = name.parse().map_err(SecretVariableError::Name)?;
        Ok(Self { namespace, name, key: key.parse()?, variable: variable.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_nowhere_else() {
        for good in ["a", ".dockerconfigjson", "tls.key", "API_KEY-1", &"k".repeat(SECRET_KEY_BYTES_MAX)] {
            assert_eq!(good.parse::<SecretKey>().unwrap().as_str(), good);
        }
        for bad in [".", "..", "..data", "../b/key", "a/b", "a\\b", "a\0", "a b", "ä", "/etc/passwd", "%2e%2e"] {
            assert!(bad.parse::<SecretKey>().is_err(), "{bad}");
        }
        assert_eq!("".parse::<SecretKey>(), Err(SecretKeyError::Empty));
        let long = "k".repeat(SECRET_KEY_BYTES_MAX + 1);
        assert_eq!(long.parse::<SecretKey>(), Err(SecretKeyError::TooLong { found: SECRET_KEY_BYTES_MAX + 1 }));
    }

    #[test]
    fn a_variable_stands_for_one_value_of_one_namespace() {
        let own: SecretVariable = "payment/api-key=PAYMENT_KEY".parse().unwrap();
        assert_eq!((own.namespace.as_str(), own.name.as_str()), (Namespace::DEFAULT, "payment"));
        assert_eq!((own.key.as_str(), &*own.variable), ("api-key", "PAYMENT_KEY"));
        assert_eq!("team-a/p/k=K".parse::<SecretVariable>().unwrap().namespace.as_str(), "team-a");
        for (bad, why) in [
            ("KEY", "is not [NAMESPACE/]NAME/KEY=VARIABLE"),
            ("key=KEY", "is not [NAMESPACE/]NAME/KEY=VARIABLE"),
            ("a/b/c/d=KEY", "is not [NAMESPACE/]NAME/KEY=VARIABLE"),
            ("A/b/c=KEY", "has a namespace that has the character 'A'"),
            ("a_b/c=KEY", "has a name of a secret that has the character '_'"),
            ("a/..=KEY", "has a key that is \".\""),
            ("a/b=", "has a variable"),
            ("a/b=1A", "has a variable"),
            ("a/b=A=B", "has a variable"),
        ] {
            let error = bad.parse::<SecretVariable>().unwrap_err().to_string();
            assert!(error.starts_with(why), "{bad}: {error}");
        }
        let name = "V".repeat(VARIABLE_BYTES_MAX);
        assert!(format!("a/b={name}").parse::<SecretVariable>().is_ok());
        assert!(format!("a/b={name}V").parse::<SecretVariable>().is_err());
    }
}
