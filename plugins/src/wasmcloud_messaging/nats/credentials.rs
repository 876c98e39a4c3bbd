//! The credentials of a tenant: one file of the operator's folder, by the name of the namespace.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use async_nats::ConnectOptions;
use roadstead_config::Namespace;
use tokio::io::AsyncReadExt;

/// Size of a file of credentials.
const CREDENTIALS_BYTES_MAX: u64 = 65_536;
/// The endings of the files, in the order in which messages name them.
const ENDINGS: [(&str, Form); 3] = [("creds", Form::Creds), ("nk", Form::Seed), ("user", Form::UserAndPassword)];

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A JWT and a seed, as `nsc` writes them.
    Creds,
    /// The seed of a user's NKEY.
    Seed,
    /// `USER:PASSWORD`.
    UserAndPassword,
}

impl Form {
    fn expected(self) -> &'static str {
        match self {
            Self::Creds => "a user's JWT and seed as `nsc` writes them",
            Self::Seed => "the seed of a user's NKEY, which begins with SU",
            Self::UserAndPassword => "USER:PASSWORD",
        }
    }
}

/// Why a tenant has no usable credentials. Never with anything of what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("the namespace {namespace} has no NATS credentials: {folder} has no {namespace}.creds, .nk or .user")]
    Missing { namespace: Namespace, folder: String },
    #[error("the namespace {namespace} has several files of NATS credentials in {folder}; leave one")]
    Several { namespace: Namespace, folder: String },
    #[error("{path} cannot be read")]
    Unreadable {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("{path} is larger than {CREDENTIALS_BYTES_MAX} bytes")]
    TooLarge { path: String },
    #[error("{path} is not {expected}")]
    Malformed { path: String, expected: &'static str },
}

/// What one tenant shows to the server.
pub(super) struct Credentials {
    namespace: Namespace,
    secret: Secret,
}

enum Secret {
    Creds(String),
    Seed(String),
    User { name: String, password: String },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads the one file of `namespace` in `folder`.
    pub(super) async fn read(folder: &Path, namespace: &Namespace) -> Result<Self, CredentialsError> {
        let shown = folder.display().to_string();
        let mut found: Option<(PathBuf, Form)> = None;
        for (ending, form) in ENDINGS {
            let path = folder.join(format!("{namespace}.{ending}"));
            if !tokio::fs::try_exists(&path).await.unwrap_or(true) {
                continue;
            }
            if found.is_some() {
                return Err(CredentialsError::Several { namespace: namespace.clone(), folder: shown });
            }
            found = Some((path, form));
        }
        let missing = || CredentialsError::Missing { namespace: namespace.clone(), folder: shown };
        let (path, form) = found.ok_or_else(missing)?;
        let text = text_of(&path).await?;
        let secret = parse(form, &text).ok_or_else(|| CredentialsError::Malformed {
            path: path.display().to_string(),
            expected: form.expected(),
        })?;
        Ok(Self { namespace: namespace.clone(), secret })
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The options of a connection with them.
    pub(super) fn options(&self) -> ConnectOptions {
        let options = ConnectOptions::new();
        match &self.secret {
            // It was looked at when it was read.
            Secret::Creds(text) => ConnectOptions::with_credentials(text).unwrap_or(options),
            Secret::Seed(seed) => options.nkey(seed.clone()),
            Secret::User { name, password } => options.user_and_password(name.clone(), password.clone()),
        }
    }
}

/// The text of a file with a user's JWT and seed.
pub(super) async fn read_creds(path: &Path) -> Result<String, CredentialsError> {
    let text = text_of(path).await?;
    match parse(Form::Creds, &text) {
        Some(_) => Ok(text),
        None => Err(CredentialsError::Malformed { path: path.display().to_string(), expected: Form::Creds.expected() }),
    }
}

async fn text_of(path: &Path) -> Result<String, CredentialsError> {
    let shown = || path.display().to_string();
    let unreadable = |source| CredentialsError::Unreadable { path: shown(), source };
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut text = String::new();
    file.take(CREDENTIALS_BYTES_MAX + 1).read_to_string(&mut text).await.map_err(unreadable)?;
    match text.len() as u64 > CREDENTIALS_BYTES_MAX {
        true => Err(CredentialsError::TooLarge { path: shown() }),
        false => Ok(text),
    }
}

fn parse(form: Form, text: &str) -> Option<Secret> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    match form {
        Form::Creds => ConnectOptions::with_credentials(text).is_ok().then(|| Secret::Creds(text.to_owned())),
        Form::Seed => line.filter(|line| line.starts_with("SU")).map(|line| Secret::Seed(line.to_owned())),
        Form::UserAndPassword => line
            .and_then(|line| line.split_once(':'))
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, password)| Secret::User { name: name.to_owned(), password: password.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_file_is_read_and_everything_else_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let read = async |namespace: &str| {
            let namespace = namespace.parse().unwrap();
            Credentials::read(folder.path(), &namespace).await.map_err(|error| error.to_string())
        };
        let missing = read("team").await.unwrap_err();
        assert!(missing.ends_with("has no team.creds, .nk or .user"), "{missing}");
        write("team.user", "# of the account A\nteam:pass:word\n");
        let Secret::User { name, password } = read("team").await.unwrap().secret else { panic!() };
        assert_eq!((name.as_str(), password.as_str()), ("team", "pass:word"));
        write("team.nk", "SUAB\n");
        assert!(read("team").await.unwrap_err().contains("several files"));
        write("key.nk", "PAAB hunter2\n");
        let malformed = read("key").await.unwrap_err();
        assert!(malformed.contains("key.nk is not the seed") && !malformed.contains("hunter2"), "{malformed}");
        write("jwt.creds", "hunter2");
        let malformed = read("jwt").await.unwrap_err();
        assert!(malformed.contains("jwt.creds is not a user's JWT") && !malformed.contains("hunter2"), "{malformed}");
        write("big.user", &"x".repeat(usize::try_from(CREDENTIALS_BYTES_MAX).unwrap() + 1));
        assert!(read("big").await.unwrap_err().ends_with("is larger than 65536 bytes"));
    }
}
