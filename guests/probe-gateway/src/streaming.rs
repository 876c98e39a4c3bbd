//! Paths that stream: bodies that arrive or leave in pieces, and time that passes between them.
//! Must not know messages or logs.

use guest_http::{BodyError, Query, SendError, chunks, start};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use super::method_name;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// Sends the request body back, each piece before the next is read. The method comes back as `x-method`, every `x-`
/// header and the content type under their own names.
pub(crate) fn echo(request: &IncomingRequest, outparam: ResponseOutparam) {
    let mut headers = vec![("x-method".to_owned(), method_name(request.method()).into_bytes())];
    headers.extend(
        request.headers().entries().into_iter().filter(|(name, _)| name.starts_with("x-") || name == "content-type"),
    );
    let Ok(mut writer) = start(outparam, 200, &headers) else { return };
    let outcome = chunks(request, |chunk| {
        writer.write(&chunk)?;
        writer.flush().map_err(EchoError::from)
    });
    match outcome {
        Ok(()) => {
            writer.finish().ok();
        }
        // A body that did not arrive whole must not look whole on its way back.
        Err(EchoError::Read(_)) => std::process::abort(),
        Err(EchoError::Write(_)) => {}
    }
}

enum EchoError {
    Read(#[allow(dead_code, reason = "kept for a debugger")] BodyError),
    Write(#[allow(dead_code, reason = "kept for a debugger")] SendError),
}

impl From<BodyError> for EchoError {
    fn from(error: BodyError) -> Self {
        Self::Read(error)
    }
}

impl From<SendError> for EchoError {
    fn from(error: SendError) -> Self {
        Self::Write(error)
    }
}

/// `chunks` pieces of `bytes` bytes each, as fast as they are taken. Byte i of the whole body is `a` + i mod 26.
pub(crate) fn stream(query: &Query, outparam: ResponseOutparam) {
    let count = query.number("chunks", 1);
    let length = usize::try_from(query.number("bytes", 1024)).unwrap_or(0);
    let Ok(mut writer) = start(outparam, 200, &octets()) else { return };
    let mut position = 0_usize;
    for _ in 0..count {
        let chunk: Vec<u8> = (position..position + length).map(letter).collect();
        position += length;
        if writer.write(&chunk).is_err() {
            return;
        }
    }
    writer.finish().ok();
}

/// `chunks` lines, `chunk 0` first, each sent before a wait of `delay-ms`.
pub(crate) fn slow_stream(query: &Query, outparam: ResponseOutparam) {
    let Ok(mut writer) = start(outparam, 200, &octets()) else { return };
    for number in 0..query.number("chunks", 5) {
        let line = format!("chunk {number}\n");
        if writer.write(line.as_bytes()).and_then(|()| writer.flush()).is_err() {
            return;
        }
        sleep_milliseconds(query.number("delay-ms", 100));
    }
    writer.finish().ok();
}

/// Server-sent events: one for each piece of the request body, with the piece as its data, sent before the next piece is
/// read.
pub(crate) fn events(request: &IncomingRequest, outparam: ResponseOutparam) {
    let headers = [("content-type".to_owned(), b"text/event-stream".to_vec())];
    let Ok(mut writer) = start(outparam, 200, &headers) else { return };
    let mut number = 0_u64;
    let outcome = chunks(request, |piece| {
        let event = format!("id: {number}\ndata: {}\n\n", String::from_utf8_lossy(&piece).trim_end());
        number += 1;
        writer.write(event.as_bytes())?;
        writer.flush().map_err(EchoError::from)
    });
    if outcome.is_ok() {
        writer.finish().ok();
    }
}

/// Waits in the host, without using the processor.
pub(crate) fn sleep_milliseconds(milliseconds: u64) {
    subscribe_duration(milliseconds.saturating_mul(NANOSECONDS_PER_MILLISECOND)).block();
}

fn octets() -> Vec<(String, Vec<u8>)> {
    vec![("content-type".to_owned(), b"application/octet-stream".to_vec())]
}

fn letter(position: usize) -> u8 {
    b'a' + u8::try_from(position % 26).unwrap_or(0)
}
