//! Requests by hyper's client over HTTP/1.1, a connection for each that is under way. Who compares is not known here.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::time::{ClockId, clock_gettime};
use tokio::{net::TcpStream, task::JoinSet};

use super::AnyError;

/// Of the requests, how many are sent before as many as asked for are timed: one in so many.
const WARM_UP_PART: usize = 10;

type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// Sends `count` requests, `at_once` of them under way, and prints how many a second, and the processor time of each.
///
/// # Errors
/// When one has no answer of status 200 with a body.
pub(super) async fn run(address: SocketAddr, count: usize, at_once: usize) -> Result<(), AnyError> {
    if count == 0 || at_once == 0 {
        return Err("COUNT and AT-ONCE must not be 0".into());
    }
    let mut connections = try_join_all((0..at_once).map(|_| connect(address))).await?;
    connections = share(connections, address, count / WARM_UP_PART).await?;
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    share(connections, address, count).await?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let sent = (count / at_once * at_once).max(1) as f64;
    println!("requests_per_s {:.1}", sent / seconds);
    println!("cpu_us_per_request {:.3}", cpu * 1e6 / sent);
    Ok(())
}

type Connection = SendRequest<Empty<Bytes>>;

async fn connect(address: SocketAddr) -> Result<Connection, AnyError> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // It ends with the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// Each connection has the same part of them.
async fn share(connections: Vec<Connection>, address: SocketAddr, count: usize) -> Result<Vec<Connection>, AnyError> {
    let each = count / connections.len().max(1);
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(send(connection, address, each));
    }
    let mut back = Vec::new();
    while let Some(task) = tasks.join_next().await {
        back.push(task?.map_err(|error| -> AnyError { error })?);
    }
    Ok(back)
}

async fn send(mut connection: Connection, address: SocketAddr, count: usize) -> Result<Connection, TaskError> {
    for _ in 0..count {
        connection.ready().await?;
        let request = Request::get("/").header(header::HOST, address.to_string()).body(Empty::new())?;
        let response = connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK || body.is_empty() {
            return Err(format!("status {status} with {} bytes", body.len()).into());
        }
    }
    Ok(connection)
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
