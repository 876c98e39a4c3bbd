//! An HTTP/1.1 client that reads like a conversation: `client.get("/x").send()`. A connection for each request.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{body::Frame, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::PATIENCE;

#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    from: Option<IpAddr>,
    host: String,
}

pub struct RequestBuilder {
    address: SocketAddr,
    from: Option<IpAddr>,
    request: http::request::Builder,
    body: BoxBody<Bytes, std::io::Error>,
}

/// A response that was read to its end.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A response whose body is still to come.
pub struct Streaming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    connection: Leaving,
}

/// Leaving: the connection closes at once.
struct Leaving(JoinHandle<()>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    pub fn new(address: SocketAddr, host: &str) -> Self {
        Self { address, from: None, host: host.into() }
    }

    /// Connects from this address of the machine.
    pub fn from(self, address: IpAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = Request::builder().method(method).uri(path).header("host", &self.host);
        RequestBuilder { address: self.address, from: self.from, request, body: full(Bytes::new()) }
    }
}

impl RequestBuilder {
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: full(body.into()), ..self }
    }

    /// A chunked body.
    pub fn stream(self, chunks: impl futures::Stream<Item = Bytes> + Send + Sync + 'static) -> Self {
        let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
        Self { body: BodyExt::boxed(StreamBody::new(frames)), ..self }
    }

    /// Sends and reads the whole answer.
    pub async fn send(self) -> Response {
        self.try_send().await.expect("no complete response")
    }

    /// Sends and reads the whole answer; an error when it is cut off.
    pub async fn try_send(self) -> Result<Response, hyper::Error> {
        let answered = async {
            let Streaming { status, headers, body, connection } = self.try_open().await?;
            let body = body.collect().await?.to_bytes();
            drop(connection);
            Ok(Response { status, headers, body })
        };
        timeout(PATIENCE, answered).await.expect("no response in time")
    }

    /// Sends and returns at the head of the answer.
    pub async fn open(self) -> Streaming {
        timeout(PATIENCE, self.try_open()).await.expect("no response head in time").expect("no response head")
    }

    async fn try_open(self) -> Result<Streaming, hyper::Error> {
        let stream = match self.from {
            None => TcpStream::connect(self.address).await,
            Some(from) => {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind((from, 0).into()).unwrap();
                socket.connect(self.address).await
            }
        };
        let stream = stream.expect("cannot connect");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = Leaving(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let response = sender.send_request(self.request.body(self.body).unwrap()).await?;
        let (head, body) = response.into_parts();
        Ok(Streaming { status: head.status, headers: head.headers, body, connection })
    }
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Streaming {
    /// The next piece of the body; `None` at its end.
    pub async fn next(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match timeout(PATIENCE, self.body.frame()).await.expect("no further piece in time") {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_trailers) => continue,
                },
                Some(Err(error)) => return Some(Err(error)),
                None => return None,
            }
        }
    }

    /// Nothing comes for `time`.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.body.frame()).await.is_err()
    }
}

fn full(body: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::new(body).map_err(|never| match never {}).boxed()
}
