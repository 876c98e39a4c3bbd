//! Clients that ask again and again, over HTTP/1.1 and HTTP/2, with and without TLS, and tell what became of their
//! requests: for what must not lose any.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{PATIENCE, certificates::Authority, eventually};

/// How a client uses its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// HTTP/1.1, one request each.
    Short,
    /// HTTP/1.1, as many requests as the host takes.
    Kept,
    /// The same over HTTP/2.
    H2,
}

/// Whom to ask: `GET /hello` of `host`, which the test's components answer.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub host: &'static str,
    /// Who issued the host's certificate, where it is asked over TLS.
    pub roots: Option<RootCertStore>,
}

/// What the clients have seen.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    connections: AtomicU64,
    /// Connections that the host closed before it had read the request that was on its way to it.
    crossed: AtomicU64,
    /// The certificates that the host has shown.
    certificates: Mutex<HashSet<Vec<u8>>>,
    /// Nothing is lost when nobody takes a connection.
    may_refuse: AtomicBool,
    /// The clients leave after their next request.
    ended: AtomicBool,
}

/// What became of all requests.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub answered: u64,
    pub connections: u64,
    pub crossed: u64,
    /// Different ones that were seen.
    pub certificates: usize,
}

/// Clients that are asking.
pub struct Askers {
    tally: Arc<Tally>,
    tasks: Vec<JoinHandle<()>>,
}

impl Askers {
    /// Starts one for each manner.
    pub fn start(target: &Target, manners: &[Manner]) -> Self {
        let tally = Arc::new(Tally::default());
        let asker = |manner: &Manner| Asker::new(target, *manner, tally.clone());
        let tasks = manners.iter().map(|manner| tokio::spawn(asker(manner).run())).collect();
        Self { tally, tasks }
    }

    /// Waits for so many further answers in all; returns early when a client has failed.
    pub async fn answers(&self, further: u64) {
        let wanted = self.tally.answered.load(Ordering::Relaxed) + further;
        while self.tally.answered.load(Ordering::Relaxed) < wanted && !self.tasks.iter().any(JoinHandle::is_finished) {
            let before = self.tally.answered.load(Ordering::Relaxed);
            eventually("further answers", async || {
                let more = self.tally.answered.load(Ordering::Relaxed) > before;
                (more || self.tasks.iter().any(JoinHandle::is_finished)).then_some(())
            })
            .await;
        }
    }

    /// From now on a client that finds nobody to connect to leaves.
    pub fn may_be_refused(&self) {
        self.tally.may_refuse.store(true, Ordering::Relaxed);
    }

    /// Lets every client finish, or waits until all have been refused.
    pub async fn end(self) -> Told {
        if !self.tally.may_refuse.load(Ordering::Relaxed) {
            self.tally.ended.store(true, Ordering::Relaxed);
        }
        for task in self.tasks {
            timeout(2 * PATIENCE, task).await.expect("a client does not end").expect("a client failed");
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally { answered, connections, crossed, certificates, .. } = &*self.tally;
        let certificates = certificates.lock().unwrap().len();
        Told { answered: count(answered), connections: count(connections), crossed: count(crossed), certificates }
    }
}

enum Sender {
    H1(http1::SendRequest<Empty<Bytes>>),
    H2(http2::SendRequest<Empty<Bytes>>),
}

impl Sender {
    async fn is_ready(&mut self) -> bool {
        match self {
            Self::H1(sender) => sender.ready().await.is_ok(),
            Self::H2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::H1(sender) => sender.send_request(request).await,
            Self::H2(sender) => sender.send_request(request).await,
        }
    }
}

struct Asker {
    target: Target,
    tls: Option<Arc<ClientConfig>>,
    manner: Manner,
    tally: Arc<Tally>,
    sender: Option<Sender>,
    from: Ipv4Addr,
}

/// An address of this machine for each client: the ports that thousands of connections use up are those of its own.
fn own_address() -> Ipv4Addr {
    static CLIENTS: AtomicU16 = AtomicU16::new(0);
    let [high, low] = CLIENTS.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

impl Asker {
    fn new(target: &Target, manner: Manner, tally: Arc<Tally>) -> Self {
        let protocol: &[u8] = if manner == Manner::H2 { b"h2" } else { b"http/1.1" };
        let tls = target.roots.clone().map(|roots| {
            let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
            let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
            let mut config = builder.with_no_client_auth();
            config.resumption = rustls::client::Resumption::disabled();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        });
        Self { target: target.clone(), tls, manner, tally, sender: None, from: own_address() }
    }

    async fn run(mut self) {
        while !self.tally.ended.load(Ordering::Relaxed) {
            let (first, host) = (self.sender.is_none(), self.target.host);
            let Some(sender) = self.connected().await else { return };
            let request = Request::get("/hello");
            let request = match sender {
                Sender::H1(_) => request.header("host", host),
                Sender::H2(_) => Request::get(format!("http://{host}/hello")),
            };
            let sent = sender.send(request.body(Empty::new()).unwrap());
            match timeout(PATIENCE, sent).await.expect("no answer") {
                Ok(response) => {
                    assert_eq!(response.status(), StatusCode::OK, "{:?}", self.manner);
                    timeout(PATIENCE, response.collect()).await.expect("no body").expect("half a body");
                    self.tally.answered.fetch_add(1, Ordering::Relaxed);
                }
                // The connection had ended before anything was sent.
                Err(error) if error.is_canceled() => self.sender = None,
                // The host had not read the request (RFC 9110, section 9.2.2): a client asks again.
                Err(error) if !first => {
                    println!("crossed: {:?}: {error:?}", self.manner);
                    self.tally.crossed.fetch_add(1, Ordering::Relaxed);
                    self.sender = None;
                }
                Err(error) => panic!("a request is lost: {:?}: {error:?}", self.manner),
            }
            if self.manner == Manner::Short {
                self.sender = None;
            }
        }
    }

    /// A connection that takes a request; `None` where nobody takes a connection, and that is in order.
    async fn connected(&mut self) -> Option<&mut Sender> {
        if let Some(sender) = &mut self.sender
            && !sender.is_ready().await
        {
            self.sender = None;
        }
        if self.sender.is_none() {
            let socket = match timeout(PATIENCE, self.connect()).await.expect("no connection") {
                Ok(socket) => socket,
                Err(_) if self.tally.may_refuse.load(Ordering::Relaxed) => return None,
                Err(error) => panic!("refused: {:?}: {error}", self.manner),
            };
            self.tally.connections.fetch_add(1, Ordering::Relaxed);
            let sender = match &self.tls {
                None => self.begin(socket).await,
                Some(tls) => {
                    let name = self.target.host.try_into().unwrap();
                    let stream = timeout(PATIENCE, TlsConnector::from(tls.clone()).connect(name, socket)).await;
                    let stream = stream.expect("no handshake").expect("a handshake is broken off");
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
                    self.tally.certificates.lock().unwrap().insert(shown);
                    self.begin(stream).await
                }
            };
            self.sender = Some(sender);
        }
        self.sender.as_mut()
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((self.from, 0).into())?;
        socket.connect(self.target.address).await
    }

    async fn begin(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
        let io = TokioIo::new(stream);
        if self.manner == Manner::H2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("no HTTP/2");
            tokio::spawn(connection);
            return Sender::H2(sender);
        }
        let (sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Sender::H1(sender)
    }
}

/// The roots with which clients trust an authority.
pub fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().into()).unwrap();
    roots
}
