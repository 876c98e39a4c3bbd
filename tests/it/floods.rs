//! What a flood costs the host in memory, beside what it costs its sender in bytes: each is sent to a real host, whose
//! resident memory before and at its peak is compared.

use std::{future::Future, net::SocketAddr, time::Duration};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::harness::{
    certificates::Authority,
    host::{Host, Options, write_application},
    manifest::trigger,
};

/// Growth of resident memory for a byte sent.
const GROWTH_MAX: u64 = 100;
/// Growth that is no flood's: what the allocator and the runtime's threads take at their first use, in whole pages.
const CONSTANT_BYTES: u64 = 2 << 20;
/// Longest wait for a flood: who is not taken any more is done.
const FLOOD_WITHIN: Duration = Duration::from_secs(60);
/// A write that the host does not take within this time ends a flood's connection: the host reads no more of it.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET / HTTP/2` to `app.test`, in literals and entries of the static table (RFC 7541).
const GET: &[u8] = b"\x82\x86\x84\x41\x08app.test";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The address for plain HTTP and the one for TLS.
#[derive(Clone, Copy)]
struct Target {
    http: SocketAddr,
    https: SocketAddr,
}

/// A connection of an attacker, who reads nothing, and the bytes that were taken from it.
struct Attacker {
    socket: TcpStream,
    sent: u64,
}

impl Attacker {
    async fn connect(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.unwrap(), sent: 0 }
    }

    /// Sends; `false` once the host takes no more.
    async fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match timeout(TAKEN_WITHIN, self.socket.write(bytes)).await {
                Ok(Ok(taken @ 1..)) => {
                    self.sent += taken as u64;
                    bytes = &bytes[taken..];
                }
                _ => return false,
            }
        }
        true
    }

    async fn send_up_to(&mut self, bytes: &[u8], times: usize) {
        for _ in 0..times {
            if !self.send(bytes).await {
                return;
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens connections, each of which `attack`s, and keeps them until the last has done so.
async fn many(connections: usize, attack: impl AsyncFn() -> Attacker) -> (u64, Vec<Attacker>) {
    let mut attackers = Vec::new();
    for _ in 0..connections {
        attackers.push(attack().await);
    }
    (attackers.iter().map(|attacker| attacker.sent).sum(), attackers)
}

/// Many connections that each send the same once.
async fn each_sends(connections: usize, address: SocketAddr, bytes: &[u8]) -> (u64, Vec<Attacker>) {
    many(connections, async || {
        let mut attacker = Attacker::connect(address).await;
        attacker.send(bytes).await;
        attacker
    })
    .await
}

/// One HTTP/2 connection that sends what `frames` makes of each stream's number.
async fn streams(target: Target, count: u32, frames: impl Fn(u32) -> Vec<u8>) -> (u64, Vec<Attacker>) {
    let mut attacker = Attacker::connect(target.http).await;
    attacker.send(PREFACE).await;
    for number in 0..count {
        if !attacker.send(&frames(2 * number + 1)).await {
            break;
        }
    }
    (attacker.sent, vec![attacker])
}

/// A TLS 1.2 ClientHello, about as long as that of `openssl s_client -tls1_2`, whose sender goes no further.
fn client_hello() -> Vec<u8> {
    let extensions: &[u8] = b"\0\x0a\0\x04\0\x02\0\x1d\0\x0b\0\x02\x01\0\0\x0d\0\x06\0\x04\x04\x03\x08\x04\
        \0\0\0\x0d\0\x0b\0\0\x08app.test\0\x17\0\0";
    // Two suites that the host has, and others that it has not.
    let suites = [b"\0\x3c\xc0\x2b\xc0\x2f", &[0x13, 0xff].repeat(28)[..]].concat();
    let length = |bytes: usize| u16::try_from(bytes).unwrap().to_be_bytes();
    let body =
        [b"\x03\x03", &[7; 32][..], b"\x20", &[9; 32], &suites, b"\x01\0", &length(extensions.len()), extensions]
            .concat();
    let handshake = [b"\x01\0", &length(body.len())[..], &body].concat();
    [b"\x16\x03\x01", &length(handshake.len())[..], &handshake].concat()
}

struct Flooded {
    host: Host,
    target: Target,
}

impl Flooded {
    /// Starts a host with some limits and sees that it answers.
    async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_application(folder.path(), &trigger("app", "app.test", "bare-http").yaml());
        let certificates = folder.path().join("certificates");
        std::fs::create_dir(&certificates).unwrap();
        Authority::new("authority").issue(&["app.test"], "app").write(&certificates, "app.test");
        let path = certificates.display().to_string();
        let host = Host::start_in(folder, options.flag("--https-addr", "127.0.0.1:0").flag("--tls-dir", &path));
        let target = Target { http: host.http_address(), https: host.https_address() };
        let flooded = Self { host, target };
        flooded.answers().await;
        flooded
    }

    async fn answers(&self) {
        assert_eq!(self.host.client("app.test").get("/").send().await.status, StatusCode::OK);
    }

    /// Sends a flood and compares. Its connections are kept until the host has been looked at.
    async fn bears<F>(name: &str, options: Options, flood: impl FnOnce(Target) -> F)
    where
        F: Future<Output = (u64, Vec<Attacker>)>,
    {
        let flooded = Self::start(options).await;
        flooded.host.forget_peak();
        let before = flooded.host.resident_bytes();
        let (sent, attackers) = timeout(FLOOD_WITHIN, flood(flooded.target)).await.expect("the flood does not end");
        // What it has in the kernel's buffers is read by then: the honest client's request comes after it.
        flooded.answers().await;
        let growth = flooded.host.resident_bytes_peak().saturating_sub(before);
        drop(attackers);
        let ratio = growth as f64 / sent as f64;
        println!("{name}: {sent} bytes sent, memory grew by {growth}: {ratio:.2} for a byte");
        assert!(sent > 0 && growth < CONSTANT_BYTES + GROWTH_MAX * sent, "{name}: {growth} for {sent} bytes");
        flooded.answers().await;
    }
}

fn options() -> Options {
    // The attacker's address is the honest client's as well.
    Options::default().flag("--limit", "connections_per_client_max=3000")
}

#[tokio::test]
async fn floods_of_streams_cost_the_host_little() {
    Flooded::bears("requests that their client resets", options(), |target| {
        streams(target, 20_000, |stream| {
            [frame(HEADERS, END_STREAM | END_HEADERS, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
                .concat()
        })
    })
    .await;
    Flooded::bears("requests that the host resets", options(), |target| {
        let invalid = [GET, b"\x00\x0aconnection\x01x"].concat();
        streams(target, 20_000, move |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &invalid))
    })
    .await;
    Flooded::bears("requests whose answers have no room", options(), |target| async move {
        let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let mut all = (0, Vec::new());
        for _ in 0..50 {
            let window = no_window.clone();
            let (sent, attackers) = streams(target, 500, |stream| {
                let head = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
                if stream == 1 { [window.clone(), head].concat() } else { head }
            })
            .await;
            all.0 += sent;
            all.1.extend(attackers);
        }
        all
    })
    .await;
}

#[tokio::test]
async fn floods_of_frames_cost_the_host_little() {
    for (name, flood) in [
        ("PING", frame(PING, 0, 0, &[7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
    ] {
        Flooded::bears(name, options(), |target| async move {
            let mut attacker = Attacker::connect(target.http).await;
            attacker.send(&[PREFACE, &frame(HEADERS, END_HEADERS, 1, GET)].concat()).await;
            attacker.send_up_to(&flood.repeat(100), 2_000).await;
            (attacker.sent, vec![attacker])
        })
        .await;
    }
    Flooded::bears("CONTINUATION", options(), |target| async move {
        let mut attacker = Attacker::connect(target.http).await;
        attacker.send(&[PREFACE, &frame(HEADERS, 0, 1, GET)].concat()).await;
        let mut more = b"\x00\x01x\x7f\xfb\x7e".to_vec();
        more.resize(0x4000, b'y');
        attacker.send_up_to(&frame(CONTINUATION, 0, 1, &more), 500).await;
        (attacker.sent, vec![attacker])
    })
    .await;
}

#[tokio::test]
async fn floods_of_requests_cost_the_host_little() {
    Flooded::bears("pipelined requests whose answers nobody reads", options(), |target| async move {
        let mut attacker = Attacker::connect(target.http).await;
        attacker.send_up_to(&b"GET / HTTP/1.1\r\nhost: app.test\r\n\r\n".repeat(100), 2_000).await;
        (attacker.sent, vec![attacker])
    })
    .await;
    Flooded::bears("heads of many headers", options(), |target| async move {
        let headers: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nhost: app.test\r\n{headers}\r\n");
        each_sends(1_000, target.http, head.as_bytes()).await
    })
    .await;
    Flooded::bears("large heads without an end", options(), |target| async move {
        let head = format!("GET / HTTP/1.1\r\nhost: app.test\r\nx: {}", "y".repeat(60_000));
        each_sends(200, target.http, head.as_bytes()).await
    })
    .await;
}

#[tokio::test]
async fn floods_of_connections_cost_the_host_little() {
    Flooded::bears("slow heads", options(), |target| async move {
        let head = "GET / HTTP/1.1\r\nhost: app.test\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64)\r\naccept: */*\r\n";
        each_sends(2_000, target.http, head.as_bytes()).await
    })
    .await;
    Flooded::bears("TLS hellos", options(), |target| async move {
        let (sent, mut attackers) = each_sends(1_000, target.https, &client_hello()).await;
        // It is a hello, and the host has answered it.
        let mut answer = [0; 6];
        timeout(TAKEN_WITHIN, attackers[0].socket.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!((answer[0], answer[5]), (0x16, 2), "{answer:?}");
        (sent, attackers)
    })
    .await;
    // The honest client is no proxy: it comes from another address of the machine.
    let behind_a_proxy = options().flag("--trusted-proxies", "127.0.0.2").switch("--proxy-protocol");
    Flooded::bears("PROXY headers without an end", behind_a_proxy, |target| async move {
        let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\0", &[7; 1000][..]].concat();
        many(1_000, async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let mut attacker = Attacker { socket: socket.connect(target.http).await.unwrap(), sent: 0 };
            attacker.send(&header).await;
            attacker
        })
        .await
    })
    .await;
}
