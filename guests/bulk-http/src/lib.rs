//! An HTTP component that moves bytes and does nothing else: `/stream?bytes=N` sends N of them, `/echo` sends the
//! request body back, `/count` tells how many bytes it had.
//!
//! It exists to measure what the host costs per byte, also beside hosts that offer `wasi:http` alone. It must not know
//! logging, messaging or who measures.
#![allow(unsafe_code, reason = "the export is generated")]

use guest_http::{BodyError, BodyWriter, Query, Response, SendError, chunks, start};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

/// Bytes that are handed to the host at a time.
const PIECE_BYTES: usize = 64 * 1024;
const STREAM_BYTES_DEFAULT: u64 = 1024 * 1024;
/// A body that the component need not make anew for each request.
static PIECE: [u8; PIECE_BYTES] = [b'r'; PIECE_BYTES];

struct BulkHttp;

impl wasip2::exports::http::incoming_handler::Guest for BulkHttp {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let query = Query::of_target(request.path_with_query());
        match query.path() {
            "/stream" => stream(query.number("bytes", STREAM_BYTES_DEFAULT), outparam),
            "/echo" => echo(&request, outparam),
            "/count" => count(&request, outparam),
            // A client that left is nobody to tell.
            _ => drop(Response::text(404, "there are /stream?bytes=N, /echo and /count\n").send(outparam)),
        }
    }
}

wasip2::http::proxy::export!(BulkHttp);

/// Sends `length_bytes` bytes without telling their number before.
fn stream(length_bytes: u64, outparam: ResponseOutparam) {
    let Ok(mut writer) = start_octets(outparam) else { return };
    let mut left = length_bytes;
    while left > 0 {
        let piece = PIECE.get(..usize::try_from(left).unwrap_or(PIECE_BYTES)).unwrap_or(&PIECE);
        if writer.write(piece).is_err() {
            return;
        }
        left = left.saturating_sub(PIECE_BYTES as u64);
    }
    writer.finish().ok();
}

/// Sends the request body back, each piece before the next is read.
fn echo(request: &IncomingRequest, outparam: ResponseOutparam) {
    let Ok(mut writer) = start_octets(outparam) else { return };
    match chunks(request, |piece| writer.write(&piece).map_err(EchoError::from)) {
        Ok(()) => {
            writer.finish().ok();
        }
        // A body that did not arrive whole must not look whole on its way back.
        Err(EchoError::Read) => std::process::abort(),
        Err(EchoError::Write) => {}
    }
}

/// Reads the request body, keeps none of it, and answers with the number of its bytes.
fn count(request: &IncomingRequest, outparam: ResponseOutparam) {
    let mut bytes = 0_u64;
    let counted = chunks(request, |piece| {
        bytes = bytes.saturating_add(piece.len() as u64);
        Ok::<(), BodyError>(())
    });
    let answer = match counted {
        Ok(()) => Response::text(200, format!("{bytes}\n")),
        Err(error) => Response::text(400, format!("{error} after {bytes} bytes\n")),
    };
    answer.send(outparam).ok();
}

fn start_octets(outparam: ResponseOutparam) -> Result<BodyWriter, SendError> {
    start(outparam, 200, &[("content-type".to_owned(), b"application/octet-stream".to_vec())])
}

enum EchoError {
    Read,
    Write,
}

impl From<BodyError> for EchoError {
    fn from(_: BodyError) -> Self {
        Self::Read
    }
}

impl From<SendError> for EchoError {
    fn from(_: SendError) -> Self {
        Self::Write
    }
}
