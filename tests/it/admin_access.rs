//! Who is told and who may change what at the admin listener of the real program.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use http::StatusCode;

use crate::harness::{
    client::Client,
    host::{Host, Options, roadstead, write_application},
    manifest::trigger,
};

const TOKEN: &str = "a-token-of-this-test";

fn application() -> String {
    trigger("gateway", "probe.test", "probe-gateway").yaml()
}

/// Writes the token's file beside the application.
fn guarded() -> Host {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &application());
    let file = folder.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    Host::start_in(folder, Options::default().flag("--admin-token-file", file.to_str().unwrap()))
}

/// Asks over the host's unix socket; the answer as it comes.
fn over_socket(host: &Host, request: &str) -> String {
    let mut stream = UnixStream::connect(host.folder.path().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nhost: host\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn with_a_token_nobody_else_is_told_of_workloads() {
    let host = guarded();
    let client = Client::new(host.admin_address(), "localhost");
    for path in ["/metrics", "/status"] {
        let refused = client.get(path).send().await;
        assert_eq!((refused.status, refused.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
        assert!(refused.text().contains("--admin-token-file") && !refused.text().contains("gateway"));
        let wrong = client.get(path).header("authorization", "Bearer a-token-of-this-tesT").send().await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        let told = client.get(path).header("authorization", &format!("Bearer {TOKEN}")).send().await;
        assert_eq!(told.status, StatusCode::OK);
    }
    // Probes and balancers need none.
    assert_eq!(client.get("/healthz").send().await.text(), "alive\n");
    assert_eq!(client.get("/readyz").send().await.text(), "ready\n");
    assert!(!host.log().contains(TOKEN), "the token is in the log");
}

#[tokio::test]
async fn an_address_that_others_reach_is_refused_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    write_application(folder.path(), &application());
    let path = folder.path().join("app.yaml");
    let output =
        roadstead().arg("run").arg(path).args(["--http-addr", "127.0.0.1:0", "--admin-addr", "0.0.0.0:0"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--admin-token-file") && errors.contains("--admin-addr 127.0.0.1"), "{errors}");
}

#[tokio::test]
async fn a_name_that_a_stranger_made_lead_here_is_not_answered() {
    let host = Host::start(&application());
    let rebound = Client::new(host.admin_address(), "evil.test:9090");
    for path in ["/metrics", "/status"] {
        let answer = rebound.get(path).send().await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        assert!(!answer.text().contains("gateway"), "{}", answer.text());
    }
    assert_eq!(rebound.get("/readyz").send().await.text(), "ready\n");
    let answer = Client::new(host.admin_address(), "localhost:9090").get("/status").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert_eq!((answer.header("x-content-type-options"), answer.header("cache-control")), ("nosniff", "no-store"));
}

#[tokio::test]
async fn draining_needs_the_socket_and_ends_the_host_in_order() {
    let mut host = Host::start(&application());
    let socket = host.folder.path().join("admin.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = Client::new(host.admin_address(), "localhost").post("/v1/drain").send().await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text().contains("--admin-socket"), "{}", refused.text());
    let get = Client::new(host.admin_address(), "localhost").get("/v1/drain").send().await;
    assert_eq!((get.status, get.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    assert!(over_socket(&host, "GET /status").contains("gateway"));
    let answer = over_socket(&host, "POST /v1/drain");
    assert!(answer.starts_with("HTTP/1.1 202 ") && answer.contains("\"timeout_ms\": 30000"), "{answer}");
    assert_eq!(host.wait().code(), Some(0));
    assert!(!socket.exists(), "the socket is left behind");
}
