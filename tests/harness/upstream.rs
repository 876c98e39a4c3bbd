//! Servers that components send requests to: over HTTP/1.1, TLS and HTTP/2, each path with a behaviour of its own, and
//! servers that do not keep to HTTP. What came to them is kept.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{certificates::Issued, eventually};

const PIECE_BYTES: usize = 65_536;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Got {
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    open: usize,
    requests: Vec<Got>,
    /// Of each body that `/slurp` read: how many bytes, and whether it ended as it should.
    slurped: Vec<(usize, bool)>,
    bytes_sent: usize,
}

struct State {
    seen: Mutex<Seen>,
    released: watch::Sender<bool>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Upstream {
    /// HTTP/1.1.
    pub async fn plain() -> Self {
        Self::serve(None).await
    }

    /// TLS with this certificate, and the first of `protocols` that the client speaks as well.
    pub async fn tls(certificate: &Issued, protocols: &[&str]) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let (listener, mut upstream) = Self::listen().await;
        let state = upstream.state.clone();
        upstream.accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (state, tls) = (state.clone(), tls.clone());
                tokio::spawn(async move {
                    state.seen().connections += 1;
                    state.seen().open += 1;
                    match tls {
                        None => speak(socket, false, state.clone()).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                let http2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
                                speak(socket, http2, state.clone()).await;
                            }
                        }
                    }
                    state.seen().open -= 1;
                });
            }
        });
        upstream
    }

    /// Answers with a head that never ends.
    pub async fn with_endless_head() -> Self {
        let (listener, mut upstream) = Self::listen().await;
        let state = upstream.state.clone();
        upstream.accepting = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                state.seen().connections += 1;
                let state = state.clone();
                tokio::spawn(async move {
                    // Nobody's answer comes before the question.
                    let _ = socket.read(&mut [0; 1_024]).await;
                    let mut line = b"HTTP/1.1 200 OK\r\n".to_vec();
                    while socket.write_all(&line).await.is_ok() {
                        state.seen().bytes_sent += line.len();
                        line = format!("x-padding: {}\r\n", "v".repeat(1_000)).into_bytes();
                    }
                });
            }
        });
        upstream
    }

    async fn listen() -> (TcpListener, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { seen: Mutex::default(), released: watch::Sender::new(false) });
        (listener, Self { address, state, accepting: tokio::spawn(async {}) })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections that came, in all.
    pub fn connections(&self) -> usize {
        self.state.seen().connections
    }

    /// Waits until so many connections are open.
    pub async fn wait_for_open(&self, count: usize) {
        eventually(&format!("{count} open connections"), async || (self.state.seen().open == count).then_some(()))
            .await;
    }

    /// Waits until so many requests came, in all.
    pub async fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests"), async || (self.state.seen().requests.len() == count).then_some(()))
            .await;
    }

    pub fn requests(&self) -> Vec<Got> {
        self.state.seen().requests.clone()
    }

    /// The bodies that `/slurp` has done with, once there are so many: how many bytes came, and whether each ended as it
    /// should.
    pub async fn slurped(&self, count: usize) -> Vec<(usize, bool)> {
        eventually("bodies", async || Some(self.state.seen().slurped.clone()).filter(|all| all.len() >= count)).await
    }

    /// What the kernel took of a head without end.
    pub fn bytes_sent(&self) -> usize {
        self.state.seen().bytes_sent
    }

    /// Lets `/wait` answer.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }
}

async fn speak(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http2: bool, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    });
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.max_concurrent_streams(1_000).serve_connection(TokioIo::new(socket), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
    }
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        self.seen().requests.push(Got {
            target: request.uri().to_string(),
            version: request.version(),
            headers: request.headers().clone(),
        });
        match request.uri().path() {
            "/echo" => Response::new(request.into_body().map_err(std::io::Error::other).boxed_unsync()),
            "/slurp" => Response::new(whole(&self.slurp(request.into_body()).await)),
            "/never" => std::future::pending().await,
            "/stall" => Response::new(pieces(stream::iter([Bytes::from_static(b"first")]).chain(stream::pending()))),
            "/endless" => Response::new(pieces(stream::repeat(Bytes::from(vec![b'x'; PIECE_BYTES])))),
            "/cut" => {
                let piece = Ok(Frame::data(Bytes::from_static(b"not all")));
                let broken = Err(std::io::Error::other("as asked"));
                let later = stream::once(async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    broken
                });
                Response::new(StreamBody::new(stream::iter([piece]).chain(later)).boxed_unsync())
            }
            "/wait" => {
                let mut released = self.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
                Response::new(whole("released"))
            }
            "/redirect" => {
                let response = Response::builder().status(302).header("location", "http://169.254.169.254/");
                response.body(whole("")).unwrap()
            }
            // Over HTTP/2 the server would send the body.
            _ if request.method() == Method::HEAD => {
                Response::builder().header("content-length", "5").body(whole("")).unwrap()
            }
            _ => Response::new(whole("hello")),
        }
    }

    async fn slurp(&self, mut body: Incoming) -> String {
        let mut bytes = 0;
        let is_whole = loop {
            match body.frame().await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        self.seen().slurped.push((bytes, is_whole));
        format!("{bytes} bytes")
    }
}

fn whole(text: &str) -> Body {
    Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync()
}

fn pieces(pieces: impl futures::Stream<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

/// Pieces for a request's body, which a test sends one by one.
pub fn channel() -> (mpsc::UnboundedSender<Bytes>, impl futures::Stream<Item = Bytes> + Send + Sync) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (sender, stream::poll_fn(move |cx| receiver.poll_recv(cx)))
}
