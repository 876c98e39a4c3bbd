//! An HTTP/1 client that sends what it is told and believes nothing.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::host::{Host, soon};

/// What carries a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection to an ingress.
pub(crate) struct Client {
    socket: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its framing said it would.
    pub(crate) complete: bool,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) async fn connect(host: &Host) -> Self {
        Self::over(TcpStream::connect(host.address()).await.unwrap())
    }

    /// A client on a connection that is there already.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { socket: Box::new(stream), buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.socket.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends until the other side has taken nothing for a while; returns how many bytes it took.
    pub(crate) async fn send_what_is_taken(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while let Ok(written) = timeout(Duration::from_millis(300), self.socket.write(&bytes[sent..])).await {
            match written.unwrap() {
                0 => break,
                more => sent += more,
            }
        }
        sent
    }

    /// Sends to a side that may have closed.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref()).await
    }

    /// Sends a request to `a.test` without a body.
    pub(crate) async fn get(&mut self, path: &str) -> Got {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        self.got().await
    }

    /// The next response, to a request that was not HEAD.
    pub(crate) async fn got(&mut self) -> Got {
        self.receive(false).await
    }

    /// The next response, to HEAD.
    pub(crate) async fn got_head(&mut self) -> Got {
        self.receive(true).await
    }

    async fn receive(&mut self, head_only: bool) -> Got {
        let mut got = self.head().await;
        if head_only || matches!(got.status, 100..200 | 204 | 304) {
            return got;
        }
        let chunked = got.header("transfer-encoding") == Some("chunked");
        let length = got.header("content-length").map(|length| length.parse::<usize>().unwrap());
        got.complete = match length {
            _ if chunked => self.chunks(&mut got.body).await,
            Some(length) => self.exactly(length, &mut got.body).await,
            None => {
                let mut end = true;
                while self.fill().await.map(|read| read > 0).unwrap_or_else(|_| std::mem::take(&mut end)) {}
                got.body.append(&mut self.buffer);
                end
            }
        };
        got
    }

    /// The head of the next response.
    pub(crate) async fn head(&mut self) -> Got {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            let read = self.fill().await.expect("the connection broke before a response");
            assert!(read > 0, "the connection ended before a response: {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Got { status, headers, body: Vec::new(), complete: true }
    }

    /// The next chunk of a chunked body; `None` when the connection ended instead.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                break String::from_utf8(self.buffer.drain(..end + 2).collect()).unwrap();
            }
            if self.fill().await.unwrap_or(0) == 0 {
                return None;
            }
        };
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut chunk = Vec::new();
        self.exactly(size + 2, &mut chunk).await.then(|| {
            chunk.truncate(size);
            chunk
        })
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> bool {
        while let Some(chunk) = self.chunk().await {
            if chunk.is_empty() {
                return true;
            }
            body.extend(chunk);
        }
        false
    }

    /// Takes this many bytes of a body; `false` when the connection ended first.
    pub(crate) async fn take(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        self.exactly(length, body).await
    }

    async fn exactly(&mut self, length: usize, body: &mut Vec<u8>) -> bool {
        while self.buffer.len() < length {
            if self.fill().await.unwrap_or(0) == 0 {
                body.append(&mut self.buffer);
                return false;
            }
        }
        body.extend(self.buffer.drain(..length));
        true
    }

    /// How the connection ends: `Ok` when the ingress said so, which inside TLS is no matter of the socket.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        while self.fill().await? > 0 {}
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<usize> {
        soon(self.socket.read_buf(&mut self.buffer)).await
    }

    /// Whether the ingress closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await.unwrap_or(0) == 0
    }
}
