//! A gRPC service, as far as its clients can tell: messages with their length before them, and a status in trailers
//! (the gRPC protocol over HTTP/2). What is in a message is plain text, no protobuf. Must not know messages or logs.

use guest_http::{BodyWriter, Response, SendError, read_body, start};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// What the paths of the service's methods begin with.
pub(crate) const SERVICE: &str = "/probe.Probe/";

const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// A flag, which says whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Status codes of gRPC.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const NOT_FOUND: &str = "5";
const UNIMPLEMENTED: &str = "12";

/// Carries out one call. `Say` answers what it was told, `Count` answers `message 0`, `message 1` and so on, as many as
/// the request says, `Find` finds nothing.
pub(crate) fn call(path: &str, request: &IncomingRequest, outparam: ResponseOutparam) {
    let Some(message) = message(request) else {
        return drop(Response::text(400, "this is no gRPC request\n").send(outparam));
    };
    let headers = [("content-type".to_owned(), b"application/grpc".to_vec())];
    let Ok(mut writer) = start(outparam, 200, &headers) else { return };
    let status = match path.strip_prefix(SERVICE) {
        Some("Say") => send(&mut writer, &message).map(|()| (OK, "")),
        Some("Count") => count(&mut writer, &message),
        Some("Find") => Ok((NOT_FOUND, "there is nothing to find")),
        _ => Ok((UNIMPLEMENTED, "the probe has no such method")),
    };
    // A client that left is nobody to tell.
    if let Ok((status, text)) = status {
        writer.finish_with(&[("grpc-status", status), ("grpc-message", text)]).ok();
    }
}

fn count(writer: &mut BodyWriter, message: &[u8]) -> Result<(&'static str, &'static str), SendError> {
    let Some(times) = std::str::from_utf8(message).ok().and_then(|text| text.parse::<u32>().ok()) else {
        return Ok((INVALID_ARGUMENT, "the request is no number"));
    };
    for number in 0..times {
        send(writer, format!("message {number}").as_bytes())?;
    }
    Ok((OK, ""))
}

/// The one message of the request.
fn message(request: &IncomingRequest) -> Option<Vec<u8>> {
    let mut body = read_body(request, REQUEST_BYTES_MAX).ok()?;
    let length = body.get(1..PREFIX_BYTES)?.try_into().ok().map(u32::from_be_bytes)?;
    let message = body.split_off(PREFIX_BYTES);
    (usize::try_from(length).ok()? == message.len()).then_some(message)
}

/// Sends one message, at once.
fn send(writer: &mut BodyWriter, message: &[u8]) -> Result<(), SendError> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(message);
    writer.write(&framed)?;
    writer.flush()
}
