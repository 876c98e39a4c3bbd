//! Request bodies: whole and bounded, or chunk by chunk. Must not know what the bytes mean.

use wasip2::http::types::{IncomingBody, IncomingRequest};
use wasip2::io::streams::{InputStream, StreamError};

/// Most bytes taken from the host in one read.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// Why a request body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is longer than the caller of [`read_body`] allows.
    #[error("the request body is longer than {limit_bytes} bytes")]
    TooLong {
        /// The bound that was passed.
        limit_bytes: usize,
    },
    /// The client went away, or the host stopped the body.
    #[error("the request body ended early: {0}")]
    Broken(String),
    /// The body was taken before.
    #[error("the request body was already taken")]
    Taken,
}

/// Reads the whole body of `request`, at most `limit_bytes` of it.
///
/// # Errors
/// [`BodyError::TooLong`] as soon as the bound is passed; the rest is left unread.
pub fn read_body(request: &IncomingRequest, limit_bytes: usize) -> Result<Vec<u8>, BodyError> {
    let mut whole = Vec::new();
    chunks(request, |chunk| {
        if whole.len().saturating_add(chunk.len()) > limit_bytes {
            return Err(BodyError::TooLong { limit_bytes });
        }
        whole.extend_from_slice(&chunk);
        Ok(())
    })?;
    Ok(whole)
}

/// Calls `take` with each piece of the body as it arrives, until the body or `take` ends it.
///
/// # Errors
/// What `take` answers, or [`BodyError::Broken`] and [`BodyError::Taken`] as an error of the caller's type.
pub fn chunks<E: From<BodyError>>(
    request: &IncomingRequest,
    mut take: impl FnMut(Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let body = request.consume().map_err(|()| BodyError::Taken)?;
    let stream = body.stream().map_err(|()| BodyError::Taken)?;
    let outcome = drain(&stream, &mut take);
    // The stream is a child of the body: it has to go first.
    drop(stream);
    drop(IncomingBody::finish(body));
    outcome
}

fn drain<E: From<BodyError>>(stream: &InputStream, take: &mut impl FnMut(Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    loop {
        match stream.blocking_read(READ_BYTES_MAX) {
            Ok(chunk) if chunk.is_empty() => {}
            Ok(chunk) => take(chunk)?,
            Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(BodyError::Broken(error.to_debug_string()).into());
            }
        }
    }
}
