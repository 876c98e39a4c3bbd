//! `bare-hyper ADDRESS http1|http2`: hyper with one constant answer, and nothing around it: no routes, no limits, no
//! deadlines. `cargo xtask bench ingress` measures the ingress against it.

use std::{convert::Infallible, env, net::SocketAddr, process::ExitCode};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// What it answers: the same as `bare-ingress`.
const ANSWER: &[u8] = b"hello from a constant\n";
const USAGE: &str = "usage: bare-hyper ADDRESS http1|http2";

#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [address, protocol] = arguments else { return Err(USAGE.into()) };
    let address: SocketAddr = address.parse()?;
    let protocol = match protocol.as_str() {
        "http1" => Protocol::Http1,
        "http2" => Protocol::Http2,
        _ => return Err(USAGE.into()),
    };
    // As the host has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            tokio::spawn(serve(socket, protocol));
        }
    })
}

async fn serve(socket: TcpStream, protocol: Protocol) {
    let socket = TokioIo::new(socket);
    // A connection that ends in an error is the client's end of it.
    let _ = match protocol {
        Protocol::Http1 => http1::Builder::new().serve_connection(socket, service_fn(answer)).await,
        Protocol::Http2 => http2::Builder::new(TokioExecutor::new()).serve_connection(socket, service_fn(answer)).await,
    };
}

async fn answer(_request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(ANSWER))))
}
