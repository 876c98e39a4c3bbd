//! Images from a real registry: fetched, kept, shared, sent, by the policies and with the credentials that manifests and
//! flags name.

use std::{fs, path::Path, process::Output, sync::Arc};

use serde_json::Value;

use crate::harness::{
    certificates::Authority,
    client::Client,
    eventually, guests,
    host::{Host, Options, roadstead},
    lying_registry::digest,
    manifest::trigger,
    registry::{PASSWORD, Registry, USER},
};

/// Runs a command of the program to its end.
fn command(arguments: &[&str]) -> Output {
    let mut command = roadstead();
    command.env("HOME", "/nonexistent").env_remove("DOCKER_CONFIG");
    command.args(arguments).output().unwrap()
}

/// What it printed, when it succeeded.
fn printed(arguments: &[&str]) -> String {
    let output = command(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complained of, when it failed.
fn complaint(arguments: &[&str]) -> String {
    let output = command(arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    errors
}

fn guest(name: &str) -> String {
    guests::path(name).display().to_string()
}

/// A trigger for `one.test` with an image, and further lines of its component.
fn application(image: &str, lines: &[&str]) -> String {
    let trigger = lines.iter().fold(trigger("one", "one.test", "bare-http"), |trigger, line| trigger.with(line));
    trigger.yaml().replace("file:bare-http.wasm", image)
}

fn insecure() -> Options {
    Options::default().switch("--allow-insecure-registries")
}

async fn answers(host: &Host) {
    assert_eq!(host.client("one.test").get("/").send().await.status, 200);
}

/// Waits until the workload's status says something.
async fn reason(host: &Host, wanted: &str) -> String {
    eventually(wanted, async || {
        let workload = host.workload("one").await;
        workload["reason"].as_str().filter(|reason| reason.contains(wanted)).map(str::to_owned)
    })
    .await
}

/// A host keeps running with a workload that fails only where another one runs.
fn beside(application: &str) -> String {
    trigger("other", "other.test", "bare-http").yaml() + application
}

#[tokio::test]
async fn a_component_is_sent_fetched_and_run() {
    let registry = Registry::start();
    let image = registry.plain("org/bare-http:1");
    let sent = printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let manifest = sent.split(' ').find(|word| word.starts_with("sha256:")).unwrap();
    let again =
        printed(&["push", &guest("bare-http"), &registry.plain("org/bare-http:2"), "--allow-insecure-registries"]);
    assert!(again.contains(manifest), "the same component has the same digest: {again}");

    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("got.wasm");
    let got = printed(&["pull", &image, "--allow-insecure-registries", "--to", to.to_str().unwrap()]);
    assert!(got.contains(manifest), "{got}");
    assert_eq!(fs::read(&to).unwrap(), fs::read(guest("bare-http")).unwrap());

    let pinned = registry.plain(&format!("org/bare-http@{manifest}"));
    for image in [&image, &pinned] {
        let host = Host::start_with(&application(image, &[]), insecure());
        answers(&host).await;
        assert_eq!(host.metric("roadstead_image_total", &["registry"]).await, 1.0);
        assert!(host.log().contains("image fetched"));
    }
}

#[test]
fn what_a_component_needs_is_shown() {
    let registry = Registry::start();
    let image = registry.plain("probe-gateway:1");
    printed(&["push", &guest("probe-gateway"), &image, "--allow-insecure-registries"]);
    for subject in [guest("probe-gateway"), image.clone()] {
        let text = printed(&["inspect", &subject, "--allow-insecure-registries"]);
        assert!(text.contains("package: messaging, version: '0.2.0', interfaces: ["), "{text}");
        assert!(text.contains("  wasi:http/incoming-handler@0.2"), "{text}");
        assert!(!text.contains("package: io"), "{text}");
    }
    let json = printed(&["inspect", &image, "--allow-insecure-registries", "--output", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let bytes = fs::read(guest("probe-gateway")).unwrap();
    assert_eq!(json["bytes"], bytes.len());
    assert_eq!(json["digest"], digest(&bytes));
    assert!(json["hostInterfaces"].as_array().unwrap().iter().any(|entry| entry["package"] == "logging"), "{json}");
    assert!(complaint(&["inspect", "no-such.wasm"]).contains("cannot be read"));
    assert!(complaint(&["inspect", "neither"]).contains("neither a file nor an image"));
}

#[test]
fn a_registry_without_tls_needs_a_word() {
    let registry = Registry::start();
    let plain = complaint(&["pull", &registry.plain("a:1")]);
    assert!(plain.contains("allow that with --allow-insecure-registries"), "{plain}");
    let secure = complaint(&["pull", &registry.secure("a:1")]);
    assert!(secure.contains("does not speak TLS"), "{secure}");
    // With the word, a registry that speaks no TLS is spoken to without.
    let image = registry.secure("a:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let missing = complaint(&["pull", &registry.secure("b:1"), "--allow-insecure-registries"]);
    assert!(missing.contains("has no such image (404 MANIFEST_UNKNOWN)"), "{missing}");
}

/// A registry with TLS and passwords, and where the host and a tenant keep theirs.
struct Private {
    registry: Registry,
    folder: tempfile::TempDir,
}

impl Private {
    fn start() -> Self {
        let authority = Authority::new("registry authority");
        let registry = Registry::start_private(&authority);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let private = Self { registry, folder };
        private.write_config("config.json", PASSWORD);
        private.write_config("wrong.json", "wrong-password");
        let secret = private.folder.path().join("secrets/default/pull");
        fs::create_dir_all(&secret).unwrap();
        fs::copy(private.path("config.json"), secret.join(".dockerconfigjson")).unwrap();
        printed(&[
            "push",
            &guest("bare-http"),
            &private.image(),
            "--docker-config",
            &private.path("config.json"),
            "--oci-ca-path",
            &private.path("ca.pem"),
        ]);
        private
    }

    fn write_config(&self, name: &str, password: &str) {
        let address = self.registry.address();
        let config = format!(r#"{{"auths": {{"{address}": {{"username": "{USER}", "password": "{password}"}}}}}}"#);
        fs::write(self.folder.path().join(name), config).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn image(&self) -> String {
        self.registry.secure("org/private:1")
    }
}

#[tokio::test]
async fn credentials_come_from_dockers_configuration() {
    let private = Private::start();
    let (image, authorities) = (private.image(), private.path("ca.pem"));
    let pull = |more: &[&str]| complaint(&[&["pull", &image][..], more].concat());
    let untrusted = pull(&[]);
    assert!(untrusted.contains("invalid peer certificate") && untrusted.contains("--oci-ca-path"), "{untrusted}");
    let nobody = pull(&["--oci-ca-path", &authorities]);
    assert!(nobody.contains("wants credentials (401), and there are none for it"), "{nobody}");
    let wrong = pull(&["--oci-ca-path", &authorities, "--docker-config", &private.path("wrong.json")]);
    assert!(wrong.contains("refuses the credentials (401"), "{wrong}");
    assert!(!wrong.contains("wrong-password") && !wrong.contains(USER), "{wrong}");

    let options = Options::default()
        .flag("--oci-ca-path", &authorities)
        .flag("--docker-config", &private.path("config.json"))
        .flag("--log-level", "trace");
    let host = Host::start_with(&application(&image, &[]), options);
    answers(&host).await;
    assert!(!host.log().contains(PASSWORD), "a password in the log");
}

#[test]
fn a_credential_helper_is_asked() {
    use std::os::unix::fs::PermissionsExt;
    let private = Private::start();
    let helper = private.folder.path().join("docker-credential-harness");
    // It is told the registry, and knows the password of that one alone.
    let script = format!(
        "#!/bin/sh\nread -r registry\n[ \"$1 $registry\" = 'get {}' ] || {{ echo 'credentials not found'; exit 1; }}\n\
         echo '{{\"Username\": \"{USER}\", \"Secret\": \"{PASSWORD}\"}}'\n",
        private.registry.address()
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let config = private.path("helper.json");
    fs::write(&config, r#"{"credsStore": "harness"}"#).unwrap();
    let path = format!("{}:{}", private.folder.path().display(), std::env::var("PATH").unwrap());
    let pull = |image: &str| {
        let mut command = roadstead();
        command.env("PATH", &path).args(["pull", image, "--docker-config", &config]);
        command.args(["--oci-ca-path", &private.path("ca.pem"), "--to", &private.path("got.wasm")]);
        let output = command.args(["--log-level", "trace"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(PASSWORD), "{said}");
        (output.status.success(), said)
    };
    let (success, said) = pull(&private.image());
    assert!(success, "{said}");
    let by_another_name = private.image().replace("127.0.0.1", "localhost");
    let (success, said) = pull(&by_another_name);
    assert!(!success && said.contains("there are none for it"), "{said}");
}

#[tokio::test]
async fn a_pull_secret_is_its_namespaces_own() {
    let private = Private::start();
    let cache = private.path("cache");
    let options = || {
        Options::default()
            .flag("--oci-ca-path", &private.path("ca.pem"))
            .flag("--pull-secret-dir", &private.path("secrets"))
            .flag("--oci-cache-dir", &cache)
    };
    let with_secret = application(&private.image(), &["imagePullSecret: {name: pull}"]);
    let host = Host::start_with(&with_secret, options());
    answers(&host).await;
    drop(host);

    // The image is in the cache; who shows no credentials gets it from there as little as from the registry.
    for policy in ["IfNotPresent", "Never"] {
        let other = application(&private.image(), &[&format!("imagePullPolicy: {policy}")]);
        let host = Host::start_with(&beside(&other), options());
        let wanted = if policy == "Never" { "not in the cache for these credentials" } else { "wants credentials" };
        reason(&host, wanted).await;
    }
    let missing = with_secret.replace("name: pull", "name: absent");
    let host = Host::start_with(&beside(&missing), options());
    let reason = reason(&host, "imagePullSecret absent is not there").await;
    assert!(reason.contains("secrets/default/absent/.dockerconfigjson"), "{reason}");
    assert!(reason.starts_with("app.yaml:") || reason.contains("/app.yaml:"), "{reason}");

    let never = application(&private.image(), &["imagePullSecret: {name: pull}", "imagePullPolicy: Never"]);
    let host = Host::start_with(&never, options());
    answers(&host).await;
}

#[tokio::test]
async fn policies_are_exact() {
    let mut registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let options = || insecure().flag("--oci-cache-dir", cache.to_str().unwrap());
    let with = |policy: &str| application(&image, &[&format!("imagePullPolicy: {policy}")]);
    let asked = |registry: &Registry| registry.requests("GET", "/org/app/manifests/");

    // Never: not in the cache, and nobody is asked.
    let host = Host::start_with(&beside(&with("Never")), options());
    reason(&host, "not in the cache").await;
    assert_eq!(asked(&registry), 0);
    drop(host);

    answers(&Host::start_with(&with("IfNotPresent"), options())).await;
    assert_eq!((asked(&registry), registry.requests("GET", "/org/app/blobs/")), (1, 1));
    for (policy, manifests) in [("IfNotPresent", 1), ("Never", 1), ("Always", 2)] {
        answers(&Host::start_with(&with(policy), options())).await;
        assert_eq!(asked(&registry), manifests, "{policy}");
    }
    // What the tag still stands for is not fetched again.
    assert_eq!(registry.requests("GET", "/org/app/blobs/"), 1);

    // The tag moves: only Always notices.
    let moved = folder.path().join("moved.wasm");
    fs::write(&moved, padded(&guests::path("bare-http"), 100)).unwrap();
    printed(&["push", moved.to_str().unwrap(), &image, "--allow-insecure-registries"]);
    answers(&Host::start_with(&with("IfNotPresent"), options())).await;
    assert_eq!(registry.requests("GET", "/org/app/blobs/"), 1);
    answers(&Host::start_with(&with("Always"), options())).await;
    assert_eq!(registry.requests("GET", "/org/app/blobs/"), 2);

    // The registry is away: what is there runs, Always does not.
    registry.kill();
    answers(&Host::start_with(&with("IfNotPresent"), options())).await;
    let quick = options().flag("--registry-pull-timeout", "2s");
    let host = Host::start_with(&beside(&with("Always")), quick);
    reason(&host, "cannot be had").await;
}

#[tokio::test]
async fn a_mirror_is_asked_in_place_of_a_registry() {
    let registry = Registry::start();
    printed(&["push", &guest("bare-http"), &registry.plain("mirrored/org/app:1"), "--allow-insecure-registries"]);
    let mirror = format!("ghcr.io={}/mirrored", registry.address());
    let options = insecure().flag("--registry-mirror", &mirror);
    let host = Host::start_with(&application("ghcr.io/org/app:1", &[]), options);
    answers(&host).await;
}

#[tokio::test]
async fn a_changed_copy_is_fetched_again() {
    let registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let options = || insecure().flag("--oci-cache-dir", cache.to_str().unwrap());
    answers(&Host::start_with(&application(&image, &[]), options())).await;
    let hex = digest(&fs::read(guest("bare-http")).unwrap()).replace("sha256:", "");
    let kept = cache.join("components").join(hex);
    // Another component in its place: whole, valid, and not what the reference stands for.
    fs::write(&kept, fs::read(guest("bare-worker")).unwrap()).unwrap();
    let host = Host::start_with(&application(&image, &[]), options());
    answers(&host).await;
    assert!(host.log().contains("a damaged component in the image cache is removed"));
    assert_eq!(fs::read(&kept).unwrap(), fs::read(guest("bare-http")).unwrap());
    assert_eq!(registry.requests("GET", "/blobs/"), 2);
}

#[tokio::test]
async fn two_hosts_share_a_cache_and_a_component_is_fetched_once() {
    let registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let options = || insecure().flag("--oci-cache-dir", cache.to_str().unwrap());
    // Several components of one workload are wanted at once.
    let several = application(&image, &[]).replacen(
        "      components:\n",
        &format!(
            "      components:\n{}",
            (0..8)
                .map(|n| format!("        - {{name: extra-{n}, image: '{image}', poolSize: 0}}\n"))
                .collect::<String>()
        ),
        1,
    );
    // Two components cannot both answer a trigger, but all of them are fetched first.
    let host = Host::start_with(&beside(&several), options());
    reason(&host, "both export wasi:http/incoming-handler").await;
    assert_eq!(registry.requests("GET", "/blobs/"), 1);
    let hosts: Vec<Host> = (0..2).map(|_| Host::start_with(&application(&image, &[]), options())).collect();
    for host in &hosts {
        answers(host).await;
        assert_eq!(host.metric("roadstead_image_total", &["cache"]).await, 1.0);
    }
    assert_eq!(registry.requests("GET", "/blobs/"), 1);
}

/// Both begin with an empty cache, and neither knows of the other.
#[tokio::test]
async fn two_hosts_fetch_into_one_cache_at_once() {
    let registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let start = || {
        let options = insecure().flag("--oci-cache-dir", cache.to_str().unwrap());
        Host::start_with(&application(&image, &["imagePullPolicy: Always"]), options)
    };
    let hosts: Vec<Host> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    for host in &hosts {
        answers(host).await;
        assert!(!host.log().contains("damaged"), "{}", host.log());
    }
    let kept: Vec<_> = fs::read_dir(cache.join("components")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read(&kept[0]).unwrap(), fs::read(guest("bare-http")).unwrap());
}

/// A host whose cache is on a file system of four megabytes, which only it sees. Needs root, as the mount does.
fn host_on_a_small_disk(manifest: &str, megabytes: &str, options: Options) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size={megabytes}m,mode=0700 tmpfs {0} && mkdir -m 0700 {0}/cache && exec \"$@\"",
        disk.display()
    );
    fs::write(folder.path().join("app.yaml"), manifest).unwrap();
    fs::copy(guests::path("bare-http"), folder.path().join("bare-http.wasm")).unwrap();
    let cache = disk.join("cache").display().to_string();
    Host::start_in(
        folder,
        options.flag("--oci-cache-dir", &cache).through(&["unshare", "-m", "sh", "-c", &script, "sh"]),
    )
}

#[tokio::test]
async fn a_full_disk_keeps_no_workload_from_running() {
    let registry = Registry::start();
    let folder = tempfile::tempdir().unwrap();
    // A component that is larger than the disk: the same with a custom section of zeros behind it.
    let large = folder.path().join("large.wasm");
    fs::write(&large, padded(&guests::path("bare-http"), 5 << 20)).unwrap();
    let image = registry.plain("org/large:1");
    printed(&["push", large.to_str().unwrap(), &image, "--allow-insecure-registries"]);
    let host = host_on_a_small_disk(&application(&image, &[]), "4", insecure());
    answers(&host).await;
    assert!(host.log().contains("the image cannot be kept, and is fetched again next time"), "{}", host.log());
    assert_eq!(host.metric("roadstead_image_total", &["not-kept"]).await, 1.0);
}

/// A component with `bytes` more, which mean nothing.
fn padded(component: &Path, bytes: usize) -> Vec<u8> {
    let mut padded = fs::read(component).unwrap();
    // Section 0, its length in LEB128, a name of one letter, zeros.
    let mut length = bytes + 2;
    padded.push(0);
    while length >= 0x80 {
        padded.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    padded.push(length as u8);
    padded.extend([1, b'x']);
    padded.resize(padded.len() + bytes, 0);
    padded
}

#[tokio::test]
async fn a_cache_directory_that_cannot_be_used_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = insecure().flag("--oci-cache-dir", folder.path().to_str().unwrap());
    let host = Host::start_with(&application(&image, &[]), options);
    answers(&host).await;
    assert!(host.log().contains("images are kept for the life of this host only"), "{}", host.log());
    assert!(host.log().contains("is open to other users (mode 0755)"), "{}", host.log());
}

#[tokio::test]
async fn an_image_is_compiled_beforehand() {
    let registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("app.yaml");
    fs::write(&manifest, application(&image, &[])).unwrap();
    let text = printed(&["compile", manifest.to_str().unwrap(), "--allow-insecure-registries"]);
    assert!(text.contains(&digest(&fs::read(guest("bare-http")).unwrap())), "{text}");
}

/// Many workloads of one image, in several namespaces, are started by one host: the registry is asked for the component
/// once.
#[tokio::test]
async fn many_workloads_of_one_image() {
    let registry = Registry::start();
    let image = registry.plain("org/app:1");
    printed(&["push", &guest("bare-http"), &image, "--allow-insecure-registries"]);
    let many: String = (0..10)
        .map(|n| {
            let one =
                trigger(&format!("app-{n}"), &format!("app-{n}.test"), "bare-http").namespace(&format!("team-{n}"));
            one.yaml().replace("file:bare-http.wasm", &image)
        })
        .collect();
    let host = Arc::new(Host::start_with(&many, insecure()));
    for n in 0..10 {
        assert_eq!(Client::new(host.http_address(), &format!("app-{n}.test")).get("/").send().await.status, 200);
    }
    assert_eq!(registry.requests("GET", "/blobs/"), 1);
    assert_eq!(registry.requests("GET", "/manifests/"), 1);
}
