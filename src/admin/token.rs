//! The token of the admin listener, in a file that may get another one while the host runs. Who needs it is not known here.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// How old what was read of the file may be.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Characters that a token may have.
const TOKEN_BYTES_MAX: usize = 512;
/// Fewer can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// Why a token file cannot be used. Nothing of the file's content is told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token file {path} cannot be read")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the token file {path} must hold one token of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters; \
         make one with `openssl rand -hex 32`"
    )]
    Form { path: String },
}

/// What whoever knows it may do everything with.
pub(crate) struct AdminToken(SecretString);

impl AdminToken {
    /// Reads the token of a file; the line's end does not count.
    ///
    /// # Errors
    /// When the file cannot be read or holds no token.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let shown = || path.display().to_string();
        let mut text = String::new();
        let file = File::open(path).map_err(|source| TokenError::Read { path: shown(), source })?;
        match file.take(TOKEN_BYTES_MAX as u64 + 3).read_to_string(&mut text) {
            Ok(_) => {}
            Err(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                return Err(TokenError::Form { path: shown() });
            }
            Err(source) => return Err(TokenError::Read { path: shown(), source }),
        }
        Self::new(text.trim_end_matches(['\r', '\n'])).ok_or_else(|| TokenError::Form { path: shown() })
    }

    fn new(text: &str) -> Option<Self> {
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.to_owned().into()))
    }

    /// Compares in a time that says nothing about how much of `given` is right.
    fn is(&self, given: &[u8]) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(given).into()
    }

    /// The value of a request's `Authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0.expose_secret())
    }
}

/// A file with a token. Another one counts, and the one before no longer, within [`READ_EVERY`] of the file's change; while
/// the file has none, the last one counts.
pub(crate) struct TokenFile {
    path: PathBuf,
    last: Mutex<Last>,
}

struct Last {
    token: AdminToken,
    read: Instant,
    /// Whether it was told that the file has none.
    is_told: bool,
}

impl TokenFile {
    /// # Errors
    /// As [`AdminToken::read`].
    pub(crate) fn open(path: &Path) -> Result<Self, TokenError> {
        let last = Last { token: AdminToken::read(path)?, read: Instant::now(), is_told: false };
        Ok(Self { path: path.to_owned(), last: Mutex::new(last) })
    }

    /// Whether the file's token is `given`.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.read.elapsed() >= READ_EVERY {
            last.read = Instant::now();
            last.follow(AdminToken::read(&self.path));
        }
        last.token.is(given)
    }
}

impl Last {
    fn follow(&mut self, read: Result<AdminToken, TokenError>) {
        match read {
            Ok(token) => {
                self.token = token;
                self.is_told = false;
            }
            Err(error) if !self.is_told => {
                self.is_told = true;
                tracing::warn!(%error, "the admin token stays what it was");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn a_token_is_neither_short_nor_long_nor_of_several_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |text: &[u8]| {
            fs::write(&path, text).unwrap();
            AdminToken::read(&path)
        };
        let longest = "x".repeat(TOKEN_BYTES_MAX);
        for good in [TOKEN, "0123456789abcdef\n", "0123456789abcdef\r\n", &longest] {
            assert!(read(good.as_bytes()).is_ok(), "{good}");
        }
        let short = "x".repeat(TOKEN_BYTES_MIN - 1);
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        for bad in [&short, &long, "", "0123456789abcde f", "0123456789abcdef\nsecond", &"x".repeat(1 << 20)] {
            let error = read(bad.as_bytes()).err().unwrap().to_string();
            assert!(error.contains("openssl rand -hex 32") && !error.contains("0123456789"), "{error}");
        }
        assert!(matches!(read(b"\xff\xff0123456789abcdef"), Err(TokenError::Form { .. })));
        assert!(matches!(AdminToken::read(folder.path()), Err(TokenError::Read { .. })));
    }

    #[test]
    fn another_token_in_the_file_counts_and_none_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, TOKEN).unwrap();
        let file = TokenFile::open(&path).unwrap();
        let other = TOKEN.to_uppercase();
        let later = || file.last.lock().unwrap().read = Instant::now().checked_sub(READ_EVERY).unwrap();

        fs::write(&path, &other).unwrap();
        later();
        assert!(file.is(other.as_bytes()) && !file.is(TOKEN.as_bytes()));
        fs::write(&path, "short").unwrap();
        later();
        assert!(file.is(other.as_bytes()) && !file.is(b"short"));
        fs::remove_file(&path).unwrap();
        later();
        assert!(file.is(other.as_bytes()));
        fs::write(&path, TOKEN).unwrap();
        later();
        assert!(file.is(TOKEN.as_bytes()) && !file.is(other.as_bytes()));
    }
}
