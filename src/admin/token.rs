//! The token of the admin listener, in a file that may get another one while the host runs. Who needs it is not known here.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use roadstead_runtime::error_text;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Time between two looks at the file.
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

/// A file with a token. Another one counts, and the one before no longer, once [`TokenFile::follow`] has seen it; while the
/// file has none, the last one counts.
#[derive(Clone)]
pub(crate) struct TokenFile(Arc<Inner>);

struct Inner {
    path: PathBuf,
    last: Mutex<Last>,
}

struct Last {
    token: AdminToken,
    /// Whether it was told that the file has none.
    is_told: bool,
}

impl TokenFile {
    /// # Errors
    /// As [`AdminToken::read`].
    pub(crate) fn open(path: &Path) -> Result<Self, TokenError> {
        let last = Mutex::new(Last { token: AdminToken::read(path)?, is_told: false });
        Ok(Self(Arc::new(Inner { path: path.to_owned(), last })))
    }

    /// Whether the file's token is `given`. Reads nothing.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.last().token.is(given)
    }

    /// Reads the file now and then, for as long as the runtime lives. A file that cannot be read to its end, as one on a
    /// mount that is gone, keeps one thread and nobody else waiting.
    pub(crate) async fn follow(self) {
        loop {
            tokio::time::sleep(READ_EVERY).await;
            let inner = self.0.clone();
            if tokio::task::spawn_blocking(move || inner.read()).await.is_err() {
                return;
            }
        }
    }
}

impl Inner {
    fn read(&self) {
        let read = AdminToken::read(&self.path);
        let mut last = self.last();
        match read {
            Ok(token) => *last = Last { token, is_told: false },
            Err(error) => {
                let is_told = std::mem::replace(&mut last.is_told, true);
                drop(last);
                if !is_told {
                    tracing::warn!(error = error_text(&error), "the admin token stays what it was");
                }
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Within [`READ_EVERY`].
    #[tokio::test(start_paused = true)]
    async fn another_token_in_the_file_counts_and_none_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, TOKEN).unwrap();
        let file = TokenFile::open(&path).unwrap();
        let following = tokio::spawn(file.clone().follow());
        let other = TOKEN.to_uppercase();
        let later = || tokio::time::sleep(READ_EVERY * 3);

        fs::write(&path, &other).unwrap();
        assert!(file.is(TOKEN.as_bytes()));
        later().await;
        assert!(file.is(other.as_bytes()) && !file.is(TOKEN.as_bytes()));
        fs::write(&path, "short").unwrap();
        later().await;
        assert!(file.is(other.as_bytes()) && !file.is(b"short"));
        fs::remove_file(&path).unwrap();
        later().await;
        assert!(file.is(other.as_bytes()));
        fs::write(&path, TOKEN).unwrap();
        later().await;
        assert!(file.is(TOKEN.as_bytes()) && !file.is(other.as_bytes()));
        following.abort();
    }
}
