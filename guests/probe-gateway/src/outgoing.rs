//! Paths on which the component sends requests of its own, as its query says: scheme, authority, path, method, timeouts.
//! Headers of the request that begin with `x-send-` go along without that beginning. Must not know messages or logs.

mod timed;

pub(crate) use timed::timed;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use guest_http::{BodyError, BodyWriter, Query, Response, SendError, chunks, start};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;
const READ_BYTES_MAX: u64 = 65_536;

/// Why there is no response, as the host calls it.
type Refusal = String;

/// Sends one request, with the body of the one that came when `body` is there, and answers what came back: the status as
/// `x-status`, the headers as `x-got-NAME`, the body as it arrives. 502 with the code where there is no response.
pub(crate) fn relay(query: &Query, request: &IncomingRequest, outparam: ResponseOutparam) {
    match ask(query, request) {
        Ok(response) => pass_on(&response, outparam),
        Err(refusal) => drop(Response::text(502, refusal).send(outparam)),
    }
}

fn ask(query: &Query, request: &IncomingRequest) -> Result<IncomingResponse, Refusal> {
    let outgoing = outgoing(query, request)?;
    if query.text("body").is_none() {
        return wait(&send(query, outgoing)?);
    }
    let (body, stream) = body_of(&outgoing)?;
    let response = send(query, outgoing)?;
    let pumped = chunks(request, |chunk| write(&stream, &chunk));
    drop(stream);
    match pumped {
        // A server that answers before it has read all may close: its answer is what counts.
        Ok(()) | Err(PumpError::Write) => {
            OutgoingBody::finish(body, None).ok();
            wait(&response)
        }
        Err(PumpError::Read(error)) => Err(error.to_string()),
    }
}

/// Sends each piece of the body on, and answers as many bytes of the response, before the next piece is read.
pub(crate) fn echo(query: &Query, request: &IncomingRequest, outparam: ResponseOutparam) {
    let begun = outgoing(query, request).and_then(|outgoing| {
        let (body, stream) = body_of(&outgoing)?;
        Ok((body, stream, send(query, outgoing)?))
    });
    let (body, stream, response) = match begun {
        Ok(begun) => begun,
        Err(refusal) => return drop(Response::text(502, refusal).send(outparam)),
    };
    let Ok(mut writer) = start(outparam, 200, &[]) else { return };
    let mut answer: Option<(InputStream, IncomingBody)> = None;
    let outcome = chunks(request, |chunk| {
        write(&stream, &chunk)?;
        if answer.is_none() {
            let response = wait(&response).map_err(|_| PumpError::Write)?;
            let body = response.consume().map_err(|()| PumpError::Write)?;
            answer = Some((body.stream().map_err(|()| PumpError::Write)?, body));
        }
        let Some((answer, _)) = &answer else { return Err(PumpError::Write) };
        let mut missing = chunk.len() as u64;
        while missing > 0 {
            let piece = answer.blocking_read(missing).map_err(|_| PumpError::Write)?;
            missing -= piece.len() as u64;
            writer.write(&piece).map_err(|_| PumpError::Write)?;
        }
        writer.flush().map_err(|_| PumpError::Write)
    });
    drop(stream);
    OutgoingBody::finish(body, None).ok();
    match outcome {
        Ok(()) => drop(writer.finish()),
        Err(_) => std::process::abort(),
    }
}

/// Begins `count` requests, then waits for all: how many ended how, a line for each way.
pub(crate) fn many(query: &Query, request: &IncomingRequest) -> Response {
    let begun: Vec<_> = (0..query.number("count", 1))
        .map(|_| outgoing(query, request).and_then(|outgoing| send(query, outgoing)))
        .collect();
    let mut ways: BTreeMap<String, u64> = BTreeMap::new();
    for response in begun {
        let way = match response.and_then(|response| wait(&response)) {
            Ok(response) => format!("status {} with {} bytes", response.status(), length(&response)),
            Err(refusal) => refusal,
        };
        *ways.entry(way).or_default() += 1;
    }
    let mut text = String::new();
    for (way, count) in ways {
        writeln!(text, "{count} {way}").ok();
    }
    Response::text(200, text)
}

/// The same, one after the other.
pub(crate) fn one_by_one(query: &Query, request: &IncomingRequest) -> Response {
    let mut failed = 0;
    for _ in 0..query.number("count", 1) {
        match outgoing(query, request).and_then(|outgoing| wait(&send(query, outgoing)?)) {
            Ok(response) => drop(length(&response)),
            Err(_) => failed += 1,
        }
    }
    Response::text(200, format!("failed {failed}\n"))
}

/// Sends a piece of a body and traps.
pub(crate) fn break_off(query: &Query, request: &IncomingRequest) -> Response {
    let begun = outgoing(query, request).and_then(|outgoing| {
        let (_body, stream) = body_of(&outgoing)?;
        let _response = send(query, outgoing)?;
        write(&stream, b"not all").map_err(|_| "no body".to_owned())?;
        super::streaming::sleep_milliseconds(query.number("ms", 200));
        std::process::abort()
    });
    let begun: Result<(), Refusal> = begun;
    Response::text(502, begun.err().unwrap_or_default())
}

fn outgoing(query: &Query, request: &IncomingRequest) -> Result<OutgoingRequest, Refusal> {
    let fields = Fields::new();
    for (name, value) in request.headers().entries() {
        if let Some(name) = name.strip_prefix("x-send-") {
            fields.append(name, &value).map_err(|error| format!("header refused: {error:?}"))?;
        }
    }
    let outgoing = OutgoingRequest::new(fields);
    let scheme = match query.text("scheme") {
        None | Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => Scheme::Other(other.to_owned()),
    };
    outgoing.set_scheme(Some(&scheme)).map_err(|()| "scheme refused")?;
    outgoing.set_authority(query.text("authority")).map_err(|()| "authority refused")?;
    outgoing.set_path_with_query(Some(query.text("path").unwrap_or("/"))).map_err(|()| "path refused")?;
    let method = match query.text("method") {
        None | Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        Some("HEAD") => Method::Head,
        Some("CONNECT") => Method::Connect,
        Some(other) => Method::Other(other.to_owned()),
    };
    outgoing.set_method(&method).map_err(|()| "method refused")?;
    Ok(outgoing)
}

fn send(query: &Query, request: OutgoingRequest) -> Result<FutureIncomingResponse, Refusal> {
    let options = RequestOptions::new();
    let time = |name: &str| Some(query.number(name, 0) * NANOSECONDS_PER_MILLISECOND).filter(|time| *time > 0);
    options.set_connect_timeout(time("connect-ms")).map_err(|()| "timeout refused")?;
    options.set_first_byte_timeout(time("first-byte-ms")).map_err(|()| "timeout refused")?;
    options.set_between_bytes_timeout(time("between-bytes-ms")).map_err(|()| "timeout refused")?;
    outgoing_handler::handle(request, Some(options)).map_err(|code| shown(&code))
}

fn wait(response: &FutureIncomingResponse) -> Result<IncomingResponse, Refusal> {
    loop {
        match response.get() {
            Some(Ok(response)) => return response.map_err(|code| shown(&code)),
            Some(Err(())) => return Err("taken before".to_owned()),
            None => response.subscribe().block(),
        }
    }
}

fn shown(code: &ErrorCode) -> Refusal {
    format!("{code:?}")
}

fn body_of(request: &OutgoingRequest) -> Result<(OutgoingBody, OutputStream), Refusal> {
    let body = request.body().map_err(|()| "no body")?;
    let stream = body.write().map_err(|()| "no stream")?;
    Ok((body, stream))
}

enum PumpError {
    Read(BodyError),
    Write,
}

impl From<BodyError> for PumpError {
    fn from(error: BodyError) -> Self {
        Self::Read(error)
    }
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), PumpError> {
    while !bytes.is_empty() {
        let permitted = stream.check_write().map_err(|_| PumpError::Write)?;
        if permitted == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(usize::try_from(permitted).unwrap_or(usize::MAX).min(bytes.len()));
        stream.write(now).map_err(|_| PumpError::Write)?;
        bytes = later;
    }
    Ok(())
}

/// The length of a response's body, or 0 where it breaks off.
fn length(response: &IncomingResponse) -> u64 {
    let mut bytes = 0;
    let whole = read(response, |piece| {
        bytes += piece.len() as u64;
        true
    });
    if whole.is_ok() { bytes } else { 0 }
}

fn read(response: &IncomingResponse, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), Refusal> {
    let body = response.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    loop {
        match stream.blocking_read(READ_BYTES_MAX) {
            Ok(piece) if piece.is_empty() || take(&piece) => {}
            Ok(_) => return Err("given up".to_owned()),
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}

fn pass_on(response: &IncomingResponse, outparam: ResponseOutparam) {
    let mut headers = vec![("x-status".to_owned(), response.status().to_string().into_bytes())];
    headers.extend(response.headers().entries().into_iter().map(|(name, value)| (format!("x-got-{name}"), value)));
    let Ok(mut writer) = start(outparam, 200, &headers) else { return };
    let send = |writer: &mut BodyWriter, piece: &[u8]| -> Result<(), SendError> {
        writer.write(piece)?;
        writer.flush()
    };
    match read(response, |piece| send(&mut writer, piece).is_ok()) {
        Ok(()) => drop(writer.finish()),
        // A body that did not arrive whole must not look whole on its way on.
        Err(_) => std::process::abort(),
    }
}
