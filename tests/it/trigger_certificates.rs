//! Certificates that triggers bring (`spec.ingress.tls`), as openssl sees them: for the trigger's host, and no other.

use std::{fs, process::Stdio};

use tokio::{process::Command, time::timeout};

use crate::harness::{
    PATIENCE,
    certificates::Authority,
    eventually,
    host::{Host, Options, write_application},
    manifest::{Trigger, trigger},
};

/// A host whose certificates are in the folder `tls` beside its manifest.
struct Application {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Application {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tls")).unwrap();
        Self { folder, authority: Authority::new("authority") }
    }

    fn issue(&self, names: &[&str], subject: &str, stem: &str) {
        self.authority.issue(names, subject).write(&self.folder.path().join("tls"), stem);
    }

    fn write(&self, triggers: &[Trigger]) {
        write_application(self.folder.path(), &triggers.iter().map(Trigger::yaml).collect::<String>());
    }

    fn start(&self, options: Options) -> Host {
        let manifest = self.folder.path().join("app.yaml");
        Host::start_file(&manifest, tempfile::tempdir().unwrap(), &options)
    }
}

fn encrypted() -> Options {
    Options::default().flag("--https-addr", "127.0.0.1:0")
}

/// Whose certificate a client gets that asks for `name`: its subject, or what else openssl says.
async fn shown(host: &Host, name: &str) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &host.https_address().to_string(), "-servername", name]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("openssl does not end");
    let output = output.unwrap_or_else(|error| panic!("no openssl ({error}); `cargo xtask setup` installs it"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let subject = text.lines().find_map(|line| line.strip_prefix("subject=CN = "));
    subject.map_or_else(|| text.clone(), ToOwned::to_owned)
}

async fn is_refused(host: &Host, name: &str) {
    let told = shown(host, name).await;
    assert!(told.contains("SSL alert number 112"), "{name}: {told}");
}

fn of(team: &str, name: &str, host: &str) -> Trigger {
    trigger(name, host, "bare-http").namespace(team)
}

#[tokio::test]
async fn a_triggers_certificate_is_for_its_host_and_no_other() {
    let application = Application::new();
    application.issue(&["a.test"], "a", "a");
    // It says that it is for the other team's hosts as well.
    application.issue(&["b.test", "a.test", "*.c.test", "x.c.test"], "b", "b");
    application.write(&[
        of("team-a", "a", "a.test").certificate("tls/a"),
        of("team-a", "x", "x.c.test"),
        of("team-b", "b", "b.test").certificate("tls/b"),
        of("team-b", "c", "'*.c.test'").certificate("tls/b"),
    ]);
    let host = application.start(encrypted());
    assert_eq!(host.metric("roadstead_workloads", &["running"]).await, 4.0, "{}", host.log());
    for (name, whose) in [("a.test", "a"), ("b.test", "b"), ("y.c.test", "b"), ("z.y.c.test", "b")] {
        assert_eq!(shown(&host, name).await, whose, "{name}");
    }
    // The host of a team that has brought no certificate, and one that nobody has.
    is_refused(&host, "x.c.test").await;
    is_refused(&host, "d.test").await;
    let expiry = host.metric("roadstead_tls_certificate_expiry_seconds", &["\"a.test\""]).await;
    assert!(expiry > 0.0);
}

#[tokio::test]
async fn the_operators_certificate_comes_first() {
    let application = Application::new();
    let operators = tempfile::tempdir().unwrap();
    application.authority.issue(&["*.w.test"], "operator-wildcard").write(operators.path(), "_.w.test");
    application.authority.issue(&["a.test"], "operator").write(operators.path(), "a.test");
    application.issue(&["a.test", "b.w.test", "c.test"], "trigger", "t");
    application.write(&[
        of("team-a", "a", "a.test").certificate("tls/t"),
        of("team-a", "b", "b.w.test").certificate("tls/t"),
        of("team-a", "c", "c.test").certificate("tls/t"),
    ]);
    let host = application.start(encrypted().flag("--tls-dir", operators.path().to_str().unwrap()));
    for (name, whose) in [("a.test", "operator"), ("b.w.test", "operator-wildcard"), ("c.test", "trigger")] {
        assert_eq!(shown(&host, name).await, whose, "{name}");
    }
}

#[tokio::test]
async fn a_triggers_certificate_is_reloaded_and_goes_with_its_trigger() {
    let application = Application::new();
    application.issue(&["a.test"], "old", "a");
    application.issue(&["b.test"], "b", "b");
    let (a, b) = (of("team-a", "a", "a.test").certificate("tls/a"), of("team-a", "b", "b.test").certificate("tls/b"));
    application.write(&[a.clone(), b.clone()]);
    let host = application.start(encrypted().switch("--watch"));
    assert_eq!(shown(&host, "a.test").await, "old");
    application.issue(&["a.test"], "new", "a");
    host.wait_for_metric("roadstead_tls_reloads_total", &["\"ok\""], 1.0).await;
    assert_eq!(shown(&host, "a.test").await, "new");
    // Half a change leaves the old one, and holds up no other.
    fs::write(application.folder.path().join("tls/a.crt"), "half a ce").unwrap();
    application.issue(&["b.test"], "b-new", "b");
    host.wait_for_metric("roadstead_tls_reloads_total", &["\"failed\""], 1.0).await;
    eventually("the other is new", async || (shown(&host, "b.test").await == "b-new").then_some(())).await;
    assert_eq!(shown(&host, "a.test").await, "new");

    application.write(&[b]);
    eventually("it is gone", async || shown(&host, "a.test").await.contains("number 112").then_some(())).await;
    assert_eq!(shown(&host, "b.test").await, "b-new");
    assert_eq!(host.metric("roadstead_tls_certificate_expiry_seconds", &["\"a.test\""]).await, 0.0);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_its_workloads_error() {
    let application = Application::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let (chain, key) = application.authority.issue(&["a.test"], "elsewhere").write(elsewhere.path(), "a");
    std::os::unix::fs::symlink(chain, application.folder.path().join("tls/link.crt")).unwrap();
    std::os::unix::fs::symlink(key, application.folder.path().join("tls/link.key")).unwrap();
    application.issue(&["good.test"], "good", "good");
    application.write(&[
        of("team-a", "good", "good.test").certificate("tls/good"),
        of("team-a", "linked", "linked.test").certificate("tls/link"),
        of("team-a", "missing", "missing.test").certificate("tls/missing"),
    ]);
    let host = application.start(encrypted());
    assert_eq!(shown(&host, "good.test").await, "good");
    for (name, why) in
        [("linked", "leads out of the folder of its manifest"), ("missing", "tls/missing.crt cannot be read")]
    {
        let workload = host.workload(name).await;
        assert_eq!(workload["state"], "WORKLOAD_STATE_ERROR");
        let reason = workload["reason"].as_str().unwrap();
        assert!(reason.contains(why) && reason.contains(&format!("{name}.test")), "{reason}");
    }
    is_refused(&host, "linked.test").await;
}

/// `tls_certificates_max` is for those of triggers as well.
#[tokio::test]
async fn triggers_certificates_are_counted() {
    let application = Application::new();
    application.issue(&["a.test", "b.test"], "both", "both");
    application.write(&[
        of("team-a", "a", "a.test").certificate("tls/both"),
        of("team-a", "b", "b.test").certificate("tls/both"),
    ]);
    let host = application.start(encrypted().flag("--limit", "tls_certificates_max=1"));
    let reason = host.workload("b").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("there are 1 certificates already (tls_certificates_max)"), "{reason}");
}

#[tokio::test]
async fn without_an_address_for_tls_a_certificate_is_a_warning() {
    let application = Application::new();
    application.write(&[of("team-a", "a", "a.test").certificate("tls/none")]);
    let host = application.start(Options::default());
    assert_eq!(host.client("a.test").get("/hello").send().await.status, 200);
    let warning = "ingress.tls has no effect: the host has no address for TLS (--https-addr)";
    assert_eq!(host.workload("a").await["warnings"], serde_json::json!([warning]));
    assert!(host.log().contains(warning));
}
