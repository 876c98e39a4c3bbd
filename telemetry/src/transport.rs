//! One export of one batch: over gRPC, or over HTTP with protocol buffers (OTLP 1.x). The message is encoded already, and what it
//! says is not known here.

use bytes::{Buf, BufMut, Bytes};
use http::{Method, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, ClientTlsConfig},
};

use crate::{
    batch::{Export, Kind},
    settings::{OtlpHeaders, Protocol, Settings},
};

/// Bytes of a collector's answer that are read.
const ANSWER_BYTES_MAX: usize = 65_536;

/// Why there is no way to the collector.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address is not one that can be dialled.
    #[error("the collector's address {0} cannot be used")]
    Address(String),
    /// TLS cannot be set up.
    #[error("TLS to the collector cannot be set up")]
    Tls(#[source] tonic::transport::Error),
    /// The system has no certificates of authorities, or none that can be read.
    #[error("the system's certificates of authorities cannot be read; is the package ca-certificates installed?")]
    Authorities(#[source] std::io::Error),
    /// What this program speaks TLS with refuses to.
    #[error("TLS cannot be configured")]
    TlsVersions(#[source] rustls::Error),
}

/// Why a batch was not taken.
#[derive(Debug)]
pub(crate) struct NotTaken {
    /// Another attempt may do better.
    pub(crate) is_passing: bool,
    /// For the log.
    pub(crate) reason: String,
}

/// The way to a collector. Nothing is dialled before there is something to send.
pub(crate) enum Transport {
    Grpc { channel: Channel, metadata: MetadataMap },
    Http(Box<HttpWay>),
}

/// The way over HTTP.
pub(crate) struct HttpWay {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    headers: OtlpHeaders,
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Result<Self, TransportError> {
        let address = settings.endpoint.as_str().to_owned();
        match settings.protocol {
            Protocol::Grpc => {
                let bad = || TransportError::Address(address.clone());
                let mut endpoint = Channel::from_shared(address.clone()).map_err(|_| bad())?;
                if address.starts_with("https:") {
                    endpoint =
                        endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(TransportError::Tls)?;
                }
                let endpoint = endpoint.connect_timeout(settings.timeout).timeout(settings.timeout);
                Ok(Self::Grpc { channel: endpoint.connect_lazy(), metadata: metadata(&settings.headers) })
            }
            Protocol::HttpProtobuf => {
                let connector = connector(address.starts_with("https:"))?;
                let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
                Ok(Self::Http(Box::new(HttpWay { client, base: address, headers: settings.headers.clone() })))
            }
        }
    }

    /// Sends one batch; whoever calls bounds the time.
    pub(crate) async fn send(&self, export: &Export) -> Result<(), NotTaken> {
        match self {
            Self::Grpc { channel, metadata } => grpc(channel.clone(), metadata.clone(), export).await,
            Self::Http(way) => {
                let HttpWay { client, base, headers } = &**way;
                let path = match export.kind {
                    Kind::Spans => "traces",
                    Kind::Logs => "logs",
                    Kind::Metrics => "metrics",
                };
                post(client, format!("{base}/v1/{path}"), headers, export.body.clone()).await
            }
        }
    }
}

/// What connects. Only who speaks TLS needs the system's authorities, and many an image has none.
fn connector(tls: bool) -> Result<HttpsConnector<HttpConnector>, TransportError> {
    let builder = HttpsConnectorBuilder::new();
    let builder = if tls {
        builder.with_native_roots().map_err(TransportError::Authorities)?
    } else {
        let versions = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(TransportError::TlsVersions)?;
        builder.with_tls_config(versions.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    };
    Ok(builder.https_or_http().enable_http1().build())
}

fn metadata(headers: &OtlpHeaders) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers.iter() {
        // A name that gRPC has for bytes alone is left out: OTLP has no way to write such a value.
        let key = MetadataKey::from_bytes(name.as_str().as_bytes());
        if let (Ok(key), Ok(mut value)) = (key, MetadataValue::try_from(value.as_bytes())) {
            value.set_sensitive(true);
            metadata.insert(key, value);
        }
    }
    metadata
}

/// A message that is encoded, and an answer that nobody reads.
#[derive(Debug, Clone, Copy)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}

async fn grpc(channel: Channel, metadata: MetadataMap, export: &Export) -> Result<(), NotTaken> {
    let method = PathAndQuery::from_static(match export.kind {
        Kind::Spans => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Kind::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        Kind::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    });
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| NotTaken { is_passing: true, reason: error.to_string() })?;
    let request = tonic::Request::from_parts(metadata, tonic::Extensions::default(), export.body.clone());
    let answered = client.unary(request, method, Encoded).await.map(drop);
    answered.map_err(|status| NotTaken {
        // As OTLP lists them.
        is_passing: matches!(
            status.code(),
            Code::Cancelled
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        ),
        reason: format!("{:?}: {}", status.code(), status.message()),
    })
}

async fn post(
    client: &Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: String,
    headers: &OtlpHeaders,
    body: Bytes,
) -> Result<(), NotTaken> {
    let passing = |reason: String| NotTaken { is_passing: true, reason };
    let lasting = |reason: String| NotTaken { is_passing: false, reason };
    let uri: Uri = address.parse().map_err(|_| lasting("the address cannot be used".to_owned()))?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    for (name, value) in headers.iter() {
        request.headers_mut().insert(name, value.clone());
    }
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-protobuf"));
    let answer = client.request(request).await.map_err(|error| passing(error.to_string()))?;
    let status = answer.status();
    // Read to its end, so that the connection can be used again.
    let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(passing(status.to_string())),
        status => Err(lasting(status.to_string())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    pub(crate) fn settings(endpoint: &str, protocol: Protocol) -> Settings {
        Settings {
            endpoint: endpoint.parse().unwrap(),
            protocol,
            headers: OtlpHeaders::default(),
            timeout: Duration::from_secs(60),
            delay: Duration::from_millis(1),
            service_name: "test".to_owned(),
            resource: crate::ResourceAttributes::default(),
        }
    }

    /// Reads a request to its end.
    pub(crate) async fn read_request(stream: &mut TcpStream) {
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).to_ascii_lowercase();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
                if read.len() >= head.len() + 4 + length {
                    return;
                }
            }
            let mut piece = [0; 1_024];
            let bytes = stream.read(&mut piece).await.unwrap();
            assert!(bytes > 0, "a request without an end");
            read.extend_from_slice(&piece[..bytes]);
        }
    }

    #[tokio::test]
    async fn so_much_of_an_answer_is_read() {
        const PIECES: usize = 1_024;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let collector = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            let length = PIECES * ANSWER_BYTES_MAX;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut written = 0;
            while written < PIECES && stream.write_all(&[b'x'; ANSWER_BYTES_MAX]).await.is_ok() {
                written += 1;
            }
            written
        });
        let transport = Transport::new(&settings(&endpoint, Protocol::HttpProtobuf)).unwrap();
        transport.send(&Export { kind: Kind::Spans, count: 1, body: Bytes::new() }).await.unwrap();
        assert!(collector.await.unwrap() < PIECES);
    }
}
