//! TLS, with clients that are none of ours: openssl, curl, sslyze; and certificates that change under load.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command, time::timeout};

use crate::harness::{
    PATIENCE,
    askers::{
        Askers,
        Manner::{H2, Kept, Short},
        Target, roots,
    },
    certificates::Authority,
    host::{Host, Options, roadstead, write_application},
    manifest::trigger,
    nats::python_within,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest time that sslyze may take: it tries hundreds of handshakes.
const SCAN_WITHIN: Duration = Duration::from_secs(240);

/// A host with a TLS address, and who issued its certificates.
struct Secure {
    host: Host,
    authority: Authority,
    certificates: PathBuf,
}

impl Secure {
    /// Starts a host for `*.test` with the certificates that `prepare` writes into its folder.
    fn start(options: Options, prepare: impl FnOnce(&Authority, &PathBuf)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_application(folder.path(), &trigger("app", "'*.test'", "bare-http").yaml());
        let (authority, certificates) = (Authority::new("authority"), folder.path().join("certificates"));
        fs::create_dir(&certificates).unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        prepare(&authority, &certificates);
        let path = certificates.to_str().unwrap();
        let host = Host::start_in(folder, options.flag("--https-addr", "127.0.0.1:0").flag("--tls-dir", path));
        Self { host, authority, certificates }
    }

    fn path(&self, name: &str) -> String {
        self.host.folder.path().join(name).display().to_string()
    }

    /// A TLS connection by openssl, which verifies what it gets and ends at once: what it said.
    async fn s_client(&self, arguments: &str) -> String {
        let (address, authorities) = (self.host.https_address().to_string(), self.path("ca.pem"));
        let arguments = format!("s_client -connect {address} -CAfile {authorities} -verify_return_error {arguments}");
        let output = run("openssl", &arguments.split_whitespace().collect::<Vec<_>>()).await;
        text(&output)
    }

    /// A request by curl to `https://NAME/hello`: HTTP version and status, or what went wrong.
    async fn curl(&self, name: &str, arguments: &[&str]) -> String {
        let address = self.host.https_address();
        let (resolve, authorities) = (format!("{name}:{}:127.0.0.1", address.port()), self.path("ca.pem"));
        let url = format!("https://{name}:{}/hello", address.port());
        let fixed = ["-sS", "--cacert", &authorities, "--resolve", &resolve, "-o", "/dev/null"];
        let told = ["-w", "HTTP/%{http_version} %{http_code}", "--max-time", "20", &url];
        text(&run("curl", &[&fixed[..], &told[..], arguments].concat()).await)
    }

    /// What clients do fills no log.
    fn has_no_remarks(&self) {
        let log = self.host.log();
        assert!(!log.contains("\"level\":\"WARN\"") && !log.contains("\"level\":\"ERROR\""), "{log}");
    }

    async fn handshakes(&self, outcome: &str, count: f64) {
        self.host.wait_for_metric("roadstead_tls_handshakes_total", &[&format!("\"{outcome}\"")], count).await;
    }
}

async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.unwrap_or_else(|_| panic!("{program} does not end"));
    output.unwrap_or_else(|error| panic!("{program} cannot be started ({error}); `cargo xtask setup` installs it"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in:\n{text}");
}

#[tokio::test]
async fn old_versions_are_refused_and_new_ones_speak_both_protocols() {
    let secure = Secure::start(Options::default(), |authority, folder| {
        authority.issue(&["a.test"], "server").write(folder, "a.test");
    });
    for old in ["-tls1", "-tls1_1"] {
        // Without this openssl would not even ask.
        let told = secure.s_client(&format!("{old} -cipher DEFAULT:@SECLEVEL=0 -servername a.test")).await;
        contains(&told, "alert handshake failure");
    }
    secure.handshakes("version", 2.0).await;
    for (new, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        for protocol in ["h2", "http/1.1"] {
            let asked = format!("{new} -servername a.test -verify_hostname a.test -alpn {protocol},x");
            let told = secure.s_client(&asked).await;
            contains(&told, "Verify return code: 0 (ok)");
            contains(&told, &format!("ALPN protocol: {protocol}"));
            contains(&told, &format!("New, {version}, Cipher is "));
        }
    }
    contains(&secure.s_client("-servername a.test -alpn acme-tls/1").await, "alert no application protocol");
    for (arguments, told) in [
        (&["--http2"][..], "HTTP/2 200"),
        (&["--http1.1"], "HTTP/1.1 200"),
        (&["--http2", "--tls-max", "1.2"], "HTTP/2 200"),
        (&["--no-alpn"], "HTTP/1.1 200"),
    ] {
        assert_eq!(secure.curl("a.test", arguments).await, told, "{arguments:?}");
    }
    secure.has_no_remarks();
    assert_eq!(secure.host.status().await["https_address"], secure.host.https_address().to_string());
}

#[tokio::test]
async fn a_certificate_is_found_by_name() {
    let default = tempfile::tempdir().unwrap();
    let flags = Options::default()
        .flag("--tls-cert-path", default.path().join("default.crt").to_str().unwrap())
        .flag("--tls-key-path", default.path().join("default.key").to_str().unwrap());
    let secure = Secure::start(flags, |authority, folder| {
        authority.issue(&["a.b.test"], "exact").write(folder, "a.b.test");
        authority.issue(&["*.b.test"], "wildcard").write(folder, "_.b.test");
        authority.issue(&["127.0.0.1"], "default").write(default.path(), "default");
    });
    for (asked, subject) in [
        ("-servername a.b.test", "exact"),
        ("-servername x.b.test", "wildcard"),
        ("-servername other.test", "default"),
        ("-noservername", "default"),
    ] {
        contains(&secure.s_client(asked).await, &format!("subject=CN = {subject}\n"));
    }
    assert_eq!(secure.curl("x.b.test", &["--http2"]).await, "HTTP/2 200");
    contains(&secure.curl("other.test", &[]).await, "no alternative certificate subject name matches");
    assert_eq!(
        secure.host.metric("roadstead_tls_certificate_expiry_seconds", &["\"*.b.test\""]).await,
        3_786_912_000.0
    );
}

#[tokio::test]
async fn sessions_are_resumed() {
    let secure = Secure::start(Options::default(), |authority, folder| {
        authority.issue(&["a.test"], "server").write(folder, "a.test");
    });
    for version in ["-tls1_2", "-tls1_3"] {
        let session = secure.path(version);
        let asked = format!("{version} -servername a.test -ign_eof");
        // In TLS 1.3 a ticket comes after the handshake: the client waits for the host to close.
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &secure.host.https_address().to_string(), "-sess_out", &session]);
        command.args(asked.split(' ')).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = command.kill_on_drop(true).spawn().unwrap();
        let mut input = client.stdin.take().unwrap();
        input.write_all(b"GET /hello HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await.unwrap();
        timeout(PATIENCE, client.wait()).await.unwrap().unwrap();
        let told = secure.s_client(&format!("{version} -servername a.test -sess_in {session}")).await;
        contains(&told, "Reused, TLSv1.");
    }
}

#[tokio::test]
async fn clients_show_their_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("clients.pem");
    let clients = Authority::new("clients");
    fs::write(&authorities, clients.pem()).unwrap();
    let options = Options::default().flag("--client-ca", authorities.to_str().unwrap());
    let secure = Secure::start(options, |authority, folder| {
        authority.issue(&["a.test"], "server").write(folder, "a.test");
    });
    let (chain, key) = clients.issue(&[], "alice").write(folder.path(), "alice");
    let (chain, key) = (chain.to_str().unwrap(), key.to_str().unwrap());
    let (other_chain, other_key) = secure.authority.issue(&[], "mallory").write(folder.path(), "mallory");
    let other = ["--cert", other_chain.to_str().unwrap(), "--key", other_key.to_str().unwrap()];
    for version in ["1.2", "1.3"] {
        let version = ["--tls-max", version];
        let known = [&version[..], &["--cert", chain, "--key", key]].concat();
        assert_eq!(secure.curl("a.test", &known).await, "HTTP/2 200");
        contains(&secure.curl("a.test", &version).await, "alert");
        contains(&secure.curl("a.test", &[&version[..], &other].concat()).await, "alert");
    }
    secure.handshakes("client-certificate", 4.0).await;
    let elsewhere = ["--cert", chain, "--key", key, "-H", "Host: b.test"];
    assert_eq!(secure.curl("a.test", &elsewhere).await, "HTTP/2 421");
    contains(&secure.host.log(), r#""client_certificate":"CN=alice""#);
}

#[tokio::test]
async fn what_is_no_handshake_ends_quietly() {
    let options = Options::default().flag("--limit", "tls_handshake_ms=500");
    let secure = Secure::start(options, |authority, folder| {
        authority.issue(&["a.test"], "server").write(folder, "a.test");
    });
    let plain = format!("http://{}/", secure.host.https_address());
    let told = run("curl", &["-sS", "--max-time", "20", &plain]).await;
    assert!(!told.status.success() && !text(&told).contains("HTTP/1.1"), "{}", text(&told));
    secure.handshakes("not-tls", 1.0).await;
    let mut stalled = TcpStream::connect(secure.host.https_address()).await.unwrap();
    stalled.write_all(b"\x16\x03\x01").await.unwrap();
    secure.handshakes("timeout", 1.0).await;
    contains(&secure.s_client("-servername b.test").await, "SSL alert number 112");
    secure.handshakes("unknown-host", 1.0).await;
    secure.has_no_remarks();
    assert_eq!(secure.curl("a.test", &[]).await, "HTTP/2 200");
}

#[tokio::test]
async fn certificates_that_cannot_be_served_end_the_start_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &trigger("app", "a.test", "bare-http").yaml());
    let authority = Authority::new("authority");
    let (chain, _) = authority.issue(&["a.test"], "one").write(folder.path(), "one");
    let (_, key) = authority.issue(&["a.test"], "two").write(folder.path(), "two");
    let mut command = roadstead();
    command.args(["run", "--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--https-addr", "127.0.0.1:0"]);
    command.arg("--tls-cert-path").arg(&chain).arg("--tls-key-path").arg(&key).arg(folder.path().join("app.yaml"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let mismatch = format!("the key in {} is not that of the certificate in {}", key.display(), chain.display());
    contains(&text(&output), &mismatch);
}

#[tokio::test]
async fn what_is_odd_about_a_certificate_is_said() {
    let secure = Secure::start(Options::default(), |authority, folder| {
        let (_, key) = authority.issue(&["a.test"], "open").write(folder, "a.test");
        fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
        authority.issue_until(&["b.test"], "old", 2020).write(folder, "b.test");
        authority.issue(&["d.test"], "other").write(folder, "c.test");
        authority.issue(&["*.e.test"], "good").write(folder, "_.e.test");
    });
    let log = secure.host.log();
    for (what, file) in [
        ("can be read by every user", "a.test.key"),
        ("has expired", "b.test.crt"),
        ("does not name its host", "c.test.crt"),
    ] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(what)).collect();
        assert!(lines.len() == 1 && lines[0].contains(file), "{what}: {lines:?}");
    }
}

/// What sslyze finds, in short: the versions that are accepted, and every weakness by name.
const SSLYZE: &str = r#"
import json, subprocess, sys
address, authorities, out = sys.argv[1:]
scan = subprocess.run([sys.executable, "-m", "sslyze", "--mozilla_config=intermediate", "--early_data", "--sni=a.test",
    "--certinfo_ca_file=" + authorities, "--json_out=" + out, address], capture_output=True, text=True)
server = json.load(open(out))["server_scan_results"][0]
if server["scan_status"] != "COMPLETED":
    print("not scanned:", server["connectivity_error_trace"])
    sys.exit()
results = {name: part["result"] for name, part in server["scan_result"].items() if part["result"] is not None}
for name in ["ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3"]:
    if results[name + "_cipher_suites"]["accepted_cipher_suites"]:
        print("accepts", name)
weak = {
    "heartbleed": results["heartbleed"]["is_vulnerable_to_heartbleed"],
    "ccs injection": results["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"],
    "robot": not results["robot"]["robot_result"].startswith("NOT_VULNERABLE"),
    "renegotiation": results["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"],
    "insecure renegotiation": not results["session_renegotiation"]["supports_secure_renegotiation"],
    "compression": results["tls_compression"]["supports_compression"],
    "early data": results["tls_1_3_early_data"]["supports_early_data"],
    "no fallback scsv": not results["tls_fallback_scsv"]["supports_fallback_scsv"],
}
print(*["weak: " + name for name, found in weak.items() if found], sep="\n", end="")
if scan.returncode != 0:
    print(scan.stdout[scan.stdout.find("COMPLIANCE"):])
"#;

#[tokio::test]
async fn a_scanner_finds_nothing_weak() {
    let secure = Secure::start(Options::default(), |authority, folder| {
        authority.issue_for(&["a.test"], "server", 90 * DAY).write(folder, "a.test");
    });
    let address = secure.host.https_address().to_string();
    let (authorities, report) = (secure.path("ca.pem"), secure.path("scan.json"));
    let told = python_within(SCAN_WITHIN, SSLYZE, &[&address, &authorities, &report]).await;
    assert_eq!(told, "accepts tls_1_2\naccepts tls_1_3\n");
    secure.has_no_remarks();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_are_answered_during_twenty_changes_of_certificates_and_a_drain() {
    const RELOADS: u32 = 20;
    const REQUESTS: u64 = 10_000;
    let quiet = Options::default().flag("--log-level", "info,roadstead::access=warn");
    let mut secure = Secure::start(quiet, |authority, folder| {
        authority.issue(&["a.test"], "0").write(folder, "a.test");
    });
    let target = Target { address: secure.host.https_address(), host: "a.test", roots: Some(roots(&secure.authority)) };
    let askers = Askers::start(&target, &[Short, Kept, Short, Kept, H2, H2]);
    for reload in 1..=RELOADS {
        let issued = secure.authority.issue(&["a.test"], &reload.to_string());
        issued.write(&secure.certificates, "a.test");
        secure.host.wait_for_metric("roadstead_tls_reloads_total", &["\"ok\""], f64::from(reload)).await;
        contains(&secure.s_client("-servername a.test").await, &format!("subject=CN = {reload}\n"));
    }
    askers.answers(REQUESTS).await;
    assert_eq!(secure.host.metric("roadstead_tls_reloads_total", &["\"failed\""]).await, 0.0);
    assert_eq!(secure.host.metric("roadstead_http_errors_total", &[]).await, 0.0);
    askers.may_be_refused();
    secure.host.signal(Signal::TERM);
    let told = askers.end().await;
    println!("{told:?}");
    assert!(secure.host.wait().success());
    contains(&secure.host.log(), "\"cut_off\":0");
    assert!(told.answered >= REQUESTS && told.crossed == 0, "{told:?}");
    // On a machine that is busy a connection may be slower than a change.
    assert!(told.certificates > RELOADS as usize / 2, "{told:?}");
}
