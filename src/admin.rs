//! The admin listener: health, metrics, status and what operators ask and change. For operators, never for tenants'
//! clients. How connections are taken is in [`listening`], who may ask what in [`access`] and [`token`], the paths in
//! [`routes`].

pub(crate) mod access;
pub(crate) mod control;
mod health;
mod listening;
mod logs;
mod page;
mod routes;
pub(crate) mod socket;
pub(crate) mod token;
mod workloads;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use roadstead_proxy::{ListenAt, ListenError};
use roadstead_runtime::host::Host;
use tokio::{
    net::UnixListener,
    sync::{Notify, Semaphore},
};

use access::Access;
use control::LogLevel;
use listening::{Bounds, accept_tcp, accept_unix};
use socket::{SocketError, SocketPlace, TakenSocket};
use token::TokenFile;

/// Time between two attempts to take the default socket, which another host has.
const SOCKET_EVERY: Duration = Duration::from_secs(5);

/// Time between two looks at what workloads depend on.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("the admin listener cannot be started; is another process using its address? choose another --admin-addr")]
    Listen(#[from] ListenError),
    #[error("the address of the admin listener cannot be found out")]
    Address(#[source] std::io::Error),
    #[error(
        "the admin address {address} can be reached from other machines, and whoever asks there is told of all \
         workloads: give it a token (--admin-token-file FILE, made with `openssl rand -hex 32`), or an address of this \
         machine alone (--admin-addr 127.0.0.1:{})",
        address.port()
    )]
    Public { address: SocketAddr },
    #[error("the admin socket cannot be used (--admin-socket)")]
    Socket(#[from] SocketError),
}

/// How the listener is set up.
pub(crate) struct AdminSettings {
    pub(crate) at: ListenAt,
    pub(crate) socket: SocketPlace,
    pub(crate) token: Option<TokenFile>,
    pub(crate) log: Arc<dyn LogLevel>,
}

/// A running admin listener; it ends with the process's runtime.
pub(crate) struct AdminServer {
    address: SocketAddr,
    socket: OpenSocket,
    state: Arc<AdminState>,
}

/// What routes answer from.
struct AdminState {
    host: Arc<Host>,
    access: Access,
    deployed: AtomicBool,
    draining: AtomicBool,
    /// An operator wants the host to stop.
    drain: Notify,
    /// Places of those who follow logs.
    followers: Arc<Semaphore>,
    log: Arc<dyn LogLevel>,
    /// Tells what does not keep the host from serving, but an operator should know.
    notice: OnceLock<Notice>,
}

/// What is to be said besides, at the moment of the question.
type Notice = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

impl AdminServer {
    /// Listens and answers from `host`.
    pub(crate) async fn start(settings: AdminSettings, host: Arc<Host>) -> Result<Self, AdminError> {
        Self::bounded(settings, host, Bounds::default()).await
    }

    async fn bounded(settings: AdminSettings, host: Arc<Host>, bounds: Bounds) -> Result<Self, AdminError> {
        let AdminSettings { at, socket, token, log } = settings;
        if let (None, ListenAt::Address(address) | ListenAt::Shared(address)) = (&token, &at) {
            refuse_public(*address)?;
        }
        let listener = at.listen()?;
        let address = listener.local_addr().map_err(AdminError::Address)?;
        if token.is_none() {
            refuse_public(address)?;
        }
        if let Some(token) = token.clone() {
            tokio::spawn(token.follow());
        }
        let state = Arc::new(AdminState {
            host,
            access: Access::new(token),
            deployed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            followers: Arc::new(Semaphore::new(logs::FOLLOWERS_MAX)),
            log,
            notice: OnceLock::new(),
        });
        let socket = open_socket(socket, &state, bounds)?;
        tokio::spawn(observe(Arc::downgrade(&state)));
        tokio::spawn(accept_tcp(listener, state.clone(), bounds));
        Ok(Self { address, socket, state })
    }

    /// The address in use.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The unix socket, if there is one just now.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        self.socket.path()
    }

    /// All manifests have been dealt with.
    pub(crate) fn set_deployed(&self) {
        self.state.deployed.store(true, Ordering::Relaxed);
    }

    /// `/readyz` says what `notice` tells as well, whatever the answer is.
    pub(crate) fn set_notice(&self, notice: impl Fn() -> Option<&'static str> + Send + Sync + 'static) {
        let _ = self.state.notice.set(Box::new(notice));
    }

    /// The host stops: balancers are to send no further requests.
    pub(crate) fn set_draining(&self) {
        self.state.draining.store(true, Ordering::Relaxed);
    }

    /// Returns when an operator has asked the host to stop.
    pub(crate) async fn told_to_drain(&self) {
        self.state.drain.notified().await;
    }
}

/// Has the host notice, at about the time, when something changes on which workloads depend.
async fn observe(state: Weak<AdminState>) {
    loop {
        tokio::time::sleep(OBSERVE_EVERY).await;
        let Some(state) = state.upgrade() else { return };
        state.host.observe();
    }
}

/// Who is reached from other machines must know who asks.
fn refuse_public(address: SocketAddr) -> Result<(), AdminError> {
    if address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(AdminError::Public { address }) }
}

/// Listens at the unix socket. That of the flag must be had; one by default is waited for while another host has it, and
/// done without where it cannot be made.
fn open_socket(place: SocketPlace, state: &Arc<AdminState>, bounds: Bounds) -> Result<OpenSocket, AdminError> {
    let open = OpenSocket::default();
    let places = match place {
        SocketPlace::At(path) => {
            open.accept(TakenSocket::take(&path, false)?, state, bounds);
            return Ok(open);
        }
        SocketPlace::Default(places) => places,
    };
    match first_of(&places) {
        Ok(taken) => open.accept(taken, state, bounds),
        Err(error @ SocketError::Taken { .. }) => {
            tracing::info!(
                "{error}: `roadstead get` and the like reach that one, and this host when that is gone; give this one \
                 an --admin-socket of its own"
            );
            tokio::spawn(wait_for_socket(places, open.clone(), state.clone(), bounds));
        }
        Err(error) => {
            let error = roadstead_runtime::error_text(&error);
            tracing::info!("there is no admin socket for `roadstead get` and the like (--admin-socket): {error}");
        }
    }
    Ok(open)
}

/// Tries until the socket is this host's, or the host is gone.
async fn wait_for_socket(places: Vec<PathBuf>, open: OpenSocket, state: Arc<AdminState>, bounds: Bounds) {
    while Arc::strong_count(&open.0) > 1 {
        tokio::time::sleep(SOCKET_EVERY).await;
        match first_of(&places) {
            Ok(taken) => {
                tracing::info!(path = %taken.0.path().display(), "the admin socket is this host's now");
                return open.accept(taken, &state, bounds);
            }
            Err(SocketError::Taken { .. }) => {}
            Err(_) => return,
        }
    }
}

/// The socket, if it is this host's; its last copy removes it.
#[derive(Clone, Default)]
struct OpenSocket(Arc<Mutex<Option<TakenSocket>>>);

impl OpenSocket {
    fn accept(&self, (taken, listener): (TakenSocket, UnixListener), state: &Arc<AdminState>, bounds: Bounds) {
        tokio::spawn(accept_unix(listener, state.clone(), bounds));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
    }

    fn path(&self) -> Option<PathBuf> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.as_ref().map(|taken| taken.path().to_owned())
    }
}

/// The first of `places` that can be had.
fn first_of(places: &[PathBuf]) -> Result<(TakenSocket, UnixListener), SocketError> {
    let mut failure = SocketError::Nowhere;
    for path in places {
        match TakenSocket::take(path, true) {
            Ok(taken) => return Ok(taken),
            // A place further down would be found by nobody: who asks finds the host that has this one.
            Err(error @ SocketError::Taken { .. }) => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::host::HostBuilder;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::timeout,
    };

    use super::{listening::CONNECTIONS_MAX, *};

    /// Longest wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// A bound that the test at hand is not about.
    const LONG: Duration = Duration::from_secs(600);

    fn settings(address: &str, token: Option<TokenFile>) -> AdminSettings {
        let at = ListenAt::Address(address.parse().unwrap());
        AdminSettings { at, socket: SocketPlace::Default(Vec::new()), token, log: Arc::new(Silent) }
    }

    struct Silent;

    impl LogLevel for Silent {
        fn current(&self) -> String {
            String::new()
        }

        fn set(&self, _: &str) -> Result<(), String> {
            Ok(())
        }
    }

    async fn start(bounds: Bounds) -> AdminServer {
        let host = HostBuilder::new().start().await.unwrap();
        AdminServer::bounded(settings("127.0.0.1:0", None), host, bounds).await.unwrap()
    }

    async fn connect(server: &AdminServer) -> TcpStream {
        TcpStream::connect(server.address()).await.unwrap()
    }

    /// Asks, and waits for as much as an answer has; the connection stays.
    async fn ask(stream: &mut TcpStream) {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        answered(stream).await;
    }

    async fn answered(stream: &mut TcpStream) {
        let mut read = Vec::new();
        while !read.ends_with(b"alive\n") {
            let more = timeout(PATIENCE, stream.read_buf(&mut read)).await.expect("no answer").unwrap();
            assert!(more > 0, "closed after {:?}", String::from_utf8_lossy(&read));
        }
    }

    /// Waits until the listener closes the connection, in order or not.
    async fn closed(stream: &mut TcpStream) {
        let mut read = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the connection is kept");
    }

    #[test]
    fn the_bounds_are_the_documented_ones() {
        let documented = Bounds {
            connections_max: 64,
            header_timeout: Duration::from_secs(10),
            connection_timeout: Duration::from_secs(300),
        };
        assert_eq!(Bounds::default(), documented);
    }

    #[tokio::test]
    async fn an_address_that_others_reach_needs_a_token() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let host = HostBuilder::new().start().await.unwrap();
            let error = AdminServer::start(settings(address, None), host).await.err().unwrap().to_string();
            assert!(error.contains("--admin-token-file") && error.contains("--admin-addr 127.0.0.1:0"), "{error}");
        }
        let given = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let passed = AdminSettings { at: ListenAt::Given(given), ..settings("127.0.0.1:0", None) };
        let host = HostBuilder::new().start().await.unwrap();
        assert!(matches!(AdminServer::start(passed, host.clone()).await, Err(AdminError::Public { .. })));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = TokenFile::open(&file).unwrap();
        AdminServer::start(settings("0.0.0.0:0", Some(token)), host).await.unwrap();
    }

    /// `listening::HEAD_BYTES_MAX` and `routes::BODY_BYTES_MAX`.
    #[tokio::test]
    async fn a_request_has_so_much_of_a_head_and_of_a_body() {
        let (head_max, body_max) = (listening::HEAD_BYTES_MAX, routes::BODY_BYTES_MAX);
        let server = start(Bounds::default()).await;
        let with = |head: usize, body: usize| {
            format!(
                "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\ncontent-length: {body}\r\n\r\n{}",
                "x".repeat(head),
                "x".repeat(body)
            )
        };
        for (head, body, status) in
            [(0, body_max, "200"), (0, body_max + 1, "413"), (head_max / 2, 0, "200"), (head_max + 1, 0, "431")]
        {
            let mut stream = connect(&server).await;
            let _ = stream.write_all(with(head, body).as_bytes()).await;
            let mut read = [0; 12];
            timeout(PATIENCE, stream.read_exact(&mut read)).await.expect("no answer").unwrap();
            assert_eq!(String::from_utf8_lossy(&read), format!("HTTP/1.1 {status}"), "{head} {body}");
        }
    }

    /// `listening::CONNECTIONS_MAX`.
    #[tokio::test]
    async fn so_many_connections_are_served_and_the_next_waits_for_one_of_them() {
        let server = start(Bounds { header_timeout: LONG, ..Bounds::default() }).await;
        let mut served = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let mut stream = connect(&server).await;
            ask(&mut stream).await;
            served.push(stream);
        }
        let mut next = connect(&server).await;
        next.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let silent = timeout(Duration::from_millis(300), next.readable()).await;
        assert!(silent.is_err(), "one more is served");
        served.pop();
        answered(&mut next).await;
    }

    /// `listening::HEADER_TIMEOUT`, shortened.
    #[tokio::test]
    async fn a_head_that_does_not_come_ends_the_connection() {
        let bounds =
            Bounds { header_timeout: Duration::from_millis(100), connection_timeout: LONG, ..Bounds::default() };
        let server = start(bounds).await;
        let mut silent = connect(&server).await;
        let mut slow = connect(&server).await;
        slow.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
        closed(&mut silent).await;
        closed(&mut slow).await;
        ask(&mut connect(&server).await).await;
    }

    /// `listening::CONNECTION_TIMEOUT`, shortened.
    #[tokio::test]
    async fn a_connection_is_kept_for_so_long_and_no_longer() {
        let bounds =
            Bounds { header_timeout: LONG, connection_timeout: Duration::from_millis(500), ..Bounds::default() };
        let server = start(bounds).await;
        closed(&mut connect(&server).await).await;
    }
}
