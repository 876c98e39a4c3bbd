//! Registries that lie, stall, break off or lead astray: each ends in the message that docs/images.md names for it, and
//! nothing that was not what it should have been is ever found in the cache.

use std::{fs, path::Path, process::Stdio, time::Duration};

use roadstead::{
    artifact::{ArtifactCleaner, ArtifactOptions, ArtifactStore},
    config::{Limits, PullPolicy, RegistryCredentials},
};
use sha2::{Digest, Sha256};
use tokio::{process::Command, time::timeout};

use crate::harness::{
    PATIENCE, eventually, guests,
    host::{Host, Options, roadstead},
    lying_registry::LyingRegistry,
    manifest::trigger,
};

const PASSWORD: &str = "hunter2-of-the-liar";

/// Each lie, and what is said of it.
const LIES: [(&str, &str); 35] = [
    ("wrong-digest", "lied: the component has the digest sha256:"),
    ("other-manifest", "lied: the manifest has the digest sha256:"),
    ("shorter", "lied: the component has"),
    ("longer", "lied: the component has"),
    ("endless", "lied: the component has"),
    ("truncated", "broke off the component after"),
    ("encoded", "sent the component with a content-encoding, which is not read"),
    ("encoded-manifest", "sent the manifest with a content-encoding, which is not read"),
    ("huge", "one may have 104857600 (component_bytes_max)"),
    ("negative", "its manifest cannot be used: it is no JSON of a known form"),
    ("no-json", "its manifest cannot be used: it is no JSON of a known form"),
    ("deep", "its manifest cannot be used: it is no JSON of a known form"),
    ("manifest-bomb", "is larger than 1048576 bytes"),
    ("long-head", "broke HTTP"),
    ("many-fields", "broke HTTP"),
    ("token-bomb", "the token of 127.0.0.1:"),
    ("refusal-bomb", "denies it (403)"),
    ("two-components", "several WebAssembly layers"),
    ("not-wasm", "it holds no WebAssembly component, but application/vnd.oci.image.layer.v1.tar+gzip"),
    ("index-without-wasm", "an index without a manifest for WebAssembly"),
    ("basic-loop", "refuses the credentials (401"),
    ("bearer-loop", "refuses the credentials (401"),
    ("realm-inside", "is 169.254.169.254, an address at which no registry is asked"),
    ("strange-challenge", "asks for credentials in a way that is not followed: neither Basic nor Bearer"),
    ("echo", "denies it (403)"),
    ("denied", "denies it (403 DENIED)"),
    ("missing", "has no such image (404 DENIED)"),
    ("teapot", "answered 418 DENIED"),
    ("errors", "answered 500 DENIED"),
    ("busy", "takes no more requests just now (429); it asks to be left alone for 30 s"),
    ("redirect-inside", "is 169.254.169.254, an address at which no registry is asked"),
    ("redirect-loop", "redirects in a way that is not followed: too many times"),
    ("redirect-file", "redirects in a way that is not followed: the place is not of HTTP"),
    ("redirect-nowhere", "redirects in a way that is not followed: it names no place"),
    ("slow", "it took longer than 8 s (--registry-pull-timeout)"),
];

/// Those that tell the truth in the end.
const HONEST: [&str; 8] = [
    "good",
    "old-kind",
    "index",
    "bearer",
    "errors-then-good",
    "busy-then-good",
    "truncated-then-good",
    "redirect-good",
];

/// `roadstead pull` of what tells `lie`: whether it succeeded, and what it said.
async fn pull(registry: &LyingRegistry, lie: &str, folder: &Path) -> (bool, String) {
    pull_within("8s", registry, lie, folder).await
}

async fn pull_within(time: &str, registry: &LyingRegistry, lie: &str, folder: &Path) -> (bool, String) {
    let program = roadstead();
    let mut command = Command::new(program.get_program());
    command.arg("pull").arg(registry.image(lie)).arg("--allow-insecure-registries");
    command.arg("--oci-cache-dir").arg(folder.join("cache")).arg("--docker-config").arg(folder.join("config.json"));
    command.args(["--registry-pull-timeout", time, "--log-level", "trace"]);
    command.stdin(Stdio::null()).kill_on_drop(true).env_remove("RUST_BACKTRACE");
    let output = timeout(PATIENCE, command.output()).await.unwrap_or_else(|_| panic!("{lie} does not end")).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

fn write_config(registry: &LyingRegistry, folder: &Path) {
    let address = registry.address();
    let config = format!(r#"{{"auths": {{"{address}": {{"username": "liar", "password": "{PASSWORD}"}}}}}}"#);
    fs::write(folder.join("config.json"), config).unwrap();
}

/// Every file of the cache is what its name says, and nothing is left half done.
fn assert_not_poisoned(cache: &Path) -> usize {
    let components = fs::read_dir(cache.join("components")).map(|files| files.collect::<Vec<_>>()).unwrap_or_default();
    for file in &components {
        let file = file.as_ref().unwrap();
        let found: [u8; 32] = Sha256::digest(fs::read(file.path()).unwrap()).into();
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file.file_name().to_str(), Some(found.as_str()));
    }
    components.len()
}

/// Among them are answers beyond `fetch::MANIFEST_BYTES_MAX`, `auth::TOKEN_BYTES_MAX`, `session::REFUSAL_BYTES_MAX`,
/// `wire::HEAD_BYTES_MAX` and `wire::HEAD_FIELDS_MAX`, and more redirections than `session::REDIRECTS_MAX`.
#[tokio::test]
async fn every_lie_has_its_message() {
    let registry = LyingRegistry::start(fs::read(guests::path("bare-http")).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    write_config(&registry, folder.path());
    for lies in LIES.chunks(4) {
        let pulls = lies.iter().map(|(lie, _)| pull(&registry, lie, folder.path()));
        for ((lie, wanted), (success, said)) in lies.iter().zip(futures::future::join_all(pulls).await) {
            assert!(!success && said.contains(wanted), "{lie}: {wanted}\n{said}");
            assert!(
                !said.contains(PASSWORD) && !said.contains("bGlhcjpo"),
                "{lie} brought the password to light:\n{said}"
            );
        }
    }
    assert_eq!(assert_not_poisoned(&folder.path().join("cache")), 0);
    // What is too large is not even asked for; what failed for good is not asked for again; a lie is told once.
    assert_eq!(registry.asked("huge").len(), 1);
    assert_eq!(registry.asked("wrong-digest").len(), 2);
    assert_eq!(registry.asked("basic-loop").len(), 2);
    assert_eq!(registry.asked("denied").len(), 1);
    // `retry::TRIES_MAX`.
    assert_eq!(registry.asked("errors").len(), 5);
    // `session::REDIRECTS_MAX`, and the first.
    assert_eq!(registry.asked("redirect-loop").len(), 6);
}

#[tokio::test]
async fn who_tells_the_truth_in_the_end_is_heard() {
    let registry = LyingRegistry::start(fs::read(guests::path("bare-http")).unwrap()).await;
    for lie in HONEST {
        let folder = tempfile::tempdir().unwrap();
        write_config(&registry, folder.path());
        let (success, said) = pull(&registry, lie, folder.path()).await;
        assert!(success, "{lie}: {said}");
        assert!(!said.contains(PASSWORD), "{lie} brought the password to light:\n{said}");
        assert_eq!(assert_not_poisoned(&folder.path().join("cache")), 1, "{lie}");
    }
    // The token, and nothing else, was shown to the registry; along a redirection to another name, nothing.
    let shown: Vec<_> = registry.asked("bearer").into_iter().map(|asked| asked.authorization).collect();
    assert_eq!(shown[0], None);
    assert!(shown[1..].iter().all(|shown| shown.as_deref() == Some("Bearer t0k3n")), "{shown:?}");
    let elsewhere = registry.asked_below("/elsewhere");
    assert!(!elsewhere.is_empty() && elsewhere.iter().all(|asked| asked.authorization.is_none()), "{elsewhere:?}");
}

#[tokio::test]
async fn a_mirror_is_not_shown_what_a_workload_has_for_the_registry() {
    let registry = LyingRegistry::start(b"component".to_vec()).await;
    let options = ArtifactOptions {
        allow_insecure: true,
        mirrors: vec![format!("ghcr.io={}", registry.address()).parse().unwrap()],
        ..ArtifactOptions::default()
    };
    let store = ArtifactStore::new(options, Limits::default()).await.unwrap();
    let credentials = RegistryCredentials::new("anna", PASSWORD).unwrap();
    let mirrored = "ghcr.io/basic-loop:1".parse().unwrap();
    let refused = store.pull(&mirrored, PullPolicy::Always, Some(&credentials)).await.unwrap_err();
    assert!(refused.to_string().contains("there are none for it"), "{refused}");
    assert!(registry.asked("basic-loop").iter().all(|asked| asked.authorization.is_none()));
    let named = registry.image("basic-loop").parse().unwrap();
    let refused = store.pull(&named, PullPolicy::Always, Some(&credentials)).await.unwrap_err();
    assert!(refused.to_string().contains("refuses the credentials"), "{refused}");
}

/// After `wire::STALL_TIMEOUT` another try begins.
#[tokio::test]
async fn a_registry_that_stalls() {
    let registry = LyingRegistry::start(fs::read(guests::path("bare-http")).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    write_config(&registry, folder.path());
    let (success, said) = pull_within("15s", &registry, "stalls", folder.path()).await;
    let wanted = format!("the last try failed: {} sent nothing for 10 s", registry.address());
    assert!(!success && said.contains(&wanted), "{said}");
    assert!(said.contains("it took longer than 15 s (--registry-pull-timeout)"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_whose_registry_lies_runs_once_it_is_honest() {
    let registry = LyingRegistry::start(fs::read(guests::path("bare-http")).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let one =
        trigger("one", "one.test", "bare-http").yaml().replace("file:bare-http.wasm", &registry.image("wrong-digest"));
    let manifest = trigger("other", "other.test", "bare-http").yaml() + &one;
    let options = Options::default().switch("--allow-insecure-registries");
    let host = Host::start_with(&manifest, options.flag("--oci-cache-dir", cache.to_str().unwrap()));
    let workload = host.workload("one").await;
    assert_eq!(workload["state"], "WORKLOAD_STATE_ERROR", "{workload}");
    let reason = workload["reason"].as_str().unwrap();
    assert!(reason.contains("/wrong-digest:1 cannot be had: ") && reason.contains("lied"), "{reason}");
    assert_eq!(assert_not_poisoned(&cache), 0);
    assert!(host.metric("roadstead_image_total", &["wrong-digest"]).await >= 1.0);

    registry.become_honest();
    eventually("the workload runs", async || {
        (host.client("one.test").get("/").send().await.status == 200).then_some(())
    })
    .await;
    assert_eq!(assert_not_poisoned(&cache), 1);
}

/// With one place for fetches, `artifact_pulls_at_once_max`, who does not get it in time is told.
#[tokio::test]
async fn fetches_beyond_those_at_a_time_wait_and_say_so() {
    let registry = LyingRegistry::start(b"component".to_vec()).await;
    let limits = Limits { artifact_pulls_at_once_max: 1, ..Limits::default() };
    let options = ArtifactOptions { allow_insecure: true, pull_timeout: Duration::from_secs(1), ..Default::default() };
    let store = ArtifactStore::new(options, limits).await.unwrap();
    let image = registry.image("stalls").parse().unwrap();
    let pulls = (0..3).map(|_| store.pull(&image, PullPolicy::IfNotPresent, None));
    let ended: Vec<_> = futures::future::join_all(pulls).await.into_iter().map(|end| end.unwrap_err().kind()).collect();
    assert_eq!(ended[0], "timeout", "{ended:?}");
    assert!(ended.contains(&"busy"), "{ended:?}");
}

#[tokio::test]
async fn the_cleaner_removes_what_nobody_uses_any_more() {
    let registry = LyingRegistry::start(b"component".to_vec()).await;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let often = ArtifactCleaner { frequency: Duration::from_millis(100), max_age: Duration::ZERO };
    let options = ArtifactOptions {
        allow_insecure: true,
        cache_directory: Some(cache.clone()),
        cleaner: Some(often),
        ..ArtifactOptions::default()
    };
    let store = ArtifactStore::new(options, Limits::default()).await.unwrap();
    let image = registry.image("good").parse().unwrap();
    let pulled = store.pull(&image, PullPolicy::IfNotPresent, None).await.unwrap();
    let references = || fs::read_dir(cache.join("references")).unwrap().count();
    // What a reference stands for is nobody's, and goes in the first round; the component is in use.
    eventually("a round", async || (references() == 0).then_some(())).await;
    assert_eq!(assert_not_poisoned(&cache), 1);
    drop(pulled);
    eventually("a round without a user", async || (assert_not_poisoned(&cache) == 0).then_some(())).await;
}
