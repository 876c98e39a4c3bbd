//! Docker's `config.json` and the secrets of that form: who the host is at which registry. Helpers of it are programs
//! that the one who runs the host has named; they are given a registry's name, little time, and no say in anything else.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use base64::Engine;
use roadstead_config::{OciReference, RegistryCredentials};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::PullError;

/// Size of a configuration.
const CONFIG_BYTES_MAX: u64 = 1_048_576;
/// Time that a helper has.
const HELPER_TIME: Duration = Duration::from_secs(10);
/// What a helper may print.
const HELPER_BYTES_MAX: u64 = 65_536;
/// Longest name of a helper, in bytes.
const HELPER_NAME_BYTES_MAX: usize = 64;
/// The user name by which a helper says that its secret is an identity token.
const TOKEN_USER: &str = "<token>";
/// The key under which the credentials of docker.io are kept.
const DOCKER_HUB: &str = "index.docker.io";

/// How to log in at a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) credentials: RegistryCredentials,
    /// The password is an identity token, which is exchanged for others (OAuth 2).
    pub(super) is_identity_token: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// Why a secret of the form of Docker's configuration gives no credentials. Says nothing of its contents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PullSecretError {
    #[error("is larger than {CONFIG_BYTES_MAX} bytes")]
    TooLarge,
    #[error("is no JSON of the form of Docker's config.json")]
    Form,
    #[error("has nothing for {0}")]
    Nothing(String),
    #[error("has something for {0} that is no user name with a password")]
    Entry(String),
}

/// The credentials for `image` in a secret of the type `kubernetes.io/dockerconfigjson`, whose text is `secret`.
///
/// # Errors
/// When there are none.
pub fn pull_secret(secret: &[u8], image: &OciReference) -> Result<RegistryCredentials, PullSecretError> {
    if secret.len() as u64 > CONFIG_BYTES_MAX {
        return Err(PullSecretError::TooLarge);
    }
    let config: Config = serde_json::from_slice(secret).map_err(|_| PullSecretError::Form)?;
    let registry = image.registry().as_str();
    let auth = entry(&config.auths, registry, image.repository());
    let auth = auth.ok_or_else(|| PullSecretError::Nothing(registry.to_owned()))?;
    match login(auth) {
        Some(Login { credentials, is_identity_token: false }) => Ok(credentials),
        _ => Err(PullSecretError::Entry(registry.to_owned())),
    }
}

/// Who the host is at `registry`, by the configuration at `path`; `None`: nobody.
pub(super) async fn host_login(path: &Path, registry: &str, repository: &str) -> Result<Option<Login>, PullError> {
    let failed = |why: String| PullError::Credentials { host: registry.to_owned(), why };
    let shown = path.display();
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(format!("{shown}: {error}")))?;
    let mut bytes = Vec::new();
    let read = file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| failed(format!("{shown}: {error}")))?;
    if bytes.len() as u64 > CONFIG_BYTES_MAX {
        return Err(failed(format!("{shown} is larger than {CONFIG_BYTES_MAX} bytes")));
    }
    // The error of the parser is not shown: it may repeat a piece of what is secret.
    let config: Config = serde_json::from_slice(&bytes)
        .map_err(|error| failed(format!("{shown} is no configuration of Docker (line {})", error.line())))?;
    let helper = entry(&config.cred_helpers, registry, "").or(config.creds_store.as_ref()).filter(|h| !h.is_empty());
    if let Some(helper) = helper
        && let Some(login) = ask_helper(helper, registry, HELPER_TIME).await?
    {
        return Ok(Some(login));
    }
    match entry(&config.auths, registry, repository) {
        // With a store for the credentials, Docker leaves an empty entry.
        Some(Auth { auth: None, username: None, identitytoken: None, .. }) | None => Ok(None),
        Some(auth) => match login(auth) {
            Some(login) => Ok(Some(login)),
            None => Err(failed(format!("the entry in {shown} is no user name with a password"))),
        },
    }
}

/// The entry for a registry; of several the one that names most of the repository.
fn entry<'e, T>(entries: &'e BTreeMap<String, T>, registry: &str, repository: &str) -> Option<&'e T> {
    let registry = if is_docker_hub(registry) { DOCKER_HUB } else { registry };
    let whole = format!("{registry}/{repository}");
    let fitting = entries.iter().filter_map(|(key, value)| {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let key = key.trim_end_matches('/');
        let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
        let key = if is_docker_hub(key) { DOCKER_HUB } else { key };
        let fits = whole.strip_prefix(key).is_some_and(|rest| rest.starts_with('/') || rest.is_empty());
        fits.then_some((key.len(), value))
    });
    fitting.max_by_key(|(length, _)| *length).map(|(_, value)| value)
}

fn is_docker_hub(registry: &str) -> bool {
    matches!(registry, "docker.io" | "registry-1.docker.io" | DOCKER_HUB)
}

fn login(auth: &Auth) -> Option<Login> {
    if let Some(token) = auth.identitytoken.as_deref().filter(|token| !token.is_empty()) {
        let credentials = RegistryCredentials::new(TOKEN_USER, token).ok()?;
        return Some(Login { credentials, is_identity_token: true });
    }
    let (username, password) = match (&auth.username, &auth.password, &auth.auth) {
        (Some(username), Some(password), _) => (username.clone(), password.clone()),
        (_, _, Some(encoded)) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
            let (username, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
            (username.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        _ => return None,
    };
    let credentials = RegistryCredentials::new(&username, &password).ok()?;
    Some(Login { credentials, is_identity_token: false })
}

/// Asks `docker-credential-NAME`. What it prints is never repeated.
async fn ask_helper(name: &str, registry: &str, time: Duration) -> Result<Option<Login>, PullError> {
    let failed = |why: String| PullError::Credentials { host: registry.to_owned(), why };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.len() > HELPER_NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(failed("the name of the credential helper is none".into()));
    }
    let program = format!("docker-credential-{name}");
    let asked = if is_docker_hub(registry) { "https://index.docker.io/v1/" } else { registry };
    let output = match tokio::time::timeout(time, run(&program, asked)).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(format!("{program}: {error}"))),
        Err(_) => return Err(failed(format!("{program} did not answer within {} s", time.as_secs_f64()))),
    };
    let (success, printed) = output;
    if !success {
        // What helpers of Docker say when they have nothing for a registry.
        let nothing = String::from_utf8_lossy(&printed).contains("credentials not found");
        return if nothing { Ok(None) } else { Err(failed(format!("{program} failed"))) };
    }
    let helped: Helped =
        serde_json::from_slice(&printed).map_err(|_| failed(format!("{program} printed no credentials")))?;
    let credentials = RegistryCredentials::new(&helped.username, &helped.secret)
        .map_err(|error| failed(format!("what {program} printed is not taken: {error}")))?;
    Ok(Some(Login { is_identity_token: helped.username == TOKEN_USER, credentials }))
}

/// Runs a helper: whether it succeeded, and what it printed.
async fn run(program: &str, asked: &str) -> std::io::Result<(bool, Vec<u8>)> {
    let mut child = tokio::process::Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that ends without reading has its reasons.
        let _ = input.write_all(asked.as_bytes()).await;
    }
    let mut printed = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(HELPER_BYTES_MAX + 1).read_to_end(&mut printed).await?;
    }
    if printed.len() as u64 > HELPER_BYTES_MAX {
        return Err(std::io::Error::other(format!("it printed more than {HELPER_BYTES_MAX} bytes")));
    }
    Ok((child.wait().await?.success(), printed))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn image(text: &str) -> OciReference {
        text.parse().unwrap()
    }

    fn encoded(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    #[test]
    fn a_pull_secret_is_for_its_registry() {
        let secret = serde_json::json!({ "auths": {
            "https://ghcr.io/v2/": { "auth": encoded("anna:first") },
            "ghcr.io/team": { "username": "berta", "password": "second" },
            "https://index.docker.io/v1/": { "auth": encoded("carl:third") },
            "broken.test": { "auth": "%%%" },
        }});
        let of = |text: &str| {
            pull_secret(secret.to_string().as_bytes(), &image(text)).map(|found| found.username().to_owned())
        };
        assert_eq!(of("ghcr.io/other/a").unwrap(), "anna");
        assert_eq!(of("ghcr.io/team/a").unwrap(), "berta");
        assert_eq!(of("ghcr.io/teammate/a").unwrap(), "anna");
        assert_eq!(of("docker.io/library/a").unwrap(), "carl");
        assert_eq!(of("ghcr.io:5000/a"), Err(PullSecretError::Nothing("ghcr.io:5000".into())));
        assert_eq!(of("broken.test/a"), Err(PullSecretError::Entry("broken.test".into())));
        assert_eq!(pull_secret(b"[", &image("ghcr.io/a")), Err(PullSecretError::Form));
        let large = vec![b' '; usize::try_from(CONFIG_BYTES_MAX).unwrap() + 1];
        assert_eq!(pull_secret(&large, &image("ghcr.io/a")), Err(PullSecretError::TooLarge));
    }

    /// A helper that runs `script`, by a name that no other test has; found by its path.
    async fn helped(script: &str, time: Duration) -> Result<Option<Login>, String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("helper");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        // Another test may be about to start a program, with this file open for writing.
        let output = loop {
            match tokio::time::timeout(time, run(program.to_str().unwrap(), "ghcr.io")).await {
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                other => break other.map_err(|_| "late".to_owned())?,
            }
        };
        let (success, printed) = output.map_err(|error| error.to_string())?;
        let helped: Helped = serde_json::from_slice(&printed).map_err(|error| error.to_string())?;
        assert!(success);
        let credentials = RegistryCredentials::new(&helped.username, &helped.secret).map_err(|e| e.to_string())?;
        Ok(Some(Login { is_identity_token: false, credentials }))
    }

    #[tokio::test]
    async fn a_helper_has_bounds() {
        let asked = "read registry; printf '{\"Username\":\"u\",\"Secret\":\"%s\"}' \"$registry\"";
        let login = helped(asked, Duration::from_secs(30)).await.unwrap().unwrap();
        assert_eq!(login.credentials.password(), "ghcr.io");
        let much = format!("head -c {} /dev/zero", HELPER_BYTES_MAX + 1);
        assert!(helped(&much, Duration::from_secs(30)).await.unwrap_err().contains("more than 65536 bytes"));
        assert_eq!(helped("exec sleep 60", Duration::from_millis(200)).await.unwrap_err(), "late");
        assert!(HELPER_TIME < super::super::PULL_TIMEOUT_DEFAULT);
        let named =
            |name: String| async move { ask_helper(&name, "ghcr.io", HELPER_TIME).await.unwrap_err().to_string() };
        assert!(named("../evil".into()).await.contains("is none"));
        assert!(named("a".repeat(HELPER_NAME_BYTES_MAX + 1)).await.contains("is none"));
        assert!(named("a".repeat(HELPER_NAME_BYTES_MAX)).await.contains("docker-credential-aaa"));
    }

    #[tokio::test]
    async fn a_configuration_tells_who_the_host_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let config = serde_json::json!({ "auths": {
            "ghcr.io": { "auth": encoded("anna:first") },
            "empty.test": {},
            "token.test": { "identitytoken": "t0k3n" },
        }, "credHelpers": { "helped.test": "no-such-helper" } });
        std::fs::write(&path, config.to_string()).unwrap();
        let of = async |registry: &str| host_login(&path, registry, "a").await;
        assert_eq!(of("ghcr.io").await.unwrap().unwrap().credentials.username(), "anna");
        assert_eq!(of("empty.test").await.unwrap(), None);
        assert_eq!(of("other.test").await.unwrap(), None);
        assert!(of("token.test").await.unwrap().unwrap().is_identity_token);
        assert!(of("helped.test").await.unwrap_err().to_string().contains("docker-credential-no-such-helper"));
        std::fs::write(&path, "{\"auths\": {\"a\": \"hunter2\"}}").unwrap();
        assert!(!of("ghcr.io").await.unwrap_err().to_string().contains("hunter2"));
    }
}
