//! How commands reach a running host: over its unix socket, or by its admin address and token. What they ask is not known
//! here.

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use roadstead_runtime::LogText;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{admin::default_socket, fail, sockets::ADMIN_ADDR_DEFAULT};
use crate::admin::{
    socket::{SocketPlace, is_trusted},
    token::{AdminToken, TokenError},
};

/// Time that one step may take: a connection, a head, a body.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that is read whole.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Bytes of an error that are shown.
const SHOWN_BYTES_MAX: usize = 2_048;

/// Which host is asked.
#[derive(Debug, Args)]
pub(super) struct AskArguments {
    /// Unix socket of the host [default: that of a host of this user, then the address of ROADSTEAD_ADMIN_ADDR or
    /// 127.0.0.1:9090].
    #[arg(long, value_name = "PATH", env = "ROADSTEAD_ADMIN_SOCKET", conflicts_with = "admin_addr")]
    admin_socket: Option<PathBuf>,
    /// Admin address of the host.
    #[arg(long, value_name = "ADDR")]
    admin_addr: Option<SocketAddr>,
    /// File with the token that the address asks for [default: none].
    #[arg(long, value_name = "FILE", env = "ROADSTEAD_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<PathBuf>,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "no host answers; tried {}; is one running, as this user? name its socket with --admin-socket, or its address \
         with --admin-addr and the file of its token with --admin-token-file",
        tried.join(", ")
    )]
    Nobody { tried: Vec<String> },
    #[error("the host at {place} refuses ({status}): {text}")]
    Refused { place: String, status: StatusCode, text: String },
    #[error("the host at {place} broke off")]
    Http {
        place: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the host at {place} sent nothing for {} s", STEP_TIMEOUT.as_secs())]
    Silent { place: String },
    #[error("the host at {place} sent what is no answer to this: {why}")]
    Answer { place: String, why: String },
    #[error("no workload of this host is named {name}; `roadstead get` lists them")]
    NoWorkload { name: String },
    #[error("{name} is the name of a workload in {}; say which with -n NAMESPACE", namespaces.join(" and in "))]
    SeveralWorkloads { name: String, namespaces: Vec<String> },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("this command's own runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the result cannot be written")]
    Write(#[source] io::Error),
}

/// A place at which a host may answer.
#[derive(Debug, Clone)]
enum Place {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl Place {
    fn shown(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Address(address) => address.to_string(),
        }
    }
}

/// A way to a host. Each question has a connection of its own.
pub(super) struct Asking {
    places: Vec<Place>,
    token: Option<AdminToken>,
}

/// What a host says, and where it says it.
pub(super) struct Told {
    pub(super) place: String,
    pub(super) response: Response<Incoming>,
}

impl AskArguments {
    /// The ways that there are.
    pub(super) fn asking(&self) -> Result<Asking, AskError> {
        let token = self.admin_token_file.as_deref().map(AdminToken::read).transpose()?;
        let places = match (&self.admin_socket, self.admin_addr) {
            (Some(path), _) => vec![Place::Socket(path.clone())],
            (None, Some(address)) => vec![Place::Address(address)],
            (None, None) => by_default(),
        };
        Ok(Asking { places, token })
    }
}

fn by_default() -> Vec<Place> {
    let SocketPlace::Default(sockets) = default_socket() else { return Vec::new() };
    // What others could have put there is not asked.
    let mut places: Vec<Place> = sockets.into_iter().filter(|path| is_trusted(path)).map(Place::Socket).collect();
    let named = std::env::var("ROADSTEAD_ADMIN_ADDR").ok().and_then(|address| address.parse().ok());
    places.push(Place::Address(named.unwrap_or(ADMIN_ADDR_DEFAULT)));
    places
}

impl Asking {
    /// The answer to a GET, as JSON.
    pub(super) async fn get(&self, path: &str) -> Result<Value, AskError> {
        self.ask(Method::GET, path, Bytes::new()).await?.json().await
    }

    /// The answer to a GET, as text.
    pub(super) async fn text(&self, path: &str) -> Result<String, AskError> {
        let (_, bytes) = self.ask(Method::GET, path, Bytes::new()).await?.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Asks at the first place where somebody answers.
    ///
    /// # Errors
    /// When nobody does, or the answer is a refusal.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Told, AskError> {
        let mut tried = Vec::new();
        for place in &self.places {
            let connected = match place {
                Place::Socket(path) => {
                    timeout(STEP_TIMEOUT, UnixStream::connect(path)).await.map(|s| s.map(Stream::new))
                }
                Place::Address(at) => timeout(STEP_TIMEOUT, TcpStream::connect(at)).await.map(|s| s.map(Stream::new)),
            };
            match connected {
                Ok(Ok(stream)) => return self.ask_over(stream, place, (method, path, body)).await,
                Ok(Err(error)) => tried.push(format!("{} ({error})", place.shown())),
                Err(_) => tried.push(format!("{} (no connection within {} s)", place.shown(), STEP_TIMEOUT.as_secs())),
            }
        }
        Err(AskError::Nobody { tried })
    }

    async fn ask_over(
        &self,
        stream: Stream,
        at: &Place,
        (method, path, body): (Method, &str, Bytes),
    ) -> Result<Told, AskError> {
        let place = at.shown();
        let broken = |source| AskError::Http { place: place.clone(), source };
        let silent = |_| AskError::Silent { place: place.clone() };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream.0)).await.map_err(broken)?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        // A socket needs none, and whoever has made one is not told it.
        if let (Some(token), Place::Address(_)) = (&self.token, at) {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| AskError::Answer { place: place.clone(), why: error.to_string() })?;
        let response = timeout(STEP_TIMEOUT, sender.send_request(request)).await.map_err(silent)?.map_err(broken)?;
        let told = Told { place, response };
        if told.response.status().is_success() { Ok(told) } else { Err(told.refusal().await?) }
    }
}

impl Told {
    async fn bytes(self) -> Result<(String, Bytes), AskError> {
        let Self { place, response } = self;
        match timeout(STEP_TIMEOUT, Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect()).await {
            Err(_) => Err(AskError::Silent { place }),
            Ok(Err(error)) => Err(AskError::Answer { place, why: error.to_string() }),
            Ok(Ok(body)) => Ok((place, body.to_bytes())),
        }
    }

    /// The whole answer.
    pub(super) async fn json(self) -> Result<Value, AskError> {
        let (place, bytes) = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| AskError::Answer { place, why: error.to_string() })
    }

    async fn refusal(self) -> Result<AskError, AskError> {
        let status = self.response.status();
        let (place, bytes) = self.bytes().await?;
        let text = LogText::new(String::from_utf8_lossy(&bytes).trim(), SHOWN_BYTES_MAX).to_string();
        Ok(AskError::Refused { place, status, text })
    }
}

/// A connection of either kind.
struct Stream(Box<dyn Both>);

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

impl Stream {
    fn new(stream: impl Both + 'static) -> Self {
        Self(Box::new(stream))
    }
}

/// Runs a command that asks, to its end.
pub(super) fn run(work: impl Future<Output = Result<(), AskError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&AskError::Runtime(error)),
    };
    match runtime.block_on(work) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has seen enough, as `head` has.
        Err(AskError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    use super::*;

    /// A way to a host that answers one question with these bytes, and what keeps its socket.
    pub(in crate::cli) fn host_that_says(answer: Vec<u8>) -> (Asking, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1_024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
        });
        (Asking { places: vec![Place::Socket(path)], token: None }, folder)
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_so_much() {
        let of = |length: usize| format!("HTTP/1.1 200 OK\r\n\r\n\"{}\"", "x".repeat(length)).into_bytes();
        let (asking, _folder) = host_that_says(of(100));
        assert_eq!(asking.get("/").await.unwrap().as_str().unwrap().len(), 100);
        let (asking, _folder) = host_that_says(of(ANSWER_BYTES_MAX));
        assert!(matches!(asking.get("/").await, Err(AskError::Answer { .. })));
    }

    #[tokio::test]
    async fn a_refusal_is_shown_in_part_and_escaped() {
        let text = format!("\u{1b}[2J{}", "x".repeat(SHOWN_BYTES_MAX));
        let (asking, _folder) = host_that_says(format!("HTTP/1.1 403 No\r\n\r\n{text}").into_bytes());
        let error = asking.get("/").await.unwrap_err().to_string();
        assert!(error.contains("403") && !error.contains('\u{1b}') && error.ends_with("bytes more)"), "{error}");
    }
}
