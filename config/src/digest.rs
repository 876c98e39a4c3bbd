//! Digests of content, as OCI registries and their references write them. Computes none.

use std::{fmt, str::FromStr};

const DIGEST_BYTES: usize = 32;

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no digest: sha256: and 64 hexadecimal digits")]
pub struct DigestError;

/// A SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Digest([u8; DIGEST_BYTES]);

impl Sha256Digest {
    /// The digest with these bytes.
    pub fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The digest in hexadecimal digits, without the name of the algorithm.
    pub fn hex(&self) -> String {
        use fmt::Write;
        self.0.iter().fold(String::with_capacity(2 * DIGEST_BYTES), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl FromStr for Sha256Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix("sha256:").ok_or(DigestError)?.as_bytes();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != DIGEST_BYTES || !rest.is_empty() {
            return Err(DigestError);
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            b'A'..=b'F' => Ok(byte - b'A' + 10),
            _ => Err(DigestError),
        };
        let mut bytes = [0; DIGEST_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_and_written() {
        let text = format!("sha256:{}{}", "0f".repeat(16), "a0".repeat(16));
        let digest: Sha256Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.to_uppercase().replacen("SHA256", "sha256", 1).parse(), Ok(digest));
        for bad in
            ["", "sha256:", &"0".repeat(64), &format!("sha512:{}", "0".repeat(64)), &text[..70], &format!("{text}0")]
        {
            assert_eq!(bad.parse::<Sha256Digest>(), Err(DigestError), "{bad}");
        }
        assert_eq!(text.replace("a0", "g0").parse::<Sha256Digest>(), Err(DigestError));
    }
}
