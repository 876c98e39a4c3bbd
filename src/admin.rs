//! The admin listener: `/metrics`, `/healthz`, `/readyz` and `/status`. For operators, never for tenants' clients.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use roadstead_proxy::{ListenAt, ListenError};
use roadstead_runtime::host::Host;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections at a time; a scraper needs one.
const CONNECTIONS_MAX: usize = 64;
/// Time that a client has to send a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a connection is kept in all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Time between two log lines about connections that cannot be accepted.
const ACCEPT_LOG_EVERY: Duration = Duration::from_secs(1);

/// What clients may take of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    connections_max: usize,
    header_timeout: Duration,
    connection_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            header_timeout: HEADER_TIMEOUT,
            connection_timeout: CONNECTION_TIMEOUT,
        }
    }
}

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("the admin listener cannot be started; is another process using its address? choose another --admin-addr")]
    Listen(#[from] ListenError),
    #[error("the address of the admin listener cannot be found out")]
    Address(#[source] std::io::Error),
}

/// A running admin listener; it ends with the process's runtime.
pub(crate) struct AdminServer {
    address: SocketAddr,
    state: Arc<AdminState>,
}

struct AdminState {
    host: Arc<Host>,
    deployed: AtomicBool,
    draining: AtomicBool,
    /// Tells what does not keep the host from serving, but an operator should know.
    notice: OnceLock<Notice>,
}

/// What is to be said besides, at the moment of the question.
type Notice = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

impl AdminServer {
    /// Listens and answers from `host`.
    pub(crate) async fn start(at: ListenAt, host: Arc<Host>) -> Result<Self, AdminError> {
        Self::bounded(at, host, Bounds::default()).await
    }

    async fn bounded(at: ListenAt, host: Arc<Host>, bounds: Bounds) -> Result<Self, AdminError> {
        let listener = at.listen()?;
        let address = listener.local_addr().map_err(AdminError::Address)?;
        let state = Arc::new(AdminState {
            host,
            deployed: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            notice: OnceLock::new(),
        });
        tokio::spawn(accept(listener, state.clone(), bounds));
        Ok(Self { address, state })
    }

    /// The address in use.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
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
}

async fn accept(listener: TcpListener, state: Arc<AdminState>, bounds: Bounds) {
    let mut logged: Option<Instant> = None;
    let places = Arc::new(Semaphore::new(bounds.connections_max));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = state.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(bounds.connection_timeout, serve(stream, state, bounds)).await;
                    drop(place);
                });
            }
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() >= ACCEPT_LOG_EVERY) {
                    logged = Some(Instant::now());
                    tracing::warn!(%error, "the admin listener cannot accept connections");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<AdminState>, bounds: Bounds) {
    let service = service_fn(move |request: Request<Incoming>| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, request.method(), request.uri().path())) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "an admin connection ended");
    }
}

fn answer(state: &AdminState, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    match path {
        "/healthz" => text(StatusCode::OK, "alive\n"),
        "/readyz" => ready(state),
        "/metrics" => metrics(state),
        "/status" => status(state),
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz, /readyz or /status\n"),
    }
}

fn ready(state: &AdminState) -> Response<Full<Bytes>> {
    let mut reasons = state.host.not_ready();
    if state.draining.load(Ordering::Relaxed) {
        reasons.push("the host is stopping".into());
    }
    if !state.deployed.load(Ordering::Relaxed) {
        reasons.push("workloads are being started".into());
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if reasons.is_empty() {
        reasons.push("ready".into());
    }
    reasons.extend(state.notice.get().and_then(|notice| notice()).map(str::to_owned));
    text(status, reasons.join("\n") + "\n")
}

fn metrics(state: &AdminState) -> Response<Full<Bytes>> {
    match state.host.metrics().text() {
        Ok(body) => respond(StatusCode::OK, roadstead_metrics::CONTENT_TYPE, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn status(state: &AdminState) -> Response<Full<Bytes>> {
    match serde_json::to_vec_pretty(&state.host.status()) {
        Ok(body) => respond(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body.into().into_bytes())
}

fn respond(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Ok(value) = header::HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::host::HostBuilder;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    /// Longest wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// A bound that the test at hand is not about.
    const LONG: Duration = Duration::from_secs(600);

    async fn start(bounds: Bounds) -> AdminServer {
        let host = HostBuilder::new().start().await.unwrap();
        AdminServer::bounded(ListenAt::Address("127.0.0.1:0".parse().unwrap()), host, bounds).await.unwrap()
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

    /// `admin::HEADER_TIMEOUT`, shortened.
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

    /// `admin::CONNECTION_TIMEOUT`, shortened.
    #[tokio::test]
    async fn a_connection_is_kept_for_so_long_and_no_longer() {
        let bounds =
            Bounds { header_timeout: LONG, connection_timeout: Duration::from_millis(500), ..Bounds::default() };
        let server = start(bounds).await;
        closed(&mut connect(&server).await).await;
    }
}
