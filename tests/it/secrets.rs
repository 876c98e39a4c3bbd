//! `wasmcloud:secrets` and `wasi:config@0.2.0-draft`, as a component sees them: what its manifest names of what the operator
//! has, and nothing of another tenant's. And what nobody else sees: a secret in anything that the host says.

use std::{collections::BTreeSet, fs, path::Path};

use http::StatusCode;
use serde_json::json;

use super::{
    fleet::{gateway, options as fleet_options, registry_with},
    messaging_coverage::functions,
};
use crate::harness::{
    client::Response,
    eventually,
    host::{Host, Options, roadstead, write_application},
    nats::NatsServer,
    operator::Operator,
    secrets::{probe_secrets, secret_dir, write_secret},
    stores::patient,
};

/// What is looked for in everything that a host says.
const CANARY: &str = "canary-9f81c3";

async fn ask(host: &Host, tenant: &str, path: &str) -> Response {
    host.client(&format!("{tenant}-secrets.test")).get(path).send().await
}

async fn told(host: &Host, tenant: &str, path: &str) -> (u16, String) {
    let response = ask(host, tenant, path).await;
    (response.status.as_u16(), response.text())
}

fn start(folder: tempfile::TempDir, manifest: &str, options: Options) -> Host {
    write_application(folder.path(), manifest);
    let options = secret_dir(folder.path(), patient(options));
    Host::start_in(folder, options)
}

#[tokio::test]
async fn a_component_has_the_secrets_that_its_manifest_names() {
    let folder = tempfile::tempdir().unwrap();
    for (path, value) in [
        ("a/first/key", &b"of the first\n"[..]),
        ("a/first/only-first", b"one"),
        ("a/second/key", b"of the second"),
        ("a/second/bytes", &[0xff, 0, 1]),
        ("a/unnamed/other", b"not granted"),
        // Those of the default namespace, and of one called as the secret is.
        ("first/other", b"not granted"),
        ("first/second/other", b"not granted"),
    ] {
        write_secret(folder.path(), path, value);
    }
    let named =
        ", config: {key: inline, inline key: inline}, secretFrom: [{name: first}, {name: second}, {name: given}]";
    let options = Options::default().through(&["env", "GIVEN_KEY=of the environment", "GIVEN_B=not granted"]);
    let options =
        options.flag("--secret-env", "a/given/from-env=GIVEN_KEY,b/given/other=GIVEN_B,a/second/bytes=GIVEN_B");
    let host = start(folder, &probe_secrets("a", named, ", config: {threshold: high}"), options);

    for (path, told_text) in [
        ("/secrets/get?key=key", "of the second"),
        ("/secrets/get?key=only-first", "one"),
        ("/secrets/get?key=from-env", "of the environment"),
        ("/secrets/get?key=inline+key", "inline"),
        ("/secrets/draft?key=key", "of the second"),
        ("/config/runtime?key=threshold", "high"),
        ("/config/runtime-all", "threshold=high"),
        ("/config/store?key=threshold", "high"),
        ("/config/store-all", "threshold=high"),
    ] {
        assert_eq!(told(&host, "a", path).await, (200, told_text.to_owned()), "{path}");
    }
    let bytes = ask(&host, "a", "/secrets/get?key=bytes").await;
    assert_eq!((bytes.header("kind"), &bytes.body[..]), ("bytes", &[0xff, 0, 1][..]));
    assert_eq!(ask(&host, "a", "/secrets/get?key=key").await.header("kind"), "string");
    for key in ["other", "none", "", "first", "..", "first%2Fkey", "..%2Funnamed%2Fother", "%2Fetc%2Fpasswd", "%00"] {
        assert_eq!(told(&host, "a", &format!("/secrets/get?key={key}")).await, (404, "none".into()), "{key}");
        assert_eq!(told(&host, "a", &format!("/secrets/draft?key={key}")).await, (404, "none".into()), "{key}");
    }
    assert_eq!(told(&host, "a", "/config/runtime?key=none").await.0, 404);
}

/// What tenant `b` is told of what tenant `a` alone has: the secret `payment` with the key `key`, and the setting `only-a`.
const CASES: &[(&[&str], &str, (u16, &str))] = &[
    (&["wasmcloud-secrets/store.get"], "/secrets/get?key=key", (404, "none")),
    (&["wasmcloud-secrets/store.get"], "/secrets/get?key=payment%2Fkey", (404, "none")),
    (&["wasmcloud-secrets/store.get"], "/secrets/get?key=..%2F..%2Fa%2Fpayment%2Fkey", (404, "none")),
    (&["wasmcloud-secrets/store.get", "wasmcloud-secrets/reveal.reveal"], "/secrets/get?key=own", (200, "b's own")),
    (&["wasmcloud-secrets-draft/store.get"], "/secrets/draft?key=key", (404, "none")),
    (
        &["wasmcloud-secrets-draft/store.get", "wasmcloud-secrets-draft/reveal.reveal"],
        "/secrets/draft?key=own",
        (200, "b's own"),
    ),
    (&["wasi-config-draft/runtime.get"], "/config/runtime?key=only-a", (404, "none")),
    (&["wasi-config-draft/runtime.get-all"], "/config/runtime-all", (200, "")),
    (&["wasi-config-draft/store.get"], "/config/store?key=only-a", (404, "none")),
    (&["wasi-config-draft/store.get-all"], "/config/store-all", (200, "")),
];

#[test]
fn every_function_of_secrets_has_a_case() {
    let mut offered = BTreeSet::new();
    for package in ["wasmcloud-secrets", "wasmcloud-secrets-draft", "wasi-config-draft"] {
        for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit").join(package)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            offered.extend(functions(&text).into_iter().map(|function| format!("{package}/{function}")));
        }
    }
    let tried: BTreeSet<String> = CASES.iter().flat_map(|case| case.0).map(|name| (*name).to_owned()).collect();
    assert_eq!(tried, offered, "left: functions with a case; right: functions of the interfaces");
}

#[tokio::test]
async fn nothing_reaches_another_tenants_secrets() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "a/payment/key", CANARY);
    write_secret(folder.path(), "b/payment/own", "b's own");
    let manifest = probe_secrets("a", ", secretFrom: [{name: payment}]", &format!(", config: {{only-a: {CANARY}}}"))
        + &probe_secrets("b", ", secretFrom: [{name: payment}]", "");
    let host = start(folder, &manifest, Options::default());
    for (_, path, (status, text)) in CASES {
        assert_eq!(told(&host, "b", path).await, (*status, (*text).to_owned()), "{path}");
    }
    assert_eq!(told(&host, "a", "/secrets/get?key=key").await, (200, CANARY.into()));
}

#[tokio::test]
async fn a_secret_that_is_replaced_is_the_new_one_at_the_next_use() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "a/payment/key", "0");
    let host = start(folder, &probe_secrets("a", ", secretFrom: [{name: payment}]", ""), Options::default());
    assert_eq!(told(&host, "a", "/secrets/get?key=key").await, (200, "0".into()));
    write_secret(host.folder.path(), "a/payment/key", "1");
    assert_eq!(told(&host, "a", "/secrets/get?key=key").await, (200, "1".into()));
    // What a component has looked up stays what it was, however often the file is replaced meanwhile.
    let asked = ask(&host, "a", "/secrets/kept?key=key");
    let mut asked = std::pin::pin!(asked);
    let mut number = 1;
    let response = loop {
        tokio::select! {
            response = &mut asked => break response,
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {
                number += 1;
                write_secret(host.folder.path(), "a/payment/key", number.to_string());
            }
        }
    };
    let text = response.text();
    assert_eq!(response.status, StatusCode::OK, "{text}");
    let numbers: Vec<u32> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    assert!(numbers[0] < numbers[1], "{text}");
    fs::remove_file(host.folder.path().join("secrets/a/payment/key")).unwrap();
    assert_eq!(told(&host, "a", "/secrets/get?key=key").await, (404, "none".into()));
}

#[tokio::test]
async fn a_secret_is_bounded_when_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "a/payment/key", "small");
    let options = Options::default().flag("--limit", "config_file_bytes_max=64");
    let host = start(folder, &probe_secrets("a", ", secretFrom: [{name: payment}]", ""), options);
    write_secret(host.folder.path(), "a/payment/large", CANARY.repeat(10));
    let (status, text) = told(&host, "a", "/secrets/get?key=large").await;
    assert_eq!(status, 409);
    // The component is told no path, the operator is.
    assert!(text.contains("more than 64 bytes large") && !text.contains("payment") && !text.contains(CANARY), "{text}");
    eventually("the operator is told", async || host.log().contains("a/payment/large").then_some(())).await;
    assert!(!host.log().contains(CANARY), "{}", host.log());
    // Handles are host resources like any other.
    let (status, text) = told(&host, "a", "/secrets/hoard?key=key&count=5000").await;
    assert_eq!(status, 409, "{text}");
    assert_eq!(told(&host, "a", "/secrets/hoard?key=key&count=1000").await, (200, "1000".into()));
}

/// What a host that starts nothing says, and ends with.
fn refusal(folder: &Path, manifest: &str, flags: &[&str]) -> String {
    write_application(folder, manifest);
    let mut command = roadstead();
    command.arg("run").arg(folder.join("app.yaml")).args(["--http-addr", "127.0.0.1:0"]);
    command.args(["--admin-addr", "127.0.0.1:0", "--log-level", "debug", "--limit", "compile_time_ms=240000"]);
    let output = command.args(flags).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(!said.contains(CANARY), "{said}");
    said
}

#[test]
fn a_secret_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_secret(folder.path(), "b/payment/key", CANARY);
    let directory = folder.path().join("secrets").to_str().unwrap().to_owned();
    let manifest = probe_secrets("a", ", secretFrom: [{name: payment}]", "");
    let said = refusal(folder.path(), &manifest, &["--secret-dir", &directory]);
    assert!(said.contains("secretFrom payment cannot be used") && said.contains("secrets/a/payment"), "{said}");
    let said = refusal(folder.path(), &manifest, &[]);
    assert!(said.contains("secretFrom payment cannot be used") && said.contains("--secret-dir DIR"), "{said}");
    write_secret(folder.path(), "a/payment/key", CANARY.repeat(10));
    let small = ["--secret-dir", &directory, "--limit", "config_file_bytes_max=64"];
    let said = refusal(folder.path(), &manifest, &small);
    assert!(said.contains("secrets/a/payment/key is more than 64 bytes large (config_file_bytes_max)"), "{said}");
    let said = refusal(folder.path(), &manifest, &["--secret-env", "a/payment/key=NOT_THERE"]);
    assert!(said.contains("the environment has no variable NOT_THERE"), "{said}");
    let said = refusal(folder.path(), &manifest, &["--secret-env", "a/../key=HOME"]);
    assert!(said.contains("has a name of a secret that"), "{said}");
}

#[test]
fn a_newer_version_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = probe_secrets("a", ", version: 2.1.0", "");
    let said = refusal(folder.path(), &manifest, &[]);
    assert!(said.contains("does not offer wasmcloud:secrets/store@2.1.0"), "{said}");
    assert!(said.contains("store@1.0.0") && said.contains("build the component with 1.0.0"), "{said}");
}

#[tokio::test]
async fn a_secret_is_nowhere_to_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["a/payment/key", "a/settings/hidden", "c/large/key"] {
        write_secret(folder.path(), path, format!("{CANARY} {path}"));
    }
    write_secret(folder.path(), "c/binary/key", [CANARY.as_bytes(), &[0xff]].concat());
    write_secret(folder.path(), "c/large/key", CANARY.repeat(100));
    let named = format!(", config: {{inline: {CANARY}}}, secretFrom: [{{name: payment}}, {{name: given}}]");
    let failing = |name: &str, manifest: String| manifest.replace("name: secrets,", &format!("name: {name},"));
    let manifest = probe_secrets("a", &named, ", secretFrom: [{name: settings}]")
        // Three that cannot be deployed.
        + &failing("large", probe_secrets("c", ", secretFrom: [{name: large}]", ""))
        + &failing("binary", probe_secrets("c", "", ", secretFrom: [{name: binary}]").replace("c-secrets", "c2-secrets"))
        + &failing("version", probe_secrets("c", &format!(", version: 2.1.0, config: {{key: {CANARY}}}"), "")
            .replace("c-secrets", "c3-secrets"));
    let environment = format!("GIVEN_KEY={CANARY}");
    let options = Options::default()
        .through(&["env", &environment])
        .flag("--secret-env", "a/given/from-env=GIVEN_KEY")
        .flag("--limit", "config_file_bytes_max=512")
        .flag(
            "--log-level",
            "debug,roadstead=trace,roadstead_runtime=trace,roadstead_plugins=trace,roadstead_proxy=trace",
        );
    let host = start(folder, &manifest, options);
    for path in
        ["/secrets/get?key=key", "/secrets/get?key=from-env", "/secrets/get?key=inline", "/secrets/draft?key=key"]
    {
        let (status, text) = told(&host, "a", path).await;
        assert!(status == 200 && text.starts_with(CANARY), "{path}: {status} {text}");
    }
    assert!(told(&host, "a", "/config/runtime?key=hidden").await.1.starts_with(CANARY));
    // A component that traps with a secret in its memory, one that asks for nothing, a file that grew.
    write_secret(host.folder.path(), "a/payment/grown", CANARY.repeat(100));
    let mut said = String::new();
    for path in ["/secrets/trap?key=key", "/secrets/get?key=none", "/secrets/get?key=grown", "/none"] {
        said += &told(&host, "a", path).await.1;
    }
    for path in ["/status", "/metrics", "/readyz", "/healthz"] {
        said += &host.admin(path).await.text();
    }
    for workload in ["large", "binary", "version"] {
        assert!(said.contains(workload), "{workload} is not at /status: {said}");
    }
    said += &host.log();
    assert!(said.contains("trap") || said.contains("unreachable"), "{said}");
    let found: Vec<&str> = said.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(found.is_empty(), "{found:?}");
    // Nor is there an image of its memory for whoever finds one.
    let limits = fs::read_to_string(format!("/proc/{}/limits", host.id())).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_sends_values_and_hears_none() {
    let (server, registry) = (NatsServer::start_with_jetstream(), registry_with(&["probe-secrets"]));
    let operator = Operator::connect(&server.url()).await;
    let host = Host::join(&server, patient(fleet_options()).flag("--log-level", "debug"));
    let mut workload = gateway("secrets", "a-secrets.test", &registry.plain("test/probe-secrets:1"));
    workload["witWorld"]["hostInterfaces"] = json!([
        {"namespace": "wasi", "package": "http", "version": "0.2.0", "interfaces": ["incoming-handler"],
         "config": {"host": "a-secrets.test"}},
        {"namespace": "wasi", "package": "config", "interfaces": ["runtime", "store"]},
        {"namespace": "wasmcloud", "package": "secrets", "interfaces": ["store", "reveal"], "config": {"key": CANARY}},
    ]);
    let id = host.fleet_id();
    operator.start(id, "one", &workload).await.is("one", "RUNNING");
    assert_eq!(told(&host, "a", "/secrets/get?key=key").await, (200, CANARY.into()));
    assert_eq!(told(&host, "a", "/secrets/trap?key=key").await.0, 502);
    // What cannot be started is not told either.
    workload["name"] = json!("newer");
    workload["witWorld"]["hostInterfaces"][2]["version"] = json!("2.1.0");
    let refused = operator.start(id, "two", &workload).await;
    refused.is("two", "ERROR").says("build the component with 1.0.0");
    let said = [
        format!("{refused:?} {:?} {}", operator.status(id, "one").await, operator.heartbeat(id).await),
        host.status().await.to_string(),
        host.admin("/metrics").await.text(),
        host.log(),
    ];
    assert!(!said.concat().contains(CANARY), "{}", said.concat());
}
