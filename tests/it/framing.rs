//! Requests that two parsers could read differently, told to the host and to a real Envoy: what each answers is in one
//! table, and where they differ docs/threat-model.md says why. Each is followed by a second request, which nobody may take
//! for a part of the first, nor answer after it was refused.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, envoy::Envoy, host::Host, manifest::trigger};

/// Name, request, the host's answer, Envoy's. The first digits of a status line; 0 for a connection that is closed
/// without one.
const CASES: &[(&str, &str, u16, u16)] = &[
    ("a plain request", "GET /env HTTP/1.1\r\nHost: probe.test\r\n\r\n", 200, 200),
    ("an absolute target", "GET http://probe.test/env HTTP/1.1\r\nHost: probe.test\r\n\r\n", 200, 200),
    (
        "length and chunked",
        "POST /env HTTP/1.1\r\nHost: probe.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        400,
    ),
    (
        "two lengths",
        "POST /env HTTP/1.1\r\nHost: probe.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
        400,
        400,
    ),
    (
        "two equal lengths",
        "POST /env HTTP/1.1\r\nHost: probe.test\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
        400,
        400,
    ),
    ("a list of lengths", "POST /env HTTP/1.1\r\nHost: probe.test\r\nContent-Length: 4, 4\r\n\r\nbody", 400, 400),
    ("a signed length", "POST /env HTTP/1.1\r\nHost: probe.test\r\nContent-Length: +4\r\n\r\nbody", 400, 400),
    (
        "chunked twice",
        "POST /env HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        501,
    ),
    (
        "chunked, and a coding after it",
        "POST /env HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
        501,
    ),
    (
        "another coding before chunked",
        "POST /env HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
        501,
    ),
    ("a hidden coding", "POST /env HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: xchunked\r\n\r\n", 400, 501),
    (
        "chunked on HTTP/1.0",
        "POST /env HTTP/1.0\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        426,
    ),
    ("no host", "GET /env HTTP/1.1\r\n\r\n", 400, 400),
    ("no host on HTTP/1.0", "GET /env HTTP/1.0\r\n\r\n", 400, 426),
    ("two hosts", "GET /env HTTP/1.1\r\nHost: probe.test\r\nHost: other.test\r\n\r\n", 400, 400),
    ("two equal hosts", "GET /env HTTP/1.1\r\nHost: probe.test\r\nHost: probe.test\r\n\r\n", 400, 400),
    ("another authority", "GET http://other.test/env HTTP/1.1\r\nHost: probe.test\r\n\r\n", 400, 404),
    ("a blank before the colon", "GET /env HTTP/1.1\r\nHost: probe.test\r\nX-A : 1\r\n\r\n", 400, 400),
    ("a folded header", "GET /env HTTP/1.1\r\nHost: probe.test\r\nX-A: 1\r\n 2\r\n\r\n", 400, 200),
    ("bare line feeds", "GET /env HTTP/1.1\nHost: probe.test\n\n", 400, 200),
    ("one bare line feed", "GET /env HTTP/1.1\r\nHost: probe.test\r\nX-A: 1\nX-B: 2\r\n\r\n", 400, 200),
    ("a bare carriage return", "GET /env HTTP/1.1\r\nHost: probe.test\r\nX-A: 1\rX-B: 2\r\n\r\n", 400, 200),
    ("a null byte", "GET /env HTTP/1.1\r\nHost: probe.test\r\nX-A: \0\r\n\r\n", 400, 400),
    ("a blank in the target", "GET /e nv HTTP/1.1\r\nHost: probe.test\r\n\r\n", 400, 400),
    ("a method that is no token", "G(ET /env HTTP/1.1\r\nHost: probe.test\r\n\r\n", 400, 400),
    ("no version", "GET /env\r\nHost: probe.test\r\n\r\n", 400, 426),
    ("another version", "GET /env HTTP/3.0\r\nHost: probe.test\r\n\r\n", 400, 426),
    ("an escaped slash", "GET /a%2Fenv HTTP/1.1\r\nHost: probe.test\r\n\r\n", 400, 400),
    ("an escaped null byte", "GET /env%00 HTTP/1.1\r\nHost: probe.test\r\n\r\n", 400, 400),
    ("dots above the root", "GET /../env HTTP/1.1\r\nHost: probe.test\r\n\r\n", 400, 200),
    (
        "a chunk size in hexadecimal of C",
        "POST /publish?subject=a.b HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n",
        400,
        400,
    ),
    (
        "a chunk longer than its size",
        "POST /publish?subject=a.b HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody!\r\n0\r\n\r\n",
        400,
        202,
    ),
    (
        "chunks with bare line feeds",
        "POST /publish?subject=a.b HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n",
        400,
        400,
    ),
    (
        "a chunk size that overflows",
        "POST /publish?subject=a.b HTTP/1.1\r\nHost: probe.test\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000000\r\nbody\r\n0\r\n\r\n",
        400,
        400,
    ),
    ("a tunnel", "CONNECT probe.test:80 HTTP/1.1\r\nHost: probe.test:80\r\n\r\n", 501, 404),
    (
        "an upgrade",
        "GET /env HTTP/1.1\r\nHost: probe.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        501,
        403,
    ),
];
/// Refused, but where they end is clear.
const CLEAR: [&str; 4] = ["an escaped slash", "an escaped null byte", "dots above the root", "an upgrade"];
const SECOND: &str = "GET /second HTTP/1.1\r\nHost: probe.test\r\n\r\n";

/// The statuses of what `address` answers until it closes the connection or says nothing more.
async fn statuses(address: SocketAddr, request: &str) -> Vec<u16> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    // It may have been refused and closed half-way.
    let _ = socket.write_all(format!("{request}{SECOND}").as_bytes()).await;
    let mut answer = Vec::new();
    let mut patience = PATIENCE;
    let mut buffer = [0; 4096];
    while let Ok(Ok(read @ 1..)) = timeout(patience, socket.read(&mut buffer)).await {
        answer.extend(&buffer[..read]);
        patience = Duration::from_millis(300);
    }
    let text = String::from_utf8_lossy(&answer);
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}

#[tokio::test]
async fn the_host_and_envoy_refuse_what_parsers_differ_about() {
    let host = Host::start(&trigger("probe", "probe.test", "probe-gateway").yaml());
    let envoy = Envoy::start("envoy.yaml", host.http_address(), &[]);
    let mut differences = Vec::new();
    for (name, request, of_host, of_envoy) in CASES {
        let own = statuses(host.http_address(), request).await;
        if own.first() != Some(&200) && !CLEAR.contains(name) {
            assert_eq!(own.len(), 1, "{name}: there is an answer after the refusal: {own:?}");
        }
        let envoys = statuses(envoy.address(), request).await;
        let [own, envoys] = [own, envoys].map(|statuses| statuses.first().copied().unwrap_or(0));
        let found = (own, envoys);
        if found != (*of_host, *of_envoy) {
            differences.push(format!("{name}: {found:?} in place of {:?}", (of_host, of_envoy)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
