//! Answers: whole, or piece by piece with the host's back-pressure. Must not know what is answered.

use wasip2::http::types::{Fields, HeaderError, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

/// Why an answer did not go out whole.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The host refuses this header.
    #[error("the host refuses the header {name}: {reason}")]
    Header {
        /// The header's name.
        name: String,
        /// The host's words.
        reason: String,
    },
    /// The host refuses this status.
    #[error("the host refuses the status {0}")]
    Status(u16),
    /// The client went away, or the host stopped the body.
    #[error("the response body ended early: {0}")]
    Broken(String),
}

/// An answer whose body is known as a whole.
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    declares_length: bool,
}

impl Response {
    /// An answer with this status, content type and body. Its length is declared.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.as_bytes().to_vec())];
        Self { status, headers, body: body.into(), declares_length: true }
    }

    /// An answer of plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    /// The same head without the body: the answer to HEAD.
    #[must_use]
    pub fn head_only(mut self) -> Self {
        self.body.clear();
        self.declares_length = false;
        self
    }

    /// Sends the whole answer.
    ///
    /// # Errors
    /// [`SendError`]; there is nobody left to tell, so that most callers only log it.
    pub fn send(mut self, outparam: ResponseOutparam) -> Result<(), SendError> {
        if self.declares_length {
            self.headers.push(("content-length".to_owned(), self.body.len().to_string().into_bytes()));
        }
        let mut writer = start(outparam, self.status, &self.headers)?;
        writer.write(&self.body)?;
        writer.finish()
    }
}

/// Sends the head of an answer; the body follows through the writer.
///
/// # Errors
/// [`SendError::Header`] and [`SendError::Status`]: nothing was sent, and the host answers in our place.
pub fn start(outparam: ResponseOutparam, status: u16, headers: &[(String, Vec<u8>)]) -> Result<BodyWriter, SendError> {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value).map_err(|error| header_error(name, &error))?;
    }
    let response = OutgoingResponse::new(fields);
    response.set_status_code(status).map_err(|()| SendError::Status(status))?;
    let body = response.body().map_err(|()| SendError::Broken("no body to write".to_owned()))?;
    ResponseOutparam::set(outparam, Ok(response));
    let stream = body.write().map_err(|()| SendError::Broken("no stream to write".to_owned()))?;
    Ok(BodyWriter { stream, body })
}

fn header_error(name: &str, error: &HeaderError) -> SendError {
    SendError::Header { name: name.to_owned(), reason: format!("{error:?}") }
}

/// The body of an answer whose head is out.
pub struct BodyWriter {
    // Declared, and so dropped, before the body that it is a child of.
    stream: OutputStream,
    body: OutgoingBody,
}

impl BodyWriter {
    /// Writes all of `bytes`, as fast as the host takes them.
    ///
    /// # Errors
    /// [`SendError::Broken`] when nobody takes them any more.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), SendError> {
        while !bytes.is_empty() {
            let permitted = self.stream.check_write().map_err(|error| broken(&error))?;
            if permitted == 0 {
                self.stream.subscribe().block();
                continue;
            }
            let length = usize::try_from(permitted).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(length);
            self.stream.write(now).map_err(|error| broken(&error))?;
            bytes = later;
        }
        Ok(())
    }

    /// Waits until the host has handed on what was written.
    ///
    /// # Errors
    /// [`SendError::Broken`] when nobody takes it any more.
    pub fn flush(&mut self) -> Result<(), SendError> {
        self.stream.blocking_flush().map_err(|error| broken(&error))
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`SendError::Broken`] when the body does not have the declared length, or nobody takes it any more.
    pub fn finish(self) -> Result<(), SendError> {
        self.end(None)
    }

    /// Ends the body with `trailers`, which a client of HTTP/1 does not get to see.
    ///
    /// # Errors
    /// As [`BodyWriter::finish`], and [`SendError::Header`] for a trailer that the host refuses.
    pub fn finish_with(self, trailers: &[(&str, &str)]) -> Result<(), SendError> {
        let fields = Fields::new();
        for (name, value) in trailers {
            fields.append(name, value.as_bytes()).map_err(|error| header_error(name, &error))?;
        }
        self.end(Some(fields))
    }

    fn end(self, trailers: Option<Fields>) -> Result<(), SendError> {
        let Self { stream, body } = self;
        let flushed = stream.blocking_flush().map_err(|error| broken(&error));
        drop(stream);
        flushed?;
        OutgoingBody::finish(body, trailers).map_err(|code| SendError::Broken(format!("{code:?}")))
    }
}

fn broken(error: &StreamError) -> SendError {
    SendError::Broken(match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    })
}
