//! Frames on the socket of a session: four bytes of length, then commands one after the other, or one answer.

use serde::{Serialize, de::DeserializeOwned};

/// Largest frame, in bytes. A command may be larger than a batch, but not than this.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Why bytes are no message, or a message no bytes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message cannot be written")]
    Encode(#[source] postcard::Error),
    #[error("a message cannot be read")]
    Decode(#[source] postcard::Error),
    #[error("a message of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
}

/// Appends a message to a batch.
///
/// # Errors
/// When it cannot be written down.
pub fn append<T: Serialize>(batch: Vec<u8>, message: &T) -> Result<Vec<u8>, FrameError> {
    postcard::to_extend(message, batch).map_err(FrameError::Encode)
}

/// The length that goes before `payload`.
///
/// # Errors
/// When it is too long for a frame.
pub fn header(payload: &[u8]) -> Result<[u8; 4], FrameError> {
    match u32::try_from(payload.len()) {
        Ok(length) if payload.len() <= FRAME_BYTES_MAX => Ok(length.to_le_bytes()),
        _ => Err(FrameError::TooLong(payload.len())),
    }
}

/// The length that a frame's first four bytes tell.
///
/// # Errors
/// When it is longer than a frame may be.
pub fn length(header: [u8; 4]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if length <= FRAME_BYTES_MAX { Ok(length) } else { Err(FrameError::TooLong(length)) }
}

/// Takes the first message from `bytes`; what is left are the others.
///
/// # Errors
/// When there is no message.
pub fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), FrameError> {
    postcard::take_from_bytes(bytes).map_err(FrameError::Decode)
}

/// One message as bytes.
///
/// # Errors
/// When it cannot be written down.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    append(Vec::new(), message)
}
