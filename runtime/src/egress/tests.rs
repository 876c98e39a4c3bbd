//! Where requests may go, tried with a resolver that says what a test wants and servers on loopback addresses.

mod bounds;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use roadstead_config::{Limits, Network, manifest::LocalResources};
use roadstead_metrics::Metrics;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use wasmtime_wasi_http::WasiBody;

use super::{connect::addresses, request::Head, *};

/// Longest wait for what a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers of names, each question the next of a list, the last one again and again.
#[derive(Default)]
struct Scripted {
    answers: HashMap<&'static str, Vec<Vec<IpAddr>>>,
    asked: Mutex<HashMap<String, usize>>,
}

impl Scripted {
    fn name(mut self, name: &'static str, answers: &[&str]) -> Self {
        let addresses = |answer: &&str| answer.split_whitespace().map(|text| text.parse().unwrap()).collect();
        self.answers.insert(name, answers.iter().map(addresses).collect());
        self
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut asked = self.asked.lock().unwrap();
        let count = asked.entry(name.to_owned()).or_default();
        let answers = self.answers.get(name).ok_or(io::ErrorKind::NotFound)?;
        let answer = answers.get(*count).or(answers.last()).cloned().unwrap_or_default();
        *count += 1;
        Ok(answer)
    }
}

struct Setup {
    resolver: Arc<dyn Resolve>,
    networks: Vec<&'static str>,
    host_loopback: bool,
    limits: Limits,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            resolver: Arc::new(Scripted::default()),
            networks: Vec::new(),
            host_loopback: false,
            limits: Limits::default(),
        }
    }
}

impl Setup {
    fn host(self) -> Arc<Egress> {
        let options = EgressOptions {
            networks: self.networks.iter().map(|text| text.parse::<Network>().unwrap()).collect(),
            host_loopback: self.host_loopback,
            ca_file: None,
            resolver: self.resolver,
        };
        Egress::new(options, Arc::new(self.limits), &Metrics::default()).unwrap()
    }

    async fn component(self, allowed: &[&str], ports: &[u16]) -> Arc<ComponentEgress> {
        component(&self.host(), "one", allowed, ports).await
    }
}

async fn component(host: &Arc<Egress>, workload: &str, allowed: &[&str], ports: &[u16]) -> Arc<ComponentEgress> {
    let id = WorkloadId { namespace: "a".parse().unwrap(), name: workload.parse().unwrap() };
    let resources = LocalResources {
        allowed_hosts: allowed.iter().map(|text| text.parse().unwrap()).collect(),
        allowed_host_loopback_ports: ports.to_vec(),
        ..LocalResources::default()
    };
    host.open(&id).await.unwrap().component(&"gateway".parse().unwrap(), &resources).unwrap()
}

fn call() -> Call {
    Call::new(PATIENCE)
}

fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn request(url: &str) -> Request<WasiBody> {
    Request::builder().uri(url).body(empty()).unwrap()
}

async fn send(component: &Arc<ComponentEgress>, url: &str) -> Result<Response<WasiBody>, EgressError> {
    component.begin(&call()).send(request(url), None).await
}

/// Sends and reads the whole answer.
async fn ask(component: &Arc<ComponentEgress>, url: &str) -> Result<String, &'static str> {
    let response = send(component, url).await.map_err(|error| error.kind())?;
    let body = response.into_body().collect().await.map_err(|_| "body")?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// What becomes of a target before anything is dialled: the first address that would be, or why there is none.
async fn judge(component: &ComponentEgress, scheme: &str, authority: &str) -> Result<String, &'static str> {
    let uri = http::Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
    let parts = Request::builder().uri(uri.map_err(|_| "bad-target")?).body(()).unwrap().into_parts().0;
    let head = Head::read(parts, &component.workload.host.limits).map_err(|error| error.kind())?;
    let key = component.permit(head.target).map_err(|error| error.kind())?;
    let by = tokio::time::Instant::now() + PATIENCE;
    let found = addresses(&component.workload, &key, by).await.map_err(|error| error.kind())?;
    Ok(found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
}

/// What a manifest allows, scheme and authority of a request, and what becomes of it.
type Row<'r> = (&'r [&'r str], &'r str, &'r str, Result<&'r str, &'r str>);

const DENIED: Result<&str, &str> = Err("denied");
const BAD: Result<&str, &str> = Err("bad-target");
const PROHIBITED: Result<&str, &str> = Err("address-prohibited");

#[tokio::test]
async fn no_target_finds_a_hole() {
    const PUBLIC: Result<&str, &str> = Ok("1.2.3.4");
    let some =
        &["a.test", "*.b.test", "https://s.test", "http://p.test:8080", "e.test:8443", "1.2.3.4", "[2606:50c0::1]"][..];
    let all = &["*", "*:8080", "http://*:443"][..];
    let rows: &[Row<'_>] = &[
        // Hosts, and what is beside them.
        (some, "http", "a.test", PUBLIC),
        (some, "https", "a.test", PUBLIC),
        (some, "http", "A.TEST", PUBLIC),
        (some, "http", "a.test.", PUBLIC),
        (some, "http", "a.test:80", PUBLIC),
        (some, "http", "a.test:443", DENIED),
        (some, "http", "a.test:8080", DENIED),
        (some, "http", "x.a.test", DENIED),
        (some, "http", "xa.test", DENIED),
        (some, "http", "a.test.evil.test", DENIED),
        (some, "http", "test", DENIED),
        // Wildcards.
        (some, "http", "x.b.test", PUBLIC),
        (some, "http", "x.y.b.test", PUBLIC),
        (some, "http", "b.test", DENIED),
        (some, "http", "xb.test", DENIED),
        (some, "http", ".b.test", BAD),
        (some, "http", "*.b.test", BAD),
        (some, "http", "x.b.test.", PUBLIC),
        (some, "http", "x.b.test..", BAD),
        (&["*.2.3.4"], "http", "1.2.3.4", DENIED),
        // Schemes and ports.
        (some, "https", "s.test", PUBLIC),
        (some, "http", "s.test", DENIED),
        (some, "http", "s.test:443", DENIED),
        (some, "http", "p.test:8080", PUBLIC),
        (some, "http", "p.test", DENIED),
        (some, "https", "p.test:8080", DENIED),
        (some, "https", "e.test:8443", PUBLIC),
        (some, "http", "e.test:8443", PUBLIC),
        (some, "https", "e.test", DENIED),
        (some, "ftp", "a.test", BAD),
        (all, "http", "any.test", PUBLIC),
        (all, "https", "any.test:8080", PUBLIC),
        (all, "http", "any.test:443", PUBLIC),
        (all, "http", "any.test:22", DENIED),
        (all, "http", "any.test:0", BAD),
        (all, "http", "any.test:65536", BAD),
        (all, "http", "any.test:", BAD),
        // Users.
        (all, "http", "user@any.test", BAD),
        (all, "http", "any.test:80@evil.test", BAD),
        (some, "http", "a.test@evil.test", BAD),
        // Names that have addresses of other kinds, all of them or one.
        (all, "http", "loop.test", PROHIBITED),
        (all, "http", "localhost", PROHIBITED),
        (all, "http", "private.test", PROHIBITED),
        (all, "http", "shared.test", PROHIBITED),
        (all, "http", "link.test", PROHIBITED),
        (all, "http", "metadata.test", PROHIBITED),
        (all, "http", "six.test", PROHIBITED),
        (all, "http", "mapped.test", PROHIBITED),
        (all, "http", "nat64.test", PROHIBITED),
        (all, "http", "sixtofour.test", PROHIBITED),
        (all, "http", "mixed.test", PUBLIC),
        (all, "http", "nothing.test", Err("dns-error")),
        (all, "http", "unknown.test", Err("dns-error")),
        // Literals.
        (some, "http", "1.2.3.4", PUBLIC),
        (some, "http", "1.2.3.4.", PUBLIC),
        (some, "http", "[::ffff:1.2.3.4]", PUBLIC),
        (some, "http", "[2606:50c0::1]", Ok("2606:50c0::1")),
        (some, "http", "[2606:50C0:0::0:1]", Ok("2606:50c0::1")),
        (some, "http", "[2606:50c0::2]", DENIED),
        (all, "http", "127.0.0.1", PROHIBITED),
        (all, "http", "127.1", BAD),
        (all, "http", "127.255.255.254", PROHIBITED),
        (all, "http", "2130706433", BAD),
        (all, "http", "017700000001", BAD),
        (all, "http", "0177.0.0.1", BAD),
        (all, "http", "0x7f.0.0.1", BAD),
        (all, "http", "0x7f000001", BAD),
        (all, "http", "127.0.0.1.", PROHIBITED),
        (all, "http", "0.0.0.0", PROHIBITED),
        (all, "http", "0", BAD),
        (all, "http", "10.0.0.1", PROHIBITED),
        (all, "http", "172.16.0.1", PROHIBITED),
        (all, "http", "192.168.0.1", PROHIBITED),
        (all, "http", "100.64.0.1", PROHIBITED),
        (all, "http", "169.254.169.254", PROHIBITED),
        (all, "http", "168.63.129.16", PROHIBITED),
        (all, "http", "224.0.0.1", PROHIBITED),
        (all, "http", "255.255.255.255", PROHIBITED),
        (all, "http", "192.0.2.1", PROHIBITED),
        (all, "http", "[::1]", PROHIBITED),
        (all, "http", "[::]", PROHIBITED),
        (all, "http", "[::ffff:127.0.0.1]", PROHIBITED),
        (all, "http", "[::ffff:a9fe:a9fe]", PROHIBITED),
        (all, "http", "[::127.0.0.1]", PROHIBITED),
        (all, "http", "[64:ff9b::7f00:1]", PROHIBITED),
        (all, "http", "[2002:7f00:1::]", PROHIBITED),
        (all, "http", "[fd00:ec2::254]", PROHIBITED),
        (all, "http", "[fc00::1]", PROHIBITED),
        (all, "http", "[fe80::1]", PROHIBITED),
        (all, "http", "[fe80::1%25eth0]", BAD),
        (all, "http", "[fe80::1%eth0]", BAD),
        (all, "http", "[ff02::1]", PROHIBITED),
        (all, "http", "[2001:db8::1]", PROHIBITED),
        (all, "http", "::1", BAD),
        (all, "http", "[::1]x", BAD),
        (all, "http", "%31%32%37.0.0.1", BAD),
        (all, "http", "", BAD),
        (all, "http", ".", BAD),
    ];
    assert!(rows.len() >= 60, "{}", rows.len());
    let mut wrong = Vec::new();
    for (allowed, scheme, authority, expected) in rows {
        let names = ["a.test", "x.b.test", "x.y.b.test", "s.test", "p.test", "e.test", "any.test"];
        let resolver = names.into_iter().fold(Scripted::default(), |all, name| all.name(name, &["1.2.3.4"]));
        let resolver = [
            ("loop.test", "127.0.0.1"),
            ("localhost", "::1 127.0.0.1"),
            ("private.test", "10.1.2.3 192.168.0.1 fd00::1"),
            ("shared.test", "100.64.0.1"),
            ("link.test", "169.254.1.1 fe80::1"),
            ("metadata.test", "169.254.169.254 fd00:ec2::254"),
            ("six.test", "::1"),
            ("mapped.test", "::ffff:127.0.0.1"),
            ("nat64.test", "64:ff9b::a00:1"),
            ("sixtofour.test", "2002:a00:1::1"),
            ("mixed.test", "10.0.0.1 1.2.3.4 ::1"),
            ("nothing.test", ""),
        ]
        .into_iter()
        .fold(resolver, |all, (name, addresses)| all.name(name, &[addresses]));
        let component = Setup { resolver: Arc::new(resolver), ..Setup::default() }.component(allowed, &[22]).await;
        let found = judge(&component, scheme, authority).await;
        if found.as_deref() != expected.as_ref().copied() {
            wrong.push(format!("{allowed:?} {scheme}://{authority}: {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A server of HTTP/1.1 that answers `answer` to everything; the heads that came are kept.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(address: impl Into<SocketAddr>, answer: &str) -> Self {
        let listener = TcpListener::bind(address.into()).await.unwrap();
        let (heads, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let server = Self { address: listener.local_addr().unwrap(), heads, connections };
        let (heads, connections, answer) = (server.heads.clone(), server.connections.clone(), answer.to_owned());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (heads, answer) = (heads.clone(), answer.clone());
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while socket.read_buf(&mut seen).await.is_ok_and(|bytes| bytes > 0) {
                        while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                            let head: Vec<u8> = seen.drain(..end + 4).collect();
                            heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                            let _ = socket.write_all(answer.as_bytes()).await;
                        }
                    }
                });
            }
        });
        server
    }

    async fn local() -> Self {
        Self::start((Ipv4Addr::LOCALHOST, 0), OK).await
    }

    fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.address.port())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A name that has another address each time it is asked for: what was checked is what is dialled.
#[tokio::test]
async fn a_name_cannot_change_between_the_check_and_the_connection() {
    let inside = Server::local().await;
    let port = inside.address.port();
    let outside = Server::start(([127, 0, 0, 2], port), OK).await;
    let resolver =
        Arc::new(Scripted::default().name("rebind.test", &["127.0.0.2", "127.0.0.1", "127.0.0.2 127.0.0.1"]));
    let setup = Setup { resolver: resolver.clone(), networks: vec!["127.0.0.2"], ..Setup::default() };
    let component = setup.component(&[&format!("*:{port}")], &[]).await;
    let url = outside.url("rebind.test");
    assert_eq!(ask(&component, &url).await.as_deref(), Ok("ok"));
    // A connection that is there needs no name.
    assert_eq!(ask(&component, &url).await.as_deref(), Ok("ok"));
    assert_eq!((resolver.asked("rebind.test"), outside.connections()), (1, 1));
    // Another workload has none, and gets the second answer.
    let other = component_of(&component, "two", &[&format!("*:{port}")]).await;
    assert_eq!(ask(&other, &url).await, Err("address-prohibited"));
    assert_eq!(ask(&other, &url).await.as_deref(), Ok("ok"));
    assert_eq!((inside.connections(), outside.connections()), (0, 2));
    assert!(
        outside.heads().iter().all(|head| head.contains(&format!("host: rebind.test:{port}\r\n"))),
        "{:?}",
        outside.heads()
    );
}

async fn component_of(beside: &ComponentEgress, workload: &str, allowed: &[&str]) -> Arc<ComponentEgress> {
    component(&beside.workload.host, workload, allowed, &[]).await
}

/// A redirection is an answer as any other; where the guest follows it, it is a request as any other.
#[tokio::test]
async fn redirections_are_the_guests_own() {
    let inside = Server::local().await;
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", inside.url("127.0.0.1"));
    let redirecting = Server::start(([127, 0, 0, 2], 0), &answer).await;
    let port = redirecting.address.port();
    let component = Setup { networks: vec!["127.0.0.2"], ..Setup::default() };
    let component = component.component(&[&format!("*:{port}"), &format!("*:{}", inside.address.port())], &[]).await;
    let response = send(&component, &redirecting.url("127.0.0.2")).await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(ask(&component, response.headers()["location"].to_str().unwrap()).await, Err("address-prohibited"));
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn ports_of_the_host_are_opened_by_both() {
    let server = Server::local().await;
    let port = server.address.port();
    let allowed = [&*format!("localhost:{port}"), &*format!("127.0.0.1:{port}")];
    for (host_loopback, ports, outcome) in [
        (false, vec![port], Err("address-prohibited")),
        (true, vec![port ^ 1], Err("address-prohibited")),
        (true, vec![port], Ok("ok".to_owned())),
    ] {
        let component = Setup { host_loopback, ..Setup::default() }.component(&allowed, &ports).await;
        assert_eq!(ask(&component, &server.url("127.0.0.1")).await, outcome, "{host_loopback} {ports:?}");
    }
    // A component of the same workload that may not is not helped by the connection of one that may.
    let resolver = Arc::new(Scripted::default().name("localhost", &["127.0.0.1"]));
    let host = Setup { resolver, host_loopback: true, ..Setup::default() }.host();
    let may = component(&host, "one", &allowed, &[port]).await;
    assert_eq!(ask(&may, &server.url("localhost")).await.as_deref(), Ok("ok"));
    let resources = LocalResources {
        allowed_hosts: vec!["*".parse().unwrap(), allowed[0].parse().unwrap()],
        ..LocalResources::default()
    };
    let may_not = may.workload.component(&"other".parse().unwrap(), &resources).unwrap();
    assert_eq!(ask(&may_not, &server.url("localhost")).await, Err("address-prohibited"));
}

#[tokio::test]
async fn no_workload_has_a_connection_of_another() {
    let server = Server::local().await;
    let allowed = [&*format!("127.0.0.1:{}", server.address.port())];
    let one = Setup { networks: vec!["127.0.0.1"], ..Setup::default() }.component(&allowed, &[]).await;
    let two = component_of(&one, "two", &allowed).await;
    for _ in 0..3 {
        for component in [&one, &two] {
            assert_eq!(ask(component, &server.url("127.0.0.1")).await.as_deref(), Ok("ok"));
        }
    }
    assert_eq!((server.connections(), server.heads().len()), (2, 6));
}
