//! HTTP/1.1 over a socket, as plain as it gets: whole answers, and ways to misbehave. It does not know whom it asks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest answer that is kept; more is an error.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A whole answer; the body as it came, chunked or not.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Sends a request and reads the answer until the server closes the connection, all within `timeout`.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    host: &str,
    target: &str,
    body: &str,
    timeout: Duration,
) -> io::Result<Answer> {
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let bytes = exchange(address, (head + body).as_bytes(), timeout)?;
    parse(&bytes).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "the answer is no HTTP"))
}

/// `GET target`.
pub(crate) fn get(address: SocketAddr, host: &str, target: &str, timeout: Duration) -> io::Result<Answer> {
    ask(address, "GET", host, target, "", timeout)
}

/// Whether the host with this admin address is ready: `/readyz` answers 200.
pub(crate) fn is_ready(admin: SocketAddr, timeout: Duration) -> bool {
    get(admin, "localhost", "/readyz", timeout).is_ok_and(|answer| answer.status == 200)
}

/// Sends these bytes and reads until the server closes. A connection that is cut off after some bytes gives those bytes.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8], timeout: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + timeout;
    let mut stream = connect(address, timeout)?;
    // A server that refuses may close before it has read all: what it said counts.
    let sent = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() > ANSWER_BYTES_MAX {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if answer.is_empty() => return Err(error),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    if answer.is_empty() {
        sent?;
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// Sends these bytes, reads up to `read_bytes` of what comes, and leaves. Unread bytes make that a reset.
pub(crate) fn leave_after(address: SocketAddr, bytes: &[u8], read_bytes: usize, patience: Duration) -> io::Result<()> {
    let mut stream = connect(address, patience)?;
    stream.write_all(bytes)?;
    stream.set_read_timeout(Some(patience))?;
    let mut left = read_bytes.max(1);
    let mut piece = [0; 4096];
    while left > 0 {
        let room = left.min(piece.len());
        match stream.read(piece.get_mut(..room).unwrap_or_default()) {
            // Nothing came: leaving while waiting was the point.
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => return Ok(()),
            Err(error) => return Err(error),
            Ok(0) => return Ok(()),
            Ok(count) => left = left.saturating_sub(count),
        }
    }
    Ok(())
}

fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// The status of an answer.
pub(crate) fn status(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let status = status(bytes)?;
    let text = String::from_utf8_lossy(bytes);
    let (_, body) = text.split_once("\r\n\r\n")?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const SHORT: Duration = Duration::from_secs(2);

    /// A server that gives one connection this answer.
    pub(crate) fn answering(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
        });
        address
    }

    #[test]
    fn an_answer_has_status_and_body() {
        let answer = get(answering(b"HTTP/1.1 502 Bad Gateway\r\na: b\r\n\r\ntext"), "a.test", "/", SHORT).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (502, "text"));
    }

    #[test]
    fn what_is_no_http_is_an_error() {
        assert!(get(answering(b"SSH-2.0\r\n"), "a.test", "/", SHORT).is_err());
        assert!(get(answering(b""), "a.test", "/", SHORT).is_err());
        assert_eq!(status(b"HTTP/1.1 20"), None);
    }

    #[test]
    fn leaving_early_is_no_error() {
        leave_after(answering(b"HTTP/1.1 200 OK\r\n\r\n0123456789"), b"GET / HTTP/1.1\r\n\r\n", 4, SHORT).unwrap();
    }
}
