//! Names that guests give to what they store: buckets and containers, keys, objects. A value of these types can stand in
//! a NATS subject; which store is behind it is not known here.

use std::{fmt, fmt::Write as _, str::FromStr, sync::Arc};

/// Longest name of a bucket or container, in bytes.
const STORE_NAME_BYTES_MAX: usize = 64;
/// Longest key of a bucket, in bytes.
const STORE_KEY_BYTES_MAX: usize = 512;
/// Longest name of an object, in bytes.
const OBJECT_NAME_BYTES_MAX: usize = 1_024;

/// Why a text is no name of something stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreNameError {
    /// It has no character.
    #[error("is empty")]
    Empty,
    /// It is too long for its kind, in bytes.
    #[error("is {found} bytes long, at most {max} are allowed")]
    TooLong { found: usize, max: usize },
    /// It has a character that the names of stores do not have.
    #[error("has the character {0:?}; letters, digits, '-' and '_' are allowed")]
    Character(char),
    /// It has a character that is none to be read.
    #[error("has the control character {0:?}")]
    Control(char),
}

/// The name of a bucket or of a container: 1 to 64 letters, digits, '-' and '_' of ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreName(Arc<str>);

/// A key in a bucket: 1 to 512 bytes of any text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey(Arc<str>);

/// The name of an object: 1 to 1024 bytes of any text without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Arc<str>);

impl StoreName {
    /// The name as text; it is a token of a NATS subject, and part of a name of a NATS stream, as it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StoreName {
    type Err = StoreNameError;

    fn from_str(text: &str) -> Result<Self, StoreNameError> {
        check_length(text, STORE_NAME_BYTES_MAX)?;
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')) {
            Some(c) => Err(StoreNameError::Character(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl StoreKey {
    /// The key as the guest wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as one token of a NATS subject. Letters, digits, '-', '_' and '/' stand for themselves, every other byte is
    /// '=' and two hexadecimal digits: different keys are different tokens.
    pub fn to_token(&self) -> String {
        let mut token = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if is_plain(byte) {
                token.push(char::from(byte));
            } else {
                // Writing into a string does not fail.
                let _ = write!(token, "={byte:02X}");
            }
        }
        token
    }

    /// The key that `token` is made of; `None` where it is no such token.
    pub fn from_token(token: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(token.len());
        let mut rest = token.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'=' => {
                    let digits = [hex_digit(rest.next()?)?, hex_digit(rest.next()?)?];
                    let escaped = digits.iter().fold(0, |value, digit| value << 4 | digit);
                    bytes.push(Some(escaped).filter(|byte| !is_plain(*byte))?);
                }
                plain if is_plain(plain) => bytes.push(plain),
                _ => return None,
            }
        }
        String::from_utf8(bytes).ok()?.parse().ok()
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl FromStr for StoreKey {
    type Err = StoreNameError;

    fn from_str(text: &str) -> Result<Self, StoreNameError> {
        check_length(text, STORE_KEY_BYTES_MAX)?;
        Ok(Self(text.into()))
    }
}

impl ObjectName {
    /// The name as the guest wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectName {
    type Err = StoreNameError;

    fn from_str(text: &str) -> Result<Self, StoreNameError> {
        check_length(text, OBJECT_NAME_BYTES_MAX)?;
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(StoreNameError::Control(c)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_length(text: &str, max: usize) -> Result<(), StoreNameError> {
    match text.len() {
        0 => Err(StoreNameError::Empty),
        found if found > max => Err(StoreNameError::TooLong { found, max }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_stores_are_plain() {
        for good in ["a", "My_bucket-1", &"x".repeat(STORE_NAME_BYTES_MAX)] {
            assert_eq!(good.parse::<StoreName>().unwrap().as_str(), good);
        }
        for (bad, character) in [("a.b", '.'), ("a>", '>'), ("*", '*'), ("a b", ' '), ("a/..", '/'), ("ü", 'ü')] {
            assert_eq!(bad.parse::<StoreName>(), Err(StoreNameError::Character(character)));
        }
        assert_eq!("".parse::<StoreName>(), Err(StoreNameError::Empty));
        let long = "x".repeat(STORE_NAME_BYTES_MAX + 1);
        assert!(matches!(long.parse::<StoreName>(), Err(StoreNameError::TooLong { .. })));
    }

    #[test]
    fn a_key_is_one_token_and_comes_back() {
        let key = |text: &str| text.parse::<StoreKey>().unwrap();
        assert_eq!(key("users/1").to_token(), "users/1");
        assert_eq!(key("a.b > *=\n").to_token(), "a=2Eb=20=3E=20=2A=3D=0A");
        let longest = "é".repeat(STORE_KEY_BYTES_MAX / 2);
        for text in ["a.b", "=", "==3D", "ä€😀", "\0", "$KV.x.>", &longest] {
            let token = key(text).to_token();
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/=".contains(&b)), "{token}");
            assert_eq!(StoreKey::from_token(&token), Some(key(text)));
        }
        for none in ["", "a.b", "=4", "=zz", "=2e", "=41", "=FF", "a b"] {
            assert_eq!(StoreKey::from_token(none), None, "{none}");
        }
        assert!("x".repeat(STORE_KEY_BYTES_MAX + 1).parse::<StoreKey>().is_err());
    }

    #[test]
    fn names_of_objects_have_no_control_characters() {
        assert!("scenes/2026 (1).tiff".parse::<ObjectName>().is_ok());
        assert_eq!("a\nb".parse::<ObjectName>(), Err(StoreNameError::Control('\n')));
        assert!("x".repeat(OBJECT_NAME_BYTES_MAX + 1).parse::<ObjectName>().is_err());
    }
}
