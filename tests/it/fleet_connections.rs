//! How a host of a fleet reaches its servers and is reached: TLS, certificates, credentials; and what it refuses to start
//! with.

use std::{fs, path::Path, sync::Arc, time::Duration};

use async_nats::ConnectOptions;
use serde_json::json;

use super::fleet::{gateway, options, registry_with};
use crate::harness::{
    certificates::Authority,
    client::Client,
    eventually,
    host::{Host, Options, roadstead},
    nats::NatsServer,
    nats_accounts::Accounts,
    operator::Operator,
    programs::{printed, program},
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What `roadstead host` says when it does not start, and its exit code.
fn refused(flags: &[&str]) -> (String, i32) {
    let mut command = roadstead();
    command.args(["host", "--admin-addr", "127.0.0.1:0"]).args(flags).env_remove("WASH_POSTGRES_URL");
    let output = command.output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_is_reached_with_tls_first_and_a_certificate() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
    let (chain, key) = authority.issue(&["127.0.0.1", "localhost"], "nats").write(folder.path(), "server");
    let (own_chain, own_key) = authority.issue(&["host.test"], "host").write(folder.path(), "client");
    let (ca, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    fs::write(&ca, authority.pem()).unwrap();
    fs::write(&other, Authority::new("another").pem()).unwrap();
    let scheduler = NatsServer::start_with(&format!(
        "tls {{ cert_file: {}, key_file: {}, ca_file: {}, verify: true, handshake_first: true }}\n",
        text(&chain),
        text(&key),
        text(&ca)
    ));
    let data = NatsServer::start();
    let url = format!("tls://127.0.0.1:{}", scheduler.port());
    let flags = |ca: &Path| {
        Options::default()
            .flag("--scheduler-nats-url", &url)
            .flag("--scheduler-tls-ca", text(ca))
            .flag("--scheduler-nats-tls-cert", text(&own_chain))
            .flag("--scheduler-nats-tls-key", text(&own_key))
            .switch("--scheduler-nats-tls-first")
    };
    let host = Host::join(&data, flags(&ca));
    let options = ConnectOptions::new()
        .add_root_certificates(ca.clone())
        .add_client_certificate(own_chain.clone(), own_key.clone())
        .tls_first();
    let operator = Operator::connect_with(&url, options).await;
    operator.knows(host.fleet_id()).await;
    assert_eq!(operator.heartbeat(host.fleet_id()).await["id"], host.fleet_id());

    // Who shows another authority's certificate is not believed.
    let (said, code) = refused(&[
        "--scheduler-nats-url",
        &url,
        "--scheduler-nats-tls-first",
        "--scheduler-nats-tls-ca",
        text(&other),
        "--scheduler-nats-tls-cert",
        text(&own_chain),
        "--scheduler-nats-tls-key",
        text(&own_key),
        "--data-nats-url",
        &data.url(),
    ]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there is no connection to the scheduler (--scheduler-nats-url)"), "{said}");
    assert!(said.contains(&format!("there can be no TLS with NATS at {url}")), "{said}");
}

#[test]
fn a_file_that_is_not_there_ends_the_start() {
    let server = NatsServer::start_with("");
    let flags = ["--scheduler-nats-url", &server.url(), "--data-nats-url", &server.url()];
    let (said, code) = refused(&[&flags[..], &["--scheduler-tls-ca", "/nonexistent/ca.pem"]].concat());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("there can be no TLS with NATS"), "{said}");
    assert!(said.contains("No such file"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_is_shown_its_own_credentials() {
    let (folder, scheduler, data) = (tempfile::tempdir().unwrap(), Accounts::new(), Accounts::new());
    let path = |name: &str, accounts: &Accounts| {
        let path = folder.path().join(name);
        fs::write(&path, &accounts.credentials).unwrap();
        path
    };
    let (of_scheduler, of_data) = (path("scheduler.creds", &scheduler), path("data.creds", &data));
    let scheduler_server = NatsServer::start_with(&scheduler.configuration);
    let data_server = NatsServer::start_with(&data.configuration);
    let options = Options::default()
        .flag("--scheduler-nats-url", &scheduler_server.url())
        .flag("--scheduler-nats-creds", text(&of_scheduler))
        .flag("--data-nats-creds", text(&of_data));
    let host = Host::join(&data_server, options);
    let shown = ConnectOptions::with_credentials(&scheduler.credentials).unwrap();
    let operator = Operator::connect_with(&scheduler_server.url(), shown).await;
    operator.knows(host.fleet_id()).await;
    assert_eq!(operator.heartbeat(host.fleet_id()).await["id"], host.fleet_id());
    assert_eq!(host.admin("/readyz").await.text(), "ready\n");

    let (said, code) = refused(&[
        "--scheduler-nats-url",
        &scheduler_server.url(),
        "--scheduler-nats-creds",
        text(&of_data),
        "--data-nats-url",
        &data_server.url(),
        "--data-nats-creds",
        text(&of_data),
    ]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("refuses this host") && !said.contains("SEED"), "{said}");
    fs::write(&of_data, "hunter2").unwrap();
    let (said, _) = refused(&["--data-nats-url", &data_server.url(), "--data-nats-creds", text(&of_data)]);
    assert!(said.contains("data.creds is not a user's JWT and seed") && !said.contains("hunter2"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_http_address_speaks_tls_where_it_has_a_certificate() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("authority"));
    let (chain, key) = authority.issue(&["localhost"], "edge").write(folder.path(), "edge");
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let server = NatsServer::start();
    let options = Options::default().flag("--tls-cert-path", text(&chain)).flag("--tls-key-path", text(&key));
    let host = Host::join(&server, options);
    let port = host.http_address().port();
    let url = format!("https://localhost:{port}/");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let asked = ["-sS", "--cacert", text(&ca), "--resolve", &resolve, "-o", "/dev/null", "-w", "%{http_code}", &url];
    assert_eq!(printed(program("curl", &asked), crate::harness::PATIENCE).await, "404");
    let operator = Operator::connect(&server.url()).await;
    operator.knows(host.fleet_id()).await;
    assert_eq!(operator.heartbeat(host.fleet_id()).await["httpPort"], port);
}

#[test]
fn what_this_version_has_not_is_refused_at_the_start() {
    for (flags, reason) in [
        (&["--wasi-webgpu=require", "--gpu-adapter", "no such"][..], "--wasi-webgpu=require: no GPU"),
        (&["--tls-cert-path", "a", "--tls-key-path", "b"], "certificates are for --https-addr"),
    ] {
        let (said, code) = refused(flags);
        assert_eq!(code, if flags.contains(&"--gpu-adapter") { 1 } else { 2 }, "{said}");
        assert!(said.contains(reason) && !said.contains("hunter2"), "{said}");
    }
    let (said, code) = refused(&["--scheduler-nats-url", "nats://a b"]);
    assert_eq!((code, said.contains("write nats://HOST:PORT")), (1, true), "{said}");
}

#[test]
fn the_help_has_every_published_flag_with_its_default_and_variable() {
    let output = roadstead().args(["host", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for (flag, default, variable) in [
        ("--host-group", "[default: default]", "ROADSTEAD_HOST_GROUP"),
        ("--host-name", "[default: made up at each start]", "ROADSTEAD_HOST_NAME"),
        ("--scheduler-nats-url", "[default: nats://localhost:4222]", "ROADSTEAD_SCHEDULER_NATS_URL"),
        ("--data-nats-url", "[default: nats://localhost:4222]", "ROADSTEAD_DATA_NATS_URL"),
        ("--scheduler-tls-ca", "", "ROADSTEAD_SCHEDULER_NATS_TLS_CA"),
        ("--data-tls-ca", "", "ROADSTEAD_DATA_NATS_TLS_CA"),
        ("--scheduler-nats-tls-ca", "", "ROADSTEAD_SCHEDULER_NATS_TLS_CA"),
        ("--scheduler-nats-tls-cert", "", "ROADSTEAD_SCHEDULER_NATS_TLS_CERT"),
        ("--scheduler-nats-tls-key", "", "ROADSTEAD_SCHEDULER_NATS_TLS_KEY"),
        ("--scheduler-nats-tls-first", "", "ROADSTEAD_SCHEDULER_NATS_TLS_FIRST"),
        ("--scheduler-nats-creds", "", "ROADSTEAD_SCHEDULER_NATS_CREDS"),
        ("--data-nats-tls-ca", "", "ROADSTEAD_DATA_NATS_TLS_CA"),
        ("--data-nats-tls-cert", "", "ROADSTEAD_DATA_NATS_TLS_CERT"),
        ("--data-nats-tls-key", "", "ROADSTEAD_DATA_NATS_TLS_KEY"),
        ("--data-nats-tls-first", "", "ROADSTEAD_DATA_NATS_TLS_FIRST"),
        ("--data-nats-creds", "", "ROADSTEAD_DATA_NATS_CREDS"),
        ("--http-addr", "[default: none, no HTTP]", "ROADSTEAD_HTTP_ADDR"),
        ("--postgres-url", "WASH_POSTGRES_URL", "ROADSTEAD_POSTGRES_URL"),
        ("--wasi-webgpu", "", "ROADSTEAD_WASI_WEBGPU"),
        ("--allow-insecure-registries", "", "ROADSTEAD_ALLOW_INSECURE_REGISTRIES"),
        ("--registry-pull-timeout", "[default: 30s]", "ROADSTEAD_REGISTRY_PULL_TIMEOUT"),
        ("--oci-cache-dir", "", "ROADSTEAD_OCI_CACHE_DIR"),
        ("--oci-ca-path", "", "ROADSTEAD_OCI_CA_PATH"),
        ("--environment", "[default: none]", "ROADSTEAD_ENVIRONMENT"),
        ("--max-connections", "[default: that of the limit connections_max]", "ROADSTEAD_MAX_CONNECTIONS"),
        ("--tls-cert-path", "", "ROADSTEAD_TLS_CERT_PATH"),
        ("--tls-key-path", "", "ROADSTEAD_TLS_KEY_PATH"),
        ("--tls-ca-path", "", "ROADSTEAD_CLIENT_CA"),
        ("--allow-host-loopback", "", "ROADSTEAD_ALLOW_HOST_LOOPBACK"),
        ("--allow-egress-cidr", "", "ROADSTEAD_ALLOW_EGRESS_CIDR"),
        ("--egress-ca-path", "", "ROADSTEAD_EGRESS_CA_PATH"),
        ("--request-timeout", "[default: 300s]", "ROADSTEAD_REQUEST_TIMEOUT"),
    ] {
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for wanted in [flag, default, variable] {
            assert!(words.contains(wanted), "{flag}: {wanted} is not in the help");
        }
    }
}

/// As docs/fleet.md says what a host needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_needs_no_more_than_the_documented_permissions() {
    let scheduler = NatsServer::start_with(
        r#"authorization { users: [
  { user: host, password: h, permissions: {
    publish: "runtime.operator.heartbeat.*"
    subscribe: ["runtime.host.*.workload.*", "runtime.host.*.heartbeat"]
    allow_responses: {max: 1, expires: "5m"}
  } }
  { user: operator, password: o }
] }
"#,
    );
    let (data, registry) = (NatsServer::start(), registry_with(&["bare-http"]));
    let url = |user: &str| format!("nats://{user}@127.0.0.1:{}", scheduler.port());
    let shown = ConnectOptions::with_user_and_password("operator".to_owned(), "o".to_owned());
    let operator = Operator::connect_with(&url("operator:o"), shown).await;
    let mut host = Host::join(&data, options().flag("--scheduler-nats-url", &url("host:h")));
    let id = host.fleet_id().to_owned();
    operator.knows(&id).await;
    operator.heartbeat(&id).await;
    let workload = gateway("app", "app.test", &registry.plain("test/bare-http:1"));
    operator.start(&id, "a", &workload).await.is("a", "RUNNING");
    operator.hears_counts(&id, 1, 1).await;
    operator.status(&id, "a").await.is("a", "RUNNING");
    operator.stop(&id, "a").await.is("a", "STOPPING");
    operator.reaches(&id, "a", "NOT_FOUND").await;
    let beats = operator.heard(&id).len();
    host.signal(rustix::process::Signal::TERM);
    assert!(host.wait().success());
    eventually("the last heartbeat", async || (operator.heard(&id).len() > beats).then_some(())).await;
    assert!(!host.log().contains("NATS told of an error"), "{}", host.log());
}

/// The program of docs/fleet.md, on free ports and until it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_a_host_of_a_fleet() {
    use roadstead::{
        artifact::ArtifactOptions,
        host::{
            HostBuilder,
            http::{DynamicRouter, HttpServer},
        },
        plugin::{
            wasi_logging::TracingLogger,
            wasmcloud_messaging::{NatsMessaging, connect_nats},
        },
        washlet::{ClusterHostBuilder, run_cluster_host},
    };

    let (server, registry) = (NatsServer::start(), registry_with(&["bare-http"]));
    let operator = Operator::connect(&server.url()).await;
    let program = async || -> Result<_, Box<dyn std::error::Error>> {
        let (scheduler_nats, data_nats) = (connect_nats(&server.url()).await?, connect_nats(&server.url()).await?);
        let http_server = HttpServer::new(DynamicRouter::default(), "127.0.0.1:0".parse()?).await?;
        let images = ArtifactOptions { allow_insecure: true, ..ArtifactOptions::default() };
        let cluster_host = ClusterHostBuilder::default()
            .with_host_group("my-cluster")
            .with_host_name("embedded")
            .with_nats_client(Arc::new(scheduler_nats))
            .with_host_builder(HostBuilder::new().with_artifacts(images))
            .with_plugin(Arc::new(TracingLogger::default()))?
            .with_plugin(Arc::new(NatsMessaging::new(data_nats)))?
            .with_http_handler(Arc::new(http_server))
            .with_artifact_cleaner(Duration::from_secs(3_600), Duration::from_secs(86_400))
            .build()?;
        Ok(run_cluster_host(cluster_host).await?)
    };
    let shutdown = program().await.unwrap();
    let (id, address) = (shutdown.id().to_owned(), shutdown.host().http_address().unwrap());
    let first = operator.hears(&id, "the first heartbeat", |_| true).await;
    assert_eq!((&first["friendlyName"], &first["labels"]["hostgroup"]), (&json!("embedded"), &json!("my-cluster")));
    operator.start(&id, "a", &gateway("app", "app.test", &registry.plain("test/bare-http:1"))).await.is("a", "RUNNING");
    assert_eq!(Client::new(address, "app.test").get("/").send().await.status, 200);
    shutdown.await.unwrap();
    eventually("the last heartbeat", async || operator.heard(&id).pop()?.get("workloadCount").is_none().then_some(()))
        .await;
    assert!(!operator.is_heard_by(&id).await);
}
