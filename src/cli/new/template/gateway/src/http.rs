//! What wasi:http needs of a gateway: read a bounded body, send a whole answer. Knows no route.

use crate::routes::{Answer, BodyError};
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, StreamError};

/// Most bytes that one read or write moves.
const PIECE_BYTES_MAX: usize = 4096;

pub fn method(request: &IncomingRequest) -> String {
    match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Other(name) => name,
        other => format!("{other:?}"),
    }
}

/// The path, with the query where there is one.
pub fn target(request: &IncomingRequest) -> String {
    request.path_with_query().unwrap_or_else(|| "/".to_owned())
}

pub fn read_body(request: &IncomingRequest, limit_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let body = request.consume().map_err(|()| BodyError::Broken)?;
    let stream = body.stream().map_err(|()| BodyError::Broken)?;
    let whole = drain(&stream, limit_bytes);
    // The stream is a child of the body: it has to go first.
    drop(stream);
    drop(IncomingBody::finish(body));
    whole
}

fn drain(stream: &InputStream, limit_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut whole = Vec::new();
    loop {
        match stream.blocking_read(PIECE_BYTES_MAX as u64) {
            Ok(piece) if whole.len() + piece.len() > limit_bytes => {
                return Err(BodyError::TooLong { limit_bytes });
            }
            Ok(piece) => whole.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(whole),
            Err(StreamError::LastOperationFailed(_)) => return Err(BodyError::Broken),
        }
    }
}

/// Sends the answer. A client that left is nobody to tell, so failures end it quietly.
pub fn send(outparam: ResponseOutparam, answer: &Answer) {
    let fields = Fields::new();
    for (name, value) in [
        ("content-type", answer.content_type.to_owned()),
        ("content-length", answer.body.len().to_string()),
    ] {
        fields.append(name, value.as_bytes()).ok();
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(answer.status).ok();
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(outparam, Ok(response));
    if let Ok(stream) = body.write() {
        for piece in answer.body.chunks(PIECE_BYTES_MAX) {
            if stream.blocking_write_and_flush(piece).is_err() {
                return;
            }
        }
    }
    OutgoingBody::finish(body, None).ok();
}
