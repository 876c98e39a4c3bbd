//! Requests that components send: where they may go, and that both bodies stream.

use bytes::Bytes;
use http::Version;

use crate::harness::{
    certificates::Authority,
    eventually,
    host::{Host, Options},
    manifest::trigger,
    upstream::{Upstream, channel},
};

/// A namespace's gateway that may reach these upstreams under `localhost`.
pub fn gateway(namespace: &str, upstreams: &[&Upstream]) -> String {
    let ports = || upstreams.iter().map(|upstream| upstream.port().to_string());
    let hosts: Vec<String> = ports().map(|port| format!("'localhost:{port}'")).collect();
    let ports: Vec<String> = ports().collect();
    trigger("gateway", &format!("{namespace}.test"), "probe-gateway")
        .namespace(namespace)
        .timeout("60s")
        .with(&format!(
            "localResources: {{allowedHosts: [{}], allowedHostLoopbackPorts: [{}]}}",
            hosts.join(", "),
            ports.join(", ")
        ))
        .yaml()
}

/// A host whose components may reach it.
pub fn options() -> Options {
    let options =
        Options::default().switch("--allow-host-loopback").flag("--log-level", "info,roadstead_runtime=debug");
    options.flag("--trusted-proxies", "127.0.0.1").flag("--limit", "body_bytes_max=100000000")
}

/// The path on which the probe sends a request to `upstream`.
pub fn out(path: &str, scheme: &str, upstream: &Upstream, target: &str) -> String {
    format!("{path}?scheme={scheme}&authority=localhost:{}&path={target}", upstream.port())
}

/// An upstream of each kind, with the scheme and version that it is spoken to; and a host that believes them.
pub async fn of_each_kind() -> (Host, [(Upstream, &'static str, Version); 3]) {
    let authority = Authority::new("egress");
    let certificate = authority.issue(&["localhost"], "upstream");
    let upstreams = [
        (Upstream::plain().await, "http", Version::HTTP_11),
        (Upstream::tls(&certificate, &["http/1.1"]).await, "https", Version::HTTP_11),
        (Upstream::tls(&certificate, &["h2", "http/1.1"]).await, "https", Version::HTTP_2),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let manifest = gateway("a", &upstreams.each_ref().map(|(upstream, ..)| upstream));
    let host = Host::start_with(&manifest, options().flag("--egress-ca-path", file.to_str().unwrap()));
    (host, upstreams)
}

#[tokio::test]
async fn requests_are_answered() {
    let (host, upstreams) = of_each_kind().await;
    let client = host.client("a.test");
    for (upstream, scheme, version) in &upstreams {
        let path = out("/out", scheme, upstream, "/hello%3Fsecret=hunter2");
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let request = client.get(&path).header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
        let answer = request.header("x-send-x-own", "kept").send().await;
        assert_eq!((answer.status.as_u16(), answer.header("x-status"), answer.text().as_str()), (200, "200", "hello"));
        let got = upstream.requests().pop().unwrap();
        assert_eq!((got.version, got.headers["x-own"].to_str().unwrap()), (*version, "kept"));
        assert!(got.headers["traceparent"].to_str().unwrap().starts_with(&format!("00-{trace}-")), "{got:?}");
        // The authority as it was asked for, in the one place where the version has it.
        let authority = format!("localhost:{}", upstream.port());
        match *version {
            Version::HTTP_2 => {
                assert_eq!(got.target, format!("https://{authority}/hello?secret=hunter2"));
                assert!(!got.headers.contains_key("host"));
            }
            _ => {
                assert_eq!(
                    (got.target.as_str(), got.headers["host"].to_str().unwrap()),
                    ("/hello?secret=hunter2", &*authority)
                );
            }
        }
        // The same connection, again.
        assert_eq!(
            client.get(&out("/out-one-by-one", scheme, upstream, "/hello&count=20")).send().await.text(),
            "failed 0\n"
        );
        assert_eq!(upstream.connections(), 1);
        // Redirections are the guest's.
        let redirected = client.get(&out("/out", scheme, upstream, "/redirect")).send().await;
        assert_eq!(
            (redirected.header("x-status"), redirected.header("x-got-location")),
            ("302", "http://169.254.169.254/")
        );
        let trailing = client.get(&out("/out", scheme, upstream, "/hello&method=HEAD")).send().await;
        assert_eq!((trailing.header("x-status"), trailing.text().as_str()), ("200", ""));
    }
    let counted = async |outcome: &str| host.metric("roadstead_outgoing_requests_total", &[outcome, "\"a\""]).await;
    assert_eq!((counted("\"ok\"").await, counted("").await), (69.0, 69.0));
    assert_eq!(host.metric("roadstead_outgoing_connections", &["\"gateway\""]).await, 3.0);
    assert_eq!(host.metric("roadstead_outgoing_request_duration_seconds_count", &["\"a\""]).await, 69.0);
    assert!(!host.log().contains("hunter2"), "{}", host.log());
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let (host, upstreams) = of_each_kind().await;
    let client = host.client("a.test");
    for (upstream, scheme, _) in &upstreams {
        let (sender, body) = channel();
        let path = out("/out-echo", scheme, upstream, "/echo&method=POST");
        sender.send(Bytes::from_static(b"piece 0")).unwrap();
        let mut answer = client.post(&path).stream(body).open().await;
        for number in 1..5 {
            // Each piece is back before the next is sent.
            let mut piece = Vec::new();
            while piece.len() < 7 {
                piece.extend_from_slice(&answer.next().await.unwrap().unwrap());
            }
            assert_eq!(piece, format!("piece {}", number - 1).into_bytes());
            sender.send(format!("piece {number}").into()).unwrap();
        }
        drop(sender);
        let mut rest = Vec::new();
        while let Some(piece) = answer.next().await {
            rest.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(rest, b"piece 4");
    }
}

#[tokio::test]
async fn large_bodies_take_little_memory() {
    const BODY_BYTES: usize = 32 << 20;
    let (host, upstreams) = of_each_kind().await;
    let client = host.client("a.test");
    for (upstream, scheme, version) in &upstreams {
        // What the first request makes is there afterwards.
        client.get(&out("/out", scheme, upstream, "/hello")).send().await;
        host.forget_peak();
        let before = host.resident_bytes();
        let pieces = (0..BODY_BYTES / 65_536).map(|_| Bytes::from(vec![b'u'; 65_536]));
        let up = client.post(&out("/out", scheme, upstream, "/slurp&method=POST&body=1"));
        let up = up.stream(futures::stream::iter(pieces)).send().await;
        assert_eq!(up.text(), format!("{BODY_BYTES} bytes"));
        let mut down = client.get(&out("/out", scheme, upstream, "/endless")).open().await;
        let mut read = 0;
        while read < BODY_BYTES {
            read += down.next().await.unwrap().unwrap().len();
        }
        // A client that leaves ends what was asked for it.
        drop(down);
        let grown = host.resident_bytes_peak().saturating_sub(before);
        assert!(grown < (BODY_BYTES / 2) as u64, "{version:?}: {grown}");
        host.wait_for_metric("roadstead_instances", &[], 0.0).await;
        let kept = if *version == Version::HTTP_2 { 1 } else { 0 };
        upstream.wait_for_open(kept).await;
    }
    host.wait_for_metric("roadstead_outgoing_requests_total", &["\"cancelled\""], 3.0).await;
}

#[tokio::test]
async fn what_is_not_allowed_is_not_even_connected_to() {
    let (allowed, other) = (Upstream::plain().await, Upstream::plain().await);
    let host = Host::start_with(&(gateway("a", &[&allowed]) + &gateway("b", &[&other])), options());
    let ask = async |path: &str| {
        let answer = host.client("a.test").get(path).send().await;
        (answer.status.as_u16(), answer.text())
    };
    let (port, others) = (allowed.port(), other.port());
    for (query, code) in [
        (format!("authority=localhost:{others}"), "ErrorCode::HttpRequestDenied"),
        (format!("authority=127.0.0.1:{port}"), "ErrorCode::HttpRequestDenied"),
        (format!("authority=2130706433:{port}"), "ErrorCode::HttpRequestUriInvalid"),
        (format!("authority=u:p%40localhost:{port}"), "ErrorCode::HttpRequestUriInvalid"),
        (format!("authority=localhost:{port}&method=CONNECT"), "ErrorCode::HttpRequestMethodInvalid"),
        (format!("scheme=ftp&authority=localhost:{port}"), "ErrorCode::HttpProtocolError"),
        (format!("authority=localhost:{port}&path=http://evil.test/"), "path refused"),
        (format!("authority=localhost:{port}%2F..%2F"), "authority refused"),
    ] {
        assert_eq!(ask(&format!("/out?{query}")).await, (502, code.to_owned()), "{query}");
    }
    for header in ["host", "connection", "transfer-encoding", "upgrade", "te"] {
        let path = out("/out", "http", &allowed, "/hello");
        let refused = host.client("a.test").get(&path).header(&format!("x-send-{header}"), "x").send().await;
        assert_eq!(refused.status, 502, "{header}");
    }
    assert_eq!((allowed.connections(), other.connections()), (0, 0));
    assert_eq!(host.metric("roadstead_outgoing_requests_total", &["\"denied\"", "\"a\""]).await, 2.0);
}

#[tokio::test]
async fn the_hosts_own_address_is_closed_unless_it_was_opened() {
    let upstream = Upstream::plain().await;
    let prohibited = (502, "ErrorCode::DestinationIpProhibited".to_owned());
    let answered = (200, "hello".to_owned());
    for (options, outcome, warned) in [
        (Options::default(), &prohibited, true),
        (Options::default().flag("--allow-egress-cidr", "10.0.0.0/8,0.0.0.0/0,::/0"), &prohibited, true),
        (Options::default().flag("--allow-egress-cidr", "127.0.0.0/8,::1"), &answered, true),
        (options(), &answered, false),
    ] {
        let host = Host::start_with(&gateway("a", &[&upstream]), options);
        let answer = host.client("a.test").get(&out("/out", "http", &upstream, "/hello")).send().await;
        assert_eq!((answer.status.as_u16(), answer.text()), *outcome);
        let warnings = host.workload("gateway").await["warnings"].to_string();
        assert_eq!(warnings.contains("--allow-host-loopback"), warned, "{warnings}");
    }
}

#[tokio::test]
async fn tenants_share_no_connection() {
    let authority = Authority::new("egress");
    let upstream = Upstream::tls(&authority.issue(&["localhost"], "upstream"), &["h2"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let tenants = ["a", "b"];
    let manifest: String = tenants.iter().map(|tenant| gateway(tenant, &[&upstream])).collect();
    let host = Host::start_with(&manifest, options().flag("--egress-ca-path", file.to_str().unwrap()));
    for round in 1..=3 {
        for tenant in tenants {
            let answer =
                host.client(&format!("{tenant}.test")).get(&out("/out", "https", &upstream, "/hello")).send().await;
            assert_eq!(answer.text(), "hello");
            assert_eq!(
                host.metric("roadstead_outgoing_requests_total", &[&format!("\"{tenant}\""), "\"ok\""]).await,
                f64::from(round)
            );
        }
    }
    assert_eq!(upstream.connections(), 2);
    eventually("a connection each", async || {
        let mut each = Vec::new();
        for tenant in tenants {
            each.push(host.metric("roadstead_outgoing_connections", &[&format!("\"{tenant}\"")]).await);
        }
        (each == [1.0, 1.0]).then_some(())
    })
    .await;
}
