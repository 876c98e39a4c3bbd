//! Requests that components send, where something goes wrong: upstreams that stall, lie or are not who they say, too many
//! requests, and guests that end before their requests do.

use std::time::{Duration, Instant};

use futures::future::join_all;

use super::egress::{gateway, of_each_kind, options, out};
use crate::harness::{certificates::Authority, eventually, host::Host, upstream::Upstream};

#[tokio::test]
async fn an_upstream_that_stalls_costs_no_more_than_was_asked() {
    let (host, upstreams) = of_each_kind().await;
    let client = host.client("a.test");
    for (upstream, scheme, version) in &upstreams {
        let begun = Instant::now();
        let path = out("/out", scheme, upstream, "/never&first-byte-ms=300");
        let answer = client.get(&path).send().await;
        assert_eq!(answer.text(), "ErrorCode::HttpResponseTimeout", "{version:?}");
        // In the body: what came is passed on, and does not look whole.
        let path = out("/out", scheme, upstream, "/stall&between-bytes-ms=300");
        let mut answer = client.get(&path).open().await;
        assert_eq!(answer.next().await.unwrap().unwrap(), "first");
        assert!(matches!(answer.next().await, Some(Err(_))), "{version:?}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // A body that breaks off is passed on as one.
        let mut answer = client.get(&out("/out", scheme, upstream, "/cut")).open().await;
        assert_eq!(answer.next().await.unwrap().unwrap(), "not all");
        assert!(matches!(answer.next().await, Some(Err(_))), "{version:?}");
    }
    for outcome in ["\"response-timeout\"", "\"read-timeout\""] {
        host.wait_for_metric("roadstead_outgoing_requests_total", &[outcome], 3.0).await;
    }
}

#[tokio::test]
async fn a_call_that_ends_ends_its_requests() {
    let upstream = Upstream::plain().await;
    let manifest = gateway("a", &[&upstream]).replace("timeout: 60s", "timeout: 1s");
    let host = Host::start_with(&manifest, options());
    let answer = host.client("a.test").get(&out("/out", "http", &upstream, "/never")).send().await;
    assert_eq!(answer.status, 504);
    upstream.wait_for_open(0).await;
    // A body that never ends, and a client that does not read on.
    let mut answer = host.client("a.test").get(&out("/out", "http", &upstream, "/stall")).open().await;
    answer.next().await.unwrap().unwrap();
    assert!(matches!(answer.next().await, Some(Err(_))));
    upstream.wait_for_open(0).await;
    host.wait_for_metric("roadstead_outgoing_connections", &[], 0.0).await;
    host.wait_for_metric("roadstead_instances", &[], 0.0).await;
}

#[tokio::test]
async fn a_body_that_its_guest_gives_up_never_looks_whole() {
    const ROUNDS: usize = 5;
    let (host, upstreams) = of_each_kind().await;
    for (upstream, scheme, version) in &upstreams {
        let path = out("/out-break", scheme, upstream, "/slurp&method=POST&ms=50");
        for _ in 0..ROUNDS {
            assert_eq!(host.client("a.test").get(&path).send().await.status, 502);
        }
        let bodies = upstream.slurped(ROUNDS).await;
        assert!(bodies.iter().all(|(_, whole)| !whole), "{version:?}: {bodies:?}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let upstream = Upstream::with_endless_head().await;
    let host = Host::start_with(&gateway("a", &[&upstream]), options());
    host.forget_peak();
    let before = host.resident_bytes();
    for _ in 0..10 {
        let answer = host.client("a.test").get(&out("/out", "http", &upstream, "/")).send().await;
        assert!(answer.text().starts_with("ErrorCode::HttpResponseHeaderSectionSize"), "{}", answer.text());
    }
    assert_eq!(upstream.connections(), 10);
    let grown = host.resident_bytes_peak().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown}");
    // What the sockets hold of it, and no gigabyte.
    let sent = upstream.bytes_sent();
    assert!(sent < 200 << 20, "{sent}");
    host.wait_for_metric("roadstead_outgoing_requests_total", &["\"head-too-large\""], 10.0).await;
}

#[tokio::test]
async fn connections_are_bounded_and_waited_for() {
    let upstream = Upstream::plain().await;
    let options = options().flag("--limit", "outgoing_connections_max=4").flag("--limit", "outgoing_wait_ms=3000");
    let host = Host::start_with(&(gateway("a", &[&upstream]) + &gateway("b", &[&upstream])), options);
    let path = out("/out-many", "http", &upstream, "/wait&count=6");
    let asking = tokio::spawn(host.client("a.test").get(&path).send());
    upstream.wait_for_requests(4).await;
    host.wait_for_metric("roadstead_outgoing_requests_total", &["\"no-connection\""], 2.0).await;
    assert_eq!(host.metric("roadstead_outgoing_connections", &["\"a\""]).await, 4.0);
    // Another tenant has its own.
    let path = out("/out", "http", &upstream, "/hello");
    assert_eq!(host.client("b.test").get(&path).send().await.text(), "hello");
    upstream.release();
    let answer = asking.await.unwrap().text();
    assert_eq!(answer, "2 ErrorCode::ConnectionLimitReached\n4 status 200 with 8 bytes\n");
    // Who waits long enough gets one.
    let path = out("/out", "http", &upstream, "/hello");
    let answers = join_all((0..40).map(|_| host.client("a.test").get(&path).send())).await;
    assert!(answers.iter().all(|answer| answer.text() == "hello"), "{answers:?}");
    assert_eq!(upstream.connections(), 5);
    assert_eq!(host.metric("roadstead_outgoing_waiting", &[]).await, 0.0);
}

#[tokio::test]
async fn connections_are_kept_for_so_long() {
    let upstream = Upstream::plain().await;
    let host = Host::start_with(&gateway("a", &[&upstream]), options().flag("--limit", "outgoing_idle_ms=300"));
    let path = out("/out-many", "http", &upstream, "/hello&count=5");
    host.client("a.test").get(&path).send().await;
    upstream.wait_for_open(0).await;
    assert_eq!(host.client("a.test").get(&path).send().await.text(), "5 status 200 with 5 bytes\n");
    host.wait_for_metric("roadstead_outgoing_connections", &[], 0.0).await;
}

/// A connection of HTTP/2 carries `pool::STREAMS_MAX` requests at a time, which are 100.
#[tokio::test]
async fn requests_share_a_connection_of_http2() {
    let (host, upstreams) = of_each_kind().await;
    let (upstream, scheme, _) = &upstreams[2];
    let client = host.client("a.test");
    client.get(&out("/out", scheme, upstream, "/hello")).send().await;
    let path = out("/out-many", scheme, upstream, "/wait&count=101");
    let asking = tokio::spawn(client.get(&path).send());
    upstream.wait_for_requests(102).await;
    assert_eq!(upstream.connections(), 2);
    upstream.release();
    assert_eq!(asking.await.unwrap().text(), "101 status 200 with 8 bytes\n");
}

#[tokio::test]
async fn a_call_has_so_many_requests() {
    let upstream = Upstream::plain().await;
    let options = options().flag("--limit", "outgoing_requests_per_call_max=3");
    let host = Host::start_with(&gateway("a", &[&upstream]), options);
    let path = out("/out-one-by-one", "http", &upstream, "/hello&count=5");
    for _ in 0..2 {
        assert_eq!(host.client("a.test").get(&path).send().await.text(), "failed 2\n");
    }
    assert_eq!(host.metric("roadstead_outgoing_requests_total", &["\"too-many-requests\""]).await, 4.0);
}

#[tokio::test]
async fn what_a_request_took_of_the_host_is_given_back() {
    let upstream = Upstream::plain().await;
    let host = Host::start_with(&gateway("a", &[&upstream]), options().flag("--limit", "table_entries_max=40"));
    let path = out("/out-one-by-one", "http", &upstream, "/hello&count=200");
    assert_eq!(host.client("a.test").get(&path).send().await.text(), "failed 0\n");
}

#[tokio::test]
async fn an_upstream_proves_who_it_is() {
    let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, known.pem()).unwrap();
    let upstreams = [
        Upstream::tls(&stranger.issue(&["localhost"], "upstream"), &["h2"]).await,
        Upstream::tls(&known.issue(&["other.test"], "upstream"), &["h2"]).await,
        Upstream::tls(&known.issue_until(&["localhost"], "upstream", 2001), &["h2"]).await,
        Upstream::plain().await,
        Upstream::tls(&known.issue(&["localhost"], "upstream"), &["foreign"]).await,
    ];
    let gone = Upstream::plain().await;
    let listed: Vec<&Upstream> = upstreams.iter().chain([&gone]).collect();
    let manifest = gateway("a", &listed);
    let host = Host::start_with(&manifest, options().flag("--egress-ca-path", file.to_str().unwrap()));
    let ask = async |upstream: &Upstream| {
        let path = out("/out", "https", upstream, "/hello&connect-ms=5000");
        host.client("a.test").get(&path).send().await.text()
    };
    for (upstream, code) in upstreams.iter().zip([
        "ErrorCode::TlsCertificateError",
        "ErrorCode::TlsCertificateError",
        "ErrorCode::TlsCertificateError",
        "ErrorCode::TlsProtocolError",
        "ErrorCode::TlsAlertReceived",
    ]) {
        let said = ask(upstream).await;
        assert!(said.starts_with(code), "{said}, not {code}");
    }
    let path = out("/out", "http", &gone, "/hello");
    drop(gone);
    eventually("nobody listens", async || {
        let said = host.client("a.test").get(&path).send().await.text();
        (said == "ErrorCode::ConnectionRefused").then_some(())
    })
    .await;
    let requests: usize = upstreams.iter().map(|upstream| upstream.requests().len()).sum();
    assert_eq!(requests, 0);
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_told_at_the_start() {
    let mut command = crate::harness::host::roadstead();
    command.args(["run", "nothing.yaml", "--egress-ca-path", "/nonexistent/ca.pem"]);
    let folder = tempfile::tempdir().unwrap();
    crate::harness::host::write_application(folder.path(), &gateway("a", &[]).replace("allowedHosts: [], ", ""));
    command.current_dir(folder.path());
    std::fs::rename(folder.path().join("app.yaml"), folder.path().join("nothing.yaml")).unwrap();
    command.args(["--http-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("/nonexistent/ca.pem"), "{said}");
}
